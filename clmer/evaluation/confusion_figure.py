"""Confusion matrices as a figure, one panel per model."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from clmer.evaluation.metrics import Predictions, confusion, confusion_scores
from clmer.text import score_text


def confusion_png(models: Sequence[Predictions], classes: Sequence[str]) -> bytes:
    """`confusion_figure` as a PNG."""
    content = io.BytesIO()
    figure = confusion_figure(models, classes)
    figure.savefig(content, format="png", dpi=150, metadata={"Software": "clmer"})
    return content.getvalue()


def confusion_figure(models: Sequence[Predictions], classes: Sequence[str]) -> Figure:
    """Confusion matrices of test windows, one panel per model: each row's shares, with counts.

    With several repeats their counts add up.
    """
    columns = 2 if len(models) == 4 else min(len(models), 3)
    rows = -(-len(models) // columns)
    side = max(3.2, 0.55 * len(classes) + 1.2)
    figure = Figure(figsize=(columns * side + 0.8, rows * side + 0.3), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(models) :]:
        axis.set_axis_off()
    for i, model in enumerate(models):
        image = _panel(axes[i], model, classes, first=i % columns == 0)
    figure.colorbar(image, ax=list(axes), label="share of the true class", shrink=0.8)
    return figure


def _panel(axis: Axes, model: Predictions, classes: Sequence[str], *, first: bool) -> AxesImage:
    counts = confusion(model)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size = 7 if len(classes) > 4 else 9
    for (i, j), value in np.ndenumerate(share):
        text = f"{score_text(value, 2)}\n{counts[i, j]}"
        colour = "white" if value > 0.55 else "black"
        axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    crowded = len(classes) * max(map(len, classes)) > 24
    axis.set_xticks(range(len(classes)), classes, rotation=90 if crowded else 0)
    axis.set_yticks(range(len(classes)), classes if first else [""] * len(classes))
    axis.set_xlabel("predicted")
    axis.set_ylabel("true" if first else "")
    balanced = float(confusion_scores(counts)["balanced_accuracy"])
    axis.set_title(f"{model.model}\nbalanced accuracy {score_text(balanced)}", fontsize=10)
    return image
