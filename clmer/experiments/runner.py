"""Runs cells as processes of their own: some at a time, a shard of them, killed and continued.

cells/<name>/             the run folder of `clmer.train`
cells/<name>.log          what its process printed; locked while one runs
cells/<name>.usage.json   seconds and peak memory, of a run that was made in one piece
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clmer.errors import ConfigError, DataError
from clmer.experiments.cells import Cell, finished
from clmer.storage import write_file

DONE, FAILED, REFUSED, MISSING = "done", "failed", "refused", "not run"
_POLL_S = 0.1
#: What torchrun tells its own processes: a cell is a process for itself.
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK",
             "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a cell stands: one of DONE, FAILED, REFUSED, MISSING, and why."""

    status: str
    message: str = ""


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
            raise ConfigError(f"--shard: found {text!r}, expected i/n with i from 1 to n, or auto")
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
            "--shard auto: found neither torchrun's RANK and WORLD_SIZE nor Slurm's "
            "SLURM_ARRAY_TASK_ID; give i/n"
        )

    def take(self, cells: Iterable[Cell]) -> list[Cell]:
        """This shard's cells."""
        return list(cells)[self.index - 1 :: self.count]


def of_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process, and says which of how many it is."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def command(cell: Cell, folder: Path, threads: int | None) -> list[str]:
    """The process of a cell; `threads` where the user gave none."""
    own = () if threads is None else ("--threads", str(threads))  # of two the last one counts
    line = [sys.executable, "-m", "clmer.train", *own, *cell.argv]
    return [*line, "--out", str(folder), "--resume"]


@dataclass(eq=False)
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    offset: int  # where this run's part of the log begins
    began: float
    whole: bool  # it started from nothing


def run_cells(cells: Iterable[Cell], folder: Path, *, jobs: int = 1) -> dict[str, Outcome]:
    """Run what is not finished; a failure is an outcome, and the rest goes on.

    Args:
        cells: in order.
        folder: holds their run folders.
        jobs: processes at a time, which share the processors.

    Returns:
        An outcome by name.

    Raises:
        KeyboardInterrupt: after every process was told to stop and has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
    waiting, running = deque(cells), list[_Running]()
    total, outcomes = len(waiting), dict[str, Outcome]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.popleft()
                number = f"cell {total - len(waiting)}/{total}"
                started = _start(cell, folder, threads, number)
                if isinstance(started, Outcome):
                    outcomes[cell.name] = started
                else:
                    running.append(started)
            for each in list(running):
                outcome = _ended(each, folder)
                if outcome is not None:
                    running.remove(each)
                    outcomes[each.cell.name] = outcome
            if running:
                time.sleep(_POLL_S)
    finally:
        _stop(running)
    return outcomes


def _start(cell: Cell, folder: Path, threads: int | None, number: str) -> _Running | Outcome:
    run, log = folder / cell.name, folder / f"{cell.name}.log"
    if cell.config is None:
        print(f"{number}: {cell.name}: failed: {cell.why}", flush=True)
        return Outcome(FAILED, cell.why)
    try:
        if finished(cell, run):
            print(f"{number}: {cell.name}: already finished", flush=True)
            return Outcome(DONE)
    except DataError as error:
        print(f"{number}: {cell.name}: failed: {error}", flush=True)
        return Outcome(FAILED, str(error))
    file = log.open("ab")
    try:
        if not _locked(file):
            print(f"{number}: {cell.name}: another process runs it", flush=True)
            return Outcome(MISSING, "another process runs it")
        (folder / f"{cell.name}.usage.json").unlink(missing_ok=True)  # an earlier run's
        line = command(cell, run, threads)
        file.write(f"\n$ {' '.join(line)}\n".encode())
        file.flush()
        print(f"{number}: {cell.name} ... ({log})", flush=True)
        environment = environment_of_run(os.environ)
        whole, offset = not run.exists(), file.tell()
        process = subprocess.Popen(
            line, stdout=file, stderr=subprocess.STDOUT, env=environment, stdin=subprocess.DEVNULL
        )
    finally:
        file.close()
    return _Running(cell, process, log, offset, time.monotonic(), whole)


def environment_of_run(environment: Mapping[str, str]) -> dict[str, str]:
    """A run's environment: torchrun's variables left out, its local rank's GPU the only one."""
    kept = {k: v for k, v in environment.items() if k not in _TORCHRUN}
    if "LOCAL_RANK" in environment:
        rank = int(environment["LOCAL_RANK"])
        visible = environment.get("CUDA_VISIBLE_DEVICES", "")
        devices = visible.split(",")
        kept["CUDA_VISIBLE_DEVICES"] = devices[rank % len(devices)] if visible else str(rank)
    return kept


def _locked(file: IO[bytes]) -> bool:
    # The lock belongs to the open file, which the cell's process inherits as its output: it lasts
    # as long as that process, even where this one is killed.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ended(running: _Running, folder: Path) -> Outcome | None:
    """The outcome of a process that has ended; None while it goes on."""
    pid, status, usage = os.wait4(running.process.pid, os.WNOHANG)
    if pid == 0:
        return None
    code = running.process.returncode = os.waitstatus_to_exitcode(status)
    name, seconds = running.cell.name, time.monotonic() - running.began
    if code != 0:
        message = _last_lines(running.log, running.offset) or f"exit code {code}"
        print(f"  {name}: failed ({code}): {message}", flush=True)
        return Outcome(FAILED, message)
    print(f"  {name}: done in {seconds:.0f} s", flush=True)
    if running.whole:
        measured = {"seconds": round(seconds, 1), "peak_rss_mib": usage.ru_maxrss // 1024}
        write_file(folder / f"{name}.usage.json", json.dumps(measured).encode())
    return Outcome(DONE)


def _last_lines(log: Path, offset: int, count: int = 2) -> str:
    """What a process said last: a progress bar's redrawn lines count as one."""
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    lines = [line.rsplit("\r", 1)[-1].strip() for line in text.split("\n")]
    return " ".join([line for line in lines if line][-count:])


def _stop(running: list[_Running]) -> None:
    """End what still runs, and wait for it: `--resume` continues from its checkpoint."""
    for each in running:
        # Not SIGINT: what a shell started in the background ignores it.
        each.process.terminate()
    for each in running:
        each.process.wait()
