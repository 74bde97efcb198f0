"""One batch over several processes, as if it were in one: what dropout and batch norm must know.

A rank holds consecutive samples of a batch. Under `sharded`, `Dropout` draws the mask of the whole
batch and takes its own rows, and `BatchNorm` takes its statistics over all ranks, so that the ranks
together compute what one process would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Shard:
    """A rank's part of a batch.

    Args:
        group: the ranks.
        sizes: how many of the batch's samples each rank has, in rank order.
    """

    group: dist.ProcessGroup
    sizes: Sequence[int]

    @classmethod
    def of(cls, group: dist.ProcessGroup, samples: int) -> Shard:
        """`samples` dealt to the ranks in nearly equal runs."""
        ranks = dist.get_world_size(group)
        return cls(group, [(samples + ranks - 1 - rank) // ranks for rank in range(ranks)])

    @property
    def total(self) -> int:
        """Samples of all ranks."""
        return sum(self.sizes)

    @property
    def rows(self) -> slice:
        """This rank's samples within the batch."""
        rank = dist.get_rank(self.group)
        start = sum(self.sizes[:rank])
        return slice(start, start + self.sizes[rank])


@dataclass(frozen=True, eq=False)
class _Stacked:
    shard: Shard
    copies: int


_stacked: ContextVar[_Stacked | None] = ContextVar("stacked", default=None)


@contextmanager
def sharded(shard: Shard | None, copies: int = 1) -> Iterator[None]:
    """A forward pass whose tensors hold this rank's samples; None is a batch in one process.

    Args:
        shard: what this rank holds.
        copies: how often the samples stand below one another in dimension 0 (2 for two views).
    """
    token = _stacked.set(None if shard is None else _Stacked(shard, copies))
    try:
        yield
    finally:
        _stacked.reset(token)


def current_group() -> dist.ProcessGroup | None:
    """The ranks that the batch is spread over, None where it is in one process."""
    stacked = _stacked.get()
    return None if stacked is None else stacked.shard.group


def whole_shape(x: Tensor) -> tuple[int, ...]:
    """The shape x would have in one process: samples are in dimension 0."""
    stacked = _stacked.get()
    if stacked is None:
        return tuple(x.shape)
    return (stacked.copies * stacked.shard.total, *x.shape[1:])


def local_rows(whole: Tensor) -> Tensor:
    """This rank's rows of a tensor of `whole_shape`."""
    stacked = _stacked.get()
    if stacked is None:
        return whole
    copies, shard = stacked.copies, stacked.shard
    each = whole.view(copies, shard.total, *whole.shape[1:])[:, shard.rows]
    return each.reshape(copies * each.shape[1], *whole.shape[1:])


def undo_ddp_mean(loss: Tensor, ranks: int) -> Tensor:
    """The loss, its gradient multiplied by `ranks`: `DistributedDataParallel` divides by them."""
    return loss if ranks == 1 else loss + (ranks - 1) * (loss - loss.detach())


class BatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d`; under `sharded` its statistics are those of all ranks.

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
        self.track(mean, var, count)
        return y

    def statistics(self) -> Tensor:
        """The running mean and variance, [2, C] float64."""
        assert self.running_mean is not None
        assert self.running_var is not None
        return torch.stack((self.running_mean, self.running_var)).double()

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
        """Take a batch into the running statistics.

        Args:
            mean: [C] of the batch.
            var: [C], divided by `count`.
            count: values per channel.
        """
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        unbiased = var * (count / (count - 1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            assert running is not None
            running.lerp_(new.to(running.dtype), momentum)


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
