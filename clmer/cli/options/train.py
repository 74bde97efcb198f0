"""Options of `clmer train`."""

from __future__ import annotations

import argparse
from typing import Any

from clmer.cli.arguments import add_fields
from clmer.data.choices import DATASET_NAMES, GENERATED
from clmer.pipeline.config import DATA, MODEL, RUN, TASK, Config

#: Said after Ctrl-C where there is no run folder yet.
INTERRUPTED = "nothing was trained yet: the same command begins again"
#: `run` is told the command as it was typed.
TAKES_COMMAND = True
EPILOG = """\
examples:
  %(prog)s deap --synthetic                 a small generated DEAP, a minute
  %(prog)s manifest --root DIR --task label --dry-run
                                            your own recordings: what would
                                            be trained on, and for how long
  %(prog)s eegmat --root /data/eegmat       rest or arithmetic, new people
  %(prog)s deap --root /data/DEAP --task va9 --preset paper
  torchrun --nproc-per-node 4 -m clmer.train deap --root /data/DEAP
                                            splits on 4 processes at once

A run killed at any moment goes on with the same command and --resume.
exit codes: 0 done, 2 an input or option cannot be used (the message says why),
130 interrupted.
"""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.usage = "%(prog)s DATASET [options]"
    names = sorted(DATASET_NAMES)
    parser.add_argument(
        "dataset", choices=names, metavar="DATASET", help=f"one of {', '.join(names)}"
    )
    groups: dict[str, Any] = {name: parser.add_argument_group(name) for name in (DATA, TASK, MODEL)}
    groups[""] = groups[DATA]
    data = groups[DATA]
    source = data.add_mutually_exclusive_group()
    source.add_argument("--root", metavar="DIR", help="the recordings (default $CLMER_DATA/<name>)")
    source.add_argument(
        "--synthetic",
        action="store_true",
        help=f"generate recordings in the data set's on-disk format ({', '.join(GENERATED)})",
    )
    data.add_argument(
        "--control",
        metavar="NAME",
        help="what the generated labels depend on: none (all modalities carry them), "
        "one:<modality>, xor:<m1>,<m2> or fingerprint (no label, a mark on each trial)",
    )
    data.add_argument(
        "--people", type=int, metavar="N", help="generated people (6; amigos-long 10, deap-raw 4)"
    )
    data.add_argument("--generator-seed", type=int, metavar="S", help="of the generator (0)")
    data.add_argument("--cache", metavar="DIR", help="prepared stores (~/.cache/clmer)")
    groups[RUN] = parser.add_argument_group(RUN)
    add_fields(parser, Config, groups=groups)
    run = groups[RUN]
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    run.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's default)")
    run.add_argument("--out", metavar="DIR", help="run folder (runs/<dataset>-<task>-<protocol>)")
    run.add_argument("--resume", action="store_true", help="continue the run in --out")
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="prepare the windows, print what was understood and the expected time, and stop",
    )
