"""`clmer report`: runs joined into one page that opens in a browser."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from clmer.data.store.writer import stores_folder
from clmer.errors import ConfigError
from clmer.report.html import write_page
from clmer.report.page import report
from clmer.storage import write_file

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


def run(
    *, runs: Sequence[Path], out: Path, cache: Path | None, learned: bool, attribution: bool
) -> int:
    """Write the page, and with `attribution` a table beside it; the exit code."""
    check_place(out)
    stores = stores_folder(cache)
    found = None
    if attribution:
        from clmer.report.attribution.runs import attribute  # models

        found = attribute(runs, stores, progress=True)
    page = report(runs, cache=stores, shows_learned=learned, attribution=found)
    if found is not None:
        from clmer.report.attribution.section import as_csv

        table = out.with_name(f"{out.stem}-attribution.csv")
        write_file(table, as_csv(found))
        print(f"{table}: what each part costs, as a table")
    write_page(out, page)
    print(f"{out}: open it in a browser")
    return 0


def check_place(out: Path) -> None:
    """Refuse a page whose folder is not there, before it is made.

    Raises:
        ConfigError: there is no such folder.
    """
    if not out.parent.is_dir():
        raise ConfigError(f"`out`: found no folder {out.parent}, expected one that exists")
