"""Parts of the cells, each for a process of its own: by number, or as a launcher says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clmer.errors import ConfigError
from clmer.experiments.cells import Cell

#: What torchrun tells its own processes: a cell's process belongs to none of its groups.
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK",
             "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """Every `count`-th cell, beginning with number `index` of 1 to `count`."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Shard:
        """Read "2/8", or "auto": this process of torchrun, or this task of a Slurm job array.

        Raises:
            ConfigError: neither, or a number out of range.
        """
        if text == "auto":
            return cls._of(environment)
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ConfigError(f"`shard`: found {text!r}, expected i/n with i from 1 to n, or auto")
        return cls(int(index), int(count))

    @classmethod
    def _of(cls, environment: Mapping[str, str]) -> Shard:
        if of_torchrun(environment):
            return cls(int(environment["RANK"]) + 1, int(environment["WORLD_SIZE"]))
        if "SLURM_ARRAY_TASK_ID" in environment:
            first = int(environment["SLURM_ARRAY_TASK_MIN"])
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
            number = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
            return cls(number + 1, int(environment["SLURM_ARRAY_TASK_COUNT"]))
        raise ConfigError(
            "`shard=auto`: found neither torchrun's RANK and WORLD_SIZE nor Slurm's "
            "SLURM_ARRAY_TASK_ID; give i/n"
        )

    def take(self, cells: Iterable[Cell]) -> list[Cell]:
        """This shard's cells."""
        return list(cells)[self.index - 1 :: self.count]


def of_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process, and says which of how many it is."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def without_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    """A cell's environment: torchrun's variables left out, its local rank's GPU the only one."""
    kept = {k: v for k, v in environment.items() if k not in _TORCHRUN}
    if "LOCAL_RANK" in environment:
        rank = int(environment["LOCAL_RANK"])
        visible = environment.get("CUDA_VISIBLE_DEVICES", "")
        devices = visible.split(",")
        kept["CUDA_VISIBLE_DEVICES"] = devices[rank % len(devices)] if visible else str(rank)
    return kept
