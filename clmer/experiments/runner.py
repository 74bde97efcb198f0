"""Runs cells as processes of their own: some at a time, each made once, continued and measured.

cells/<name>/             the run folder of `clmer train`
cells/<name>.log          what its process printed; locked while one runs
cells/<name>.usage.json   seconds and peak memory, of a run that was made in one piece
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from clmer.errors import DataError
from clmer.experiments.cells import Cell, finished
from clmer.experiments.shards import without_torchrun
from clmer.experiments.train_options import words_of
from clmer.storage import write_file

DONE, FAILED, REFUSED, MISSING = "done", "failed", "refused", "not run"
_POLL_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """How a cell stands: DONE, FAILED, REFUSED or MISSING, why, and its process's time or code."""

    status: str
    message: str = ""
    how: str = field(default="", compare=False)


#: Of a cell whose log is locked.
ELSEWHERE = Outcome(MISSING, "another process runs it")


def command(cell: Cell, folder: Path, threads: int | None) -> list[str]:
    """The process of a cell; `threads` where its options say none."""
    own = {} if threads is None else {"threads": threads}
    options = {**own, **cell.options, "out": folder, "resume": True}
    return [sys.executable, "-m", "clmer.train", *words_of(cell.dataset, options)]


@dataclass(eq=False)
class Training:
    """What is run for a cell: its name, which of how many it is, all cells' folder, the command."""

    name: str
    number: str
    folder: Path
    command: list[str]

    def __post_init__(self) -> None:
        self.log = self.folder / f"{self.name}.log"
        self._usage = self.folder / f"{self.name}.usage.json"

    def start(self, **options: Any) -> bool:
        """Start the process, with further options of Popen; False where another one runs."""
        with self.log.open("ab") as file:
            if not _locked(file):
                return False
            self._usage.unlink(missing_ok=True)  # an earlier run's
            file.write(f"\n$ {shlex.join(self.command)}\n".encode())
            file.flush()
            self._whole, self._offset = not (self.folder / self.name).exists(), file.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=without_torchrun(os.environ),
                **options,
            )
        self._began = time.monotonic()
        return True

    def ended(self, *, wait: bool = False) -> Outcome | None:
        """How the process ended; None while it goes on."""
        pid, status, usage = os.wait4(self.process.pid, 0 if wait else os.WNOHANG)
        if pid == 0:
            return None
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self._began
        if code != 0:
            return Outcome(FAILED, self._last_lines() or f"exit code {code}", f"({code})")
        if self._whole:
            measured = {"seconds": round(seconds, 1), "peak_rss_mib": usage.ru_maxrss // 1024}
            write_file(self._usage, json.dumps(measured).encode())
        return Outcome(DONE, how=f"in {seconds:.0f} s")

    def _last_lines(self, count: int = 2) -> str:
        """What the process printed last: a progress bar's redrawn lines count as one."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            text = file.read().decode(errors="replace")
        lines = [line.rsplit("\r", 1)[-1].strip() for line in text.split("\n")]
        return " ".join([line for line in lines if line][-count:])


def _locked(file: IO[bytes]) -> bool:
    # The lock belongs to the open file, which the cell's process inherits as its output: it lasts
    # as long as that process, even where this one is killed.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


#: What makes trainings, and tells of each how it ended.
Ended = Generator[tuple[Training, Outcome], None, None]


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    *,
    jobs: int = 1,
    submit: Callable[[Sequence[Training]], Ended] | None = None,
) -> dict[str, Outcome]:
    """Run what is not finished; a failure is an outcome, and the rest goes on.

    Args:
        cells: in order.
        folder: holds their run folders.
        jobs: processes at a time, which share this machine's processors.
        submit: makes trainings elsewhere instead.

    Returns:
        An outcome by name.

    Raises:
        KeyboardInterrupt: after every process was told to stop and has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 and submit is None else None
    trainings, outcomes = list[Training](), dict[str, Outcome]()
    for place, cell in enumerate(cells, 1):
        number, run = f"cell {place}/{len(cells)}", folder / cell.name
        known = _known(cell, run)
        if known is None:
            line = command(cell, run, threads)
            trainings.append(Training(cell.name, number, folder.absolute(), line))
        else:
            said = "already finished" if known.status == DONE else f"failed: {known.message}"
            print(f"{number}: {cell.name}: {said}", flush=True)
            outcomes[cell.name] = known
    with closing(submit(trainings) if submit else _run_here(trainings, jobs)) as ended:
        for training, outcome in ended:
            parts = [f"{outcome.status} {outcome.how}".rstrip(), outcome.message]
            print(f"  {training.name}: {': '.join(filter(None, parts))}", flush=True)
            outcomes[training.name] = outcome
    return outcomes


def _known(cell: Cell, run: Path) -> Outcome | None:
    """The outcome of a cell that is not run: it is finished, or cannot be."""
    if cell.config is None:
        return Outcome(FAILED, cell.why)
    try:
        return Outcome(DONE) if finished(cell, run) else None
    except DataError as error:
        return Outcome(FAILED, str(error))


def _run_here(trainings: Iterable[Training], jobs: int) -> Ended:
    waiting, running = deque(trainings), list[Training]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                training = waiting.popleft()
                print(f"{training.number}: {training.name} ... ({training.log})", flush=True)
                if training.start():
                    running.append(training)
                else:
                    yield training, ELSEWHERE
            for training in list(running):
                outcome = training.ended()
                if outcome is not None:
                    running.remove(training)
                    yield training, outcome
            if running:
                time.sleep(_POLL_S)
    finally:
        for training in running:
            # Not SIGINT: what a shell started in the background ignores it.
            training.process.terminate()
        for training in running:
            training.process.wait()  # the same command continues it from its checkpoint
