"""What a study's windows must hold, computed from what was written, by SciPy on an explicit clock.

Nothing of clmer is used. Where a window lies on an edge to within rounding (it touches a bad
stretch, its start is halfway between two samples), both outcomes are right: `Expected.must` and
`Expected.may`, and several `choices` of samples.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import scipy.signal
from support.fuzz_recordings_study import ALIASES, NAMES, OLD, Line, Row, Study
from support.fuzz_recordings_written import ACTION_UNITS, Piece, Written, face_values, is_lost

FS = 128
FACE_FPS = 25
BANDS = {"eeg": (4.0, 45.0), "ecg": (0.5, 40.0)}
PAPER = (4.0, 45.0)
#: Share of a sample, and seconds, that rounding may take.
_ROUNDING, _TOUCH_S = Fraction(1, 1000), Fraction(1, 10**5)
_KINDS = {name.lower(): kind for kind, name in ALIASES.items()} | {k: k for k in ("eeg", *NAMES)}


Stretches = list[tuple[Fraction, np.ndarray]]


@dataclass
class Values:
    """What the windows of a modality hold.

    Args:
        names: of its rows, as in the first recording.
        kinds: of its rows; none for a face.
        unit: of all of them; "" where they differ.
        left_out: names of the file's other channels.
        ways: (start s, values [C, n] at 128 Hz) of each stretch; several where a trial begins
            halfway between two samples.
        slack: how much each row's values may be off, [C].
        bad: (start, stop) in s.
        about: whether the ratio of rates is only near to a fraction.
    """

    names: list[str]
    kinds: list[str]
    unit: str
    left_out: list[str]
    ways: list[Stretches]
    slack: np.ndarray
    bad: list[tuple[Fraction, Fraction]]
    about: bool

    @property
    def stops(self) -> list[Fraction]:
        """The end of the last stretch."""
        last = [stretches[-1] for stretches in self.ways]
        return [start + Fraction(x.shape[1], FS) for start, x in last]

    def choices(self, start: Fraction, length: int) -> list[np.ndarray | None]:
        """The window at `start`, [C, length], by every way to round; None where there is none."""
        found: list[np.ndarray | None] = []
        for nudge, stretches in itertools.product((-_ROUNDING, _ROUNDING), self.ways):
            window = None
            for begin, x in stretches:
                at = round((start - begin) * FS + nudge)
                end = x.shape[1] - (1 if self.about and nudge > 0 else 0)
                if at >= 0 and at + length <= end:
                    window = x[:, at : at + length]
            found.append(window)
        return found

    def bypasses_dispatcher(self, start: Fraction, stop: Fraction) -> bool:
        """Whether none of a window's samples was recorded."""
        return all(
            stop <= begin + _TOUCH_S or start >= begin + Fraction(x.shape[1], FS) - _TOUCH_S
            for stretches in self.ways
            for begin, x in stretches
        )

    def touches_bad(self, start: Fraction, stop: Fraction) -> tuple[bool, bool]:
        """Whether a window lies in a bad stretch: by more than rounding, and at all."""
        overlap = [min(stop, b) - max(start, a) for a, b in self.bad]
        return any(o > _TOUCH_S for o in overlap), any(o > -_TOUCH_S for o in overlap)


@dataclass
class Expected:
    """A recording's windows.

    Args:
        must: starts of windows that have to be there.
        may: starts of those that may.
        total: least and greatest number of windows that are kept or counted as left out: windows
            that lie wholly in a pause, or where only the face goes on, may be counted or not.
        values: by modality.
        face: the face's, if there is one.
    """

    must: list[Fraction] = field(default_factory=list)
    may: list[Fraction] = field(default_factory=list)
    total: tuple[int, int] = (0, 0)
    values: dict[str, Values] = field(default_factory=dict)


def type_of(modality: str) -> str:
    """The type that a modality's name means; "" for a free name."""
    return _KINDS.get(modality.lower(), "")


def shown(label: str) -> str:
    """A channel's name without the type before it."""
    return re.sub(r"^(EEG|ECG|EOG|EMG) +", "", label, flags=re.IGNORECASE)


def same(label: str) -> str:
    """A channel's name without what is only spelling, for the names in the column `channels`."""
    name = re.sub(r"-(REF|LE|A2)$", "", shown(label), flags=re.IGNORECASE).lower()
    name = re.sub(r"[. _]", "", name)
    return {old.lower(): new.lower() for new, old in OLD.items()}.get(name, name)


def lines_of(row: Row, lines: tuple[Line, ...], bad: set[str]) -> list[int]:
    """Which lines a row takes."""
    if row.channels:
        keys = [same(line.label) for line in lines]
        return [keys.index(same(wanted)) for wanted in row.channels]
    kind = row.kind or type_of(row.modality)
    fits = [i for i, line in enumerate(lines) if line.kind == kind or not kind]
    return [i for i in fits if lines[i].kind != "none" and lines[i].who not in bad]


