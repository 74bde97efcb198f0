"""Predicted against true ratings as a figure, one panel per model."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clmer.evaluation.ratings import RatingPredictions, rating_scores
from clmer.text import score_text

#: Windows that are drawn; of more, every n-th.
MOST_POINTS = 3000


def rating_png(models: Sequence[RatingPredictions]) -> bytes:
    """`rating_figure` as a PNG."""
    content = io.BytesIO()
    rating_figure(models).savefig(content, format="png", dpi=150, metadata={"Software": "clmer"})
    return content.getvalue()


def rating_figure(models: Sequence[RatingPredictions]) -> Figure:
    """Test windows as points, the mean prediction of every quarter of the ratings, and y = x."""
    columns = 2 if len(models) == 4 else min(len(models), 3)
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.7 * rows), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(models) :]:
        axis.set_axis_off()
    every = np.concatenate([np.concatenate([model.y, model.value]) for model in models])
    ends = float(every.min()), float(every.max())
    for i, (axis, model) in enumerate(zip(axes, models, strict=False)):
        _panel(axis, model, ends, first=i % columns == 0)
    return figure


def _panel(axis: Axes, model: RatingPredictions, ends: tuple[float, float], *, first: bool) -> None:
    step = -(-len(model) // MOST_POINTS)
    axis.plot(ends, ends, color="0.5", lw=0.8)
    axis.scatter(model.y[::step], model.value[::step], s=6, alpha=0.35, linewidths=0)
    edges = np.unique(np.quantile(model.y, [0.25, 0.5, 0.75]))
    part = np.searchsorted(edges, model.y)
    means = np.array(
        [(model.y[part == k].mean(), model.value[part == k].mean()) for k in np.unique(part)]
    )
    axis.plot(*means.T, "o-", color="C1", ms=5, lw=1.2)
    axis.set_xlabel("true rating")
    axis.set_ylabel("predicted rating" if first else "")
    margin = 0.04 * (ends[1] - ends[0])
    axis.set(xlim=(ends[0] - margin, ends[1] + margin), ylim=(ends[0] - margin, ends[1] + margin))
    axis.set_aspect("equal")
    found = rating_scores(model)
    shown = f"CCC {score_text(found['ccc'])}, RMSE {score_text(found['rmse'])}"
    axis.set_title(f"{model.model}\n{shown}", fontsize=10)
