"""A signal's segments at the common rate, and where windows lie in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clmer.data.recording import Signal


@dataclass(frozen=True)
class Segment:
    """Samples [C, T] at the common rate without a gap, the first of them at `start_s`."""

    start_s: float
    x: np.ndarray
    fs: float

    @property
    def stop_s(self) -> float:
        """Their end."""
        return self.start_s + self.x.shape[1] / self.fs


def bridge(signal: Signal, longest_s: float) -> tuple[Signal, int]:
    """Interpolate linearly where a few samples were lost; longer pauses stay.

    Args:
        signal: any, [C, T].
        longest_s: seconds of such a gap at most, a single sample at any rate; 0 for none.

    Returns:
        [C, T + n], and n, how many samples were lost.
    """
    line, lost = signal.line.bridged(longest_s)
    total = sum(lost.values())
    if not total:
        return signal, 0
    before = np.zeros(signal.data.shape[1], np.int64)
    before[list(lost)] = list(lost.values())
    place = np.arange(len(before)) + np.cumsum(before)
    data = np.empty((len(signal.data), len(before) + total), signal.data.dtype)
    for row, values in enumerate(signal.data):
        data[row] = np.interp(np.arange(data.shape[1]), place, values)
    return replace(signal, data=data, timeline=line), total


@dataclass(frozen=True)
class Places:
    """Where the windows lie in a signal's segments.

    Args:
        segment: [n] the segment that holds each whole; -1 where none does.
        first: [n] its first sample there.
        early, late: [n] bool, before the first or after the last segment.
        paused: [n] bool, wholly within a pause, where there is nothing to leave out.
    """

    segment: np.ndarray
    first: np.ndarray
    early: np.ndarray
    late: np.ndarray
    paused: np.ndarray

    def of_rows(self, keep: np.ndarray) -> Places:
        """Those of some windows."""
        columns = (self.segment, self.first, self.early, self.late, self.paused)
        return Places(*(column[keep] for column in columns))


def find_places(segments: Sequence[Segment], start_s: np.ndarray, length: int, fs: float) -> Places:
    """The places of windows of `length` samples at `fs` Hz that begin at `start_s` [n]."""
    which = np.full(len(start_s), -1)
    first = np.zeros(len(start_s), np.int64)
    paused, stop_s = np.ones(len(start_s), bool), start_s + length / fs
    for number, segment in enumerate(segments):
        paused &= (stop_s <= segment.start_s) | (start_s >= segment.stop_s)
        at = np.rint((start_s - segment.start_s) * fs).astype(np.int64)
        inside = (at >= 0) & (at + length <= segment.x.shape[1])
        which[inside], first[inside] = number, at[inside]
    half = 0.5 / fs
    late = (which < 0) & (start_s + length / fs > segments[-1].stop_s + half)
    early = (which < 0) & (start_s < segments[0].start_s - half)
    return Places(which, first, early, late, paused & ~early & ~late)


def take_windows(segments: Sequence[Segment], places: Places, length: int) -> np.ndarray:
    """[n, C, length] float32 out of segments [C, T]."""
    out = np.empty((len(places.first), len(segments[0].x), length), np.float32)
    for number, segment in enumerate(segments):
        held = np.flatnonzero(places.segment == number)
        if not len(held):  # such as a segment that is shorter than a window
            continue
        rows = _as_slice(held)
        at = _as_slice(places.first[rows])
        views = np.lib.stride_tricks.sliding_window_view(segment.x, length, axis=1)
        out[rows] = views[:, at].transpose(1, 0, 2)  # [C, n, length]
    return out


def _as_slice(numbers: np.ndarray) -> slice | np.ndarray:
    """Evenly spaced numbers [n] as a slice, which is read without a copy."""
    step = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    if step < 1 or (np.diff(numbers) != step).any():
        return numbers
    return slice(int(numbers[0]), int(numbers[-1]) + 1, step)
