"""Options of `clmer experiments`, and of the trainings that it makes."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clmer.cli.arguments import flags_of, names
from clmer.cli.options import train
from clmer.data.choices import DATASET_NAMES, PROTOCOLS
from clmer.errors import ConfigError
from clmer.experiments.specs import DRAWINGS, EXPERIMENTS

#: What is said after Ctrl-C.
INTERRUPTED = "the same command continues"
#: Options that are not listed go to every training.
TAKES_MORE = True

EPILOG = """\
Any option of `clmer train` that is not listed here goes to every run:
--preset, --people, --epochs-fusion, --threads, ... A run is a folder
OUT/cells/<name>; tables that need the same one share it. Finished runs are not
made again, interrupted ones continue, a failed one is reported and the rest
goes on.

exit codes: 0 done, 1 a run failed (its table says which), 2 an option cannot be
used, 130 interrupted. With --shard auto under torchrun a failed run is 0 too:
torchrun would end the other processes.
"""


def describe(top: argparse.ArgumentParser) -> None:
    """Add the command's options, but for what goes to `clmer train`."""
    top.epilog, top.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    top.usage, top.allow_abbrev = "%(prog)s NAME [NAME ...] [options]", False
    known = [*EXPERIMENTS, *DRAWINGS, "all"]
    top.add_argument(
        "experiment",
        nargs="+",
        choices=known,
        metavar="NAME",
        help="table1 ... table12, fig4 ... fig10, leakage, or all",
    )
    top.add_argument("--dataset", choices=sorted(DATASET_NAMES), help="(the paper's own, of each)")
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
    top.add_argument("--task", type=names, default=(), metavar="A,B,...", help="(the paper's)")
    top.add_argument(
        "--modalities",
        type=names,
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
    top.add_argument("--out", type=Path, default=Path("experiments"), metavar="DIR")
    top.add_argument(
        "--jobs", type=int, metavar="N", help="runs at a time (1; on Slurm as many as it starts)"
    )
    top.add_argument(
        "--cluster",
        choices=("local", "slurm"),
        default="local",
        help="where runs are made: this machine, or a job array of Slurm (local)",
    )
    top.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of sbatch, one at a time: time=720 (minutes; needed), partition=gpu, ...",
    )
    top.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="the I-th of N parts of the runs; auto: torchrun's or Slurm's number",
    )
    top.add_argument("--list", action="store_true", help="print the runs, make none")


def _lengths(text: str) -> tuple[int, ...]:
    try:
        lengths = tuple(int(part) for part in names(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers: 10,20") from error
    if not lengths or min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers of at least 1")
    return lengths


def more_flags() -> dict[str, str]:
    """The flags of the options that go to every training."""
    parser = argparse.ArgumentParser()
    train.describe(parser)
    return flags_of(parser)


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """The options of `clmer train` that words of a command line set.

    Raises:
        ConfigError: words that it does not take.
    """
    parser = argparse.ArgumentParser(prog="clmer train")
    train.describe(parser)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            unset = vars(parser.parse_args(["deap"]))
            given = vars(parser.parse_args(["deap", *words]))
    except SystemExit as stop:
        message = said.getvalue().strip().rsplit("error: ", 1)[-1]
        raise ConfigError(f"clmer train: {message}") from stop
    return {name: value for name, value in given.items() if value != unset[name]}
