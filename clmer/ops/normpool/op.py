"""`norm_relu_pool`: what follows a convolution over time, in one kernel on the CPU.

Modules call it where it fits and PyTorch's own parts elsewhere: it is no op of torch's library, so
compilers, `torch.func` and GPUs never see it. csrc/normpool/.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    choose_impl,
    no_double_backward,
    reference_gradients,
)


def norm_relu_pool(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-5,
    stats: Tensor | None = None,
    *,
    impl: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Batch norm, ReLU and max pooling over pairs of time steps.

        r = relu(weight (x - mean) / sqrt(var + eps) + bias)
        y_k = max(r_2k-1, r_2k),  k = 0 .. T // 2

    as `F.max_pool1d(r, 2, stride=2, padding=1)`; steps outside of r count for nothing. Of equals
    the first one gets the gradient. Between forward and backward x is kept, and nothing else of its
    size.

    Args:
        x: [B, C, T], float32 or float64, T >= 1; any strides.
        weight: gain [C], of x's dtype.
        bias: offset [C].
        eps: added to the variance.
        stats: [2, C] float64, mean and variance to normalise with, taken as constants. None takes
            x's own (divided by B T, which is at least 2), and the gradient passes through them.
        impl: None, "native" (CPU) or "reference" (plain PyTorch, differentiable any number of
            times). None is native on the CPU and the reference elsewhere, as well as for second
            derivatives, which it says once.

    Returns:
        y [B, C, T // 2 + 1], and the mean and variance used [2, C] float64, without gradient.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
        RuntimeError: `impl="native"` on another device, or for second derivatives.

    Source: Ioffe and Szegedy, Batch normalization (2015).
    """
    _check(x, weight, bias, stats)
    if choose_impl(impl, x.device, ("cpu",)) == "reference":
        return norm_relu_pool_reference(x, weight, bias, eps, stats)
    if torch.is_grad_enabled() and any_requires_grad(x, weight, bias):
        y, found = _NormReluPool.apply(impl is not None, eps, stats, x, weight, bias)
        return y, found
    return _forward(eps, stats, x, weight, bias)


def norm_relu_pool_reference(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5, stats: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The specification of `norm_relu_pool` in plain PyTorch."""
    if stats is None:
        var, mean = torch.var_mean(x.detach().double(), (0, 2), correction=0)
        found = torch.stack((mean, var))
        y = F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    else:
        found = stats
        mean, var = stats.to(x.dtype)
        y = F.batch_norm(x, mean, var, weight, bias, eps=eps)
    return F.max_pool1d(F.relu(y), 2, stride=2, padding=1), found


def _forward(
    eps: float, stats: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    found = x.new_empty((2, x.shape[1]), dtype=torch.float64) if stats is None else stats
    tensors = (x.contiguous(), weight.contiguous(), bias.contiguous(), found.contiguous())
    y = _C.normpool(*tensors, eps, stats is None, torch.get_num_threads())
    return y, found


class _NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        explicit: bool,
        eps: float,
        stats: Tensor | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        y, found = _forward(eps, stats, x, weight, bias)
        ctx.save_for_backward(x, weight, bias, found)
        ctx.explicit, ctx.eps, ctx.measured = explicit, eps, stats is None
        ctx.mark_non_differentiable(found)
        ctx.set_materialize_grads(False)
        return y, found

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad_y is None:
            return (None,) * 6
        x, weight, bias, found = ctx.saved_tensors
        if torch.is_grad_enabled():
            if ctx.explicit:
                raise no_double_backward("norm_relu_pool")
            stats = None if ctx.measured else found

            def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
                return norm_relu_pool_reference(x, weight, bias, ctx.eps, stats)[0]

            inputs = (x, weight, bias)
            grads = reference_gradients("norm_relu_pool", reference, inputs, grad_y)
            return None, None, None, *grads
        rows = (grad_y.contiguous(), x.contiguous(), weight.contiguous(), bias.contiguous())
        options = (found.contiguous(), ctx.eps, ctx.measured, torch.get_num_threads())
        return None, None, None, *_C.normpool_backward(*rows, *options)


def _check(x: Tensor, weight: Tensor, bias: Tensor, stats: Tensor | None) -> None:
    if x.ndim != 3 or x.shape[2] < 1:
        raise ValueError(f"x: found {tuple(x.shape)}, expected (B, C, T) with T >= 1")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: found {x.dtype}, expected torch.float32 or torch.float64")
    channels = x.shape[1]
    for name, each in (("weight", weight), ("bias", bias)):
        if each.shape != (channels,) or each.dtype != x.dtype or each.device != x.device:
            raise ValueError(
                f"{name}: found {tuple(each.shape)} {each.dtype} on {each.device}, expected "
                f"({channels},) {x.dtype} on {x.device}"
            )
    if stats is None:
        if x.shape[0] * x.shape[2] < 2:
            raise ValueError(
                f"x: found {tuple(x.shape)}, expected at least 2 values per channel; give `stats`"
            )
    elif stats.shape != (2, channels) or stats.dtype != torch.float64:
        raise ValueError(
            f"stats: found {tuple(stats.shape)} {stats.dtype}, expected (2, {channels}) "
            "torch.float64"
        )
