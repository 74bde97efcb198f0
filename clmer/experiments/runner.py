"""Runs cells that are not finished: some at a time on this machine, or as jobs of Slurm."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from clmer.errors import DataError
from clmer.experiments.cells import Cell, finished
from clmer.experiments.training import (
    DONE,
    ELSEWHERE,
    FAILED,
    Ended,
    Outcome,
    Running,
    Training,
    command,
)

if TYPE_CHECKING:
    from clmer.experiments.slurm import Slurm

_POLL_S = 0.1


def run_cells(
    cells: Iterable[Cell], folder: Path, *, jobs: int = 1, slurm: Slurm | None = None
) -> dict[str, Outcome]:
    """Run what is not finished; a failure is an outcome, and the rest goes on.

    Args:
        cells: in order.
        folder: holds their run folders.
        jobs: processes at a time, which share this machine's processors.
        slurm: makes them instead.

    Returns:
        An outcome by name.

    Raises:
        ConfigError: Slurm cannot be used, or refuses the jobs.
        KeyboardInterrupt: after every process or job was told to stop.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells, trainings, outcomes = list(cells), list[Training](), dict[str, Outcome]()
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 and slurm is None else None
    for place, cell in enumerate(cells, 1):
        number, run = f"cell {place}/{len(cells)}", folder / cell.name
        known = _known(cell, run)
        if known is None:
            line = tuple(command(cell, run, threads))
            trainings.append(Training(cell.name, number, folder.absolute(), line))
        else:
            said = "already finished" if known.status == DONE else f"failed: {known.message}"
            print(f"{number}: {cell.name}: {said}", flush=True)
            outcomes[cell.name] = known
    ended = _run_here(trainings, jobs) if slurm is None else slurm.run(trainings)
    with closing(ended):
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


def _run_here(trainings: Sequence[Training], jobs: int) -> Ended:
    waiting, running = deque(trainings), list[Running]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                training = waiting.popleft()
                print(f"{training.number}: {training.name} ... ({training.log})", flush=True)
                started = training.start()
                if started is None:
                    yield training, ELSEWHERE
                else:
                    running.append(started)
            for each in list(running):
                outcome = each.poll()
                if outcome is not None:
                    running.remove(each)
                    yield each.training, outcome
            if running:
                time.sleep(_POLL_S)
    finally:
        for each in running:
            # Not SIGINT: what a shell started in the background ignores it.
            each.process.terminate()
        for each in running:
            each.process.wait()  # the same command continues it from its checkpoint
