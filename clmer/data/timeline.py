"""When samples were recorded: pieces between pauses, and spans that the file marks as bad.

A piece is a stretch without a gap. Filters run within a piece and never across a pause; a window
lies within one piece of every modality, and outside all bad spans (`clmer.data.store.windowing`).
Times are in seconds on the recording's own clock, which goes on during a pause.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: A time may be off by this share of a sample before a piece is said to begin earlier or later.
_ROUNDING = 1e-3
#: Share of a sample by which lost samples may fail to fill a pause.
_OFF_BEAT = 0.1
#: No recording lasts longer (30 years); a time stamp beyond is damage, or of another clock.
_LONGEST_S = 1e9


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
        fs: samples per second.
        pieces: in order of time; they hold all samples.
        bad: in any order.
    """

    fs: float
    pieces: tuple[Piece, ...]
    bad: tuple[Span, ...] = ()

    @classmethod
    def continuous(cls, fs: float, count: int, bad: Iterable[Span] = ()) -> Timeline:
        """`count` samples without a pause."""
        return cls(fs, (Piece(0.0, 0, count),) if count else (), tuple(bad))

    @classmethod
    def with_pauses(
        cls, fs: float, count: int, pauses: Mapping[int, float], bad: Iterable[Span] = ()
    ) -> Timeline:
        """Samples with pauses before some of them.

        Args:
            fs: samples per second.
            count: samples.
            pauses: seconds of the pause before a sample; 0 where its length is unknown, so that
                the clock does not go on in it.
            bad: spans on a clock that counts samples alone.
        """
        before = sorted(at for at in pauses if 0 < at < count)
        lengths = np.array([pauses[at] for at in before])
        late = np.concatenate([[0.0], np.cumsum(lengths)])
        edges = [0, *before, count] if count else []
        pieces = (
            Piece(a / fs + float(shift), a, b)
            for a, b, shift in zip(edges, edges[1:], late, strict=False)
        )

        def clock(seconds: float, side: Literal["left", "right"]) -> float:
            return seconds + float(late[np.searchsorted(np.array(before) / fs, seconds, side)])

        spans = (Span(clock(s.start_s, "right"), clock(s.stop_s, "left"), s.reason) for s in bad)
        return cls(fs, tuple(pieces), tuple(spans))

    @classmethod
    def from_onsets(
        cls, fs: float, onsets: np.ndarray, per_record: int, slack_s: float = 0.0
    ) -> Timeline:
        """Records of equal length that each state when they began.

        Args:
            fs: samples per second.
            onsets: [records] seconds.
            per_record: samples of a record.
            slack_s: a shorter pause is none, but a rounded onset; 0 for a sample.

        Raises:
            ValueError: a record begins before the one before it has ended.
        """
        late = np.diff(onsets) - per_record / fs
        # Onsets are rounded in the file, so that a jitter below a sample is no pause.
        slack_s = slack_s or 1 / fs
        if (late < -slack_s).any():
            record = int(np.flatnonzero(late < -slack_s)[0]) + 1
            raise ValueError(f"record {record + 1} begins {-late[record - 1]:g} s too early")
        starts = [0, *(np.flatnonzero(late > slack_s) + 1).tolist(), len(onsets)]
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

    def wrong(self) -> tuple[str, str] | None:
        """What no clock can say, and what one would say instead; None where all is well."""
        if not 0 < self.fs < math.inf:
            return f"{self.fs:g} samples per second", "a rate above 0"
        odd = [p.start_s for p in self.pieces if not abs(p.start_s) <= _LONGEST_S]
        return (f"a sample {odd[0]:g} s after the first", "times within 30 years") if odd else None

    @property
    def paused_s(self) -> float:
        """Seconds of all pauses whose length is known."""
        return self.duration_s - sum(piece.stop - piece.first for piece in self.pieces) / self.fs

    @property
    def out_of_step_s(self) -> float | None:
        """When the first pause of unknown length is; None without one."""
        for before, after in zip(self.pieces, self.pieces[1:], strict=False):
            end_s = before.start_s + (before.stop - before.first) / self.fs
            if after.start_s - end_s < 0.5 / self.fs:
                return end_s
        return None

    def clock(self, sample: float) -> float:
        """The time of a sample, which may lie between two; what follows a pause is after it."""
        piece = Piece(0.0, 0, 0)
        for each in self.pieces:
            if each.first > sample + _ROUNDING:
                break
            piece = each
        return piece.start_s + (sample - piece.first) / self.fs

    def split(self, joints_s: Iterable[float]) -> Timeline:
        """The same with a pause of unknown length at some times."""
        pieces = list(self.pieces)
        for time in joints_s:
            for i, piece in enumerate(pieces):
                at = math.ceil((time - piece.start_s) * self.fs - _ROUNDING)
                if 0 < at < piece.stop - piece.first:
                    rest = Piece(piece.start_s + at / self.fs, piece.first + at, piece.stop)
                    pieces[i : i + 1] = [Piece(piece.start_s, piece.first, rest.first), rest]
                    break
        return Timeline(self.fs, tuple(pieces), self.bad)

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

    def bridged(self, longest_s: float) -> tuple[Timeline, dict[int, int]]:
        """The same without the pauses in which a few samples were lost.

        Args:
            longest_s: of such a pause; one lost sample is one at any rate. 0 for none.

        Returns:
            Pieces whose samples are numbered with the lost ones, and how many of these come before
            a sample of now.
        """
        most = max(1, math.floor(longest_s * self.fs + _ROUNDING)) if longest_s > 0 else 0
        pieces: list[Piece] = []
        lost: dict[int, int] = {}
        shift = 0
        for piece in self.pieces:
            before = pieces[-1] if pieces else None
            end_s = before.start_s + (before.stop - before.first) / self.fs if before else 0.0
            exact = (piece.start_s - end_s) * self.fs
            count = round(exact)
            if before and 1 <= count <= most and abs(exact - count) <= _OFF_BEAT:
                lost[piece.first] = count
                shift += count
                pieces[-1] = Piece(before.start_s, before.first, piece.stop + shift)
            else:
                pieces.append(Piece(piece.start_s, piece.first + shift, piece.stop + shift))
        return Timeline(self.fs, tuple(pieces), self.bad), lost

    def shifted(self) -> Timeline:
        """The same with samples numbered from 0, as in an array of its pieces side by side."""
        at, pieces = 0, []
        for piece in self.pieces:
            count = piece.stop - piece.first
            pieces.append(Piece(piece.start_s, at, at + count))
            at += count
        return Timeline(self.fs, tuple(pieces), self.bad)


