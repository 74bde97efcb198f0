"""Which experiments, on which recordings: runs their cells, writes their sheets."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clmer.errors import ConfigError
from clmer.experiments import leakage
from clmer.experiments.cells import Cell, Plan, Setup, plan
from clmer.experiments.output import write
from clmer.experiments.runner import FAILED, MISSING, Outcome, command, run_cells
from clmer.experiments.scores import collect
from clmer.experiments.shards import Shard, of_torchrun
from clmer.experiments.sheets import VIEWS
from clmer.experiments.specs import DRAWINGS, ELSEWHERE, EXPERIMENTS
from clmer.experiments.train_options import Options

if TYPE_CHECKING:
    from clmer.experiments.slurm import Slurm

EXIT_FAILED = 1


@dataclass(frozen=True)
class Request:
    """What is to be made, as `clmer experiments` is asked.

    Args:
        experiment: names in `EXPERIMENTS` or `DRAWINGS`, or "all".
        dataset: on which recordings; None for the paper's own.
        root: their folder; None for `$CLMER_DATA`.
        synthetic: generated ones instead.
        protocol: None for the data set's own.
        repeats: splits per run; 0 for the protocol's own number.
        task, modalities, token_lengths: of the rows; empty for the paper's.
        out: folder of the runs, tables and figures.
        jobs: runs at a time; None for 1, or as many as Slurm starts.
        cluster: "local" or "slurm".
        slurm: options of sbatch, "name=value".
        shard: which part of the runs, "i/n" or "auto".
        list: print the runs, make none.
    """

    experiment: Sequence[str]
    dataset: str | None
    root: str | None
    synthetic: bool
    protocol: str | None
    repeats: int
    task: tuple[str, ...]
    modalities: tuple[str, ...]
    token_lengths: tuple[int, ...]
    out: Path
    jobs: int | None
    cluster: str
    slurm: Sequence[str]
    shard: str
    list: bool


def make(given: Request, options: Options, made_by: str) -> int:
    """Run the cells of the experiments and write their sheets.

    Args:
        given: what to make.
        options: of every training, as `Config` names them.
        made_by: the command, for the files.

    Returns:
        0, or `EXIT_FAILED` where a run failed.

    Raises:
        ConfigError: an option that cannot be met.
        DataError: recordings that cannot be used.
    """
    for name in dict.fromkeys(given.experiment):
        if name in DRAWINGS:
            print(f"{name}: nothing is run for it: {DRAWINGS[name]}")
    jobs = 1 if given.jobs is None else given.jobs
    if jobs < 1 or given.repeats < 0:
        raise ConfigError(
            f"`jobs`, `repeats`: found {jobs} and {given.repeats}, expected at least 1 and 0"
        )
    slurm = _slurm(given)
    shard = Shard.parse(given.shard, os.environ)
    plans = _plans(given, options)
    cells: dict[str, Cell] = {}
    for each in plans:
        cells |= each.cells
    if given.list:
        _list(shard.take(cells.values()), given.out)
        return 0
    if not plans:
        return 0
    outcomes = _run(plans, shard.take(cells.values()), given.out, jobs, slurm)
    outcomes |= _write(plans, given.out, outcomes, made_by)
    failed = [name for name, outcome in outcomes.items() if outcome.status == FAILED]
    if failed:
        print(f"{len(failed)} of {len(outcomes)} runs failed:", file=sys.stderr)
        print("\n".join(f"  {name}: {outcomes[name].message}" for name in failed), file=sys.stderr)
    # torchrun answers one process's failure by ending all others, whose runs end with them.
    ends_others = given.shard == "auto" and of_torchrun(os.environ)
    return EXIT_FAILED if failed and not ends_others else 0


def _plans(given: Request, options: Options) -> list[Plan]:
    """Every experiment asked for, on its data sets."""
    setup = Setup(
        source=_source(given),
        protocol=given.protocol or "",
        repeats=given.repeats,
        tasks=given.task,
        modalities=given.modalities,
        lengths=given.token_lengths,
        options=options,
    )
    pairs = [
        (name, dataset)
        for name in _wanted(given.experiment, given.dataset)
        for dataset in _datasets(name, given.dataset)
    ]
    _check_for_pictures(given, list(dict.fromkeys(name for name, _ in pairs)))
    if "splits" in options and "leakage" in dict(pairs):
        raise ConfigError(
            f"`splits`: found {options['splits']}; leakage compares "
            f"{', '.join(leakage.PROTOCOLS)}: leave this option out"
        )
    if given.root and len({dataset for _, dataset in pairs}) > 1:
        found = ", ".join(dict.fromkeys(dataset for _, dataset in pairs))
        raise ConfigError(f"`root`: one folder for {found}; choose one by `dataset`")
    return [
        plan(
            EXPERIMENTS[name],
            dataset,
            setup,
            leakage.PROTOCOLS if name == "leakage" else (setup.protocol,),
        )
        for name, dataset in pairs
    ]


def _check_for_pictures(given: Request, names: Sequence[str]) -> None:
    """Refuse what a picture of one task, or one of every protocol, has no place for.

    Raises:
        ConfigError: several tasks for such an experiment; a protocol for leakage by name (under
            `all` it is for the rest).
    """
    single = [name for name in names if EXPERIMENTS[name].view in ("confusion", "leakage")]
    if single and len(given.task) > 1:
        raise ConfigError(
            f"`task`: found {', '.join(given.task)}, expected one at a time for {', '.join(single)}"
        )
    if given.protocol and "leakage" in given.experiment:
        raise ConfigError(
            f"`protocol`: found {given.protocol}; leakage compares {', '.join(leakage.PROTOCOLS)}: "
            "leave this option out, or make the other experiments by a command of their own"
        )


def _source(given: Request) -> Options:
    if given.synthetic:
        return {"synthetic": True}
    return {"root": given.root} if given.root else {}


def _slurm(given: Request) -> Slurm | None:
    if given.cluster != "slurm":
        if given.slurm:
            raise ConfigError(f"`slurm={given.slurm[0]}`: is for `cluster=slurm`")
        return None
    from clmer.experiments.slurm import Slurm

    return Slurm.parse(given.slurm, given.out / "slurm", given.jobs or 0)


def _wanted(names: Sequence[str], dataset: str | None) -> list[str]:
    wanted = [name for name in dict.fromkeys(names) if name not in (*DRAWINGS, "all")]
    if "all" in names:
        wanted += [name for name in _all(dataset) if name not in wanted]
    return wanted


def _all(dataset: str | None) -> list[str]:
    """What concerns a data set; without one, every experiment that has a data set of its own."""
    if dataset is None:
        return [each.name for each in EXPERIMENTS.values() if each.datasets]
    own = [each.name for each in EXPERIMENTS.values() if dataset in each.datasets]
    return [*own, "leakage"] if own else list(ELSEWHERE)


def _datasets(name: str, dataset: str | None) -> tuple[str, ...]:
    datasets = (dataset,) if dataset else EXPERIMENTS[name].datasets
    if not datasets:
        raise ConfigError(f"{name}: say on which recordings: `dataset`")
    return datasets


def _list(cells: Sequence[Cell], out: Path) -> None:
    for cell in cells:
        line = command(cell, out / "cells" / cell.name, None)
        refused = f"  # refused: {cell.why}" if cell.config is None else ""
        print(shlex.join(["python", *line[1:]]) + refused)


def _run(
    plans: Sequence[Plan], cells: Sequence[Cell], out: Path, jobs: int, slurm: Slurm | None
) -> dict[str, Outcome]:
    """Run a shard's cells; those whose protocol a leakage plan cannot have are said to be so."""
    wanted = {cell.name for cell in cells}
    refused = {
        name: outcome
        for each in plans
        if each.experiment.view == "leakage"
        for name, outcome in leakage.refusals(each.cells.values()).items()
        if name in wanted
    }
    run = [cell for cell in cells if cell.name not in refused]
    submit = None if slurm is None else slurm.run
    return refused | run_cells(run, out / "cells", jobs=jobs, submit=submit)


def _write(
    plans: Sequence[Plan], out: Path, outcomes: Mapping[str, Outcome], made_by: str
) -> dict[str, Outcome]:
    """Write every sheet; the outcomes of cells whose files turned out to be unusable."""
    damaged: dict[str, Outcome] = {}
    for each in plans:
        cells = collect(each, out / "cells", outcomes)
        damaged |= {
            name: found.outcome for name, found in cells.items() if found.outcome.status == FAILED
        }
        sheet = (VIEWS | {"leakage": leakage.sheet})[each.experiment.view](each, cells)
        configs = [cell.config for cell in each.cells.values() if cell.config is not None]
        generated = bool(configs) and all(config.synthetic for config in configs)
        files = write(sheet, out, made_by, generated=generated)
        missing = sum(found.outcome.status == MISSING for found in cells.values())
        rest = f"; {missing} runs are still to be made" if missing else ""
        print(f"{files[0].with_suffix('')}.{{{','.join(f.suffix[1:] for f in files)}}}{rest}")
    return damaged
