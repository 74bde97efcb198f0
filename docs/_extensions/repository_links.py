"""Links of Markdown pages to files of the repository that are no pages of the site.

`[walk](../examples/walk.py)` works on GitHub as it stands. On the site it leads to the file in the
repository that `CLMER_REPOSITORY` names; without one, to a copy of the file. A page of the site
that shows such a file (`PAGES`, the gallery) takes its links. `[data.md](data.md#manifest)`, which
names a file, is called by the heading that it leads to.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Files and folders outside of docs/, and the pages of the site that show them.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "folders.md",
    "examples/gallery": "gallery/index.rst",
}
_EXAMPLE = re.compile(r"^examples/gallery/(plot_\w+)\.py$")
_LINK = re.compile(r"\]\(([\w./-]+)(#[\w-]+)?\)")
_NAMED = re.compile(r"\[(?:docs/)?([\w-]+\.md)\]\(((?:docs/)?\1)(#[\w-]+)?\)")


def rewrite(text: str, page: Path, root: Path, repository: str) -> str:
    """A page's text, with links to the repository's files led to where the site has them.

    Args:
        text: Markdown.
        page: the page, from which its links are counted.
        root: the repository.
        repository: the address of its files, or "".

    Raises:
        FileNotFoundError: a link leads to no file.
    """

    def led(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if target.is_relative_to(root / "docs"):
            return match[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.name}: found a link to {match[1]}, which is no file")
        name = target.relative_to(root).as_posix()
        anchor = match[2] or ""
        shown = PAGES.get(name) or _EXAMPLE.sub(r"gallery/\1.rst", name)
        if shown != name:
            return f"]({shown}{anchor})"
        return f"]({repository}/{name}{anchor})" if repository else f"](path:{match[1]})"

    return _NAMED.sub(r"[](\2\3)", _LINK.sub(led, text))


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Rewrite a page that Sphinx is about to parse."""
    page = app.env.doc2path(docname)
    if page.suffix == ".md":
        content[0] = rewrite(content[0], page, app.srcdir.parent, app.config.repository)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx's reading."""
    app.add_config_value("repository", "", "env")
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
