"""One stream's signals: lost samples filled, filtered and resampled as they come, and kept a while.

A piece is a stretch without a gap, as in `clmer.data.timeline`; the filter starts anew in each, and
no window crosses from one to the next.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clmer.data.store.filtering import CausalFilter, rows_by_band
from clmer.data.store.plan import WindowPlan
from clmer.live.clock import Placed, SampleClock
from clmer.live.formats import Recent, StreamCounts, StreamFormat

#: Share of a sample by which times may be off.
_ROUNDING = 1e-3
#: A sample, in our unit, that is none: filters of many of them would leave float32's range.
_LARGEST = 1e30


@dataclass(frozen=True)
class Channels:
    """A modality's channels in a stream.

    Args:
        name: of the modality.
        rows: [C] which of the stream's channels.
        factors: [C] what brings each to the run's unit.
        kinds: C signal types.
    """

    name: str
    rows: np.ndarray
    factors: np.ndarray
    kinds: tuple[str, ...]


class Tape:
    """The newest samples of channels at a rate, from `start_s` on.

    Args:
        start_s: time of sample 0.
        fs: Hz.
        keep: samples that stay.
    """

    def __init__(self, start_s: float, fs: float, keep: int) -> None:
        self.start_s, self.fs = start_s, fs
        self._keep = keep
        self._data: np.ndarray | None = None  # [C, room]
        self._first = self._count = 0  # number of column 0, and filled columns

    @property
    def stop(self) -> int:
        """Samples so far."""
        return self._first + self._count

    def append(self, x: np.ndarray) -> None:
        """The next samples [C, n]."""
        if self._data is None:
            self._data = np.empty((len(x), 4 * self._keep), x.dtype)
        for at in range(0, x.shape[1], self._keep):
            part = x[:, at : at + self._keep]
            if self._count + part.shape[1] > self._data.shape[1]:
                old = self._count - self._keep
                self._data[:, : self._keep] = self._data[:, old : self._count].copy()
                self._first, self._count = self._first + old, self._keep
            self._data[:, self._count : self._count + part.shape[1]] = part
            self._count += part.shape[1]

    def read(self, first: int, stop: int) -> np.ndarray | None:
        """Samples `first` to `stop`, the latter left out; None where one is not there any more."""
        if self._data is None or first < self._first or stop > self.stop:
            return None
        return self._data[:, first - self._first : stop - self._first]

    def newest(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Times [n] and samples [C, n] of the newest, `count` at most."""
        first = max(self._first, self.stop - count)
        x = self.read(first, self.stop)
        data = np.empty((0, 0)) if x is None else x.copy()
        return self.start_s + np.arange(first, self.stop) / self.fs, data


class ModalityBuffer:
    """One modality of a stream, as prepared, in pieces.

    Args:
        plan: windows, bands and the common rate.
        channels: which of the stream's.
        fs: the stream's rate, Hz.
        keep_s: seconds that stay.
    """

    def __init__(self, plan: WindowPlan, channels: Channels, fs: float, keep_s: float) -> None:
        self.name = channels.name
        self._channels, self._fs, self._out_fs = channels, fs, plan.dataset.fs
        self._bands = rows_by_band(plan, channels.kinds)
        self._keep_s = keep_s
        self._filter = CausalFilter(self._bands, fs, self._out_fs)
        self._raw = Tape(0.0, fs, 1)
        self._pieces: deque[Tape] = deque()
        self._has_dropped = False  # an older piece

    @property
    def first_s(self) -> float | None:
        """When the oldest piece that is kept began; None before the first."""
        return self._pieces[0].start_s if self._pieces else None

    def begin(self, start_s: float) -> None:
        """A piece begins."""
        self._filter = CausalFilter(self._bands, self._fs, self._out_fs)
        self._raw = self._tape(start_s, self._fs)
        self._pieces.append(self._tape(start_s, self._out_fs))
        while len(self._pieces) > 1 and self._ends(self._pieces[0]) < start_s - self._keep_s:
            self._pieces.popleft()
            self._has_dropped = True

    def clear(self) -> None:
        """Forget all pieces."""
        self._pieces.clear()
        self._has_dropped = False

    def push(self, x: np.ndarray) -> None:
        """The next samples [stream's channels, n] of the piece."""
        own = x[self._channels.rows] * self._channels.factors[:, None]
        self._raw.append(own.astype(np.float32))
        self._pieces[-1].append(self._filter.push(own))

    def window(self, start_s: float, length: int) -> np.ndarray | str:
        """Prepared samples [C, length] from a time on; "" for not yet, or why there are none.

        The place is the nearest sample, as in `clmer.data.store.segments`.
        """
        if not self._pieces:
            return ""
        half_s = 0.5 / self._out_fs
        for piece in self._pieces:
            at = round((start_s - piece.start_s) * self._out_fs)
            if at >= 0 and (x := piece.read(at, at + length)) is not None:
                return x
        last = self._pieces[-1]
        if start_s >= last.start_s - half_s:
            at = round((start_s - last.start_s) * self._out_fs)
            return "" if at + length > last.stop else f"{self.name} too long ago"
        before = start_s < self._pieces[0].start_s - half_s and not self._has_dropped
        return f"before the start of {self.name}" if before else f"gap in {self.name}"

    def pause_end(self, start_s: float, stop_s: float) -> float | None:
        """When recording went on, where nothing was recorded in a stretch; else None."""
        for piece in self._pieces:
            if piece.start_s >= stop_s:
                return piece.start_s
            if start_s < self._ends(piece):
                return None
        return None

    def recent(self, seconds: float, drift_s: float) -> Recent:
        """The newest samples of the newest piece."""
        prepared = self._pieces[-1] if self._pieces else Tape(0.0, self._out_fs, 1)
        times, samples = self._raw.newest(math.ceil(seconds * self._fs))
        prepared_times, x = prepared.newest(math.ceil(seconds * self._out_fs))
        return Recent(times + drift_s, samples, prepared_times + drift_s, x)

    def _tape(self, start_s: float, fs: float) -> Tape:
        return Tape(start_s, fs, math.ceil(self._keep_s * fs))

    def _ends(self, piece: Tape) -> float:
        return piece.start_s + piece.stop / piece.fs


