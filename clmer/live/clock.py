"""`SampleClock`: from a stream's timestamps to which samples are there, and when.

A stream says its rate, and stamps its samples. Stamps that lie on the rate's grid (a device that
counts, an exact player) tell every lost sample. Others are taken when a chunk is sent, and jitter:
these tell gaps of a quarter of a second and more, and are smoothed over ten seconds, which also
follows the drift of the device's clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from clmer.live.formats import StreamCounts

#: Share of a sample by which the stamps of one chunk may be off, and those on the grid.
_REGULAR, _ON_GRID = 0.1, 0.02
#: What tells a gap among stamps that jitter: so many seconds, and so many times the usual jitter.
_GAP_S, _TIMES_JITTER = 0.25, 8.0
#: Stamps that go back by more seconds than this are a clock that jumped.
_JUMP_S = 1.0
#: Seconds over which stamps are smoothed, and what is left of jitter after each chunk without any.
_SMOOTHED_S, _KEPT = 10.0, 0.9


class Placed(NamedTuple):
    """Samples of a chunk one after the other.

    Args:
        first, stop: which of the chunk's.
        lost: samples missing before them; 0 where they begin a piece.
        start_s: time of the first, without the drift.
        anew: a piece begins, nothing before counts.
        jumped: the clock jumped: nothing of any stream before counts.
    """

    first: int
    stop: int
    lost: int
    start_s: float
    anew: bool
    jumped: bool


class SampleClock:
    """Follows one stream.

    Args:
        fs: its rate, Hz.
        most_lost: lost samples up to which a piece goes on.

    Attributes:
        drift_s: what is added to a time without the drift to have it on the streams' clock.
        counts: see `StreamCounts`.
    """

    def __init__(self, fs: float, most_lost: int) -> None:
        self.fs = fs
        self.counts = StreamCounts()
        self.drift_s = 0.0
        self._most_lost = most_lost
        self._last = math.nan  # stamp of the newest sample
        self._next = math.nan  # when the next is expected, with the drift
        self._began = math.nan
        self._off_grid = self._jitter = 0.0

    def stamps(self, count: int) -> np.ndarray:
        """Times of the next samples of a stream that has none: one after the other."""
        first = 0.0 if math.isnan(self._last) else self._last + 1 / self.fs
        return first + np.arange(count) / self.fs

    def place(self, stamps: np.ndarray) -> Iterator[Placed]:
        """Where the next samples belong; those that come twice or late are left out.

        Args:
            stamps: [n] seconds.

        Raises:
            ValueError: a stamp that is not finite.
        """
        if not np.isfinite(stamps).all():
            raise ValueError("timestamps: found one that is not finite, expected seconds")
        breaks = np.flatnonzero(np.abs(np.diff(stamps) * self.fs - 1) > _REGULAR) + 1
        edges = [0, *breaks.tolist(), len(stamps)]
        for first, stop in zip(edges, edges[1:], strict=False):
            if stop > first:
                yield from self._run(first, stop, stamps[first:stop])

    def _run(self, first: int, stop: int, stamps: np.ndarray) -> Iterator[Placed]:
        """Samples at the stream's rate, on the grid of those before or not."""
        if math.isnan(self._last):
            yield self._begin(first, stop, stamps, jumped=False)
            return
        steps = (stamps[0] - self._last) * self.fs
        off = abs(steps - round(steps))
        self._off_grid = max(off, _KEPT * self._off_grid)
        if stamps[0] - self._last < -_JUMP_S:
            self.counts.clock_jumps += 1
            yield self._begin(first, stop, stamps, jumped=True)
            return
        exact = self._off_grid < _ON_GRID
        if exact and steps < 0.5:
            old = int((stamps <= self._last + 0.5 / self.fs).sum())
            repeated = int(steps > -0.5)
            self.counts.repeated += repeated
            self.counts.late += old - repeated
            first, stamps = first + old, stamps[old:]
            if first == stop:
                return
            steps = (stamps[0] - self._last) * self.fs
        lost = round(steps) - 1 if exact else self._lost_within_jitter(stamps[0])
        self.counts.lost += lost
        if lost > self._most_lost:
            self.counts.gaps += 1
            start_s = self._next + lost / self.fs - self.drift_s if exact else None
            yield self._begin(first, stop, stamps, jumped=False, start_s=start_s)
            return
        self.counts.interpolated += lost
        self._next += lost / self.fs
        yield Placed(first, stop, lost, self._next - self.drift_s, False, False)
        self._follow(stamps)

    def _lost_within_jitter(self, stamp: float) -> int:
        late_s = stamp - self._next
        return round(late_s * self.fs) if late_s > max(_GAP_S, _TIMES_JITTER * self._jitter) else 0

    def _begin(
        self,
        first: int,
        stop: int,
        stamps: np.ndarray,
        *,
        jumped: bool,
        start_s: float | None = None,
    ) -> Placed:
        if math.isnan(self._began) or jumped:
            self._began, self.drift_s = float(stamps[0]), 0.0
        if start_s is None:
            start_s = float(stamps[0]) - self.drift_s
        self._next = start_s + self.drift_s
        self._follow(stamps)
        return Placed(first, stop, 0, start_s, True, jumped)

    def _follow(self, stamps: np.ndarray) -> None:
        """Move on behind samples, and let the drift follow their stamps."""
        expected = self._next + np.arange(len(stamps)) / self.fs
        late_s = float((stamps - expected).mean())
        self._jitter += (abs(late_s) - self._jitter) * (1 - _KEPT)
        correction = late_s * -math.expm1(-len(stamps) / self.fs / _SMOOTHED_S)
        self.drift_s += correction
        self._next += len(stamps) / self.fs + correction
        self._last = self.counts.last_s = float(stamps[-1])
        elapsed_s = self._last - self._began
        if elapsed_s > _SMOOTHED_S:
            self.counts.drift_ppm = 1e6 * self.drift_s / elapsed_s
