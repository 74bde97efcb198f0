"""Options of `clmer doctor`."""

from __future__ import annotations

import argparse

EPILOG = """\
Plain text, for an issue: no path is in it but $CLMER_DATA and $CLMER_CACHE.
What is missing or broken is a line of it; exit code 0.
"""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--extras",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="import the optional packages that are there, to see whether they work (seconds)",
    )
