"""What the ops share: the torch library, the choice of implementation, tracing."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad

from clmer._native import _C

Answer = TypeVar("Answer", bound=Callable[..., Any])

library = torch.library.Library("clmer", "DEF")
#: Below-autograd dispatch, for the body of an autograd.Function.
below_autograd = torch._C._AutoDispatchBelowAutograd
_functorch_is_active = torch._C._are_functorch_transforms_active
_jit_state = torch._C._get_tracing_state
_modes = torch._C._len_torch_dispatch_stack
_mode_of, _FAKE = torch._C._get_dispatch_mode, torch._C._TorchDispatchModeKey.FAKE
_profiler_is_on = torch._C._autograd._profiler_enabled
_is_batched = torch._C._functorch.is_legacy_batchedtensor
_DERIVATIVES = {TransformType.Grad, TransformType.Jvp}
_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def is_tracing() -> bool:
    """Whether the registered op must be called, so that compilers and functorch see it."""
    return is_traced() or is_mapped()


def is_traced() -> bool:
    """Whether a graph of ops is being made."""
    return torch.compiler.is_compiling() or _jit_state() is not None


def is_mapped() -> bool:
    """Whether a transform of `torch.func` is active: grad, jvp, vmap and what is made of them."""
    return _functorch_is_active()


def is_plain(*tensors: torch.Tensor | None) -> bool:
    """Whether the dispatcher would only find the kernel, which then may be called outright.

    That is where (besides `is_tracing`, which see) all is ordinary and no profiler wants to see the
    op. Calling outright saves 10 us in the forward and 25 us in the backward.
    """
    return not _profiler_is_on() and is_ordinary(*tensors)


def is_ordinary(*tensors: torch.Tensor | None) -> bool:
    """Whether no mode or forward derivative is active and no tensor is more than its memory.

    That is: none is a subclass, has a lazy sign or lazy zeros, or stands for several, as gradients
    under `torch.autograd.grad(..., is_grads_batched=True)` do.
    """
    if _modes() > 0 or forward_ad._current_level >= 0:
        return False
    for t in tensors:
        if t is not None and (
            type(t) not in _PLAIN or t.is_neg() or t._is_zerotensor() or _is_batched(t)
        ):
            return False
    return True


def is_transformed(*tensors: torch.Tensor | None) -> bool:
    """Whether a derivative is asked for that only a reference has.

    That is: one of `torch.func` (grad, jvp, per-sample gradients and so on; vmap alone is not), or
    one in forward mode. Second derivatives in backward mode show in the backward.
    """
    if torch.compiler.is_compiling():
        return False
    if _functorch_is_active():
        kinds = {each.key() for each in retrieve_all_functorch_interpreters()}
        return not kinds.isdisjoint(_DERIVATIVES)
    if forward_ad._current_level < 0:
        return False
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


_told: set[str] = set()


def tell_reference(name: str) -> str:
    """The form "reference", with a warning the first time that an op takes it of its own accord."""
    if name not in _told:
        _told.add(name)
        warnings.warn(
            f"{name}: taking its plain PyTorch form, which is slower, because torch.func, forward "
            f"mode or second derivatives need it; {name}(..., impl='reference') says so by itself",
            stacklevel=3,
        )
    return "reference"


def reference_gradients(
    name: str,
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    grads: Tensor | Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients by an op's plain PyTorch form, as functions that can be differentiated again.

    Args:
        name: the op, which says once that it takes this form.
        reference: from `inputs` to the op's output or outputs.
        inputs: what the backward saved.
        grads: of the output, or of each.

    Returns:
        One for each input, None for those that need none.
    """
    inputs = apart(inputs)
    taken = [t for t in inputs if t is not None and t.requires_grad]
    if not taken:
        return [None] * len(inputs)
    tell_reference(name)
    found = iter(torch.autograd.grad(reference(*inputs), taken, grads, create_graph=True))
    return [next(found) if t is not None and t.requires_grad else None for t in inputs]


