"""The pictures of the page about a data set, for light and dark alike.

Curves and bars are SVG whose text takes the page's colour, on no ground of their own; lines and
frames are of middle grey. The channel map is a PNG whose names have a light rim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from clmer.data.recording import FaceSeries, Recording, Signal
from clmer.data.registry import Dataset
from clmer.data.store.filtering import filter_of
from clmer.report.figures import COLOURS, hues, png, styled, svg
from clmer.report.head import LEAST_POSITIONS, draw_head, with_position
from clmer.report.html import Html
from clmer.signal import Stream, sosfiltfilt

_SHOWN_S = 5.0
_CROSSED = ("valence", "arousal")  # drawn against each other
_ALPHA = (8.0, 13.0)  # Hz
_GREY = "#888888"
#: Points of a curve, and columns of a timeline, that the width of a page can show.
_MOST_POINTS, _COLUMNS = 800, 600


@dataclass(frozen=True)
class Track:
    """One line of a timeline: values of a person's windows.

    Args:
        name: what they are.
        unit: of the values.
        values: [windows, samples].
    """

    name: str
    unit: str
    values: np.ndarray


def timeline(
    tracks: Sequence[Track],
    start_s: np.ndarray,
    window_s: float,
    labels: np.ndarray,
    colours: Sequence[str],
    names: Mapping[float, str],
) -> Html:
    """A person's recordings one after the other: signals, and the labels under them.

    Args:
        tracks: one line each, lowest and highest value per column; what was left out is empty.
        start_s: [windows] when each begins on the figure's axis, in s.
        window_s: length of a window.
        labels: [windows] class, -1 for none, or rating with nan for none.
        colours: of the classes; empty for ratings.
        names: of the recordings, by the time at which each begins.
    """
    heights = [*([1.0] * len(tracks)), 0.35 if colours else 0.7]
    with styled():
        figure = Figure(figsize=(10, 0.6 + 1.1 * sum(heights)), layout="constrained")
        axes = figure.subplots(
            len(heights), 1, sharex=True, squeeze=False, height_ratios=heights
        ).ravel()
        for axis, track in zip(axes, tracks, strict=False):
            _envelope(axis, track, start_s, window_s)
        _label_strip(axes[-1], start_s, window_s, labels, colours)
        for at in list(names)[1:]:
            for axis in axes:
                axis.axvline(at, color=_GREY, lw=0.6, alpha=0.6)
        axes[-1].set_xlabel("s, the recordings one after the other")
        axes[0].set_xlim(0, float(start_s.max()) + window_s)
        return svg(figure, f"Timeline of {', '.join(list(names.values())[:8])}")


def _envelope(axis: Axes, track: Track, start_s: np.ndarray, window_s: float) -> None:
    """Lowest and highest value in each of `_COLUMNS` columns."""
    end = float(start_s.max()) + window_s
    bins = max(1, min(track.values.shape[1], _COLUMNS // len(start_s)))
    parts = np.array_split(track.values, bins, axis=1)
    at = start_s[:, None] + (np.arange(bins) + 0.5) * window_s / bins
    column = np.minimum((at / end * _COLUMNS).astype(np.int64), _COLUMNS - 1)
    low, high = np.full(_COLUMNS, np.nan), np.full(_COLUMNS, np.nan)
    np.fmin.at(low, column, np.stack([part.min(axis=1) for part in parts], axis=1))
    np.fmax.at(high, column, np.stack([part.max(axis=1) for part in parts], axis=1))
    # a column between two of the same window is no gap
    known = np.flatnonzero(np.isfinite(low))
    near = np.diff(known) <= math.ceil(_COLUMNS * window_s / bins / end)
    for before, after in zip(known[:-1][near], known[1:][near], strict=True):
        low[before + 1 : after], high[before + 1 : after] = low[before], high[before]
    x = (np.arange(_COLUMNS) + 0.5) * end / _COLUMNS
    axis.fill_between(x, low, high, step="mid", color=COLOURS[0], alpha=0.8, lw=0.4)
    axis.set_title(track.name, fontsize=9, loc="left")
    axis.set_ylabel(track.unit, fontsize=8)


def _label_strip(
    axis: Axes, start_s: np.ndarray, window_s: float, labels: np.ndarray, colours: Sequence[str]
) -> None:
    axis.set_title("label", fontsize=9, loc="left")
    if not colours:
        axis.plot(start_s + window_s / 2, labels, ".", color=COLOURS[1], ms=4)
        return
    steps = np.diff(start_s)
    gap_s = 1.5 * float(np.median(steps)) if steps.size else 0.0
    changes = np.flatnonzero((np.diff(labels) != 0) | (steps > gap_s))
    for part in np.split(np.arange(len(labels)), changes + 1):
        label = int(labels[part[0]])
        if label >= 0:
            first, last = start_s[part[0]], start_s[part[-1]] + window_s
            axis.broken_barh([(first, last - first)], (0, 1), color=colours[label], lw=0)
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)


def class_colours(count: int) -> list[str]:
    """A colour per class."""
    return list(COLOURS[:count]) if count <= len(COLOURS) else hues(count)


def before_and_after(dataset: Dataset, example: Recording, filter: str) -> Html:
    """One channel of each type: five seconds and the power spectrum, as recorded and filtered."""
    shown = [
        (name, signal, signal.kinds.index(kind))
        for name, signal in example.signals.items()
        for kind in dict.fromkeys(signal.kinds)
    ]
    with styled():
        figure = Figure(figsize=(10, 2.2 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 2, squeeze=False)
        for (time, spectrum), (name, signal, row) in zip(axes, shown, strict=True):
            band = dataset.paper_band if filter == "paper" else dataset.band.get(signal.kinds[row])
            sos, text = filter_of(band, signal.fs)
            raw = np.asarray(signal.data[row], np.float64)
            curves = [("as recorded", raw, _GREY)]
            if sos is not None:
                causal = filter == "causal"
                x = Stream(sos).push(raw[None])[0] if causal else sosfiltfilt(sos, raw)
                curves.append((text, x, COLOURS[0]))
            at = slice(round(example.baseline_s * signal.fs), None)
            for label, x, colour in curves:
                part = x[at][: round(_SHOWN_S * signal.fs)]
                seconds = np.arange(len(part)) / signal.fs
                time.plot(*_thinned(seconds, part - part.mean()), color=colour, lw=0.8)
                f, power = scipy.signal.welch(x, signal.fs, nperseg=min(len(x), int(4 * signal.fs)))
                power = np.maximum(power[1:], power.max() * 1e-12)
                spectrum.semilogy(*_thinned(f[1:], power), color=colour, label=label, lw=0.9)
            time.set_title(f"{name}, {signal.channels[row]} ({signal.kinds[row]})", fontsize=9)
            time.set_ylabel(f"{signal.unit}, mean removed", fontsize=8)
            spectrum.set_ylabel(f"{signal.unit}²/Hz", fontsize=8)
            spectrum.legend()
        axes[-1, 0].set_xlabel("s")
        axes[-1, 1].set_xlabel("Hz")
        return svg(figure, f"Signals of {_name(example)} before and after filtering")


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest point of each stretch, where there are more than can be seen."""
    step = -(-2 * len(x) // _MOST_POINTS)
    if step <= 2:
        return x, y
    count = len(x) // step
    blocks = y[: count * step].reshape(count, step)
    pair = np.sort(np.stack([blocks.argmin(axis=1), blocks.argmax(axis=1)], axis=1), axis=1)
    at = (pair + step * np.arange(count)[:, None]).ravel()
    return x[at], y[at]


def _name(example: Recording) -> str:
    return f"{example.subject}/{example.trial}"


def channel_map(example: Recording) -> Html | None:
    """Alpha power of the EEG channels with a standard position; None where there are too few."""
    for signal in example.signals.values():
        eeg = [row for row, kind in enumerate(signal.kinds) if kind == "eeg"]
        placed = with_position([signal.channels[row] for row in eeg])
        rows = [eeg[number] for number in placed]
        if len(rows) >= LEAST_POSITIONS:
            with styled():
                figure = Figure(figsize=(7.2, 6), layout="constrained")
                FigureCanvasAgg(figure)
                scalp(signal, rows, figure)
                description = f"Alpha power over the scalp of {_name(example)}"
                return png(figure, description, "scalp", transparent=True)
    return None


def scalp(signal: Signal, rows: list[int], figure: Figure) -> list[Text]:
    """Draw alpha power over the head.

    Args:
        signal: EEG among others.
        rows: of its channels with a standard position.
        figure: where; it has a canvas.

    Returns:
        The names that are shown.
    """
    x = np.asarray(signal.data[rows], np.float64)
    f, power = scipy.signal.welch(x, signal.fs, nperseg=min(x.shape[1], int(2 * signal.fs)))
    inside = (f >= _ALPHA[0]) & (f <= _ALPHA[1])
    values = np.log10(np.maximum(power[:, inside].mean(1), np.finfo(float).tiny))
    names = [signal.channels[row] for row in rows]
    return draw_head(values, names, figure, f"log10 {signal.unit}²/Hz", shown=names)


def tracking(face: FaceSeries, of: str = "") -> Html:
    """Where the face was lost, the tracker's confidence, and the mean action unit, over time.

    Args:
        face: the series.
        of: the recording's name.
    """
    seconds = np.arange(len(face.valid)) / face.fps
    rows = 1 if face.au_intensity is None else 2
    with styled():
        figure = Figure(figsize=(10, 1.5 * rows), layout="constrained")
        above, *below = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        above.fill_between(seconds, face.valid, step="mid", alpha=0.5, color=COLOURS[2], lw=0)
        for axis in (above, *below):
            axis.fill_between(
                *(seconds, 0, 1, ~face.valid),
                **{"step": "mid", "color": COLOURS[5], "alpha": 0.35, "lw": 0},
                transform=axis.get_xaxis_transform(),
            )
        if face.confidence is not None:
            lowest = _thinned(seconds, face.confidence)
            above.plot(*lowest, color=COLOURS[1], lw=0.8, label="confidence")
            above.legend(loc="lower right")
        above.set_ylim(0, 1.05)
        above.set_ylabel("tracked")
        if face.au_intensity is not None:
            mean = np.where(face.valid, face.au_intensity.mean(1), np.nan)
            step = max(1, len(mean) // _MOST_POINTS)
            below[0].plot(seconds[::step], mean[::step], lw=0.8, color=COLOURS[0])
            below[0].set_ylabel("mean AU, 0-5")
        (below or [above])[-1].set_xlabel("s")
        return svg(figure, f"Face tracking over time {of}".strip())


def labels(
    columns: Mapping[str, np.ndarray], edges: Mapping[str, Sequence[float]] | None = None
) -> Html:
    """A histogram of every label, and valence against arousal where both are ratings.

    Args:
        columns: one value per recording, nan or "" where there is none.
        edges: where the task splits a column of ratings.
    """
    edges = edges or {}
    crossed = all(each in columns and columns[each].dtype.kind == "f" for each in _CROSSED)
    count = len(columns) + crossed
    across = min(count, 3)
    down = math.ceil(count / across)
    with styled():
        figure = Figure(figsize=(10 * across / 3, 2.6 * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for axis, (name, values) in zip(axes, columns.items(), strict=False):
            if values.dtype.kind == "f":
                values = values[np.isfinite(values)]
                on_nine = values.size and values.min() >= 1 and values.max() <= 9
                bins = np.arange(0.75, 9.5, 0.5) if on_nine else 16
                axis.hist(values, bins=bins, color=COLOURS[0])
                for edge in edges.get(name, ()):
                    axis.axvline(edge, color=_GREY, lw=0.8)
            else:
                found, counts = np.unique(values[values != ""], return_counts=True)
                axis.barh(
                    found, counts, color=COLOURS[0]
                )  # across, so that long names do not overlap
                axis.invert_yaxis()
            axis.set_title(name, fontsize=9)
        if crossed:
            axis = axes[len(columns)]
            axis.scatter(columns["valence"], columns["arousal"], s=8, alpha=0.6, color=COLOURS[0])
            for edge in edges.get("valence", ()):
                axis.axvline(edge, color=_GREY, lw=0.8)
            for edge in edges.get("arousal", ()):
                axis.axhline(edge, color=_GREY, lw=0.8)
            axis.set_xlabel("valence")
            axis.set_ylabel("arousal")
        for axis in axes[count:]:
            axis.set_axis_off()
        return svg(figure, "Histograms of labels")
