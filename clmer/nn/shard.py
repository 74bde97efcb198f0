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

import torch.distributed as dist
from torch import Tensor


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
