"""`clmer report`: runs joined into one page that opens in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clmer.data.store.writer import stores_folder
from clmer.errors import ConfigError
from clmer.report.html import write_page
from clmer.report.page import report
from clmer.storage import write_file


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
