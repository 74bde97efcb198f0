"""One recording into its windows: signals at the common rate, the face at the windows' times.

Windows begin every stride on one clock. A window is made where every modality has it within one
piece and nothing in it is marked as bad; the others are counted, each with its first reason.
Nothing is standardised here: that needs the training part of a split.

`make_windows` looks at nothing but its arguments, so recordings can be worked on side by side in
any order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from clmer.data.choices import IMAGES
from clmer.data.duplicates import Words, words_in
from clmer.data.face.windows import FACE_ROWS, FACE_TOKENS, Embed, FaceWindows
from clmer.data.recording import FaceSeries, Recording, Signal
from clmer.data.store.filtering import SignalFilter, SkipRecording
from clmer.data.store.plan import WindowPlan
from clmer.data.store.plausibility import measure
from clmer.data.store.segments import Places, Segment, bridge, find_places, take_windows
from clmer.data.store.store import Modality
from clmer.data.store.summary import FaceSummary, SignalSummary
from clmer.errors import DataError
from clmer.text import did_you_mean

#: Share of interpolated samples that is worth a word.
_MANY = 0.01


@dataclass
class WindowedRecording:
    """What became of one recording.

    Args:
        recording: without its signals and face.
        arrays: windows [n, C, T] float32 by modality, in the plan's order; empty where skipped.
        start_s: [n] seconds after the baseline.
        skipped: why there are no windows; "" where there are.
        modalities: those found in it, by name, also where it was then skipped.
        filters: what was done to each signal type.
        dropped: windows left out, by reason.
        tracker: what made the face; "" where no face was used.
        signals: what each signal is like, by modality.
        words: of some channels, for `clmer.data.duplicates`, and samples per second, by
            modality and channel; as recorded, and as prepared, which tells copies that were
            resampled before.
        face: what the face is like; None where none was used.
        notes: what to say of this recording.
        bridged: lost samples that were interpolated, of all signals.
    """

    recording: Recording
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    start_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    skipped: str = ""
    modalities: dict[str, Modality] = field(default_factory=dict)
    filters: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    tracker: str = ""
    signals: dict[str, SignalSummary] = field(default_factory=dict)
    words: dict[tuple[str, str], tuple[Words, float]] = field(default_factory=dict)
    face: FaceSummary | None = None
    notes: list[str] = field(default_factory=list)
    bridged: int = 0


def make_windows(
    plan: WindowPlan, recording: Recording, embed: Embed | None = None
) -> WindowedRecording:
    """A recording's windows, or the reason why there are none.

    Args:
        plan: which windows.
        recording: what they are made of.
        embed: what makes "mobilevit" of pictures.

    Raises:
        DataError: a rate from which the common one cannot be reached; samples that are not finite,
            in a data set without gaps.
    """
    made = WindowedRecording(replace(recording, signals={}, face=None))
    try:
        if recording.problem:
            raise SkipRecording(recording.problem)
        made.arrays, made.start_s = _WindowMaker(plan, recording, made, embed).windows()
    except SkipRecording as reason:
        made.skipped = str(reason)
    return made


@dataclass(frozen=True)
class _WindowMaker:
    """One recording being made windows of; what is noticed on the way goes into `made`."""

    plan: WindowPlan
    recording: Recording
    made: WindowedRecording
    embed: Embed | None

    def windows(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The windows that hold every modality, [n, C, T] each, and their start times."""
        plan, recording = self.plan, self.recording
        signals = {n: self._bridged(n) for n in plan.modalities if n not in FACE_TOKENS}
        face = recording.face if plan.has_face else None
        if plan.has_face and face is None:
            raise SkipRecording("no face")
        series = {name: self._filtered(name, signal) for name, signal in signals.items()}
        self._correct_left_out()
        start_s = self._start_times(series, face)
        places = {
            name: find_places(segments, start_s, plan.length, plan.dataset.fs)
            for name, segments in series.items()
        }
        keep = self._complete(signals, places, start_s)
        arrays = {
            n: take_windows(series[n], place.of_rows(keep), plan.length)
            for n, place in places.items()
        }
        start_s = start_s[keep]
        if face is not None:
            windows = self._face(face, start_s)
            arrays |= windows.arrays
            keep = self._with_face(windows.lost, windows.outside)
            if not keep.all():
                arrays = {name: array[keep] for name, array in arrays.items()}
                start_s = start_s[keep]
        return {name: np.ascontiguousarray(arrays[name]) for name in plan.modalities}, start_s

    def _start_times(
        self, series: Mapping[str, list[Segment]], face: FaceSeries | None
    ) -> np.ndarray:
        """When windows begin, [n] seconds after the baseline, up to the longest modality's end."""
        plan, recording = self.plan, self.recording
        ends = {name: segments[-1].stop_s for name, segments in series.items() if segments}
        if len(ends) < len(series):
            raise SkipRecording("shorter than the filter needs")
        longest_s = max(ends.values(), default=0.0)
        if face is not None:
            seconds = recording.face_start_s + len(face.valid) / face.fps - recording.baseline_s
            seconds = min(seconds, recording.length_s or seconds)
            longest_s = max(longest_s, seconds)
            ends = ends or {"face": seconds}
        # A window is taken at the nearest sample, so that its end may be off by half of one.
        if min(ends.values()) * plan.dataset.fs + 0.5 < plan.length:
            raise SkipRecording("shorter than a window")
        count = int((longest_s * plan.dataset.fs + 0.5 - plan.length) // plan.step) + 1
        return np.arange(count) * plan.step / plan.dataset.fs

    def _correct_left_out(self) -> None:
        """What one modality of a file leaves out and another takes is not left out."""
        signals = self.made.signals
        pairs = (zip(each.channels, each.kinds, strict=True) for each in signals.values())
        taken = {f"{channel} ({kind})" for pair in pairs for channel, kind in pair}
        for name, signal in signals.items():
            rest = tuple(each for each in signal.left_out if each not in taken)
            signals[name] = replace(signal, left_out=rest)

    def _complete(
        self, signals: dict[str, Signal], places: dict[str, Places], start_s: np.ndarray
    ) -> np.ndarray:
        """Which windows every signal has, [n] bool; the others are counted by reason."""
        keep = np.ones(len(start_s), bool)
        stop_s = start_s + self.plan.length / self.plan.dataset.fs
        reasons = []
        for name, place in places.items():
            reasons += [(f"after the end of {name}", place.late)]
            reasons += [(f"before the start of {name}", place.early)]
            reasons += [("", place.paused), (f"across a pause in {name}", place.segment < 0)]
            for span in signals[name].line.bad:
                first, last = (t - self.recording.baseline_s for t in (span.start_s, span.stop_s))
                inside = (start_s < last - 1e-9) & (stop_s > first + 1e-9)
                reasons.append((f"{span.reason} in {name}", inside))
        for reason, rows in reasons:
            if reason and (rows & keep).any():
                self.made.dropped[reason] += int((rows & keep).sum())
            keep &= ~rows
        if not keep.any():
            raise SkipRecording(f"every window {self.made.dropped.most_common(1)[0][0]}")
        return keep

    def _find(self, name: str) -> Signal:
        """A signal by name, or the channels of a type out of one that has them."""
        signals = self.recording.signals
        if name in signals:
            return signals[name]
        for signal in signals.values():
            if name in signal.kinds:
                return signal.select(name)
        near = did_you_mean(name, signals)
        hint = f" ({near})" if near else ""
        raise SkipRecording(f"no {name}, only {', '.join(signals) or 'a face'}{hint}")

    def _bridged(self, name: str) -> Signal:
        """A signal whose short gaps are interpolated."""
        signal, count = bridge(self._find(name), self.plan.bridge_s)
        self.made.bridged += count
        if count >= _MANY * signal.data.shape[1]:
            self.made.notes.append(
                f"{name}: {100 * _MANY:g} % or more of the samples were lost, a few at a time, and "
                "are interpolated"
            )
        return signal

    def _filtered(self, name: str, signal: Signal) -> list[Segment]:
        """The signal at the common rate, from the stimulus on, piece by piece."""
        fs, channels = self.plan.dataset.fs, signal.channels
        filtering = SignalFilter(self.plan, self.recording, name, signal)
        filtering.check_finite()
        summary = measure(name, signal, filtering.file, alone=len(self.plan.modalities) == 1)
        self.made.signals[name] = summary
        self.made.notes += summary.notes
        self.made.modalities[name] = Modality(
            name,
            len(channels),
            fs,
            channels,
            signal.kinds,
            unit=signal.unit if signal.unit != "mixed" else "",
            native_fs=signal.fs,
            levels=tuple(summary.levels.items()),
        )
        pieces = [(p.start_s, signal.data[:, p.first : p.stop]) for p in signal.line.pieces]
        self._keep_words(name, channels, pieces, signal.fs, self.recording.baseline_s)
        segments = filtering.segments()
        for kind, text in filtering.texts.items():
            self.made.filters.setdefault(kind, text)
        if filtering.changes:
            prepared = [(segment.start_s, segment.x) for segment in segments]
            self._keep_words(name, channels, prepared, fs, 0.0, ", prepared")
        return segments

    def _keep_words(
        self,
        name: str,
        channels: Sequence[str],
        pieces: Sequence[tuple[float, np.ndarray]],
        fs: float,
        start_s: float,
        suffix: str = "",
    ) -> None:
        """Keep what tells copies of the samples from `start_s` on, as far as there are windows."""
        length_s = self.recording.length_s
        span = start_s, math.inf if length_s is None else start_s + length_s
        for channel, words in words_in(channels, pieces, fs, span).items():
            self.made.words[name, channel + suffix] = words

    def _face(self, face: FaceSeries, start_s: np.ndarray) -> FaceWindows:
        """The face at the windows' times."""
        plan, recording = self.plan, self.recording
        self._check_face(face)
        self.made.tracker = face.tracker
        lost = int((~face.valid).sum())
        self.made.face = FaceSummary(face.tracker, face.unit, face.fps, len(face.valid), lost)
        self.made.notes += face.notes
        # What a face shares with another recording's face tells as well as a signal does.
        traces = {
            "landmarks": None if face.landmarks is None else face.landmarks[:, 30, 0],
            "au": None if face.au_intensity is None else face.au_intensity.sum(axis=1),
            "gaze": None if face.gaze is None else face.gaze[:, 0],
        }
        for kind, trace in traces.items():
            if trace is not None:
                pieces = [(recording.face_start_s, trace[None])]
                self._keep_words("face", [kind], pieces, face.fps, recording.baseline_s)
        for name in plan.face_names:
            unit = face.unit if name == "landmarks" and plan.face == "raw" else ""
            rows = FACE_ROWS[name]
            new = Modality(name, FACE_TOKENS[name], plan.fps, rows, unit=unit)
            self.made.modalities[name] = new
        times = recording.baseline_s - recording.face_start_s + start_s[:, None]
        times = times + np.arange(plan.frames) / plan.fps
        return FaceWindows.at(face, times, plan.face_names, plan.face, self.embed)

    def _check_face(self, face: FaceSeries) -> None:
        """Refuse a face table without the landmarks or action units that are asked for.

        Raises:
            DataError: one of the two is not in the file.
            SkipRecording: something else is not.
        """
        plan, files = self.plan, self.recording.files
        held = {"au": "au_intensity", **dict.fromkeys(IMAGES, "images")}
        words = {"landmarks": "landmarks", "au": "action units"}
        there = [w for n, w in words.items() if getattr(face, held.get(n, n)) is not None]
        absent = [n for n in plan.face_names if getattr(face, held.get(n, n)) is None]
        for name in absent:
            if name not in words:
                raise SkipRecording(f"no {name} from {face.tracker}")
            left = ",".join(n for n in plan.modalities if n not in absent)
            raise DataError(
                next(
                    (files[n] for n in ("face", *FACE_TOKENS) if n in files), self.recording.source
                ),
                name,
                f"no {words[name]}: it holds {' and '.join(there) or 'gaze'} only",
                f"{words[name]}, as `modalities={','.join(plan.modalities)}` asks",
                f"Use `modalities={left}`." if left else "Run the tracker with them.",
            )

    def _with_face(self, lost: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Which windows [n] have a face; the others are counted by reason."""
        for reason, rows in (("outside the face video", outside), ("face lost", lost & ~outside)):
            if rows.any():
                self.made.dropped[reason] += int(rows.sum())
        keep = ~(lost | outside)
        if not keep.any():
            raise SkipRecording(
                "every window outside the face video"
                if outside.all()
                else "the face lost in every window"
            )
        return np.asarray(keep)
