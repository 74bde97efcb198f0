"""Text in CSV files that people open in a spreadsheet, which takes some of it for formulas."""

from __future__ import annotations

import re

#: What spreadsheets compute, or what becomes such once it is escaped; a plain number is no formula.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def cell(text: object) -> str:
    """A name as a cell: an apostrophe before what a spreadsheet would compute.

    Args:
        text: a name. "-0.5" and "+3" are numbers, and stay as they are.

    Returns:
        What `name` takes back.
    """
    found = str(text)
    if _FORMULA.match(found) and not _NUMBER.fullmatch(found):
        return f"'{found}"
    return found


def name(found: str) -> str:
    """What `cell` was given."""
    return found[1:] if found.startswith("'") and _FORMULA.match(found[1:]) else found
