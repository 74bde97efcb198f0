"""`clmer report`: runs joined into one page that opens in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clmer.data.store.writer import stores_folder
from clmer.errors import ConfigError
from clmer.report.html import write_page
from clmer.report.page import report


def run(*, runs: Sequence[Path], out: Path, cache: Path | None, learned: bool) -> int:
    """Write the page; the exit code."""
    check_place(out)
    page = report(runs, cache=stores_folder(cache), shows_learned=learned)
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
