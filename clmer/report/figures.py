"""Figures of the report page: curves and score bars as SVG, points and heat maps as PNG.

A figure holds marks and numbers only; names are beside it in HTML, which knows how wide text is and
wraps it. The background is transparent, colours are of middle lightness and numbers take the
page's own colour: one figure serves light, dark and print.
"""

from __future__ import annotations

import colorsys
import html
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator
from PIL import Image

from clmer.report.html import Html, escape, picture

#: Told apart with red-green blindness too (Okabe and Ito), on light and on dark.
COLOURS = ("#0a7abf", "#d98200", "#009e73", "#c4609a", "#56b4e9", "#d55e00", "#8f8f2a", "#888888")
#: matplotlib's markers, and the same as text.
MARKERS, MARKER_SIGNS = "os^xD", "●■▲×◆"
STYLE = """
svg * { stroke-linejoin: round; }
svg text { fill: currentColor !important; font-family: system-ui, sans-serif !important; }
.panels { display: flex; flex-wrap: wrap; gap: 0 1.6rem; align-items: start; }
figure { margin: .6rem 0; }
figure svg { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; max-width: 22rem; }
.legend { white-space: nowrap; margin-right: .8rem; }
.score { vertical-align: middle; }
img.points { width: 21.6rem; background: none; }
img.head { width: 27rem; background: none; }
@media screen and (prefers-color-scheme: dark) {
  figure svg, .score, .legend, img.points { filter: brightness(1.4); }
}
img.map { width: 10rem; height: 10rem; max-width: none; image-rendering: pixelated; }
"""
_GREY = "#888888"
#: What a colour's linear parts add to its luminance; the luminances of neighbours in `hues`, whose
#: contrast is at least 3 with a white page, and with a dark one.
_LUMINANCE, _LUMINANCES = np.array([0.2126, 0.7152, 0.0722]), (0.15, 0.28)
#: Shorter side of a frame of points by the longer one, at least; its margin by their extent.
_FLATTEST, _MARGIN = 0.4, 0.04
_GREYS = ("axes.edgecolor", "xtick.color", "ytick.color", "axes.labelcolor", "text.color")
_STYLED = {
    **dict.fromkeys(_GREYS, _GREY),
    **{"font.size": 9.0, "legend.framealpha": 0.0, "legend.fontsize": 8.0},
    **{"axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"},
    **{"legend.edgecolor": "none"},
}
#: More points on a line than this are not seen at the width of a panel.
_MOST_POINTS = 160
#: A loss beyond this, or one that is not finite, has no place on an axis.
_LARGEST_LOSS = 1e30


@contextmanager
def styled() -> Iterator[None]:
    """Lines, frames and text of grey, which light and dark pages can show."""
    style: Any = _STYLED
    with matplotlib.rc_context(style):
        yield


@dataclass(frozen=True)
class Curve:
    """One line of `curves`.

    Args:
        x, y: equally long; points with a y that is not finite are left out.
        colour: as matplotlib and CSS both know it.
        dashed: dashed or solid.
        marked_x: x of the point that gets a dot, None for none.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: str = COLOURS[0]
    dashed: bool = False
    marked_x: float | None = None


def hues(count: int) -> list[str]:
    """As many colours as groups, for more groups than `COLOURS` has, read on light and on dark."""
    light = (_LUMINANCES[number % 2] for number in range(count))
    return [_of_luminance(n / count, luminance) for n, luminance in enumerate(light)]


def _of_luminance(hue: float, luminance: float) -> str:
    """The colour of a hue whose relative luminance (WCAG) is a given one, to a hundredth."""
    lightness = np.linspace(0.1, 0.9, 161)
    rgb = np.array([colorsys.hls_to_rgb(hue, each, 0.65) for each in lightness])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    nearest = np.abs(linear @ _LUMINANCE - luminance).argmin()
    return to_hex(rgb[nearest])


def curves(lines: Iterable[Curve], description: str) -> Html:
    """Curves over epochs, with a grid.

    Args:
        lines: one or more.
        description: what a reader who does not see it is told; different for each figure.
    """
    figure = Figure(figsize=(3.5, 2.1))
    axis = figure.add_axes((0.14, 0.12, 0.84, 0.84), frame_on=False)
    axis.grid(axis="y", color=_GREY, alpha=0.5, linewidth=0.6, clip_on=False)
    axis.tick_params(length=0, labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.margins(x=0.01)
    for line in lines:
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if abs(y) < _LARGEST_LOSS]
        step = max(1, -(-len(known) // _MOST_POINTS))
        shown = [*known[:-1:step], *known[-1:]]
        marked = [point for point in known if point[0] == line.marked_x]
        for points, style in ((shown, "--" if line.dashed else "-"), (marked, "o")):
            x, y = np.array(points).reshape(-1, 2).T
            drawn = axis.plot(x, y, style, color=line.colour, alpha=0.85, clip_on=False)
            drawn[0].set(linewidth=1, markersize=4)
    return svg(figure, description)


def score_bar(value: float | None, low: float | None, high: float | None, chance: float) -> Html:
    """A score from 0 to 1 as a dot, its interval as a bar, chance as a tick; for a table's cell."""
    if value is None:
        return Html("")
    figure = Figure(figsize=(1.25, 0.17))

    def line(x: tuple[float, float], y: tuple[float, float], colour: str, width: float) -> None:
        places = (0.03 + 0.94 * x[0], 0.03 + 0.94 * x[1])
        drawn = Line2D(places, y, color=colour, linewidth=width, solid_capstyle="butt", alpha=0.6)
        figure.add_artist(drawn)

    line((0, 1), (0.5, 0.5), _GREY, 0.6)
    line((chance, chance), (0.1, 0.9), _GREY, 1.2)
    if low is not None and high is not None:
        line((low, high), (0.5, 0.5), COLOURS[0], 2.4)
    width, height = 0.07 / figure.get_size_inches()
    place = (0.03 + 0.94 * value, 0.5)
    figure.add_artist(Ellipse(place, width, height, color=COLOURS[0], linewidth=0, zorder=3))
    return svg(figure, css="score")


