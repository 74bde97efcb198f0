"""Attribution over the head and over the face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from clmer.data.synthetic.signals import neutral_face
from clmer.report.attribution.measure import Drop
from clmer.report.attribution.parts import REGIONS
from clmer.report.figures import png, styled, svg
from clmer.report.head import LEAST_POSITIONS, draw_head, with_position
from clmer.report.html import Html

#: Grey to vermilion: both ends are seen on light and on dark.
_COST = LinearSegmentedColormap.from_list("cost", ["#888888", "#d55e00"])
#: Lines through the 68 points: first, last, and whether it is closed.
_LINES = (
    *((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False)),
    *((36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True)),
)
#: Electrodes named on a map, at most.
_NAMED = 8


def head(drops: list[Drop], label: str, description: str, named: Sequence[str]) -> Html | None:
    """Costs of electrodes over the head; None where few have a standard position or none costs.

    Args:
        drops: of the electrodes of a modality, the largest cost first.
        label: of the scale.
        description: what a reader who does not see it is told.
        named: electrodes whose names are written, of many the first.
    """
    placed = with_position([drop.part.name for drop in drops])
    own = [drops[number] for number in placed]
    costs = np.array([max(drop.mean, 0.0) for drop in own])
    if len(own) < LEAST_POSITIONS or costs.max() <= 0:
        return None
    names = [drop.part.name for drop in own]
    with styled():
        figure = Figure(figsize=(4.4, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        draw_head(costs, names, figure, label, shown=named[:_NAMED], limits=(0.0, costs.max()))
        return png(figure, description, "head", dpi=150, transparent=True)


def face(drops: list[Drop], description: str) -> Html:
    """Costs of landmark regions on a face: the redder and the thicker, the more.

    Args:
        drops: of the regions.
        description: what a reader who does not see it is told.
    """
    costs = {drop.part.name: max(drop.mean, 0.0) for drop in drops}
    most = max(costs.values()) or 1.0
    figure = Figure(figsize=(2.4, 2.1))
    axis = figure.add_axes((0.02, 0.02, 0.96, 0.96), aspect="equal")
    axis.set_axis_off()
    axis.invert_yaxis()
    for region, points in _lines(neutral_face()[:, :2]):
        share = costs[region] / most
        colour, width = _COST(share), 1.0 + 1.6 * share
        axis.plot(*points.T, "o-", color=colour, linewidth=width, markersize=1.8 * width)
    return svg(figure, description)


def _lines(points: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Lines [n, 2] of the face, and the region of each."""
    region_of: Mapping[int, str] = {p: name for name, own in REGIONS.items() for p in own}
    for first, last, closed in _LINES:
        rows = [*range(first, last + 1), *([first] if closed else [])]
        yield region_of[first], points[rows]
