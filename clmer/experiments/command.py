"""The command line: which experiments, on which recordings; run their cells, write their sheets.

python -m clmer.experiments table4 --synthetic --people 3 --out experiments
python -m clmer.experiments all --dataset deap --root /data/DEAP --protocol shuffled --out deap
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from clmer.cli.options import parser as train_parser
from clmer.data.registry import DATASETS
from clmer.data.splits import PROTOCOLS
from clmer.errors import EXIT_INPUT, EXIT_INTERRUPTED, ConfigError, DataError
from clmer.experiments import leakage
from clmer.experiments.cells import Cell, Plan, Setup, plan
from clmer.experiments.output import write
from clmer.experiments.runner import FAILED, MISSING, Outcome, command, run_cells
from clmer.experiments.scores import collect
from clmer.experiments.shards import Shard, of_torchrun
from clmer.experiments.sheets import VIEWS
from clmer.experiments.specs import DRAWINGS, ELSEWHERE, EXPERIMENTS
from clmer.experiments.train_options import FLAGS, Options
from clmer.options import in_flags
from clmer.streams import for_streams

if TYPE_CHECKING:
    from clmer.experiments.slurm import Slurm

EXIT_FAILED = 1

EPILOG = """\
Any option of `clmer train` that is not listed here goes to every run: --preset, --people,
--epochs-fusion, --threads, ... A run is a folder OUT/cells/<name>; tables that need the same one
share it. Finished runs are not made again, interrupted ones continue, a failed one is reported
and the rest goes on.

exit codes: 0 done, 1 a run failed (its table says which), 2 an option cannot be used, 130
interrupted. With --shard auto under torchrun a failed run is 0 too: torchrun would end the other
processes.
"""


def parser() -> argparse.ArgumentParser:
    """The command line, but for what goes to `clmer train`."""
    top = argparse.ArgumentParser(
        prog="python -m clmer.experiments",
        description="Make the paper's tables and figures of your recordings.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument(
        "experiment",
        nargs="+",
        choices=[*EXPERIMENTS, *DRAWINGS, "all"],
        metavar="NAME",
        help="table1 ... table12, fig4 ... fig10, leakage, or all",
    )
    _add_contents(top)
    _add_places(top.add_argument_group("where runs are made"))
    return top


def _add_contents(top: argparse.ArgumentParser) -> None:
    top.add_argument("--dataset", choices=sorted(DATASETS), help="(the paper's own, of each)")
    source = top.add_mutually_exclusive_group()
    source.add_argument("--root", metavar="DIR", help="the recordings ($CLMER_DATA/<data set>)")
    source.add_argument("--synthetic", action="store_true", help="generated recordings")
    top.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="(the data set's own; the paper's is shuffled); not for leakage, which compares them",
    )
    top.add_argument(
        "--repeats",
        type=int,
        default=0,
        metavar="N",
        help="splits per run (5 orders under shuffled; elsewhere until everyone is tested)",
    )
    top.add_argument("--task", type=_names, default=(), metavar="A,B,...", help="(the paper's)")
    top.add_argument(
        "--modalities",
        type=_names,
        default=(),
        metavar="A,B,...",
        help="that rows are made of (the data set's)",
    )
    top.add_argument(
        "--token-lengths",
        type=_lengths,
        default=(),
        metavar="L,M,...",
        help="of tables 11 and 12, fig. 9 and 10 (the paper's)",
    )


def _add_places(group: Any) -> None:
    group.add_argument("--out", type=Path, default=Path("experiments"), metavar="DIR")
    group.add_argument(
        "--jobs", type=int, metavar="N", help="runs at a time (1; on Slurm as many as it starts)"
    )
    group.add_argument(
        "--cluster",
        choices=("local", "slurm"),
        default="local",
        help="this machine, or a job array of Slurm (local)",
    )
    group.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of sbatch, one at a time: time=720 (minutes; needed), partition=gpu, ...",
    )
    group.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="the I-th of N parts of the runs; auto: torchrun's or Slurm's number",
    )
    group.add_argument("--list", action="store_true", help="print the runs, make none")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _lengths(text: str) -> tuple[int, ...]:
    try:
        lengths = tuple(int(part) for part in _names(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers: 10,20") from error
    if not lengths or min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers of at least 1")
    return lengths


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """The options that words of a command line set.

    Raises:
        ConfigError: words that `clmer train` does not take.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            unset = vars(train_parser().parse_args(["train", "deap"]))
            given = vars(train_parser().parse_args(["train", "deap", *words]))
    except SystemExit as stop:
        message = said.getvalue().strip().rsplit("error: ", 1)[-1]
        raise ConfigError(f"clmer train: {message}") from stop
    return {name: value for name, value in given.items() if value != unset[name]}


