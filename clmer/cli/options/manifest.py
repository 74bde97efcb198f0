"""Options of `clmer manifest`."""

from __future__ import annotations

import argparse
from pathlib import Path

from clmer.cli.arguments import pairs

#: What is said after Ctrl-C.
INTERRUPTED = "no manifest was written"

EPILOG = """\
examples:
  %(prog)s my-study
  %(prog)s my-study --markers 11=calm,12=angry
  %(prog)s my-study --out my-study/manifest-2.csv

People, trials and labels are proposed from the names of files and folders, from
tables beside them (columns for the person, the trial and what was rated), and
from markers in the files. What could not be told is asked for. An existing
table is never overwritten.
"""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="DIR", help="the recordings")
    parser.add_argument("--out", type=Path, metavar="FILE", help="DIR/manifest.csv")
    parser.add_argument(
        "--markers",
        type=pairs,
        metavar="TEXT=LABEL,...",
        help="the markers in the files that begin a trial, and its label",
    )
