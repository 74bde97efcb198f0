"""`clmer inspect`: what a data set holds and how it is prepared, on one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clmer.cli.arguments import add_fields
from clmer.cli.report import check_place
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.pipeline.config import Config
from clmer.report.html import write_page
from clmer.report.inspection.page import GENERATED, inspect, inspect_synthetic, privacy
from clmer.text import wrapped

#: What is said after Ctrl-C.
INTERRUPTED = "no page was written"


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.usage = "%(prog)s DATASET [options]"
    names = sorted(DATASETS)
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


def run(
    *,
    dataset: str,
    root: Path | None,
    synthetic: bool,
    task: str | None,
    cache: Path | None,
    out: Path | None,
    **given: Any,
) -> int:
    """Write the page; the exit code."""
    out = out or Path(f"inspect-{dataset}.html")
    check_place(out)
    options = {name: value for name, value in given.items() if value is not None}
    options |= {"task": task, "cache": cache, "progress": True}
    page = inspect_synthetic(dataset, **options) if synthetic else inspect(dataset, root, **options)
    write_page(out, page)
    whose = GENERATED if synthetic else privacy(root)
    print(wrapped(f"{out}: open it in a browser. {whose}", rest="  "))
    return 0
