"""`SampleClock`: from a stream's timestamps to which samples are there, and when.

A stream says its rate, and stamps its samples. Stamps that lie on the rate's grid (a device that
counts, an exact player) tell every lost sample. Others are taken when samples arrive, chunk by
chunk or in bursts, and jitter: these tell gaps of a quarter of a second and more (of slow streams
every lost sample), and are smoothed over ten seconds, which also follows the drift of the device's
clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from clmer.live.formats import StreamCounts

#: Share of a sample by which the stamps of one chunk may be off, and those on the grid; and how
#: much more for each sample between them, where the device's clock is not the stream's.
_REGULAR, _ON_GRID, _DRIFTS = 0.1, 0.02, 3e-4
#: Steps of this length or less (in samples) are the same stamp twice.
_SAME = 1e-6
#: Steps off the grid, of the last ones, from which on stamps jitter; and what each leaves of them.
_JITTERS, _KEPT = 0.3, 0.9
#: Steps on the grid after which one that is off it, and so long, is a gap all the same.
_SURE, _OFF_GAP = 8, 2.5
#: What tells a gap among stamps that jitter: so many seconds, of slow streams so many samples, and
#: so many times the usual jitter.
_GAP_S, _SLOW, _TIMES_JITTER = 0.25, 0.6, 8.0
#: Rate in Hz below which a stream is slow.
_SLOW_HZ = 20.0
#: Stamps that go back by more seconds than this are a clock that jumped.
JUMP_S = 1.0
#: Seconds over which stamps are smoothed.
_SMOOTHED_S = 10.0


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
        self._off_grid = self._jitter = 0.0  # share of steps, and seconds
        self._on_grid = 0  # steps on the grid so far

    def restart(self) -> None:
        """Begin a piece with the next sample, whatever came before."""
        self._last = math.nan

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
        """Samples at the stream's rate, whatever the step before them."""
        if math.isnan(self._last):
            yield self._begin(first, stop, stamps, jumped=False)
            return
        if stamps[0] - self._last < -JUMP_S:
            self.counts.clock_jumps += 1
            yield self._begin(first, stop, stamps, jumped=True)
            return
        old = self._count_old(stamps)
        first, stamps = first + old, stamps[old:]
        if first == stop:
            return
        lost, exact = self._lost_before(stamps[0])
        self.counts.lost += lost
        if lost > self._most_lost:
            self.counts.gaps += 1
            start_s = self._next + lost / self.fs - self.drift_s if exact else None
            yield self._begin(first, stop, stamps, jumped=False, start_s=start_s)
            return
        self._next += lost / self.fs
        yield Placed(first, stop, lost, self._next - self.drift_s, False, False)
        self._follow(stamps)

    @property
    def _jitters(self) -> bool:
        return self._off_grid > _JITTERS

    def _count_old(self, stamps: np.ndarray) -> int:
        """How many come twice or late: where stamps lie on the grid, as far as they go back."""
        step = (stamps[0] - self._last) * self.fs
        if self._jitters or step > _SAME or abs(step - round(step)) > _ON_GRID:
            return 0
        old = int((stamps <= self._last + _SAME / self.fs).sum())
        repeated = int(step >= -_SAME)
        self.counts.repeated += repeated
        self.counts.late += old - repeated
        return old

    def _lost_before(self, stamp: float) -> tuple[int, bool]:
        """Samples missing before a stamp, and whether it lies on the grid of those before."""
        step = (stamp - self._last) * self.fs
        whole = max(1, round(step))
        exact = abs(step - whole) <= _ON_GRID + _DRIFTS * whole
        jittered, sure = self._jitters, self._on_grid >= _SURE
        self._off_grid = _KEPT * self._off_grid + (1 - _KEPT) * (not exact)
        self._on_grid += exact
        if exact and not jittered:
            return whole - 1, True
        if not jittered and sure and step >= _OFF_GAP:
            return whole - 1, False
        late_s = stamp - self._next
        least_s = _SLOW / self.fs if self.fs < _SLOW_HZ else _GAP_S
        is_gap = late_s > max(least_s, _TIMES_JITTER * self._jitter)
        return (round(late_s * self.fs) if is_gap else 0), False

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
