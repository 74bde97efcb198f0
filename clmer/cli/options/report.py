"""Options of `clmer report`."""

from __future__ import annotations

import argparse
from pathlib import Path

#: What is said after Ctrl-C.
INTERRUPTED = "no page was written"

EPILOG = """\
examples:
  %(prog)s runs/eegmat-label-subject
  %(prog)s runs --out report.html
  %(prog)s runs/eegmat-label-subject --attribution

Each run's verdict, scores with intervals, tests over people, confusion
matrices, training curves, attention maps and features, of every run in the
given folders and below them. A page of real recordings stays private: it says
so at its top, and the default name is git-ignored.
"""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="DIR", help="run folders, or folders of such"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("report.html"))
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="prepared stores (~/.cache/clmer)"
    )
    parser.add_argument(
        "--learned",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="attention maps and features, which take the weights and the prepared store",
    )
    parser.add_argument(
        "--attribution",
        action="store_true",
        help="what each model uses: electrodes, bands, action units, landmark regions (minutes)",
    )
