"""What a trained run said of recordings over time, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clmer.predict.said import Said

#: Recordings that one picture has room for.
MOST_DRAWN = 40


def timeline_png(said: Sequence[Said]) -> bytes:
    """`timeline_figure` as a PNG."""
    content = io.BytesIO()
    figure = timeline_figure(said)
    figure.savefig(content, format="png", dpi=150, metadata={"Software": "clmer"})
    return content.getvalue()


def timeline_figure(said: Sequence[Said]) -> Figure:
    """What was said over time, one panel per recording, the first `MOST_DRAWN` of them."""
    drawn = said[:MOST_DRAWN]
    figure = Figure(figsize=(9, 0.9 + 1.7 * len(drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for axis, each in zip(axes, drawn, strict=True):
        _panel(axis, each)
    axes[-1].set_xlabel("time in the recording (s)")
    if drawn[0].classes:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=5, frameon=False)
    return figure


def _panel(axis: Axes, said: Said) -> None:
    """Probabilities as stacked bars, ratings as steps; where there is no window, nothing."""
    axis.set_title(said.name, fontsize=9, loc="left")
    if not said.classes:
        axis.hlines(said.values, said.start_s, said.start_s + said.step_s, color="C0", lw=2)
        axis.axhline(float(said.mean[0]), color="0.5", lw=0.8, ls="--")
        axis.set_ylabel("rating")
        return
    bottom = np.zeros(len(said.start_s))
    for k, name in enumerate(said.classes):
        height, middle = said.values[:, k], said.start_s + said.step_s / 2
        axis.bar(middle, height, said.step_s, bottom, color=f"C{k % 10}", label=name)
        bottom += height
    axis.set(ylim=(0, 1), ylabel="probability")
