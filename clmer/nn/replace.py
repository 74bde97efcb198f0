"""A model's `nn.MultiheadAttention` become `CrossModalAttention`, and back, in place.

Only a module's class changes. So everything that refers to the module, or that it holds, stays what
it is: parameters (and the optimizer's), buffers, mode, device, dtype, hooks and their handles.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from clmer.nn.attention import CrossModalAttention

#: Modules of torch whose functions derive classes at run time, which add to a class alone.
_DERIVING = ("torch.nn.utils.parametrize", "torch.distributed.")


@dataclass(frozen=True)
class Replacement:
    """What `replace_attention` or `restore_attention` did; `str` and `repr` are a text to read.

    Attributes:
        to: name of the class that modules got.
        replaced: names of these modules within the model, "" for the model itself.
        left: names of modules that were left, and why.
    """

    to: str
    replaced: tuple[str, ...]
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = [f"{len(self.replaced)} now {self.to}" + (":" if self.replaced else "")]
        shown += [f"    {name or '(the model)'}" for name in self.replaced]
        if self.left:
            shown.append(f"{len(self.left)} left:")
            shown += [f"    {name or '(the model)'}: {why}" for name, why in self.left.items()]
        return "\n".join(shown)

    __repr__ = __str__


def replace_attention(model: nn.Module, *, impl: str | None = None) -> Replacement:
    """Let every `nn.MultiheadAttention` of a model be a `CrossModalAttention`, in place.

    The modules stay the same objects, with the same parameters, buffers, mode, dtype, device,
    hooks and `requires_grad`; an optimizer made before goes on. What `torch.nn.utils.parametrize`,
    pruning and `fully_shard` made of a module works on. Subclasses are left, since their forward
    may compute something else. Results are `nn.MultiheadAttention`'s, but for queries that see no
    key (zeros instead of NaN) and the draws of dropout.

    Args:
        model: a model, or an `nn.MultiheadAttention` itself.
        impl: as in `CrossModalAttention`.

    Returns:
        What was replaced and what was left, and why; print it.

    Warns:
        UserWarning: an `nn.MultiheadAttention` was left, or there was none.
    """
    report = Replacement("CrossModalAttention", *_convert(model, True, impl))
    _say("replace_attention", report, "nn.MultiheadAttention")
    return report


def restore_attention(model: nn.Module) -> Replacement:
    """Let every `CrossModalAttention` of a model be an `nn.MultiheadAttention` again, in place.

    The inverse of `replace_attention`, for what takes torch's own module only, such as
    `torch.jit.script`. Modules that were built as `CrossModalAttention` are included.

    Args:
        model: a model, or a `CrossModalAttention` itself.

    Returns:
        What was restored and what was left, and why; print it.

    Warns:
        UserWarning: a `CrossModalAttention` was left, or there was none.
    """
    report = Replacement("nn.MultiheadAttention", *_convert(model, False, None))
    _say("restore_attention", report, "CrossModalAttention")
    return report


def _say(function: str, report: Replacement, wanted: str) -> None:
    """A warning where the caller would expect otherwise."""
    own_code = all(why.startswith(_OWN_CODE) for why in report.left.values())
    already = all(why == _ALREADY for why in report.left.values())
    if not report.replaced and not (report.left and already):
        warnings.warn(f"{function}: found no {wanted} to change; {report}", stacklevel=3)
    elif report.left and not own_code and not already:
        warnings.warn(f"{function}: {report}", stacklevel=3)


_ALREADY = "is one already"
_OWN_CODE = "computes attention by code of its own"


def _convert(
    model: nn.Module, to_ours: bool, impl: str | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    old: type[nn.Module] = nn.MultiheadAttention if to_ours else CrossModalAttention
    new: type[nn.Module] = CrossModalAttention if to_ours else nn.MultiheadAttention
    replaced, left = [], {}
    for name, module in list(model.named_modules()):
        if to_ours and isinstance(module, CrossModalAttention):
            left[name] = _ALREADY
        elif isinstance(module, old):
            why = _why_left(module, old)
            if why:
                left[name] = why
                continue
            if not to_ours:
                module.unmark()  # type: ignore[operator]
            module.__class__ = _rebased(type(module), old, new)
            if to_ours:
                module.mark(impl)  # type: ignore[operator]
            replaced.append(name)
    if to_ours:
        left.update(_of_own_code(model))
    return tuple(replaced), left


def _why_left(module: nn.Module, old: type[nn.Module]) -> str:
    """Why a module that is an `old` must stay as it is, or an empty text."""
    if "forward" in vars(module):
        return (
            "its forward was set on the object (by accelerate's hooks, for instance), which goes "
            "before any class's; change the attention first"
        )
    other = next((c for c in type(module).__mro__ if issubclass(c, old) and not _may(c, old)), None)
    if other is None:
        return ""
    name = f"{other.__module__}.{other.__qualname__}"
    if other.__module__.startswith("torch.ao."):
        return f"quantised ({name}), with a forward of its own; change the attention first"
    own = "a forward of its own" if "forward" in vars(other) else "code of its own"
    return f"subclass {name} may have {own}, which would be lost; derive it from the new class"


def _may(cls: type, old: type[nn.Module]) -> bool:
    """Whether this is `old`, or what torch derived from it at run time."""
    return cls is old or cls.__module__.startswith(_DERIVING)


def _rebased(cls: type, old: type, new: type) -> type:
    """`new` for `old`; for a class derived from `old`, the like derived from `new`."""
    if cls is old:
        return new
    bases = tuple(_rebased(b, old, new) if issubclass(b, old) else b for b in cls.__bases__)
    own = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    return type(cls.__name__.replace(old.__name__, new.__name__), bases, own)


def _of_own_code(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Modules that are attention by name, hold no smaller ones and no `nn.MultiheadAttention`."""
    named = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention) or "attention" in _class_name(module).lower()
    }
    for name, module in named.items():
        inner = f"{name}." if name else ""
        if isinstance(module, nn.MultiheadAttention) or any(
            other != name and other.startswith(inner) for other in named
        ):
            continue
        kind = "TorchScript" if isinstance(module, torch.jit.ScriptModule) else "its class"
        yield name, f"{_OWN_CODE} ({kind}: {_class_name(module)})"


def _class_name(module: nn.Module) -> str:
    """The class's name, of a scripted module that of the class it was made from."""
    if isinstance(module, torch.jit.ScriptModule):
        return str(module.original_name)
    return type(module).__qualname__
