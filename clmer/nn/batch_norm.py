"""Batch normalisation over every rank's samples, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from clmer.nn.shard import current_group


class BatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d`; under `clmer.nn.shard.sharded` its statistics are those of all ranks.

    `nn.SyncBatchNorm` refuses CPU tensors. Sums cross the ranks in float64, one all-reduce in the
    forward and one in the backward; ranks may differ in their number of samples.

    Args:
        features: C.
        momentum: of the running statistics; None takes their plain average.
    """

    def __init__(self, features: int, momentum: float | None = 0.1) -> None:
        super().__init__(features, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C] or [B, C, T]."""
        group = current_group()
        if group is None or not self.training:
            y: Tensor = super().forward(x)
            return y
        y, mean, var, count = _WholeBatchNorm.apply(x, self.weight, self.bias, self.eps, group)
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            momentum = self.momentum
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
            unbiased = var * (count / (count - 1))
            for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                assert running is not None
                running.lerp_(new.to(running.dtype), momentum)
        return y


class _WholeBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: dist.ProcessGroup
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide, dims = x.double(), _all_but_channels(x)
        total = wide.sum(dims)
        own = torch.full_like(total, x.numel() // x.shape[1])
        sums = torch.stack((total, wide.square().sum(dims), own))  # [3, C]
        dist.all_reduce(sums, group=group)
        total, squares, count = sums
        mean = total / count
        var = (squares / count - mean.square()).clamp(min=0)
        y = F.batch_norm(x, mean.to(x.dtype), var.to(x.dtype), weight, bias, eps=eps)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), count)
        ctx.group = group
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        dims = _all_but_channels(x)
        centred = (x.double() - _as_channels(mean, x)).to(x.dtype)
        own = grad.double()
        grad_bias, along = own.sum(dims), (own * centred).sum(dims)
        sums = torch.stack((grad_bias, along))  # [2, C]
        dist.all_reduce(sums, group=ctx.group)
        # dx = w / sd (dy - mean(dy) - xhat mean(dy xhat))
        scale = weight.double() * inverse
        factors = (scale, scale * sums[1] * inverse.square() / count, scale * sums[0] / count)
        a, b, c = (_as_channels(v.to(x.dtype), x) for v in factors)
        grad_weight = (along * inverse).to(weight.dtype)
        return a * grad - b * centred - c, grad_weight, grad_bias.to(weight.dtype), None, None


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, 2) if x.dim() == 3 else (0,)


def _as_channels(v: Tensor, x: Tensor) -> Tensor:
    return v[:, None] if x.dim() == 3 else v
