"""Which of transformers' models cannot take an attention implementation by name.

The masks of `attn_implementation="clmer"` are boolean, as for "sdpa". A model with attention of its
own adds its mask to the scores, where True and False are 1 and 0: padding would take part, and
nothing would say so. transformers knows such models (`_supports_sdpa`), but asks only about the
names it ships. `guard` has it ask about ours too, and looks at the modules that a model is made of.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn

NAME = "clmer"
#: By this name a module looks an implementation up.
_INTERFACE = "ALL_ATTENTION_FUNCTIONS"
#: A module that computes attention itself names one of these, or calls a function that does.
_OWN = {"softmax", "scaled_dot_product_attention"}
#: What is done to a boolean mask. Code with none of these can only add or multiply it.
_READS_BOOLEANS = {"masked_fill", "masked_fill_", "where", "bool", "logical_not", "logical_and"}
_READS_BOOLEANS |= {"scaled_dot_product_attention"}
#: Where classes are from that say nothing of one model.
_NOT_MODELS = ("torch.", "transformers.modeling_utils")


def guard(base: Any) -> None:
    """Have `transformers.PreTrainedModel` refuse "clmer" where a model cannot use it.

    Twice: by the class, where transformers checks "sdpa", and by the modules, once they are made.
    """
    if getattr(base, "_clmer_guard", False):
        return
    choose, post_init = base.get_correct_attn_implementation, base.post_init

    @functools.wraps(choose)
    def get_correct_attn_implementation(
        self: Any, requested_attention: str | None, *args: Any, **options: Any
    ) -> Any:
        if requested_attention == NAME:
            _check_class(type(self))
            _check_modules(self)  # none yet where this is asked before they are made
        return choose(self, requested_attention, *args, **options)

    @functools.wraps(post_init)
    def after_init(self: Any) -> None:
        post_init(self)
        if self.config._attn_implementation == NAME:
            _check_modules(self)

    base.get_correct_attn_implementation = get_correct_attn_implementation
    base.post_init = after_init
    base._clmer_guard = True


@torch.compiler.assume_constant_result
def check_config(config: type) -> None:
    """Refuse the masks of a configuration all of whose models refuse "sdpa".

    It meets a name that was written into a made model's configuration, which asks nobody.

    Raises:
        ValueError: they do.
    """
    from transformers import PreTrainedModel

    models: list[Any] = [m for m in _subclasses(PreTrainedModel) if m.config_class is config]
    if models and not any(model._supports_sdpa for model in models):
        _check_class(models[0])


def _subclasses(base: Any) -> Iterator[Any]:
    for each in base.__subclasses__():
        yield each
        yield from _subclasses(each)


def _check_class(model: Any) -> None:
    if not model._supports_sdpa:
        raise _refusal(model.__name__, 'refuses "sdpa" too, whose masks are used here')
    for name, value in vars(sys.modules[model.__module__]).items():
        # A table of classes by implementation, in models that do not look functions up.
        if isinstance(value, dict) and {"eager", "sdpa"} <= value.keys() and NAME not in value:
            why = f"chooses among those of {name} and takes no other by name"
            raise _refusal(model.__name__, why)


def _check_modules(model: nn.Module) -> None:
    """Raise where a module would misread the mask, or where none would call `cross_attention`."""
    own, looked_up = [], False
    kinds: set[Any] = {type(module) for module in model.modules()}
    for kind in sorted(kinds, key=str):
        names = _names(kind)
        if _INTERFACE in names:
            looked_up = True
        elif "ttention" in kind.__name__ and names & _OWN:
            own.append(kind.__name__)
            if "_attn_implementation" in names:
                what = "chooses by name among implementations of its own"
                raise _refusal(type(model).__name__, f"has {kind.__name__}, which {what}")
            if _is_masked(kind) and not names & _READS_BOOLEANS:
                what = "adds masks to its own scores"
                raise _refusal(type(model).__name__, f"has {kind.__name__}, which {what}")
    if own and not looked_up:
        raise _refusal(type(model).__name__, f"has attention of its own ({', '.join(own)})")


def _is_masked(kind: type[nn.Module]) -> bool:
    """Whether a module's forward takes a mask."""
    code = getattr(kind.forward, "__code__", None)
    if code is None:
        return False
    count = code.co_argcount + code.co_kwonlyargcount
    return any("mask" in name for name in code.co_varnames[:count])


@functools.cache
def _names(kind: Any) -> frozenset[str]:
    """What a module's code refers to, and the functions of its file that the code calls."""
    found: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.startswith(_NOT_MODELS):
            continue
        for value in vars(base).values():
            function = getattr(value, "__wrapped__", value)
            if isinstance(function, FunctionType):
                _add_names(function, found, set())
    return frozenset(found)


def _add_names(function: FunctionType, found: set[str], seen: set[FunctionType]) -> None:
    if function in seen:
        return
    seen.add(function)
    names = set(_code_names(function.__code__))
    found |= names
    for name in names:
        called = function.__globals__.get(name)
        if isinstance(called, FunctionType) and called.__module__ == function.__module__:
            _add_names(called, found, seen)


def _code_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_names(constant)


def _refusal(model: str, why: str) -> ValueError:
    return ValueError(
        f'attn_implementation="{NAME}": {model}, in this version of transformers, {why}; '
        'use attn_implementation="eager"'
    )
