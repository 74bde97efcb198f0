"""The drawings: radar charts, accuracy over epochs, dots with intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clmer.text import score_text

#: Axes of Fig. 7 and 8, in the order of `capabilities`.
AXES = ("time efficiency", "space efficiency", "accuracy")
_MEAN = (1.0, 1.0, 2.0)
_COLOURS = ("#1b6ca8", "#d1822b", "#4d8f4f", "#8a5aa3", "#7a7a7a", "#b0466b", "#3f9b9b")
_BEST = "#d62728"


def render(figure: Figure, kind: str) -> bytes:
    """A figure as "png" or "svg", the same bytes each time."""
    content = io.BytesIO()
    stamps = {"png": {"Software": "clmer"}, "svg": {"Creator": "clmer", "Date": None}}
    with matplotlib.rc_context({"svg.hashsalt": "clmer"}):  # else names of parts are random
        figure.savefig(content, format=kind, dpi=150, metadata=stamps[kind])
    return content.getvalue()


def capabilities(costs: Mapping[str, tuple[float, float, float]]) -> dict[str, np.ndarray]:
    """The paper's normalisation (IV-F): larger is better on every axis.

    With a bar for the mean over methods: time and memory become mean / value (the reciprocal of the
    ratio to the mean), accuracy becomes z + 2 with z = (a / bar - 1) / sd(a / bar). The paper does
    not say which sd; this is the population's.

    Args:
        costs: (seconds, MiB, accuracy) by method, two methods or more.

    Returns:
        [time efficiency, space efficiency, accuracy] by method; 2 on the last where all are equal.
    """
    values = np.array(list(costs.values()), dtype=np.float64)  # [methods, 3]
    ratio = values / values.mean(axis=0)
    spread = ratio[:, 2].std()
    z = (ratio[:, 2] - 1) / spread if spread > 0 else np.zeros(len(ratio))
    made = np.column_stack([1 / ratio[:, 0], 1 / ratio[:, 1], z + 2])
    return dict(zip(costs, made, strict=True))


def radar(panels: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Fig. 7 and 8: one polygon per method, one panel per source; dashed: the mean over methods."""
    figure = Figure(figsize=(5.4 * len(panels), 5.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, subplot_kw={"projection": "polar"})[0]
    angles = np.linspace(0, 2 * np.pi, len(AXES), endpoint=False) + np.pi / 2
    most = max(values.max() for panel in panels.values() for values in panel.values())
    for axis, (title, methods) in zip(axes, panels.items(), strict=True):
        around = np.append(angles, angles[0])
        axis.plot(around, np.append(_MEAN, _MEAN[0]), color="0.35", ls="--", lw=1, label="mean")
        for colour, (name, values) in zip(_COLOURS, methods.items(), strict=False):
            axis.plot(around, np.append(values, values[0]), color=colour, lw=2, label=name)
            axis.fill(around, np.append(values, values[0]), color=colour, alpha=0.12)
        axis.set_xticks(angles, AXES)
        axis.set_ylim(0, 1.08 * most)
        axis.set_rlabel_position(300)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.tick_params(axis="y", labelsize=8, colors="0.4")
        axis.tick_params(axis="x", pad=14)
        axis.set_title(title, pad=18)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize=8, frameon=False)
    return figure


def curves(panels: Mapping[str, Mapping[str, np.ndarray]], best: Mapping[str, str]) -> Figure:
    """Fig. 9 and 10: score over epochs, one curve per token length, the chosen one in red.

    Args:
        panels: by task, then by name of the curve: [epochs] balanced accuracy.
        best: the name to draw in red, by task.
    """
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.4 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (task, lines) in zip(axes, panels.items(), strict=False):
        greys = np.linspace(0.25, 0.75, max(len(lines), 2))
        styles = ("-", "--", "-.", ":", (0, (5, 1)))
        for i, (name, values) in enumerate(lines.items()):
            chosen = name == best.get(task)
            axis.plot(
                np.arange(1, len(values) + 1),
                values,
                color=_BEST if chosen else str(greys[i]),
                ls="-" if chosen else styles[i % len(styles)],
                lw=2 if chosen else 1.2,
                zorder=3 if chosen else 2,
                label=f"{name} (chosen)" if chosen else name,
            )
        axis.set_title(task, fontsize=10)
        axis.set_xlabel("epoch")
        axis.set_ylabel("balanced accuracy, validation")
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@dataclass(frozen=True)
class Dot:
    """A score and its interval, as fractions; None where there is none."""

    value: float
    low: float | None
    high: float | None


def dots(groups: Mapping[str, Mapping[str, Dot]], series: Sequence[str], chance: float) -> Figure:
    """Scores with intervals: a group of dots per model, a colour per protocol, a line at chance.

    Args:
        groups: by model, then by protocol.
        series: protocols in order.
        chance: balanced accuracy of guessing.
    """
    height = 0.9 + len(groups) * (0.16 * len(series) + 0.22)
    figure = Figure(figsize=(8.5, height), layout="constrained")
    axis = figure.subplots()
    step = 0.7 / max(len(series), 1)
    for at, group in enumerate(groups.values()):
        if at % 2:
            axis.axhspan(at - 0.5, at + 0.5, color="0.95", zorder=0)
        for number, name in enumerate(series):
            if name in group:
                place = at + step * (number - (len(series) - 1) / 2)
                _dot(axis, group[name], place, _COLOURS[number], "osD^vP"[number % 6])
    axis.axvline(chance, color="0.35", ls="--", lw=1)
    at_chance = f"chance {score_text(chance)}"
    axis.text(chance, -0.62, at_chance, ha="center", va="bottom", fontsize=8)
    axis.set_yticks(range(len(groups)), list(groups))
    axis.set_ylim(len(groups) - 0.5, -0.5)
    axis.set_xlabel("balanced accuracy per window, 95 % interval over people")
    axis.grid(axis="x", alpha=0.25)
    for number, name in enumerate(series):
        axis.plot([], [], "osD^vP"[number % 6], color=_COLOURS[number], label=name)
    axis.legend(title="protocol", fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def _dot(axis: Axes, dot: Dot, place: float, colour: str, marker: str) -> None:
    if dot.low is not None and dot.high is not None:
        axis.plot([dot.low, dot.high], [place, place], color=colour, lw=1.6, zorder=2)
    axis.plot(dot.value, place, marker, color=colour, ms=5.5, mec="white", mew=0.6, zorder=3)
