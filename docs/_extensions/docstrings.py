"""Docstrings as the package writes them: Google's sections, and indented lines that are set apart.

reStructuredText would run the lines of an equation together. Here they keep their lines: as Python
where they are that, else as an equation. Names in backticks lead to the function or class that has
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Warns):$")
_NAMES = re.compile(r" +(\w+, )*\w+,$")
_ROUTING = re.compile(r"set_\w+_request$")


def as_blocks(lines: list[str]) -> list[str]:
    """Lines of a docstring, indented blocks before its first section marked as code."""
    made: list[str] = []
    number = 0
    while number < len(lines) and not _SECTION.match(lines[number]):
        block = _block(lines[number:])
        if block and (not made or not made[-1].strip()):
            made += [*_directive(block), "", *block, ""]
            number += len(block)
        else:
            made.append(lines[number])
            number += 1
    return made + names_on_a_line(lines[number:])


def _block(lines: list[str]) -> list[str]:
    """The indented lines that these begin with, blank ones between them included."""
    count = next((i for i, line in enumerate(lines) if line and line[:4].strip()), len(lines))
    while count and not lines[count - 1].strip():
        count -= 1
    return lines[:count] if lines[0].startswith("    ") else []


def _directive(block: list[str]) -> list[str]:
    try:
        compile(dedent("\n".join(block)), "docstring", "exec")
    except SyntaxError:
        return [".. code-block:: text", "    :class: plain-equation"]
    return [".. code-block:: python"]


def names_on_a_line(lines: list[str]) -> list[str]:
    """Sections in which several arguments' names that share a text stand on one line."""
    made: list[str] = []
    for line in lines:
        if made and _NAMES.match(made[-1]):
            made[-1] += f" {line.strip()}"
        else:
            made.append(line)
    return made


def process(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place, before napoleon reads its sections."""
    lines[:] = as_blocks(lines)


def leave_out(
    app: Sphinx, what: str, name: str, found: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what scikit-learn puts into every estimator for its metadata routing."""
    return True if _ROUTING.match(name) else None


def full_name(name: str, known: Iterable[str]) -> str | None:
    """The one of these dotted names that ends in a name; None where several do, or none."""
    found = [each for each in known if each.endswith(f".{name}")]
    return found[0] if len(found) == 1 else None


def resolve(app: Sphinx, env: BuildEnvironment, node: Element, text: Element) -> Element | None:
    """Where a name leads that is written without its module."""
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    python = env.domains.python_domain
    known = (n for n, each in python.objects.items() if each.objtype in ("class", "function"))
    name = full_name(node["reftarget"], known)
    if name is None:
        return None
    args = (env, node["refdoc"], app.builder, "obj", name, node, text)
    return python.resolve_xref(*args)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to autodoc, ahead of napoleon."""
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
