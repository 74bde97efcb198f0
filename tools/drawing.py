"""SVG by hand for the figures of README: the same bytes on every machine, light and dark.

Colours are CSS classes, and the background is drawn, so that text is readable on any page. Numbers
have one decimal, so that no library's rounding shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

#: What a colour is on a light page and on a dark one.
COLOURS = {
    "page": ("#ffffff", "#0d1117"),
    "edge": ("#d0d7de", "#3d444d"),
    "text": ("#1f2328", "#f0f6fc"),
    "soft": ("#59636e", "#9198a1"),
    "blue": ("#0969da", "#4493f8"),
    "orange": ("#bc4c00", "#f0883e"),
    "green": ("#1a7f37", "#3fb950"),
}

Point = tuple[float, float]


class Drawing:
    """Shapes of one figure, in the order in which they are painted.

    Args:
        width, height: of the figure, in px.
        about: what it shows, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, about: str) -> None:
        self.width, self.height, self.about = width, height, about
        self.parts: list[str] = []
        self.rect(0.5, 0.5, width - 1, height - 1, "page", edge="edge", radius=8)

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        edge: str = "",
        radius: float = 0,
        opacity: float = 1,
    ) -> None:
        """A rectangle; `fill` and `edge` are names in `COLOURS`."""
        extra = f' rx="{number(radius)}"' if radius else ""
        extra += f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
        classes = f"f-{fill}" + (f" s-{edge}" if edge else "")
        self.parts.append(
            f'<rect class="{classes}" x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}"{extra}/>'
        )

    def circle(self, centre: Point, radius: float, fill: str, *, edge: str = "") -> None:
        """A disc."""
        classes = f"f-{fill}" + (f" s-{edge}" if edge else "")
        x, y = map(number, centre)
        self.parts.append(f'<circle class="{classes}" cx="{x}" cy="{y}" r="{number(radius)}"/>')

    def line(
        self,
        points: Sequence[Point],
        colour: str,
        *,
        width: float = 1.5,
        arrow: bool = False,
        dashed: bool = False,
    ) -> None:
        """A line through points, with an arrow's head at its end where asked."""
        extra = f' stroke-width="{width:g}"' + (' stroke-dasharray="4 3"' if dashed else "")
        places = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self.parts.append(f'<polyline class="n s-{colour}" points="{places}"{extra}/>')
        if arrow:
            self._head(points[-2], points[-1], colour)

    def _head(self, before: Point, tip: Point, colour: str) -> None:
        dx, dy = tip[0] - before[0], tip[1] - before[1]
        length = (dx * dx + dy * dy) ** 0.5
        ux, uy = dx / length, dy / length
        base = tip[0] - 7 * ux, tip[1] - 7 * uy
        corners = [tip, (base[0] - 3 * uy, base[1] + 3 * ux), (base[0] + 3 * uy, base[1] - 3 * ux)]
        self.polygon(corners, colour)

    def polygon(self, corners: Sequence[Point], fill: str, *, edge: str = "") -> None:
        """A filled polygon."""
        classes = f"f-{fill}" + (f" s-{edge}" if edge else "")
        places = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
        self.parts.append(f'<polygon class="{classes}" points="{places}"/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        colour: str = "text",
        *,
        anchor: str = "start",
        size: float = 12,
        bold: bool = False,
    ) -> None:
        """One line of text, its baseline at y."""
        extra = ' font-weight="600"' if bold else ""
        extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.parts.append(
            f'<text class="f-{colour}" x="{number(x)}" y="{number(y)}" font-size="{size:g}"'
            f"{extra}>{escape(words)}</text>"
        )

    def svg(self) -> str:
        """The figure."""
        size = f"{number(self.width)} {number(self.height)}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
            f'width="{number(self.width)}" height="{number(self.height)}" '
            'font-family="system-ui, sans-serif">'
        )
        dark = "@media (prefers-color-scheme: dark) {\n" + _rules(1) + "}\n"
        style = f"<style>\n.n {{ fill: none; stroke-linejoin: round }}\n{_rules(0)}{dark}</style>"
        about = f"<title>{escape(self.about)}</title>"
        return "\n".join([head, about, style, *self.parts, "</svg>"]) + "\n"


def _rules(scheme: int) -> str:
    return "".join(
        f".f-{name} {{ fill: {both[scheme]} }}\n.s-{name} {{ stroke: {both[scheme]} }}\n"
        for name, both in COLOURS.items()
    )


def number(value: float) -> str:
    """At most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
