"""`sosfilt`: a cascade of biquads with the state in hand, streaming and differentiable.

The kernels are in csrc/bandpass/: args.h, step.h (the arithmetic), cpu_*; on a GPU gpu_plan.h,
gpu_blocks.h, gpu_kernels.h.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    below_autograd,
    check_dtype,
    choose_impl,
    has_values,
    is_mapped,
    is_plain,
    is_traced,
    is_tracing,
    library,
)
from clmer.ops.bandpass.coefficients import are_learnt, filter_sections

_NATIVE = ("cpu", "cuda") if _C.build_info()["cuda"] else ("cpu",)
_MAX_SECTIONS = 64


def sosfilt(
    x: Tensor, sos: Tensor, state: Tensor | None = None, *, impl: str | None = None
) -> tuple[Tensor, Tensor]:
    """Filter along the last dimension by cascaded second-order sections, carrying the state.

    Each section in turn, transposed direct form II:

        y[t]  = b0 x[t] + z0
        z0    = b1 x[t] - a1 y[t] + z1
        z1    = b2 x[t] - a2 y[t]

    Coefficients and state are float64 whatever x is. Equivalent to `scipy.signal.sosfilt` along the
    last axis.

    On the CPU, cutting T anywhere and passing the state on gives the same bits as one pass. On a
    GPU that holds among calls of at most 512 samples, and among calls of 16,384 rows or more. Other
    calls are filtered in segments of time at once, whose starts come from a scan: they equal one
    pass up to the rounding of float64, and the tests bound the error of stable filters by twice
    SciPy's. Which form a call takes follows from its shape alone: a repeated call repeats its bits.

    Args:
        x: [..., T], float32, float64, bfloat16 or float16.
        sos: [S, 6] float64, rows b0 b1 b2 a0 a1 a2 with a0 = 1. Where it requires a gradient the
            sections are filtered one by one (`coefficients.py`): the same y, slower, and with x and
            every section's output kept for the backward. Its last state may differ by rounding, and
            so may what is filtered in chunks from one pass.
        state: [..., S, 2] float64, z0 and z1 of each section; None starts from zeros.
        impl: None, "native", "cuda" (the native kernel, and no other than a GPU's) or "reference"
            (plain PyTorch).

    Returns:
        y [..., T] of x's dtype and the state [..., S, 2] after the last sample. Both have
        gradients for x, state and sos (a0's is 0), the adjoint filter run backwards in time, and
        derivatives of any order: in forward mode, by `torch.func` and under `create_graph=True`.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or a0 != 1 (checked on the CPU only:
            on a GPU the look would wait for the device).
        RuntimeError: `impl="native"` or "cuda" where it cannot run.

    Source: Oppenheim & Schafer, Discrete-Time Signal Processing, section 6.3.
    """
    state = _check(x, sos, state)
    chosen = choose_impl(impl, x.device, _NATIVE, ("cuda",))
    if chosen == "reference":
        return sosfilt_reference(x, sos, state)
    if sos.shape[0] > _MAX_SECTIONS:
        raise ValueError(
            f"sos: found {sos.shape[0]} sections, expected at most {_MAX_SECTIONS}; "
            "split the cascade"
        )
    lead, time = x.shape[:-1], x.shape[-1]
    count = math.prod(lead)  # torch.Size.numel() would make a traced size a constant
    rows = x.reshape(count, time)
    rows_state = state.reshape(count, *state.shape[-2:])
    wide = rows.to(torch.float32) if x.dtype in (torch.bfloat16, torch.float16) else rows
    y, state_out = _filter(wide, sos, rows_state)
    return y.reshape(x.shape).to(x.dtype), state_out.reshape(*lead, *state.shape[-2:])


def _filter(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Rows filtered: outright, with autograd, or by the registered op where a graph is made."""
    if are_learnt(sos):
        y, state = filter_sections(x.to(torch.float64), sos, state)
        return y.to(x.dtype), state
    if is_traced():
        return torch.ops.clmer.sosfilt(x, sos, state)
    learns = torch.is_grad_enabled() and any_requires_grad(x, state)
    if learns or is_mapped() or not is_plain(x, sos, state):
        return _apply(x, sos, state, adjoint=False)
    return _run(x, sos, state, adjoint=False)


def _check(x: Tensor, sos: Tensor, state: Tensor | None) -> Tensor:
    """Validates, and returns the state to start from."""
    check_tensors(x, sos, state)
    check_dtype("x", x)
    if x.dim() < 1:
        raise ValueError("x: found a 0-d tensor, expected [..., T]")
    if sos.dim() != 2 or sos.shape[1] != 6 or sos.shape[0] < 1 or sos.dtype != torch.float64:
        raise ValueError(
            f"sos: found {tuple(sos.shape)} {sos.dtype}, expected [S, 6] torch.float64 with S >= 1"
        )
    if has_values(sos) and not bool((sos[:, 3] == 1).all()):
        raise ValueError(f"sos[:, 3] should be all ones, found {sos[:, 3].tolist()}")
    shape = (*x.shape[:-1], sos.shape[0], 2)
    if state is None:
        state = x.new_zeros(shape, dtype=torch.float64)
    elif state.shape != shape or state.dtype != torch.float64:
        raise ValueError(
            f"state: found {tuple(state.shape)} {state.dtype}, expected {shape} torch.float64"
        )
    if not x.device == sos.device == state.device:
        raise ValueError(
            f"devices differ: x on {x.device}, sos on {sos.device}, state on {state.device}"
        )
    return state


def check_tensors(x: Tensor, sos: Tensor, state: Tensor | None = None) -> None:
    """Raises ValueError for what is no tensor, such as the NumPy arrays that designers give."""
    for name, each in (("x", x), ("sos", sos), ("state", state)):
        if isinstance(each, Tensor) or (each is None and name == "state"):
            continue
        hint = "torch.from_numpy makes one of an array, clmer.signal filters arrays as they are"
        raise ValueError(f"{name}: found {type(each).__name__}, expected a tensor; {hint}")


def sosfilt_reference(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The specification in plain PyTorch: one sample and one section at a time, in float64."""
    z = [list(section.unbind(-1)) for section in state.unbind(-2)]
    samples = []
    for sample in x.to(torch.float64).unbind(-1):
        v = sample
        for (b0, b1, b2, _, a1, a2), zs in zip(sos, z, strict=True):
            y = b0 * v + zs[0]
            zs[0] = b1 * v - a1 * y + zs[1]
            zs[1] = b2 * v - a2 * y
            v = y
        samples.append(v)
    filtered = torch.stack(samples, -1).to(x.dtype) if samples else x.clone()
    return filtered, torch.stack([torch.stack(zs, -1) for zs in z], -2)


# --- registration: x [R, T], sos [S, 6], state [R, S, 2] ----------------------------------------
library.define("sosfilt(Tensor x, Tensor sos, Tensor state) -> (Tensor, Tensor)")
library.define("sosfilt_backward(Tensor grad_y, Tensor grad_state, Tensor sos) -> (Tensor, Tensor)")


def _run(x: Tensor, sos: Tensor, state: Tensor, adjoint: bool) -> tuple[Tensor, Tensor]:
    if not x.is_cpu:
        x = x.contiguous()
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    threads = torch.get_num_threads()
    return _C.sosfilt(x, sos.contiguous(), state.contiguous(), adjoint, threads, stream)


def _forward(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return _run(x, sos, state, adjoint=False)


def _backward(grad_y: Tensor, grad_state: Tensor, sos: Tensor) -> tuple[Tensor, Tensor]:
    return _run(grad_y, sos, grad_state, adjoint=True)


for _key in ("CPU", "CUDA"):
    if _key.lower() in _NATIVE:
        library.impl("sosfilt", _forward, _key)
        library.impl("sosfilt_backward", _backward, _key)


@torch.library.register_fake("clmer::sosfilt", lib=library)
def _fake(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), state.new_empty(state.shape)


@torch.library.register_fake("clmer::sosfilt_backward", lib=library)
def _fake_backward(grad_y: Tensor, grad_state: Tensor, sos: Tensor) -> tuple[Tensor, Tensor]:
    return grad_y.new_empty(grad_y.shape), grad_state.new_empty(grad_state.shape)


# --- autograd -----------------------------------------------------------------------------------
class _Filter(torch.autograd.Function):
    """The filter or its adjoint: its own derivative, being linear, and the other's gradient."""

    @staticmethod
    def forward(ctx, x, sos, state, adjoint):  # type: ignore[no-untyped-def]
        _keep(ctx, sos, adjoint)
        return _below_autograd(x, sos, state, adjoint)

    @staticmethod
    def backward(ctx, grad_y, grad_state):  # type: ignore[no-untyped-def]
        (sos,) = ctx.saved_tensors
        outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(grad_y, grad_state)
        call = _run if outright else _apply
        grad_x, grad_in = call(grad_y, sos, grad_state, not ctx.adjoint)
        return grad_x, None, grad_in, None

    @staticmethod
    def jvp(ctx, x, _, state, __):  # type: ignore[no-untyped-def]
        (sos,) = ctx.saved_tensors
        return _apply(x, sos, state, ctx.adjoint)


class _MappedFilter(_Filter):
    """The same in the form that `torch.func` asks for, which takes longer to call."""

    @staticmethod
    def forward(x, sos, state, adjoint):  # type: ignore[no-untyped-def]
        return _below_autograd(x, sos, state, adjoint)

    @staticmethod
    def setup_context(ctx, inputs, _):  # type: ignore[no-untyped-def]
        _keep(ctx, inputs[1], inputs[3])

    @staticmethod
    def vmap(info, in_dims, x, sos, state, adjoint):  # type: ignore[no-untyped-def]
        if in_dims[1] is not None:
            raise ValueError("vmap over sos is not defined: one cascade filters all rows")
        n = info.batch_size
        x, state = (
            tensor.expand(n, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in ((x, in_dims[0]), (state, in_dims[2]))
        )
        y, out = _apply(x.flatten(0, 1), sos, state.flatten(0, 1), adjoint)
        return (y.unflatten(0, (n, -1)), out.unflatten(0, (n, -1))), (0, 0)


def _keep(ctx, sos, adjoint):  # type: ignore[no-untyped-def]
    ctx.adjoint = adjoint
    ctx.save_for_backward(sos)
    ctx.save_for_forward(sos)


def _apply(x: Tensor, sos: Tensor, state: Tensor, adjoint: bool) -> tuple[Tensor, Tensor]:
    y, out = (_MappedFilter if is_mapped() else _Filter).apply(x, sos, state, adjoint)
    return y, out


def _below_autograd(x: Tensor, sos: Tensor, state: Tensor, adjoint: bool) -> tuple[Tensor, Tensor]:
    with below_autograd():
        if adjoint:
            return torch.ops.clmer.sosfilt_backward(x, state, sos)
        return torch.ops.clmer.sosfilt(x, sos, state)


def _autograd(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return _apply(x, sos, state, False)


def _autograd_backward(grad_y: Tensor, grad_state: Tensor, sos: Tensor) -> tuple[Tensor, Tensor]:
    return _apply(grad_y, sos, grad_state, True)


library.impl("sosfilt", _autograd, "Autograd")
library.impl("sosfilt_backward", _autograd_backward, "Autograd")


@torch.library.register_vmap("clmer::sosfilt", lib=library)
def _vmap(info, in_dims, *tensors):  # type: ignore[no-untyped-def]
    return _MappedFilter.vmap(info, in_dims, *tensors, False)