class SignalStream:
    """A stream of signals, and the modalities in it.

    Args:
        plan: windows, bands and the common rate.
        format: its channels and rate.
        modalities: the channels of each.
        keep_s: seconds that stay.
    """

    def __init__(
        self, plan: WindowPlan, format: StreamFormat, modalities: Sequence[Channels], keep_s: float
    ) -> None:
        fs = self.fs = format.fs
        self.channels = len(format.channels)
        # As `Timeline.bridged` counts: one lost sample may be filled at any rate.
        most = max(1, math.floor(plan.bridge_s * fs + 1e-3)) if plan.bridge_s > 0 else 0
        self._most_lost = most
        self.clock = SampleClock(fs, most)
        self.buffers = [ModalityBuffer(plan, each, fs, keep_s) for each in modalities]
        self._used = np.unique(np.concatenate([each.rows for each in modalities]))
        self._keep_s = keep_s
        self._limit = np.full(len(self._used), np.inf)
        for each in modalities:
            at = np.searchsorted(self._used, each.rows)
            self._limit[at] = np.minimum(self._limit[at], _LARGEST / np.abs(each.factors))
        self._newest: np.ndarray | None = None  # [channels, 1]
        self._missing = 0.0  # samples since the newest
        self._filled: deque[float] = deque()  # when samples were lost

    @property
    def first_s(self) -> float | None:
        """Time of the first sample, without the drift; None before it."""
        return self.buffers[0].first_s

    @property
    def counts(self) -> StreamCounts:
        """What became of the samples."""
        return self.clock.counts

    @property
    def drift_s(self) -> float:
        """What the stream's times are off by, see `SampleClock`."""
        return self.clock.drift_s

    def stamps(self, count: int) -> np.ndarray:
        """Times of the next samples, where they have none."""
        return self.clock.stamps(count)

    def push(self, samples: np.ndarray, stamps: np.ndarray) -> bool:
        """The next samples [channels, n] and their times [n]; whether the clock jumped.

        Samples that are not finite, or beyond what a filter can hold, count as lost.
        """
        self.counts.received += samples.shape[1]
        jumped = False
        for placed in self.clock.place(stamps):
            jumped |= placed.jumped
            if placed.jumped:
                self._forget()
            self._add(samples[:, placed.first : placed.stop], placed)
        return jumped

    def clear(self) -> None:
        """Forget what came: a piece begins with the next sample."""
        self.clock.restart()
        self._forget()

    def _forget(self) -> None:
        self._filled.clear()
        for buffer in self.buffers:
            buffer.clear()

    def lost_within(self, start_s: float, stop_s: float) -> int:
        """Lost and interpolated samples in a stretch of time without the drift."""
        edge_s = _ROUNDING / self.clock.fs
        while self._filled and self._filled[0] < start_s - self._keep_s:
            self._filled.popleft()
        return sum(start_s - edge_s <= at < stop_s - edge_s for at in self._filled)

    def _add(self, x: np.ndarray, placed: Placed) -> None:
        """Samples of which some may be no numbers."""
        used = x[self._used]
        good = (np.abs(used) < self._limit[:, None]).all(0)
        self.counts.lost += int((~good).sum())
        self._missing = math.inf if placed.anew else self._missing + placed.lost
        edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype(np.int8)))
        before = 0
        for first, stop in edges.reshape(-1, 2).tolist():
            self._missing += first - before
            self._put(x[:, first:stop], placed.start_s + first / self.fs)
            before = stop
        self._missing += x.shape[1] - before

    def _put(self, x: np.ndarray, start_s: float) -> None:
        """Samples that are numbers, after `_missing` that are not there."""
        if self._newest is None or self._missing > self._most_lost:
            self.counts.gaps += math.isfinite(self._missing) and self._newest is not None
            for buffer in self.buffers:
                buffer.begin(start_s)
        elif self._missing:
            count = int(self._missing)
            share = np.arange(1, count + 1) / (count + 1)
            between = self._newest + share * (x[:, :1] - self._newest)
            self._filled.extend((start_s - np.arange(count, 0, -1) / self.fs).tolist())
            self.counts.interpolated += count
            x = np.concatenate((between, x), 1)
        for buffer in self.buffers:
            buffer.push(x)
        self._newest = np.array(x[:, -1:], np.float64)
        self._missing = 0