@for_streams
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the return value is the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    given, passed = parser().parse_known_args(argv)
    made_by = shlex.join(["python", "-m", "clmer.experiments", *argv])
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _main(given, tuple(passed), made_by)
    except (ConfigError, DataError) as error:
        print(f"clmer: {in_flags(str(error), FLAGS)}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:
        print("\nclmer: interrupted; the same command continues", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _main(given: argparse.Namespace, passed: tuple[str, ...], made_by: str) -> int:
    for name in dict.fromkeys(given.experiment):
        if name in DRAWINGS:
            print(f"{name}: nothing is run for it: {DRAWINGS[name]}")
    jobs = 1 if given.jobs is None else given.jobs
    if jobs < 1 or given.repeats < 0:
        raise ConfigError(
            f"--jobs, --repeats: found {jobs} and {given.repeats}, expected at least 1 and 0"
        )
    slurm = _slurm(given)
    shard = Shard.parse(given.shard, os.environ)
    plans = _plans(given, passed)
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


def _plans(given: argparse.Namespace, passed: tuple[str, ...]) -> list[Plan]:
    """Every experiment asked for, on its data sets."""
    setup = Setup(
        source=_source(given),
        protocol=given.protocol or "",
        repeats=given.repeats,
        tasks=given.task,
        modalities=given.modalities,
        lengths=given.token_lengths,
        options=read_words(passed),
    )
    pairs = [
        (name, dataset)
        for name in _wanted(given.experiment, given.dataset)
        for dataset in _datasets(name, given.dataset)
    ]
    _check_for_pictures(given, list(dict.fromkeys(name for name, _ in pairs)))
    if given.root and len({dataset for _, dataset in pairs}) > 1:
        found = ", ".join(dict.fromkeys(dataset for _, dataset in pairs))
        raise ConfigError(f"--root: one folder for {found}; choose one by --dataset")
    return [
        plan(
            EXPERIMENTS[name],
            dataset,
            setup,
            leakage.PROTOCOLS if name == "leakage" else (setup.protocol,),
        )
        for name, dataset in pairs
    ]


def _check_for_pictures(given: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse what a picture of one task, or one of every protocol, has no place for.

    Raises:
        ConfigError: several tasks for such an experiment; a protocol for leakage by name (under
            `all` it is for the rest).
    """
    single = [name for name in names if EXPERIMENTS[name].view in ("confusion", "leakage")]
    if single and len(given.task) > 1:
        raise ConfigError(
            f"--task: found {', '.join(given.task)}, expected one at a time for {', '.join(single)}"
        )
    if given.protocol and "leakage" in given.experiment:
        raise ConfigError(
            f"--protocol: found {given.protocol}; leakage compares {', '.join(leakage.PROTOCOLS)}: "
            "leave this option out, or make the other experiments by a command of their own"
        )


def _source(given: argparse.Namespace) -> Options:
    if given.synthetic:
        return {"synthetic": True}
    return {"root": given.root} if given.root else {}


def _slurm(given: argparse.Namespace) -> Slurm | None:
    if given.cluster != "slurm":
        if given.slurm:
            raise ConfigError(f"--slurm {given.slurm[0]}: is for --cluster slurm")
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
        raise ConfigError(f"{name}: say on which recordings: --dataset")
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
