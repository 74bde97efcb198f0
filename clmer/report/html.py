"""Self-contained HTML pages: read in a browser without a server, a network or JavaScript.

Colours follow the reader's light or dark scheme, and print in black on white.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clmer.storage import write_file

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #8886; --warn: #c60;
  --hue: 33 102 172; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --warn: #e90; --hue: 92 160 225; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
.private { border-left: 4px solid var(--warn); padding: .5rem 1rem; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
thead th { vertical-align: bottom; }
@media screen and (max-width: 48rem) {
  .stacked thead { display: none; }
  .stacked, .stacked caption, .stacked tbody { display: block; }
  .stacked tr { display: block; padding: .4rem 0; }
  .stacked th, .stacked td { display: block; padding: 0; }
  .stacked td::before { content: attr(data-head) ": "; opacity: .75; }
  .stacked td[data-head=""]::before { content: none; }
  .stacked td:empty { display: none; }
}
tbody th { font-weight: normal; }
tbody tr + tr, tbody + tbody, thead + tbody { border-top: 1px solid var(--faint); }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --hue: 33 102 172; }
  body { max-width: none; margin: 0; font-size: 10pt; }
  .scroll { overflow-x: visible; }
  table { font-size: 8pt; }
  tr, figure, img { break-inside: avoid; }
  h2, h3, h4, caption { break-after: avoid; }
}
"""


class Html(str):
    """Text that is HTML already: it goes into a page unchanged."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, then pictures and tables as HTML; links lead to `anchor`."""

    title: str
    text: str
    body: str
    anchor: str = ""


def page(
    title: str, subtitle: str, warning: str, sections: Iterable[Section], style: str = ""
) -> str:
    """A whole page.

    Args:
        title: of the page and its first heading.
        subtitle: the line below it, such as what the page was made from.
        warning: who may see the page.
        sections: in order.
        style: CSS in addition to `STYLE`.

    Returns:
        HTML.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p>",
        f'<p class="private">{html.escape(warning)}</p>',
    ]
    for section in sections:
        anchor = f' id="{html.escape(section.anchor)}"' if section.anchor else ""
        parts.append(f"<h2{anchor}>{html.escape(section.title)}</h2>")
        parts += [f"<p>{escape(section.text)}</p>", section.body]
    return "\n".join([*parts, "</body></html>", ""])


def escape(text: object) -> str:
    """Any text for a page; `Html` stays as it is."""
    return text if isinstance(text, Html) else html.escape(str(text))


def plain(text: object) -> str:
    """A cell without its tags, for an attribute."""
    return html.unescape(re.sub(r"<[^>]*>", "", text)) if isinstance(text, Html) else str(text)


def breakable(name: object) -> Html:
    """A name of several parts, which a line may end between."""
    return Html(escape(name).replace("+", "+<wbr>"))


def picture(png: bytes, description: str, css: str = "") -> Html:
    """An image inside the page.

    Args:
        png: the file's content.
        description: text for readers who do not see it.
        css: class names.
    """
    content = base64.b64encode(png).decode("ascii")
    named = f' class="{css}"' if css else ""
    return Html(
        f'<img{named} alt="{html.escape(description)}" src="data:image/png;base64,{content}">'
    )


def table(
    header: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    caption: str = "",
    row_headers: bool = False,
    css: str = "",
) -> Html:
    """A table; empty where there are no rows.

    On a narrow screen the cells of a row stand below each other, each behind its column's name.

    Args:
        header: one cell per column, or empty.
        rows: cells: text, or `Html`.
        caption: what the table shows.
        row_headers: whether the first cell of a row is its name.
        css: class names; a "confusion" matrix keeps its columns.
    """
    if not rows:
        return Html("")
    stacks = bool(header) and css != "confusion"
    names = " ".join(filter(None, (css, "stacked" if stacks else "")))
    named = f' class="{names}"' if names else ""
    heads = [html.escape(plain(cell)) for cell in header] if stacks else []
    lines = [f'<div class="scroll"><table{named}>']
    lines += [f"<caption>{escape(caption)}</caption>"] if caption else []
    if header:
        cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for row in rows:
        first = f'<th scope="row">{escape(row[0])}</th>' if row_headers else ""
        shown = [escape(cell) for cell in row]
        tags = [f'<td data-head="{head}">' for head in heads[: len(row)]] or ["<td>"] * len(row)
        tags += ["<td>"] * (len(row) - len(tags))
        pairs = list(zip(tags, shown, strict=True))[int(row_headers) :]
        cells = "".join(f"{tag}{cell}</td>" for tag, cell in pairs)
        lines.append(f"<tr>{first}{cells}</tr>")
    return Html("\n".join([*lines, "</tbody></table></div>"]))


def write_page(out: Path, page: str) -> None:
    """Write a page as a whole.

    Raises:
        DataError: it cannot be written.
    """
    # A folder's name that is no UTF-8 has lone surrogates, which no file can hold.
    write_file(out, page.encode(errors="backslashreplace"))