def scatter(
    xy: np.ndarray, group: np.ndarray, colours: Sequence[str], description: str, *, marks: bool
) -> Html:
    """Points without axes, of one scale in both: only who is near whom means something.

    The frame takes the points' shape, so that they fill it.


    Args:
        xy: [N, 2] places.
        group: [N] int, number of the point's colour.
        colours: of the groups; they repeat.
        description: what a reader who does not see it is told.
        marks: give each group its marker too.
    """
    low, high = xy.min(0), xy.max(0)
    extent = high - low if (high > low).any() else np.ones(2)
    extent = np.maximum(extent, _FLATTEST * extent.max())
    width, height = 3.6 * extent / extent[0]
    figure = Figure(figsize=(width, height))
    half = np.outer((0.5 + _MARGIN) * extent, (-1, 1))
    axis = figure.add_axes((0.004, 0.008, 0.992, 0.984), xticks=[], yticks=[])
    x_limits, y_limits = ((low + high) / 2)[:, None] + half
    axis.set(xlim=x_limits, ylim=y_limits)
    for spine in axis.spines.values():
        spine.set_edgecolor(_GREY)
    for number in np.unique(group):
        marker = MARKERS[number % len(MARKERS)] if marks else "o"
        x, y = xy[group == number].T
        edge = 1 if marker == "x" else 0
        axis.scatter(
            x,
            y,
            s=14,
            color=colours[number % len(colours)],
            marker=marker,
            alpha=0.75,
            linewidths=edge,
        )
    return png(figure, description, "points", dpi=192, transparent=True)


def heat_map(
    values: np.ndarray, low: float, high: float, colour_map: str, description: str
) -> Html:
    """A matrix [rows, columns], one pixel per cell, in one of matplotlib's colour maps."""
    content = io.BytesIO()
    imsave(content, values, vmin=low, vmax=high, cmap=colour_map, format="png")
    return picture(content.getvalue(), description, "map")


def svg(figure: Figure, description: str = "", css: str = "") -> Html:
    """A figure as SVG inside a page, the same bytes each time.

    Screen readers read the description; without one they skip the figure.
    """
    content = io.StringIO()
    text: Any = {"svg.fonttype": "none", "font.family": "DejaVu Sans"}  # numbers stay text
    with matplotlib.rc_context({**text, "svg.hashsalt": description}):
        figure.savefig(content, format="svg", transparent=True)
    # Without namespaces, metadata, a style sheet that would apply to the whole page, and ids that
    # every figure has ("axes_1"); those of markers ("m0123456789") are referred to.
    drawn = content.getvalue()
    drawn = re.sub(r' id="(?!m[0-9a-f]{10}")[^"]*"', "", drawn[drawn.index('<g id="figure_1"') :])
    drawn = re.sub(r"\s+", " ", drawn)
    drawn = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), drawn)
    width, height = 72 * figure.get_size_inches()
    seen = f'role="img" aria-label="{html.escape(description)}"'
    seen = seen if description else 'aria-hidden="true"'
    size = f'width="{width:g}pt" height="{height:g}pt" viewBox="0 0 {width:g} {height:g}"'
    return Html(f'<svg class="{css}" {size} {seen}>{drawn.strip()}')


def png(
    figure: Figure, description: str, css: str = "", *, dpi: int = 110, transparent: bool = False
) -> Html:
    """A figure as a PNG of 256 colours inside a page, the same bytes each time."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, transparent=transparent)
    image: Image.Image = Image.open(drawn)
    if transparent:
        image = image.quantize()
    else:
        image = image.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=1)
    image.save(packed, "png", optimize=True)
    return picture(packed.getvalue(), description, css)


def captioned(drawing: str, caption: object) -> Html:
    """A drawing with its caption below."""
    return Html(f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>")


def side_by_side(figures: Sequence[str]) -> Html:
    """Figures beside each other, as many as fit."""
    return Html(f'<div class="panels">{"".join(figures)}</div>') if figures else Html("")


def legend(names: Iterable[str], colours: Iterable[str], signs: Iterable[str] = "—") -> Html:
    """Names, each behind a sign (a line, a marker) in its colour; colours and signs repeat."""
    entries = [
        f'<span class="legend"><span style="color:{colour}" aria-hidden="true">{sign}</span> '
        f"{html.escape(name)}</span>"
        for name, colour, sign in zip(names, cycle(colours), cycle(signs), strict=False)
    ]
    return Html("".join(entries))
