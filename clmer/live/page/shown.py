"""What goes to a session's page: thinned to what a screen shows, and small enough to send."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clmer.live.formats import LiveWindow, Recent, StreamCounts

#: Seconds of signals, and of windows, that are shown.
SECONDS, MINUTE_S = 5.0, 60.0
_COLUMNS = 200  # of the screen, each with its lowest and highest sample


@dataclass(frozen=True)
class Layout:
    """What stays the same while a session runs.

    Args:
        title: of the page.
        classes: names of a window's values; none of a rating.
        channels: names by modality.
        units: by modality.
    """

    title: str
    classes: tuple[str, ...]
    channels: dict[str, tuple[str, ...]]
    units: dict[str, str]


@dataclass(frozen=True)
class ShownWindow:
    """A window; the values are [classes] or [1], empty where there are none."""

    stop_s: float
    values: tuple[float, ...]
    status: str
    lost: int
    latency_s: float

    @classmethod
    def of(cls, window: LiveWindow) -> ShownWindow:
        """A window as it is shown."""
        values = () if window.values is None else tuple(np.atleast_1d(window.values).tolist())
        return cls(window.stop_s, values, window.status, window.lost, window.latency_s)


@dataclass(frozen=True, eq=False)
class Lines:
    """Times [k] in s and values [C, k] float32 of one modality."""

    times: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Shown:
    """One update.

    Args:
        signals: by modality the lines before and after the filter.
        windows: that became complete since the last one.
        counts: by stream, by name of the count.
        reference_left_s: seconds of the reference still to come.
        missing: streams that are not there at the moment.
    """

    signals: dict[str, tuple[Lines, Lines]]
    windows: tuple[ShownWindow, ...]
    counts: dict[str, dict[str, float]]
    reference_left_s: float
    missing: tuple[str, ...]


def counted(counts: StreamCounts) -> dict[str, float]:
    """Counts by name, in the order of the page."""
    names = ("received", "lost", "interpolated", "repeated", "late", "gaps", "clock_jumps")
    return {name: getattr(counts, name) for name in (*names, "drift_ppm")}


def thinned(recent: Recent) -> tuple[Lines, Lines]:
    """The lines before and after the filter of the newest `SECONDS`."""
    return (
        envelope(recent.times, recent.samples),
        envelope(recent.prepared_times, recent.prepared),
    )


def envelope(times: np.ndarray, values: np.ndarray) -> Lines:
    """Lines that look the same at `_COLUMNS` columns: each column's lowest and highest value.

    Args:
        times: [n] s.
        values: [C, n].

    Returns:
        All samples where they are few, else 2 per column, in the order in which they came.
    """
    step = len(times) // _COLUMNS
    if step < 3:
        return Lines(times, values.astype(np.float32))
    whole = len(times) - len(times) % step
    columns = values[:, -whole:].reshape(len(values), -1, step)
    low, high = columns.argmin(axis=2), columns.argmax(axis=2)
    first, second = np.minimum(low, high)[..., None], np.maximum(low, high)[..., None]
    ends = np.take_along_axis(columns, np.concatenate([first, second], axis=2), axis=2)
    at = times[-whole:].reshape(-1, step)[:, [0, step // 2]]
    return Lines(at.ravel(), ends.reshape(len(values), -1).astype(np.float32))


def spread(values: np.ndarray) -> float:
    """What lies between two channels' zero lines: what the usual channel spans, rounded up.

    Args:
        values: [C, k]; NaN where there are none.

    Returns:
        1, 2 or 5 times a power of 10, so that it changes seldom.
    """
    known = values[np.isfinite(values).any(axis=1)]
    spans = np.nanmax(known, axis=1) - np.nanmin(known, axis=1) if len(known) else np.zeros(1)
    usual = float(np.median(spans))
    if not usual:
        return 1.0
    power = 10.0 ** np.floor(np.log10(usual))
    return float(power * next(step for step in (1, 2, 5, 10) if step * power >= usual))
