"""What the sublayer ops ask of their arguments, and which implementation they get."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from clmer.ops._dispatch import check_dtype, choose_impl
from clmer.ops.sublayer.gpu import check_triton

#: Of `project_heads`, side by side in one weight: what the kernel takes.
MAX_PROJECTIONS = 64
_NATIVE = ("cpu",)


def of_one_kind(**tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, x among them: of one dtype and device.

    Under autocast their dtypes may differ, and the widest is taken.

    Raises:
        ValueError: something that is no tensor; dtypes or devices that do not fit.
    """
    found, x = tuple(tensors.values()), tensors["x"]
    if isinstance(x, Tensor):
        dtype, device = x.dtype, x.device
        for each in found:
            if not isinstance(each, Tensor) or each.dtype != dtype or each.device != device:
                break
        else:
            check_dtype("x", x)
            return found
    return _promoted(tensors)


def _promoted(tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    for name, each in tensors.items():
        if not isinstance(each, Tensor):
            raise ValueError(f"{name}: found {type(each).__name__}, expected a tensor")
    dtypes, device = [t.dtype for t in tensors.values()], tensors["x"].device
    floating = all(dtype.is_floating_point for dtype in dtypes)
    if floating and torch.is_autocast_enabled(device.type):
        widest = reduce(torch.promote_types, dtypes)
        tensors = {name: each.to(widest) for name, each in tensors.items()}
    x = tensors["x"]
    check_dtype("x", x)
    for name, each in tensors.items():
        if each.dtype != x.dtype:
            raise ValueError(
                f"found x {x.dtype} and {name} {each.dtype}, expected one floating-point dtype"
            )
        if each.device != device:
            raise ValueError(f"devices differ: x on {device}, {name} on {each.device}")
    return tuple(tensors.values())


def check_project_heads(
    x: Tensor, weight: Tensor, bias: Tensor, num_heads: int, impl: str | None
) -> str:
    """The implementation to run, once the arguments of `project_heads` are known to fit.

    Raises:
        ValueError: a shape that does not fit.
        RuntimeError: an `impl` that cannot run on these tensors.
    """
    stack, _, _, dim = _sizes(x)
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"num_heads: found {num_heads}, expected a divisor of x's {dim} features")
    outputs = _last(weight)
    if weight.shape != (stack, dim, outputs) or outputs < 1 or outputs % dim:
        raise ValueError(
            f"weight: found {tuple(weight.shape)}, expected ({stack}, {dim}, n * {dim}) for x "
            f"{tuple(x.shape)}, n >= 1 projections side by side"
        )
    _check_shape("bias", bias, (stack, 1, outputs), x)
    if outputs <= MAX_PROJECTIONS * dim:
        return _choose(impl, x)
    if impl == "native":
        raise ValueError(
            f"impl='native': found a weight of {outputs // dim} projections, expected at most "
            f"{MAX_PROJECTIONS}; use impl='reference' or None"
        )
    return _choose(impl or "reference", x)


def check_merge_heads(
    x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, dropout_p: float, impl: str | None
) -> str:
    """The implementation to run, once the arguments of `merge_heads` are known to fit.

    Raises:
        ValueError: a shape that does not fit, or dropout_p outside [0, 1).
        RuntimeError: an `impl` that cannot run on these tensors.
    """
    stack, batch, length, dim = _sizes(x)
    count = heads.shape[2] if heads.dim() == 5 else 0
    if count < 1 or heads.shape != (stack, batch, count, length, dim // count) or dim % count:
        raise ValueError(
            f"heads: found {tuple(heads.shape)}, expected ({stack}, {batch}, h, {length}, "
            f"{dim} / h) for x {tuple(x.shape)}"
        )
    _check_shape("weight", weight, (stack, dim, dim), x)
    _check_shape("bias", bias, (stack, 1, dim), x)
    _check_probability("dropout_p", dropout_p)
    return _choose(impl, x)


def check_feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_dropout_p: float,
    dropout_p: float,
    impl: str | None,
) -> str:
    """The implementation to run, once the arguments of `feed_forward` are known to fit.

    Raises:
        ValueError: a shape that does not fit, or a probability outside [0, 1).
        RuntimeError: an `impl` that cannot run on these tensors.
    """
    stack, _, _, dim = _sizes(x)
    hidden = _last(weight1)
    if weight1.shape != (stack, dim, hidden) or hidden < 1:
        raise ValueError(
            f"weight1: found {tuple(weight1.shape)}, expected ({stack}, {dim}, H) with H >= 1 for "
            f"x {tuple(x.shape)}"
        )
    _check_shape("bias1", bias1, (stack, 1, hidden), x)
    _check_shape("weight2", weight2, (stack, hidden, dim), x)
    _check_shape("bias2", bias2, (stack, 1, dim), x)
    _check_probability("hidden_dropout_p", hidden_dropout_p)
    _check_probability("dropout_p", dropout_p)
    return _choose(impl, x)


def _choose(impl: str | None, x: Tensor) -> str:
    if impl is None and x.is_cpu:
        return "native"
    if impl == "triton":
        check_triton(x)
    return choose_impl(impl, x.device, _NATIVE, also=("triton",))


def _sizes(x: Tensor) -> tuple[int, ...]:
    """S, B, L and d."""
    if x.dim() != 4 or x.shape[-1] < 1:
        raise ValueError(f"x: found {tuple(x.shape)}, expected [S, B, L, d] with d >= 1")
    return tuple(x.shape)


def _last(weight: Tensor) -> int:
    return weight.shape[2] if weight.dim() == 3 else 0


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"{name}: found {tuple(tensor.shape)}, expected {shape} for x {tuple(x.shape)}"
        )


def _check_probability(name: str, p: float) -> None:
    if not 0.0 <= p < 1.0:
        raise ValueError(f"{name}: found {p}, expected 0 <= p < 1")
