"""`NTXentLoss`: `nt_xent` behind the constructor of lightly's module of that name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor, nn

from clmer.nn.checks import NotScriptable
from clmer.nn.shard import undo_ddp_mean
from clmer.ops import nt_xent


class NTXentLoss(NotScriptable, nn.Module):
    """`clmer.nt_xent` as a module, a drop-in for `lightly.loss.NTXentLoss`.

    Args:
        temperature: tau > 0.
        memory_bank_size: 0. A memory bank (MoCo's queue) is a different loss and is refused.
        gather_distributed: take the samples of every rank of the default process group as
            negatives. Where there is none, or it has one rank, this changes nothing. The loss is
            that of the whole batch, the same on every rank. Its gradient is multiplied by the
            number of ranks, which `DistributedDataParallel` divides by again: together they give
            the gradient of one process with all samples.

    Raises:
        ValueError: a temperature that is no finite number > 0, a memory bank, or
            `gather_distributed` where torch was built without torch.distributed.

    Source: Eq. 1-2; lightly's constructor and its default temperature.
    """

    def __init__(
        self,
        temperature: float = 0.5,
        memory_bank_size: int | Sequence[int] = 0,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 < temperature < math.inf:
            raise ValueError(
                f"NTXentLoss: found temperature {temperature}, expected a finite number > 0"
            )
        size = memory_bank_size if isinstance(memory_bank_size, int) else memory_bank_size[0]
        if size != 0:
            raise ValueError(
                f"NTXentLoss: found memory_bank_size {memory_bank_size}, expected 0: the negatives "
                "are the other samples of the batch, and there is no memory bank"
            )
        if gather_distributed and not dist.is_available():
            raise ValueError(
                "NTXentLoss: gather_distributed=True needs torch.distributed, which this torch "
                "was built without"
            )
        self.temperature = temperature
        self.gather_distributed = gather_distributed

    def forward(self, out0: Tensor, out1: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss of views out0, out1 [N, D] or [G, N, D]: see `clmer.nt_xent`, labels too."""
        group, ranks = None, 1
        if self.gather_distributed and dist.is_initialized():
            ranks = dist.get_world_size()
            group = dist.group.WORLD if ranks > 1 else None
        loss = nt_xent(out0, out1, self.temperature, labels=labels, process_group=group)
        return undo_ddp_mean(loss, ranks)

    def extra_repr(self) -> str:
        """What repr shows between the brackets."""
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"
