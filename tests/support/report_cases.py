"""Pages of small runs, and what they are taken apart with."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

WHOLE = "physio+landmarks+au"


class Page(HTMLParser):
    """Headings, links, anchors and table rows of a page whose tags must nest."""

    ALONE = ("meta", "img", "br", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.titles: list[str] = []
        self.rows: list[list[str]] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given["href"] or ""] if "href" in given else []
        self.anchors += [given["id"] or ""] if "id" in given else []
        if tag == "img":
            self.images.append(given)
        if tag in self.ALONE:
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("h2", "h3"):
            self.titles.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """SVG's own: `<path ... />`."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        elif {"h2", "h3"} & set(self.open):
            self.titles[-1] += data


def results_of(place: Path, name: str) -> dict:
    return json.loads((place / "runs" / name / "results.json").read_text())


def part(page: str, heading: str) -> str:
    """The page from a heading of the second level to the next."""
    return re.split("<h2|</body>", page[page.index(heading) :].replace("<h2", "<H2", 1))[0]


def section(page: str, name: str) -> str:
    """A run's part of the page."""
    return part(page, f'<h2 id="run-{name}">')