def signal(study: Study, row: Row, written: Written, order: list[str] | None) -> Values:
    """A modality's values, rows in the `order` of the first recording (None: this one is it)."""
    lines = study.files[row.file].lines
    files = {r.file for r in study.rows if r.modality == row.modality and not r.channels}
    bad = {line.who for name in files for line in study.files[name].lines if line.bad}
    rows = lines_of(row, lines, bad)
    left_out = [shown(line.label) for i, line in enumerate(lines) if i not in rows]
    if order is not None:
        rows = [next(i for i in rows if lines[i].who == who) for who in order]
    chosen = [lines[i] for i in rows]
    x = np.array([written.samples[i] for i in rows])
    units = {line.ours for line in chosen}
    rate, start = chosen[0].rate, Fraction(row.start or 0)
    stop = Fraction(row.stop) if row.stop else Fraction(10**6)
    bands = [_band(study, line.kind, rate) for line in chosen]
    ways: dict[tuple[tuple[int, int], ...], Stretches] = {}
    for nudge in (-_ROUNDING, _ROUNDING):
        parts = [_part(piece, rate, start, stop, nudge) for piece in written.pieces[rows[0]]]
        key = tuple((first, last) for first, last, _ in parts)
        if key not in ways:
            ways[key] = _stretches(x, rate, bands, parts)
    about = (FS / rate).denominator > 1000 or (FS / rate).numerator > 1000
    # MNE reads EEGLAB's samples as float32, whatever they are in the file
    rounding = 1.2e-7 if study.files[row.file].format == "set" else 1e-9
    return Values(
        names=[shown(line.label) for line in chosen],
        kinds=[line.kind for line in chosen],
        unit=units.pop() if len(units) == 1 else "",
        left_out=left_out,
        ways=list(ways.values()),
        slack=_slack([s for w in ways.values() for s in w], x, about, rounding),
        bad=[(a - start, b - start) for a, b in written.bad],
        about=about,
    )


def _stretches(
    x: np.ndarray,
    rate: Fraction,
    bands: list[tuple[float, float | None] | None],
    parts: list[tuple[int, int, Fraction]],
) -> Stretches:
    """The parts of a signal [C, n], filtered and at 128 Hz, without those too short for that."""
    stretches = []
    for first, last, time in parts:
        if first < last:
            y = [
                _filtered(row[first:last], float(rate), b) for row, b in zip(x, bands, strict=True)
            ]
            short = any(values is None for values in y) or (last - first < 2 and rate != FS)
            if not short:
                stretches.append((time, _resampled(np.array(y), rate)))
    return stretches


def _slack(stretches: Stretches, x: np.ndarray, about: bool, rounding: float) -> np.ndarray:
    """float32's rounding, and that of what is filtered; a bit of a sample if `about`."""
    slack = rounding * np.abs(x).max(axis=1)
    for _, y in stretches:
        slack = np.maximum(slack, 3e-7 * np.abs(y).max(axis=1))
        if about:
            slack = np.maximum(slack, 0.08 * np.abs(np.diff(y, axis=1)).max(axis=1))
    return np.asarray(slack)


def _part(
    piece: Piece, rate: Fraction, start: Fraction, stop: Fraction, nudge: Fraction
) -> tuple[int, int, Fraction]:
    """A piece between two times: its first and last sample, and the first one's time."""
    exact = (start - piece.start) * rate
    first = round(exact + nudge)
    if abs(first - exact) / rate > Fraction(1, 2 * FS) + Fraction(1, 10**6):
        first = math.floor(exact)
    first = piece.first + max(0, first)
    last = min(piece.stop, piece.first + math.ceil((stop - piece.start) * rate - _ROUNDING))
    return first, last, piece.start + (first - piece.first) / rate - start


def _band(study: Study, kind: str, rate: Fraction) -> tuple[float, float | None] | None:
    band = PAPER if study.filter == "paper" else BANDS.get(kind)
    if band is None:
        return None
    return band[0], band[1] if band[1] < rate / 2 else None


def _filtered(
    x: np.ndarray, rate: float, band: tuple[float, float | None] | None
) -> np.ndarray | None:
    """A piece of a channel; None where it is too short to filter."""
    if band is None:
        return x
    low, high = band
    sos = scipy.signal.butter(4, low if high is None else band, "hp" if high is None else "bp",
                              fs=rate, output="sos")  # fmt: skip
    if len(x) <= 3 * (2 * len(sos) + 1):
        return None
    return np.asarray(scipy.signal.sosfiltfilt(sos, x, padlen=3 * (2 * len(sos) + 1)))


