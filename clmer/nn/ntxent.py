"""`NTXentLoss`: `nt_xent` behind the constructor of lightly's module of that name."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor, nn

from clmer.nn.checks import NotScriptable
from clmer.nn.shard import undo_ddp_mean
from clmer.ops import nt_xent

#: Above it no row tells its positive from the rest; integers there are batch sizes.
_HIGH = 10.0


class NTXentLoss(NotScriptable, nn.Module):
    """`clmer.nt_xent` as a module, a drop-in for `lightly.loss.NTXentLoss`.

    Args:
        temperature: tau > 0, a number or a 0-d tensor; a parameter is learnt. There is a warning
            above 10, where the loss hardly trains.
        memory_bank_size: 0. A memory bank (MoCo's queue) is a different loss and is refused.
        gather_distributed: take the samples of every rank of the default process group as
            negatives. Where there is none, or it has one rank, this changes nothing. The loss is
            that of the whole batch, the same on every rank. Its gradient is multiplied by the
            number of ranks, which `DistributedDataParallel` divides by again: together they give
            the gradient of one process with all samples.
        others: nothing. Constructors of other projects, which take a batch size, a device or a
            number of processes as well, are refused with the call to write instead.
        reduction: "mean", "sum" or "none", as in `clmer.nt_xent`.
        accuracy: return the loss and the top-1 accuracy, as `clmer.nt_xent` does.
        impl: as in `clmer.nt_xent`; "reference" is plain PyTorch. It is an attribute too.

    Raises:
        ValueError: a temperature that is no finite number > 0, or an integer above 10 (a batch
            size); a memory bank, or `gather_distributed` where torch was built without
            torch.distributed; other projects' arguments.

    Source: Eq. 1-2; lightly's constructor and its default temperature.
    """

    _instead = "compute the loss outside of the script; torch.compile and torch.export take it"

    def __init__(
        self,
        temperature: float | Tensor = 0.5,
        memory_bank_size: int | Sequence[int] = 0,
        gather_distributed: bool = False,
        *others: object,
        reduction: str = "mean",
        accuracy: bool = False,
        impl: str | None = None,
    ) -> None:
        super().__init__()
        _refuse_others((temperature, memory_bank_size, gather_distributed, *others))
        if not 0.0 < temperature < math.inf:
            raise ValueError(
                f"NTXentLoss: found temperature {temperature}, expected a finite number > 0"
            )
        if temperature > _HIGH:
            warnings.warn(
                f"NTXentLoss: found temperature {float(temperature)}, usual are 0.05 to 1: far "
                "above, all rows score nearly alike and the loss hardly trains",
                stacklevel=2,
            )
        if gather_distributed and not dist.is_available():
            raise ValueError(
                "NTXentLoss: gather_distributed=True needs torch.distributed, which this torch "
                "was built without"
            )
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"NTXentLoss: found reduction {reduction!r}, expected 'mean', 'sum' or 'none'"
            )
        self.temperature = temperature
        self.gather_distributed = gather_distributed
        self.reduction, self.accuracy, self.impl = reduction, accuracy, impl

    def forward(
        self, out0: Tensor, out1: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The loss of views out0, out1 [N, D] or [G, N, D], or of features out0 [B, n_views, D].

        See `clmer.nt_xent`, for labels, reduction and accuracy too.
        """
        group, ranks = None, 1
        if self.gather_distributed and dist.is_initialized():
            ranks = dist.get_world_size()
            group = dist.group.WORLD if ranks > 1 else None
        found = nt_xent(
            out0, out1, self.temperature, labels=labels, reduction=self.reduction,
            accuracy=self.accuracy, process_group=group, impl=self.impl,
        )  # fmt: skip
        if isinstance(found, tuple):
            return undo_ddp_mean(found[0], ranks), found[1]
        return undo_ddp_mean(found, ranks)

    def extra_repr(self) -> str:
        """What repr shows between the brackets: reduction, accuracy and impl if they were given."""
        shown = f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"
        usual = {"reduction": "mean", "accuracy": False, "impl": None}
        return shown + "".join(
            f", {name}={getattr(self, name)!r}"
            for name, value in usual.items()
            if getattr(self, name) != value
        )


def _refuse_others(found: tuple[object, ...]) -> None:
    """Raises ValueError for arguments in another project's order, with the call to write.

    SimCLR's (batch_size, temperature, world_size) and TS-TCC's (device, batch_size, temperature,
    use_cosine_similarity) are the most copied.
    """
    temperature, bank, gather = found[:3]
    batch_size = isinstance(temperature, numbers.Integral) and int(temperature) > _HIGH
    if isinstance(temperature, bool) or not isinstance(temperature, (numbers.Real, Tensor)):
        slip = f"found temperature {temperature!r}, expected a number"
    elif batch_size:
        slip = f"found temperature {temperature}, an integer, which looks like a batch size"
    elif not isinstance(gather, bool):
        slip = f"found gather_distributed {gather!r}, expected True or False"
    elif len(found) > 3:
        slip = f"found {len(found)} arguments {found}, expected three at most"
    elif isinstance(bank, bool) or not isinstance(bank, (int, Sequence)) or isinstance(bank, str):
        slip = f"found memory_bank_size {bank!r}, expected 0"
    elif (bank if isinstance(bank, int) else next(iter(bank), 0)) != 0:
        raise ValueError(
            f"NTXentLoss: found memory_bank_size {bank}, expected 0: the negatives are the other "
            "samples of the batch, and there is no memory bank"
        )
    else:
        return
    numbers_given = [each for each in found if isinstance(each, float) and 0 < each <= _HIGH]
    tau = numbers_given[0] if numbers_given else 0.5
    also = f" (write {temperature}.0 for such a temperature)" if batch_size else ""
    raise ValueError(
        f"NTXentLoss: {slip}{also}; write NTXentLoss(temperature={tau}), which needs no batch "
        "size, device or number of processes (gather_distributed=True takes in all ranks)"
    )
