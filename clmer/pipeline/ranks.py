"""The processes of one `torchrun`: who they are, and which part of a batch each takes."""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from clmer.nn.shard import Shard

#: While the first rank trains and evaluates alone, the others wait in their next collective.
PATIENCE = timedelta(days=14)


class RankStopped(KeyboardInterrupt):
    """torchrun ends this rank, because another one has ended."""


class LeaderFailed(Exception):
    """The first rank stopped with an error, and has said why."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """The processes that train together.

    Args:
        group: all of them; None where there is one.
        rank: this one's number; the first leads: it alone prints and writes.
        count: how many there are.
        processes: of each rank, its computer's name and its process number.
    """

    group: dist.ProcessGroup | None = None
    rank: int = 0
    count: int = 1
    processes: tuple[tuple[str, int], ...] = ()

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def shard(self, samples: int) -> Shard | None:
        """This rank's part of a batch; None where there is one process."""
        return None if self.group is None else Shard.of(self.group, samples)

    def gather(self, own: Any) -> list[Any]:
        """What every rank has, in their order; every rank calls it."""
        if self.group is None:
            return [own]
        everyone: list[Any] = [None] * self.count
        dist.all_gather_object(everyone, own, group=self.group)
        return everyone

    def gone(self, wait_s: float = 2.0) -> list[int]:
        """The ranks on this computer whose process has ended.

        Args:
            wait_s: seconds until one is missed: its connections close before it is gone.
        """
        own = platform.node()
        end = time.monotonic() + wait_s
        while True:
            ended = [
                rank
                for rank, (node, process) in enumerate(self.processes)
                if node == own and not _runs(process)
            ]
            if ended or time.monotonic() > end:
                return ended
            time.sleep(0.05)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """A block that the other ranks enter once the leader has left it.

        Raises:
            LeaderFailed: on the other ranks, where the leader left it with an error.
        """
        done = False
        try:
            if not self.leads and not self._leader_is_done(False):
                raise LeaderFailed
            yield
            done = True
        finally:
            if self.leads and self.group is not None:
                self._leader_is_done(done)

    def _leader_is_done(self, done: bool) -> bool:
        nccl = dist.get_backend(self.group) == "nccl"
        flag = torch.tensor(done, dtype=torch.int32, device="cuda" if nccl else "cpu")
        dist.broadcast(flag, 0, group=self.group)
        return bool(flag.item())


def _runs(process: int) -> bool:
    """Whether a process of this user's has not ended; any thread of it holds its locks."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        threads = len(os.listdir(f"/proc/{process}/task"))
    except ProcessLookupError:
        return False
    except OSError:  # no /proc, or another user's
        return True
    # Z: the first thread has ended, and nobody has asked how.
    return state.rpartition(")")[2].split()[0] != "Z" or threads > 1


def _stop(signum: int, frame: object) -> None:
    raise RankStopped


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def leave_after(main: Callable[[], int]) -> NoReturn:
    """Exit with what `main` returns; a rank of torchrun without tearing anything down.

    A DistributedDataParallel that goes after its process group joins gloo's threads with the GIL
    held, which one of them may want (torch 2.13): the rank would wait for ever. A thread that still
    lets go of a Python object while the interpreter is torn down would abort it.
    """
    if not launched():
        sys.exit(main())
    code = 1
    signal.signal(signal.SIGTERM, _stop)
    try:
        code = main()
    except SystemExit as stop:  # of argparse
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """All ranks of torchrun, or this process alone; and its own device ("cuda": its local GPU).

    The group is not destroyed: see `leave_after`.
    """
    own = torch.device(device)
    if launched() and own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if own.type == "cuda" and own.index is not None:
        torch.cuda.set_device(own)  # streams and CUDA graphs go by the current device
    if not launched():
        yield Ranks(), own
        return
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=PATIENCE)
    processes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(processes, (platform.node(), os.getpid()))
    group = dist.group.WORLD
    yield Ranks(group, dist.get_rank(), dist.get_world_size(), tuple(processes)), own