def _resampled(x: np.ndarray, rate: Fraction) -> np.ndarray:
    ratio = FS / rate
    if ratio == 1:
        return x
    return np.asarray(
        scipy.signal.resample_poly(x, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    )


def recording(
    study: Study, rows: list[Row], written: dict[str, Written], orders: dict[str, list[str]]
) -> Expected:
    """A trial's windows; `orders` are the rows of the modalities met so far, and are added to."""
    expected = Expected()
    length, step = round(study.window_s * FS), round(study.stride_s * FS)
    face_row = next((row for row in rows if row.modality == "face"), None)
    for row in rows:
        if row is not face_row:
            values = signal(study, row, written[row.file], orders.get(row.modality))
            expected.values[row.modality] = values
            orders.setdefault(row.modality, _whos(study, row, values))
    if not all(stretches for values in expected.values.values() for stretches in values.ways):
        return expected
    ends = [values.stops for values in expected.values.values()]
    face_end = Fraction(0) if face_row is None else _face_end(study, face_row)
    low, high = (
        max(0, math.floor((end * FS - length) / step) + 1)
        for end in (
            max(map(min, ends)) - _TOUCH_S,
            max(max(map(max, ends)), face_end) + Fraction(1, FS),
        )
    )
    in_pause = 0
    for i in range(high):
        start = Fraction(i * step, FS)
        must, may = i < low, True
        in_pause += i < low and any(
            values.bypasses_dispatcher(start, start + Fraction(length, FS))
            for values in expected.values.values()
        )
        for values in expected.values.values():
            found = [window is not None for window in values.choices(start, length)]
            surely, maybe = values.touches_bad(start, start + Fraction(length, FS))
            must = must and all(found) and not maybe
            may = may and any(found) and not surely
        if face_row is not None and may:
            surely, maybe = _has_face(study, face_row, start)
            must, may = must and surely, may and maybe
        if may:
            expected.may.append(start)
        if must:
            expected.must.append(start)
    expected.total = (low - in_pause, high)
    return expected


def _face_end(study: Study, row: Row) -> Fraction:
    """The end of a trial's last video frame, in s after the trial's start."""
    face = study.faces[row.file]
    end = Fraction(row.stop) if row.stop else Fraction(face.seconds)
    return end - Fraction(row.start or 0) + Fraction(2, face.fps)


def _whos(study: Study, row: Row, values: Values) -> list[str]:
    lines = study.files[row.file].lines
    by_name = {shown(line.label): line.who for line in lines}
    return [by_name[name] for name in values.names]


# --- faces


def face_times(study: Study, row: Row, start: Fraction) -> np.ndarray:
    """Times of a window's frames on the video's clock, [frames] s."""
    frames = round(study.window_s * FACE_FPS)
    return float(Fraction(row.start or 0) + start) + np.arange(frames) / FACE_FPS


def _has_face(study: Study, row: Row, start: Fraction) -> tuple[bool, bool]:
    """Whether the face is seen throughout a window: to within rounding, and at all."""
    face = study.faces[row.file]
    time, _ = face_values(face)
    times = face_times(study, row, start)
    stop = float(Fraction(row.stop)) if row.stop else 1e6
    last = min(time[-1], math.floor(stop * face.fps + 1e-6) / face.fps) + 0.5 / face.fps
    room = (0.5 if face.uneven else 0.05) / face.fps
    gone = is_lost(face)
    long = np.zeros_like(gone)
    for first, count in face.lost:
        if count / face.fps > 0.2:
            long[first : first + count] = True
    must = may = True
    for t in times:
        must = must and t < last - room
        may = may and t < last + room
        # a frame without a face counts where it is one of the two around a time; of uneven ones
        # the grid's frame beside it may have none either
        near = np.abs(time[long] - t) if long.any() else np.array([math.inf])
        must = must and bool(near.min() > (1 + face.uneven) / face.fps + room)
        may = may and bool(near.min() > room)
    return must, may


def face_rows(
    study: Study, row: Row, start: Fraction, modality: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window's least and greatest values [rows, frames], and which rows are presences."""
    face = study.faces[row.file]
    time, columns = face_values(face)
    known = ~is_lost(face)
    times = face_times(study, row, start)
    names = {
        "landmarks": [f"{axis}_{i}" for axis in "XYZ" for i in range(68)],
        "au": [f"AU{n:02d}_{end}" for end in "rc" for n in ACTION_UNITS],
        "gaze": ["gaze_angle_x", "gaze_angle_y"],
    }[modality]
    low, high = np.empty((len(names), len(times))), np.empty((len(names), len(times)))
    late = 2e-3  # s: timestamps are rounded, and the frame rate is estimated from them
    for i, name in enumerate(names):
        values = columns[name]
        if name.endswith("_c"):
            for k, t in enumerate(times):
                far = np.abs(time[known] - t)
                reach = 1.5 / face.fps if face.uneven or face.lost else late
                near = values[known][far <= far.min() + reach]
                low[i, k], high[i, k] = near.min(), near.max()
            continue
        around = [
            np.interp(times + shift, time[known], values[known]) for shift in (-late, 0, late)
        ]
        slack = 2e-4 * np.abs(values).max() + 1e-9
        if face.uneven:  # on a grid first: the error of two linear interpolations
            slack += 4 * np.abs(np.diff(values, 2)).max()
        low[i] = np.min(around, axis=0) - slack
        high[i] = np.max(around, axis=0) + slack
    return low, high, np.array([name.endswith("_c") for name in names])
