"""Options of `clmer inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from clmer.cli.arguments import add_fields
from clmer.data.choices import DATASET_NAMES
from clmer.data.store.options import PrepareOptions
from clmer.pipeline.config import Config

#: What is said after Ctrl-C.
INTERRUPTED = "no page was written"


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.usage = "%(prog)s DATASET [options]"
    names = sorted(DATASET_NAMES)
    parser.add_argument(
        "dataset", choices=names, metavar="DATASET", help=f"one of {', '.join(names)}"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--root", type=Path, metavar="DIR", help="the recordings ($CLMER_DATA/<data set>)"
    )
    source.add_argument("--synthetic", action="store_true", help="generated recordings")
    parser.add_argument("--task", metavar="NAME", help="whose classes to balance")
    add_fields(parser, PrepareOptions, only=set(OPTIONS))
    add_fields(parser, Config, only={"scale", "target", "threshold", "levels"})
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="prepared stores (~/.cache/clmer)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="inspect-<data set>.html")


#: How windows are prepared, as training takes it.
OPTIONS = ("modalities", "window_s", "stride_s", "filter", "bridge_s", "face", "labels")
