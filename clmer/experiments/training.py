"""A cell's training as a process of its own: made once, continued where it was ended, measured.

cells/<name>/             the run folder of `clmer train`
cells/<name>.log          what its process printed; locked while one runs
cells/<name>.usage.json   seconds and peak memory, of a run that was made in one piece
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from clmer.experiments.cells import Cell
from clmer.experiments.shards import without_torchrun
from clmer.experiments.train_options import words_of
from clmer.storage import write_file

DONE, FAILED, REFUSED, MISSING = "done", "failed", "refused", "not run"


@dataclass(frozen=True)
class Outcome:
    """How a cell stands.

    Args:
        status: DONE, FAILED, REFUSED or MISSING.
        message: why.
        how: of a process that ended: its time, or its exit code.
    """

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


@dataclass(frozen=True)
class Training:
    """What is run for a cell.

    Args:
        name: of the cell.
        number: which of how many, for a person.
        folder: of all cells.
        command: of the process.
    """

    name: str
    number: str
    folder: Path
    command: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.folder / f"{self.name}.log"

    @property
    def usage(self) -> Path:
        """What its process took."""
        return self.folder / f"{self.name}.usage.json"

    def start(self, **options: Any) -> Running | None:
        """Start its process with further options of Popen; None where another process runs it."""
        with self.log.open("ab") as file:
            if not _locked(file):
                return None
            self.usage.unlink(missing_ok=True)  # an earlier run's
            file.write(f"\n$ {shlex.join(self.command)}\n".encode())
            file.flush()
            whole, offset = not (self.folder / self.name).exists(), file.tell()
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=without_torchrun(os.environ),
                **options,
            )
        return Running(self, process, offset, time.monotonic(), whole)


def _locked(file: IO[bytes]) -> bool:
    # The lock belongs to the open file, which the cell's process inherits as its output: it lasts
    # as long as that process, even where this one is killed.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(eq=False)
class Running:
    """A process of a training.

    Args:
        training: what it runs.
        process: the process.
        offset: where its part of the log begins.
        began: by the monotonic clock, in seconds.
        whole: it started from nothing.
    """

    training: Training
    process: subprocess.Popen[bytes]
    offset: int
    began: float
    whole: bool

    def poll(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        return self._ended(status, usage) if pid else None

    def wait(self) -> Outcome:
        """How it ends."""
        _, status, usage = os.wait4(self.process.pid, 0)
        return self._ended(status, usage)

    def _ended(self, status: int, usage: resource.struct_rusage) -> Outcome:
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self.began
        if code != 0:
            message = _last_lines(self.training.log, self.offset) or f"exit code {code}"
            return Outcome(FAILED, message, f"({code})")
        if self.whole:
            measured = {"seconds": round(seconds, 1), "peak_rss_mib": usage.ru_maxrss // 1024}
            write_file(self.training.usage, json.dumps(measured).encode())
        return Outcome(DONE, how=f"in {seconds:.0f} s")


#: What makes trainings, and tells of each how it ended.
Ended = Generator[tuple[Training, Outcome], None, None]


def _last_lines(log: Path, offset: int, count: int = 2) -> str:
    """What a process printed last: a progress bar's redrawn lines count as one."""
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    lines = [line.rsplit("\r", 1)[-1].strip() for line in text.split("\n")]
    return " ".join([line for line in lines if line][-count:])