def pauses_and_bad_spans(
    annotations: Sequence[tuple[float, float, str]], fs: float
) -> tuple[dict[int, float], list[Span]]:
    """Pauses and bad spans out of annotations (seconds, duration in s, text), as MNE names them.

    "BAD..." with a duration is a bad span. "boundary" (EEGLAB, whose duration is what was cut out),
    "New Segment", "EDGE ..." and "BAD boundary" are joints: the samples before and after were not
    recorded one after the other.

    Returns:
        seconds of the pause before a sample, 0 where they are unknown; bad spans.
    """
    pauses: dict[int, float] = {}
    bad = []
    for onset, duration, text in annotations:
        meaning = role(text)
        if meaning == "joint":
            known = duration if _plain(text) == "boundary" and duration > 0 else 0.0
            at = math.ceil(onset * fs - _ROUNDING)
            pauses[at] = max(known, pauses.get(at, 0.0))
        elif meaning == "skip":
            pauses |= {round(at * fs): 0.0 for at in (onset, onset + duration)}
            bad.append(Span(onset, onset + duration, "not recorded"))
        elif meaning == "bad" and duration > 0:
            bad.append(Span(onset, onset + duration, f"marked {text}"))
    return pauses, bad


def role(text: str) -> str:
    """What an annotation tells of the samples: "joint", "skip" or "bad"; "" for an event."""
    low = _plain(text)
    if "boundary" in low or "new segment" in low or low.startswith("edge"):
        return "joint"
    if low.startswith("bad_acq_skip"):
        return "skip"
    return "bad" if low.startswith("bad") else ""


def _plain(text: str) -> str:
    """In lower case, without what BrainVision's markers of free text begin with."""
    return text.lower().removeprefix("comment/")
