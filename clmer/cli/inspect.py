"""`clmer inspect`: what a data set holds and how it is prepared, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clmer.cli.report import check_place
from clmer.report.html import write_page
from clmer.report.inspection.page import GENERATED, inspect, inspect_synthetic, privacy
from clmer.text import wrapped


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
