"""One recording into its windows: filter, resample, drop the baseline, cut, serialise the face.

Filtering comes first, at the native rate and over the whole recording with its baseline, forwards
and backwards (zero phase), so that no inner window sees an edge; then polyphase resampling; then
the baseline goes. Both happen piece by piece where a recording has pauses (`clmer.data.timeline`).
Nothing is standardised here: that needs the training part of a split.

Windows begin every stride on one clock. One is cut where every modality has it within one piece and
nothing in it is marked as bad; the others are counted, each with its first reason.

`cut` looks at nothing but its arguments, so recordings may be cut side by side in any order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from clmer.data.channels import canonical
from clmer.data.face.windows import FACE_ROWS, FACE_TOKENS, IMAGES, Embed, FaceWindows
from clmer.data.recording import FaceSeries, Recording, Signal
from clmer.data.registry import Band
from clmer.data.store.account import Account, FaceAccount, measure
from clmer.data.store.copies import Words, words_in
from clmer.data.store.plan import WindowPlan
from clmer.data.store.store import Modality
from clmer.data.store.stretches import Places, Stretch, windows_at
from clmer.errors import DataError
from clmer.signal import butter_bandpass, resample, sosfiltfilt
from clmer.text import did_you_mean

#: What recordings share: its attribute of `Modality`, and the way out where it differs.
_ALIKE = {
    "channels": "Every recording needs the same channels in the same order.",
    "kinds": "Types decide the filters: state them in the manifest's column kind.",
    "unit": "Use one tracker for all, or --face aligned, which scales pixels to mm.",
}
#: The same of signals.
_ALIKE_SIGNALS = {
    "channels": "Every recording needs the same channels; name those that all of them have in the "
    "manifest's column channels.",
    "kinds": "Types decide the filters: state them in the manifest's column kind.",
    "unit": "State the true unit in the manifest's column unit.",
}


@dataclass
class Cut:
    """What became of one recording.

    Args:
        recording: without its signals and face.
        arrays: windows [n, C, T] float32 by modality, in the plan's order; empty where skipped.
        start_s: [n] seconds after the baseline.
        skipped: why there are no windows; "" where there are.
        modalities: those met in it, by name, also where it was then skipped.
        filters: what was done to each signal type.
        dropped: windows left out, by reason.
        tracker: what made the face; "" where no face was used.
        signals: what was understood of each signal.
        words: of some channels, for `clmer.data.store.copies`, and samples a second, by modality
            and channel; as recorded, and as prepared, which tells what was resampled before.
        face: what was understood of the face; None where none was used.
        notes: what to say of this recording.
    """

    recording: Recording
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    start_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    skipped: str = ""
    modalities: dict[str, Modality] = field(default_factory=dict)
    filters: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    tracker: str = ""
    signals: dict[str, Account] = field(default_factory=dict)
    words: dict[tuple[str, str], tuple[Words, float]] = field(default_factory=dict)
    face: FaceAccount | None = None
    notes: list[str] = field(default_factory=list)


def cut(plan: WindowPlan, recording: Recording, embed: Embed | None = None) -> Cut:
    """A recording's windows, or the reason why there are none.

    Args:
        plan: what to do.
        recording: what to do it to.
        embed: what makes "mobilevit" of pictures.

    Raises:
        DataError: a rate from which the common one cannot be reached; samples that are not finite,
            in a data set without gaps.
    """
    account = Cut(replace(recording, signals={}, face=None))
    try:
        if recording.problem:
            raise _Skip(recording.problem)
        account.arrays, account.start_s = _Cutter(plan, recording, account, embed).windows()
    except _Skip as reason:
        account.skipped = str(reason)
    return account


def align(cut: Cut, known: Mapping[str, Modality]) -> None:
    """Bring a recording's channels into the known order, where they are the same by other names.

    Args:
        cut: the recording, whose arrays and modalities are changed.
        known: modalities by name; those that are not in it stay as they are.
    """
    for name, new in list(cut.modalities.items()):
        wanted = known[name].channels if name in known else new.channels
        if new.channels == wanted:
            continue
        keys = [canonical(channel) for channel in new.channels]
        if len(keys) != len(wanted):
            continue
        places = [keys.index(key) for key in map(canonical, wanted) if key in keys]
        if sorted(places) != list(range(len(wanted))):
            continue
        kinds = tuple(new.kinds[i] for i in places) if new.kinds else ()
        cut.modalities[name] = replace(new, channels=wanted, kinds=kinds)
        if name in cut.arrays:
            cut.arrays[name] = np.ascontiguousarray(cut.arrays[name][:, places])


def check_alike(cut: Cut, known: Mapping[str, Modality], where: str) -> None:
    """Refuse a recording whose channels, types or units are not the known ones.

    Args:
        cut: the recording.
        known: at least its modalities, by name.
        where: they are known, for the message.

    Raises:
        DataError: one differs.
    """
    files, source = cut.recording.files, cut.recording.source
    for name, new in cut.modalities.items():
        for field_, hint in (_ALIKE if name in FACE_TOKENS else _ALIKE_SIGNALS).items():
            if field_ == "unit" and name not in FACE_TOKENS and not known[name].native_fs:
                continue  # a run of before units were kept
            found, wanted = getattr(new, field_), getattr(known[name], field_)
            if found != wanted:
                by = f" ({cut.tracker})" if field_ == "unit" and name in FACE_TOKENS else ""
                raise DataError(
                    files.get("face" if name in FACE_TOKENS else name, source),
                    f"{field_} of {name}",
                    (found if field_ == "unit" else " ".join(found)) + by or "none",
                    f"{(wanted if field_ == 'unit' else ' '.join(wanted)) or 'none'} as {where}",
                    hint,
                )


@lru_cache
def sections_of(band: Band, fs: float) -> tuple[np.ndarray | None, str]:
    """The filter of a band at a rate, and what to call it."""
    if band is None:
        return None, "as recorded"
    low, high = band
    if high is not None and high >= fs / 2:
        high = None  # there is nothing above it to remove
    if low is None and high is None:
        return None, "as recorded"
    text = f"{low:g}-{high:g} Hz" if low and high else f"above {low:g} Hz" if low else ""
    return butter_bandpass(low, high, fs), text or f"below {high:g} Hz"


class _Skip(Exception):
    """A recording that cannot be used, and why."""


@dataclass(frozen=True)
class _Cutter:
    """One recording being cut; what is noticed on the way goes into `account`."""

    plan: WindowPlan
    recording: Recording
    account: Cut
    embed: Embed | None

    def windows(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The windows that hold every modality, [n, C, T] each, and their start times."""
        plan, recording = self.plan, self.recording
        signals = {n: self._find(n) for n in plan.modalities if n not in FACE_TOKENS}
        face = recording.face if plan.has_face else None
        if plan.has_face and face is None:
            raise _Skip("no face")
        series = {name: self._filtered(name, signal) for name, signal in signals.items()}
        self._share_left_out()
        ends = {name: stretches[-1].stop_s for name, stretches in series.items() if stretches}
        if len(ends) < len(series):
            raise _Skip("shorter than the filter needs")
        longest_s = max(ends.values(), default=0.0)
        if face is not None:
            seconds = recording.face_start_s + len(face.valid) / face.fps - recording.baseline_s
            seconds = min(seconds, recording.length_s or seconds)
            longest_s = max(longest_s, seconds)
            ends = ends or {"face": seconds}
        # A window is taken at the nearest sample, so that its end may be off by half of one.
        if min(ends.values()) * plan.dataset.fs + 0.5 < plan.length:
            raise _Skip("shorter than a window")
        count = int((longest_s * plan.dataset.fs + 0.5 - plan.length) // plan.step) + 1
        start_s = np.arange(count) * plan.step / plan.dataset.fs
        places = {
            name: Places.of(stretches, start_s, plan.length, plan.dataset.fs)
            for name, stretches in series.items()
        }
        keep = self._kept(signals, places, start_s)
        arrays = {
            n: windows_at(series[n], place.of_rows(keep), plan.length)
            for n, place in places.items()
        }
        start_s = start_s[keep]
        if face is not None:
            windows = self._face(face, start_s)
            arrays |= windows.arrays
            keep = self._drop(windows.lost, windows.outside)
            if not keep.all():
                arrays = {name: array[keep] for name, array in arrays.items()}
                start_s = start_s[keep]
        return {name: np.ascontiguousarray(arrays[name]) for name in plan.modalities}, start_s

    def _share_left_out(self) -> None:
        """What one modality of a file leaves out and another takes is not left out."""
        accounts = self.account.signals
        pairs = (zip(a.channels, a.kinds, strict=True) for a in accounts.values())
        taken = {f"{channel} ({kind})" for pair in pairs for channel, kind in pair}
        for name, account in accounts.items():
            rest = tuple(each for each in account.left_out if each not in taken)
            accounts[name] = replace(account, left_out=rest)

    def _kept(
        self, signals: dict[str, Signal], places: dict[str, Places], start_s: np.ndarray
    ) -> np.ndarray:
        """Which windows every signal has, [n] bool; the others are counted by reason."""
        keep = np.ones(len(start_s), bool)
        stop_s = start_s + self.plan.length / self.plan.dataset.fs
        reasons = []
        for name, place in places.items():
            reasons += [(f"after the end of {name}", place.late)]
            reasons += [(f"before the start of {name}", place.early)]
            reasons += [("", place.apart), (f"across a pause in {name}", place.stretch < 0)]
            for span in signals[name].line.bad:
                first, last = (t - self.recording.baseline_s for t in (span.start_s, span.stop_s))
                inside = (start_s < last - 1e-9) & (stop_s > first + 1e-9)
                reasons.append((f"{span.reason} in {name}", inside))
        for reason, rows in reasons:
            if reason and (rows & keep).any():
                self.account.dropped[reason] += int((rows & keep).sum())
            keep &= ~rows
        if not keep.any():
            raise _Skip(f"every window {self.account.dropped.most_common(1)[0][0]}")
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
        raise _Skip(f"no {name}, only {', '.join(signals) or 'a face'}{near and f' ({near})'}")

    def _filtered(self, name: str, signal: Signal) -> list[Stretch]:
        """The signal at the common rate, from the stimulus on, piece by piece."""
        fs = self.plan.dataset.fs
        file = self.recording.files.get(name, self.recording.source)
        names, kinds = signal.channels, signal.kinds
        unit = signal.unit if signal.unit != "mixed" else ""
        # A sum is one pass without a copy, and finite where all its terms are, or nearly so.
        if not np.isfinite(signal.data.sum()) and not np.isfinite(signal.data).all():
            raise self._not_finite(name, signal)
        account = measure(name, signal, file, alone=len(self.plan.modalities) == 1)
        self.account.signals[name] = account
        self.account.notes += account.notes
        self.account.modalities[name] = Modality(
            name, len(names), fs, names, kinds, unit, signal.fs, tuple(account.levels.items())
        )
        baseline_s, length_s = self.recording.baseline_s, self.recording.length_s
        samples = [(p.start_s, signal.data[:, p.first : p.stop]) for p in signal.line.pieces]
        self._compare(name, names, samples, signal.fs, baseline_s)
        stretches = []
        for piece in signal.line.pieces:
            start_s = piece.start_s - baseline_s
            x = self._piece(name, signal, slice(piece.first, piece.stop))
            if x is None:
                continue
            if length_s is not None:
                x = x[:, : max(0, round((length_s - start_s) * fs))]
            if x.shape[1]:
                stretches.append(Stretch(start_s, x, fs))
        bands = self._bands(name, signal)
        if signal.fs != fs or any(sections_of(band, fs)[0] is not None for band in bands):
            prepared = [(s.start_s, s.x) for s in stretches]
            self._compare(name, names, prepared, fs, 0.0, ", prepared")
        return stretches

    def _compare(
        self,
        name: str,
        channels: Sequence[str],
        pieces: Sequence[tuple[float, np.ndarray]],
        fs: float,
        start_s: float,
        suffix: str = "",
    ) -> None:
        """Keep what tells copies of the samples from `start_s` on, as far as windows are cut."""
        length_s = self.recording.length_s
        span = start_s, math.inf if length_s is None else start_s + length_s
        for channel, words in words_in(channels, pieces, fs, span).items():
            self.account.words[name, channel + suffix] = words

    def _piece(self, name: str, signal: Signal, piece: slice) -> np.ndarray | None:
        """One piece, filtered and resampled, [C, T]; None where it is too short for that."""
        fs = self.plan.dataset.fs
        data = signal.data[:, piece]
        # The kernels compute in float64 whatever they write: rounding to float32 comes last.
        dtype = np.dtype(np.float32 if signal.fs == fs else np.float64)
        x = np.empty(data.shape, dtype)
        for band, rows in self._bands(name, signal).items():  # a vector takes several channels
            sos, _ = sections_of(band, signal.fs)
            if sos is None:
                x[rows] = data[rows]
            elif x.shape[1] <= 3 * (2 * len(sos) + 1):
                return None
            elif isinstance(rows, slice):
                sosfiltfilt(sos, data[rows], out=x[rows])
            else:
                x[rows] = sosfiltfilt(sos, data[rows])
        if x.shape[1] < 2 and signal.fs != fs:  # no line goes through one sample
            return None
        try:
            x = resample(x, signal.fs, fs)
        except ValueError as error:
            raise self._rate_error(name, signal, str(error)) from error
        with np.errstate(over="ignore"):
            x = x.astype(np.float32, copy=False)
        if not np.isfinite(x).all():  # beyond float32's range
            raise self._not_finite(name, signal)
        return x

    def _rate_error(self, name: str, signal: Signal, hint: str) -> DataError:
        return DataError(
            self.recording.files.get(name, self.recording.source),
            f"rate of {name}",
            f"{signal.fs:g} Hz",
            "a rate that the filter and the windows can be made of",
            hint,
        )

    def _not_finite(self, name: str, signal: Signal) -> Exception:
        """What a signal with such samples comes to."""
        if self.plan.dataset.gaps:
            return _Skip(f"{name} has samples that are not finite")
        size = np.nan_to_num(np.abs(signal.data), nan=np.inf, posinf=np.inf)
        channel, sample = np.unravel_index(size.argmax(), size.shape)
        return DataError(
            self.recording.files.get(name, self.recording.source),
            f"{signal.channels[channel]} of {self.recording.subject}/{self.recording.trial}",
            f"{signal.data[channel, sample]} {sample / signal.fs:.3f} s after its start",
            "finite numbers within float32's range",
            "Interpolate the gap or leave that part out; a download may be damaged: get it again.",
        )

    def _bands(self, name: str, signal: Signal) -> dict[Band, slice | list[int]]:
        """The rows of each pass band, as a slice where they are neighbours."""
        bands = {kind: self.plan.band(kind) for kind in dict.fromkeys(signal.kinds)}
        for kind, band in bands.items():
            if band is not None and band[0] is not None and band[0] >= signal.fs / 2:
                hint = (
                    f"{kind} is filtered from {band[0]:g} Hz on, which such a rate does not hold."
                )
                if self.plan.filter == "paper":
                    hint += " Leave out --filter paper, which filters every channel so."
                elif kind == "eeg":
                    hint += " If it is no EEG, state its type in the manifest's column kind."
                raise self._rate_error(name, signal, hint)
        for kind, band in bands.items():
            self.account.filters.setdefault(kind, sections_of(band, signal.fs)[1])
        return {
            band: _as_slice([row for row, kind in enumerate(signal.kinds) if bands[kind] == band])
            for band in dict.fromkeys(bands.values())
        }

    def _face(self, face: FaceSeries, start_s: np.ndarray) -> FaceWindows:
        """The face at the windows' times."""
        plan, recording = self.plan, self.recording
        self._check_face(face)
        self.account.tracker = face.tracker
        lost = int((~face.valid).sum())
        unit = face.unit
        self.account.face = FaceAccount(face.tracker, unit, face.fps, len(face.valid), lost)
        self.account.notes += face.notes
        # What a face shares with another recording's face tells as well as a signal does.
        traces = {
            "landmarks": None if face.landmarks is None else face.landmarks[:, 30, 0],
            "au": None if face.au_intensity is None else face.au_intensity.sum(axis=1),
            "gaze": None if face.gaze is None else face.gaze[:, 0],
        }
        for kind, trace in traces.items():
            if trace is not None:
                pieces = [(recording.face_start_s, trace[None])]
                self._compare("face", [kind], pieces, face.fps, recording.baseline_s)
        for name in plan.face_names:
            unit = face.unit if name == "landmarks" and plan.face == "raw" else ""
            rows = FACE_ROWS[name]
            new = Modality(name, FACE_TOKENS[name], plan.fps, rows, unit=unit)
            self.account.modalities[name] = new
        times = recording.baseline_s - recording.face_start_s + start_s[:, None]
        times = times + np.arange(plan.frames) / plan.fps
        return FaceWindows.cut(face, times, plan.face_names, plan.face, self.embed)

    def _check_face(self, face: FaceSeries) -> None:
        """Refuse a face table without the landmarks or action units that are asked for.

        Raises:
            DataError: one of the two is not in the file.
            _Skip: something else is not.
        """
        plan, files = self.plan, self.recording.files
        held = {"au": "au_intensity", **dict.fromkeys(IMAGES, "images")}
        words = {"landmarks": "landmarks", "au": "action units"}
        there = [w for n, w in words.items() if getattr(face, held.get(n, n)) is not None]
        absent = [n for n in plan.face_names if getattr(face, held.get(n, n)) is None]
        for name in absent:
            if name not in words:
                raise _Skip(f"no {name} from {face.tracker}")
            left = ",".join(n for n in plan.modalities if n not in absent)
            raise DataError(
                next(
                    (files[n] for n in ("face", *FACE_TOKENS) if n in files), self.recording.source
                ),
                name,
                f"no {words[name]}: it holds {' and '.join(there) or 'gaze'} only",
                f"{words[name]}, as --modalities {','.join(plan.modalities)} asks",
                f"Use --modalities {left}." if left else "Run the tracker with them.",
            )

    def _drop(self, lost: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Count the windows [n] without a face; returns those that stay."""
        for reason, rows in (("outside the face video", outside), ("face lost", lost & ~outside)):
            if rows.any():
                self.account.dropped[reason] += int(rows.sum())
        keep = ~(lost | outside)
        if not keep.any():
            raise _Skip(
                "every window outside the face video"
                if outside.all()
                else "the face lost in every window"
            )
        return np.asarray(keep)


def _as_slice(rows: Sequence[int]) -> slice | list[int]:
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if last - first + 1 == len(rows) else list(rows)
