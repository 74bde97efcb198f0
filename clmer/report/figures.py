"""Pictures of the report page: SVG that takes its colours from the page, and heat maps as PNG.

An SVG here holds marks and numbers only; names stand beside it in HTML, which knows how wide text
is and wraps it. Colours are CSS classes (`STYLE`): one drawing serves light, dark and print.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator

from clmer.report.pages import Html, escape, picture
from clmer.text import score_text

#: Colours by number, told apart with red-green blindness too (Okabe and Ito), on light and dark.
COLOURS = ("#0a7abf", "#d98200", "#009e73", "#c4609a", "#56b4e9", "#d55e00", "#8f8f2a", "#888")
#: A mark by number: circle, square, triangle, cross, diamond; relative paths about a point.
MARKS = (
    "m-2.2 0a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0",
    "m-2-2h4v4h-4z",
    "m0-2.6l2.5 4.4h-5z",
    "m-2.2-2.2l4.4 4.4m0-4.4l-4.4 4.4",
    "m0-2.8l2.8 2.8l-2.8 2.8l-2.8-2.8z",
)
STYLE = """
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
svg .grid { stroke: var(--faint); stroke-width: .6; }
svg .line { fill: none; stroke-width: 1.3; stroke-linejoin: round; opacity: .8; }
svg .dash { stroke-dasharray: 4 3; }
svg .marks { stroke-width: 1; fill-opacity: .75; }
svg .chance { stroke: currentColor; stroke-width: 1; opacity: .6; }
.panels { display: flex; flex-wrap: wrap; gap: 0 1.6rem; align-items: start; }
figure { margin: .6rem 0; }
figcaption { font-size: .9rem; max-width: 22rem; }
.key { white-space: nowrap; margin-right: .8rem; }
.key svg, .strip { vertical-align: middle; }
img.map { width: 10rem; height: 10rem; max-width: none; image-rendering: pixelated; }
""" + "".join(
    f".c{i} {{ stroke: {colour}; fill: {colour}; }}\n" for i, colour in enumerate(COLOURS)
)
#: More points on a line than this are not seen at the width of a panel.
_POINTS = 160


@dataclass(frozen=True)
class Line:
    """A curve of a panel.

    Args:
        x, y: equally long; what is not finite is left out.
        colour: number in `COLOURS`.
        dashed: how it is drawn.
        dot: x of the point to mark, None for none.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dashed: bool = False
    dot: float | None = None


