"""Docstrings as the package writes them: Google's sections, and indented lines that are set apart.

reStructuredText would run the lines of an equation together. Here they become literal blocks.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Warns):$")
_ROUTING = re.compile(r"set_\w+_request$")


def as_literal(lines: list[str]) -> list[str]:
    """Lines of a docstring, indented blocks before its first section marked as literal."""
    made: list[str] = []
    for number, line in enumerate(lines):
        if _SECTION.match(line):
            return made + lines[number:]
        begins = line.startswith("    ") and (not made or not made[-1].strip())
        if begins and not _inside(made):
            made += ["::", ""]
        made.append(line)
    return made


def _inside(made: list[str]) -> bool:
    """Whether a literal block is open: the last line that is not blank is indented."""
    last = next((line for line in reversed(made) if line.strip()), "")
    return last.startswith("    ")


def process(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place, before napoleon reads its sections."""
    lines[:] = as_literal(lines)


def leave_out(
    app: Sphinx, what: str, name: str, found: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what scikit-learn puts into every estimator for its metadata routing."""
    return True if _ROUTING.match(name) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to autodoc, ahead of napoleon."""
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