def apart(inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The inputs as tensors of their own.

    Two of them may be the same tensor, or made from one another. The gradient of the one would then
    hold that of the other, and autograd, which adds them up behind the op, would count it twice.
    """
    return [None if t is None else t.view_as(t) for t in inputs]


def has_values(tensor: torch.Tensor) -> bool:
    """Whether a look at a tensor's numbers is possible and free: on the CPU, not traced or fake."""
    if not tensor.is_cpu or is_tracing() or _mode_of(_FAKE) is not None:
        return False
    return type(tensor) in _PLAIN or not isinstance(tensor, FakeTensor)


def any_requires_grad(*tensors: torch.Tensor | None) -> bool:
    """Whether any of these asks for a gradient."""
    return any(t is not None and t.requires_grad for t in tensors)


def choose_impl(
    impl: str | None,
    device: torch.device,
    native_on: tuple[str, ...],
    also: tuple[str, ...] = (),
) -> str:
    """The implementation to run: "native", "reference" or one of `also`.

    Args:
        impl: the caller's wish; None takes the native kernel where the device has one and the
            plain PyTorch form elsewhere (a GPU's form the op asks for). An explicit wish is met or
            refused.
        device: where the tensors are.
        native_on: device types that the native kernel covers in this build.
        also: what else this op has: "triton", "cuda" or nothing.

    Raises:
        ValueError: an unknown name.
        RuntimeError: "native" on a device without a native kernel; "triton" or "cuda" where it
            cannot run.
    """
    if impl is None:
        return "native" if device.type in native_on else "reference"
    names = ("native", "reference", *also)
    if impl not in names:
        expected = ", ".join(repr(name) for name in names)
        raise ValueError(f"impl: found {impl!r}, expected None, {expected}")
    if impl == "native" and device.type not in native_on:
        raise RuntimeError(
            f"impl='native': this build has no kernel for {device.type!r} tensors "
            f"(it has {', '.join(native_on)}); use impl='reference' or None"
        )
    if impl == "triton":
        _require_triton(device)
    if impl == "cuda":
        _require_cuda(device)
    return impl


_find_spec = cache(importlib.util.find_spec)
_reason = cache(_C.why_no_cuda)


def constant_in_graphs(fn: Answer) -> Answer:
    """Have compilers take what a function answers for a constant, and not look inside.

    `torch.compiler.assume_constant_result` sets this mark too, but first imports torch._dynamo,
    which takes as long as torch itself.
    """
    fn._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return fn


def outside_graphs(reason: str) -> Callable[[Answer], Answer]:
    """`torch.compiler.disable`, whose import of torch._dynamo waits for the first call."""

    def decorate(fn: Answer) -> Answer:
        disabled: list[Callable[..., Any]] = []

        @functools.wraps(fn)
        def call(*args: Any, **options: Any) -> Any:
            if not disabled:
                disabled.append(torch.compiler.disable(fn, reason=reason))
            return disabled[0](*args, **options)

        return cast(Answer, call)

    return decorate


@cache
def _has_compiler() -> bool:
    return any(shutil.which(each) for each in (os.environ.get("CC"), "clang", "gcc", "cc") if each)


@cache
def _is_made_for(device: torch.device) -> bool:
    return torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= (8, 0)


@constant_in_graphs
def why_no_cuda() -> str:
    """CUDA's reason, or an empty one."""
    return _reason()


@constant_in_graphs
def has_triton() -> bool:
    """Whether Triton is installed."""
    return _find_spec("triton") is not None


@constant_in_graphs
def compiles_triton() -> bool:
    """Whether Triton is installed, and a C compiler with which it makes its launchers."""
    return _find_spec("triton") is not None and _has_compiler()


@constant_in_graphs
def is_made_for(device: torch.device) -> bool:
    """Whether the GPU kernels are: for NVIDIA GPUs of architecture 8.0 or later."""
    return _is_made_for(device)


def _require_cuda(device: torch.device) -> None:
    """Raises RuntimeError, with CUDA's reason, unless CUDA kernels can run on these tensors."""
    reason = why_no_cuda()
    if device.type != "cuda":
        found = f"found {device.type!r} tensors, expected 'cuda' ones"
        reason = f"{found} (and here {reason})" if reason else found
    if reason:
        raise RuntimeError(f"impl='cuda': {reason}; impl=None takes what fits the tensors")


def _require_triton(device: torch.device) -> None:
    """Raises RuntimeError unless Triton is installed and can run on tensors of this device."""
    if not has_triton():
        raise RuntimeError(
            "impl='triton': the package triton is not installed; `pip install \"clmer[triton]\"`"
        )
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError(
            f"impl='triton': found {device.type!r} tensors, expected 'cuda' ones; elsewhere Triton "
            "only runs in its interpreter (set TRITON_INTERPRET=1 before the first call)"
        )


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """A block in which autocast lowers no product: the references keep their stated precision."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def check_dtype(name: str, tensor: torch.Tensor) -> None:
    """Raises ValueError unless the ops compute with the tensor's dtype."""
    if tensor.dtype not in _DTYPES:
        raise ValueError(
            f"{name}: found {tensor.dtype}, expected a floating-point dtype out of "
            + ", ".join(str(dtype) for dtype in _DTYPES)
        )


def no_double_backward(name: str, impl: str = "native") -> RuntimeError:
    """The error of an op's backward under create_graph=True."""
    return RuntimeError(
        f"{name}: the {impl} backward has no gradient of its own; for second derivatives call "
        f"{name}(..., impl='reference')"
    )
