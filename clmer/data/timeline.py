"""When samples were recorded: pieces between pauses, and spans that the file marks as bad.

A piece is a stretch without a gap. Filters run within a piece and never across a pause; a window
lies within one piece of every modality, and outside all bad spans (`clmer.data.cutting`). Times
are in seconds on the recording's own clock, which goes on during a pause.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

#: A time may be off by this share of a sample before a piece is said to begin earlier or later.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Piece:
    """Samples `first` to `stop` (the latter left out), the first of them at `start_s`."""

    start_s: float
    first: int
    stop: int


@dataclass(frozen=True)
class Span:
    """A stretch of time, and what is wrong with it ("marked BAD_movement")."""

    start_s: float
    stop_s: float
    reason: str


@dataclass(frozen=True)
class Timeline:
    """A recording's pieces, in order, and its bad spans.

    Args:
        fs: samples a second.
        pieces: in order of time; they hold all samples.
        bad: in any order.
    """

    fs: float
    pieces: tuple[Piece, ...]
    bad: tuple[Span, ...] = ()

    @classmethod
    def whole(cls, fs: float, count: int, bad: Iterable[Span] = ()) -> Timeline:
        """`count` samples without a pause."""
        return cls(fs, (Piece(0.0, 0, count),) if count else (), tuple(bad))

    @classmethod
    def broken(
        cls, fs: float, count: int, breaks: Iterable[int], bad: Iterable[Span] = ()
    ) -> Timeline:
        """Samples with pauses of unknown length before some of them; the clock counts samples."""
        at = sorted({0, count, *(b for b in breaks if 0 < b < count)})
        pieces = (Piece(a / fs, a, b) for a, b in zip(at, at[1:], strict=False))
        return cls(fs, tuple(pieces), tuple(bad))

    @classmethod
    def clocked(
        cls, fs: float, onsets: np.ndarray, per_record: int, finest: float = 0.0
    ) -> Timeline:
        """Records of equal length that each state when they began.

        Args:
            fs: samples a second.
            onsets: [records] seconds.
            per_record: samples of a record.
            finest: Hz of the file's fastest signal, if that is another; a pause of one of its
                samples is one for all of them.

        Raises:
            ValueError: a record begins before the one before it has ended.
        """
        late = np.diff(onsets) - per_record / fs
        # Onsets are rounded in the file, so that a jitter below a sample is no pause.
        jitter = (1 - _ROUNDING) / max(fs, finest)
        if (late < -jitter).any():
            record = int(np.flatnonzero(late < -jitter)[0]) + 1
            raise ValueError(f"record {record + 1} begins {-late[record - 1]:g} s too early")
        starts = [0, *(np.flatnonzero(late > jitter) + 1).tolist(), len(onsets)]
        origin = float(onsets[0]) if len(onsets) else 0.0
        pieces = (
            Piece(float(onsets[a]) - origin, a * per_record, b * per_record)
            for a, b in zip(starts, starts[1:], strict=False)
        )
        return cls(fs, tuple(pieces))

    @property
    def duration_s(self) -> float:
        """From the first sample's time to the end of the last one's, pauses included."""
        last = self.pieces[-1] if self.pieces else Piece(0.0, 0, 0)
        return last.start_s + (last.stop - last.first) / self.fs

    def part(self, start_s: float, stop_s: float, finest: float) -> Timeline:
        """What lies between two times, on a clock that starts at `start_s`.

        Args:
            start_s: first second.
            stop_s: end.
            finest: Hz; where a sample nearest to `start_s` is off by more than half a period of
                this, the one before it comes first, so that nothing is missing.

        Returns:
            Pieces whose samples are numbered as in the whole.
        """
        pieces = []
        for piece in self.pieces:
            first = piece.first + max(0, self._sample((start_s - piece.start_s), finest))
            end = piece.first + math.ceil((stop_s - piece.start_s) * self.fs - _ROUNDING)
            stop = min(piece.stop, end)
            if first < stop:
                time = piece.start_s + (first - piece.first) / self.fs - start_s
                near = abs(time) * self.fs < _ROUNDING
                pieces.append(Piece(0.0 if near else time, first, stop))
        bad = (
            Span(max(span.start_s - start_s, 0.0), span.stop_s - start_s, span.reason)
            for span in self.bad
            if span.stop_s > start_s and span.start_s < stop_s
        )
        return Timeline(self.fs, tuple(pieces), tuple(bad))

    def _sample(self, seconds: float, finest: float) -> int:
        exact = seconds * self.fs
        nearest = round(exact)
        if abs(nearest - exact) / self.fs <= 0.5 / finest + 1e-9:
            return nearest
        return math.floor(exact)

    def shifted(self) -> Timeline:
        """The same with samples numbered from 0, as in an array of its pieces side by side."""
        at, pieces = 0, []
        for piece in self.pieces:
            count = piece.stop - piece.first
            pieces.append(Piece(piece.start_s, at, at + count))
            at += count
        return Timeline(self.fs, tuple(pieces), self.bad)


def marked(
    annotations: Sequence[tuple[float, float, str]], fs: float
) -> tuple[list[int], list[Span]]:
    """Pauses and bad spans out of annotations (seconds, duration in s, text), as MNE names them.

    "BAD..." with a duration is a bad span. "boundary", "New Segment", "EDGE ..." and "BAD boundary"
    are joints: the samples before and after were not recorded one after the other.

    Returns:
        sample numbers before which there is a joint; bad spans.
    """
    breaks, bad = [], []
    for onset, duration, text in annotations:
        low = text.lower().removeprefix("comment/")  # BrainVision's markers of free text
        joint = "boundary" in low or "new segment" in low or low.startswith("edge")
        if joint:
            breaks.append(math.ceil(onset * fs - _ROUNDING))
        elif low.startswith("bad_acq_skip"):
            breaks += [round(onset * fs), round((onset + duration) * fs)]
            bad.append(Span(onset, onset + duration, "not recorded"))
        elif low.startswith("bad") and duration > 0:
            bad.append(Span(onset, onset + duration, f"marked {text}"))
    return breaks, bad