def figure(drawing: str, caption: object) -> Html:
    """A drawing with its caption below."""
    return Html(f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>")


def panels(figures: Sequence[str]) -> Html:
    """Figures side by side, as many as fit."""
    return Html(f'<div class="panels">{"".join(figures)}</div>') if figures else Html("")


def key(
    name: str, colour: int, *, mark: int | None = None, dashed: bool = False, hues: int = 0
) -> Html:
    """An entry of a legend: a stroke, or a mark by number, and a name; `hues` as in `scatter`."""
    if mark is None:
        dash = " dash" if dashed else ""
        drawn = f'<path class="line{dash} c{colour % len(COLOURS)}" d="M0 5h20"/>'
    else:
        drawn = f'<path {_paint(colour, hues)} d="M10 5{MARKS[mark % len(MARKS)]}"/>'
    drawing = f'<svg width="20" height="10" aria-hidden="true">{drawn}</svg>'
    return Html(f'<span class="key">{drawing} {html.escape(name)}</span>')


def _paint(number: int, hues: int) -> str:
    """The colour of a group's marks: one of `COLOURS`, or one of so many hues."""
    if not hues:
        return f'class="marks c{number % len(COLOURS)}"'
    tone = f"hsl({360 * number // hues} 65% {45 + 12 * (number % 2)}%)"
    return f'class="marks" style="fill:{tone};stroke:none"'


#: A loss beyond this (or none at all) has no place on an axis.
_MOST = 1e30


def curves(lines: Sequence[Line], description: str, *, bottom: float | None = None) -> Html:
    """Curves over epochs, with a grid.

    Args:
        lines: one or more.
        description: what a reader who does not see it is told.
        bottom: least value that the axis shows; None for that of the lines.
    """
    width, height, left, below = 340, 200, 44, 22
    y = np.array([v for line in lines for v in line.y if abs(v) < _MOST] or [0.0])
    x_ticks = _ticks(0, max((max(line.x) for line in lines if line.x), default=1), whole=True)
    y_ticks = _ticks(min(y.min(), y.min() if bottom is None else bottom), y.max())

    def across(value: float) -> float:
        return left + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (width - left - 8)

    def down(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return height - below - share * (height - below - 8)

    parts = []
    for tick in y_ticks:
        at = down(tick)
        parts.append(f'<path class="grid" d="M{left} {at:.1f}H{width - 8}"/>')
        parts.append(f'<text x="{left - 5}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        place = f'x="{across(tick):.1f}" y="{height - 6}"'
        parts.append(f'<text {place} text-anchor="middle">{tick:g}</text>')
    for line in lines:
        kept = [(a, b) for a, b in zip(line.x, line.y, strict=True) if abs(b) < _MOST]
        step = max(1, len(kept) // _POINTS)
        shown = [*kept[:-1:step], *kept[-1:]]
        points = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in shown)
        style = f"line{' dash' if line.dashed else ''} c{line.colour % len(COLOURS)}"
        parts.append(f'<polyline class="{style}" points="{points}"/>')
        for a, b in kept:
            if a == line.dot:
                place = f'cx="{across(a):.1f}" cy="{down(b):.1f}"'
                parts.append(f'<circle class="c{line.colour % len(COLOURS)}" {place} r="2.5"/>')
    return _svg(width, height, parts, description)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    locator = MaxNLocator(nbins=5, integer=whole, min_n_ticks=2)
    ticks = [float(tick) for tick in locator.tick_values(low, high)]
    return ticks if len(ticks) > 1 else [low - 0.5, low + 0.5]


def strip(value: float | None, low: float | None, high: float | None, chance: float) -> Html:
    """A score from 0 to 1 as a dot on a line, its interval as a bar, chance as a tick."""
    width, height = 120, 16
    if value is None:
        return Html("")
    parts = [f'<path class="grid" d="M1 8H{width - 1}"/>']
    parts.append(f'<path class="chance" d="M{_across(chance, width)} 2V14"/>')
    if low is not None and high is not None:
        bar = f"M{_across(low, width)} 8H{_across(high, width)}"
        parts.append(f'<path class="c0" d="{bar}" stroke-width="3" opacity=".5"/>')
    parts.append(f'<circle class="c0" cx="{_across(value, width)}" cy="8" r="3.5"/>')
    inner = "".join(parts)
    return Html(
        f'<svg class="strip" width="{width}" height="{height}" aria-hidden="true">{inner}</svg>'
    )


def _across(share: float, width: int) -> str:
    return f"{4 + share * (width - 8):.1f}"


def scatter(xy: np.ndarray, group: np.ndarray, description: str, *, hues: int = 0) -> Html:
    """Points in a square, without axes: only who is near whom means something.

    Args:
        xy: [N, 2] places.
        group: [N] int, number of the mark and colour.
        description: what a reader who does not see it is told.
        hues: number of groups that colour alone tells apart (people); 0 for colours and marks
            of `COLOURS` and `MARKS`.
    """
    size, edge = 300, 8
    span = np.ptp(xy, axis=0).max() or 1.0
    place = edge + (xy - xy.min(0)) / span * (size - 2 * edge)
    parts = [f'<path class="grid" fill="none" d="M.5 .5h{size - 1}v{size - 1}h-{size - 1}z"/>']
    for number in np.unique(group):
        mark = MARKS[0 if hues else number % len(MARKS)]
        points = "".join(f"M{a:.1f} {b:.1f}{mark}" for a, b in place[group == number])
        parts.append(f'<path {_paint(number, hues)} d="{points}"/>')
    return _svg(size, size, parts, description)


def _svg(width: int, height: int, parts: Sequence[str], description: str) -> Html:
    opening = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    label = f' aria-label="{html.escape(description)}">'
    return Html(opening + label + "".join(parts) + "</svg>")


def heat_map(values: np.ndarray, low: float, high: float, colours: str, description: str) -> Html:
    """A matrix [rows, columns], a pixel a cell, in one of matplotlib's colour maps."""
    content = io.BytesIO()
    imsave(content, values, vmin=low, vmax=high, cmap=colormaps[colours], format="png")
    return picture(content.getvalue(), description, "map")


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], caption: str) -> Html:
    """A confusion matrix as a table: shares of the true class as shade and number, and counts."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in classes)
    rows = []
    for name, row in zip(classes, counts, strict=True):
        total = max(sum(row), 1)
        cells = "".join(
            f'<td style="--share:{0.6 * n / total:.3f}">{score_text(n / total, 2)}'
            f"<small>{n}</small></td>"
            for n in row
        )
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    return Html(
        f'<div class="scroll"><table class="confusion"><caption>{html.escape(caption)}</caption>'
        f'<thead><tr><th scope="col">true \\ predicted</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def legend(names: Sequence[str], *, marks: bool = False) -> Html:
    """Entries of `key` for names, numbered in their order."""
    entries = [key(name, i, mark=i if marks else None) for i, name in enumerate(names)]
    return Html("".join(entries))
