"""What was understood of a recording's signals: one line per modality, and what is implausible.

`measure` looks at one signal as it was read; `summary` turns all recordings' accounts into lines:

    eeg: 19 channels (eeg) Fp1 ... Pz; uV, median amplitude 9.8; 500 Hz; 48 recordings of 62 to
    188 s;
    left out: ECG (ecg), A2-A1 (ref)
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.lines import doubtful, service_line
from clmer.data.recording import Signal
from clmer.errors import DataError

#: Samples of a channel that its statistics are taken from, evenly spaced.
_LOOKED_AT = 512
#: A first sample this many spreads away from the rest is no sample.
_NO_SAMPLE = 1e6
#: Recordings of one modality whose amplitudes differ by this much were not made in one unit.
OTHER_SCALE = 300.0


@dataclass(frozen=True)
class Bounds:
    """What a type's numbers are like, in our unit.

    Args:
        unit: that unit; signals in another one are not judged.
        level: whether the median itself counts (skin conductance), not the spread around it.
        usual: numbers within need no word.
        possible: numbers outside are an error.
    """

    unit: str
    level: bool
    usual: tuple[float, float]
    possible: tuple[float, float]


BOUNDS = {
    "eeg": Bounds("uV", False, (0.3, 5e3), (1e-3, 1e6)),
    "ieeg": Bounds("uV", False, (0.3, 2e4), (1e-3, 1e7)),
    "eog": Bounds("uV", False, (0.3, 2e4), (1e-3, 1e7)),
    "emg": Bounds("uV", False, (0.1, 2e4), (1e-3, 1e7)),
    "ecg": Bounds("uV", False, (3.0, 2e4), (1e-3, 1e7)),
    "gsr": Bounds("uS", True, (0.01, 200.0), (1e-6, 1e6)),
    "temp": Bounds("degC", True, (5.0, 50.0), (1e-3, 1e5)),
}


@dataclass(frozen=True)
class Account:
    """One signal of one recording.

    Args:
        modality: its name.
        channels: names.
        kinds: types.
        unit: of the samples.
        fs: its own rate in Hz.
        seconds: length, pauses included.
        pieces: stretches without a pause.
        levels: median amplitude by type, in `unit`.
        left_out: channels of the file that are not used, with their types.
        notes: what to say of it.
    """

    modality: str
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    unit: str
    fs: float
    seconds: float
    pieces: int
    levels: dict[str, float]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def measure(name: str, signal: Signal, path: Path, *, alone: bool = True) -> Account:
    """Look at a signal as it was read.

    Args:
        name: of its modality.
        signal: all of a recording's.
        path: its file, for messages.
        alone: whether no other modality has to keep step with it.

    Raises:
        DataError: numbers that the type cannot have (what factor is between), or a first sample
            that is none.
    """
    x = np.asarray(signal.data[:, :: max(1, signal.data.shape[1] // _LOOKED_AT)], np.float64)
    low, middle, high = _quartiles(x) if x.size else np.zeros((3, len(x)))
    spread = (high - low) / 1.349
    still = spread == 0
    if x.size and still.any():
        spread[still] = x[still].std(axis=1)
    _check_first(signal, middle, spread, path)
    levels = {}
    for kind in dict.fromkeys(signal.kinds):
        rows = [i for i, each in enumerate(signal.kinds) if each == kind]
        bounds = BOUNDS.get(kind)
        values = np.abs(middle[rows]) if bounds and bounds.level else spread[rows]
        levels[kind] = float(np.median(values[values > 0])) if (values > 0).any() else 0.0
    notes = [
        *signal.notes,
        *_shape_notes(name, signal, x, spread),
        *_time_notes(name, signal, alone),
    ]
    notes += [text for kind in levels if (text := _judged(name, kind, levels[kind], signal, path))]
    return Account(
        modality=name,
        channels=signal.channels,
        kinds=signal.kinds,
        unit=signal.unit,
        fs=signal.fs,
        seconds=signal.duration_s,
        pieces=len(signal.line.pieces),
        levels=levels,
        left_out=signal.left_out,
        notes=tuple(notes),
    )


def _quartiles(x: np.ndarray) -> np.ndarray:
    """Lower quartile, median and upper quartile of each row [3, C], as `np.percentile`."""
    ordered = np.sort(x, axis=1)  # a sixth of the time that np.percentile takes
    place = np.array([0.25, 0.5, 0.75]) * (x.shape[1] - 1)
    below = place.astype(np.int64)
    above = np.minimum(below + 1, x.shape[1] - 1)
    found = ordered[:, below] + (place - below) * (ordered[:, above] - ordered[:, below])
    return np.asarray(found.T)


def _check_first(signal: Signal, middle: np.ndarray, spread: np.ndarray, path: Path) -> None:
    """Headers read as samples stand far outside everything else."""
    if signal.data.shape[1] < 16:
        return
    scale = np.maximum(spread, 1e-3 * np.abs(middle))
    for sample in (0, 1):
        far = np.abs(signal.data[:, sample] - middle) > _NO_SAMPLE * scale
        wrong = np.flatnonzero(far & (scale > 0))
        if len(wrong):
            row = wrong[0]
            raise DataError(
                path,
                f"sample {sample + 1} of {signal.channels[row]}",
                f"{signal.data[row, sample]:.10g}",
                f"a number near the others, which lie around {middle[row]:.4g}",
                "It is no sample: some devices write a start time and a rate above their samples "
                "(Empatica's CSV: lines 1 and 2). Leave those lines out, and state the rate.",
            )


def _time_notes(name: str, signal: Signal, alone: bool) -> list[str]:
    """Pauses, and what they do to the clock."""
    line, notes = signal.line, []
    if line.paused_s > 0.5 / signal.fs:
        notes.append(
            f"{name}: pauses of {line.paused_s:.4g} s in all; start_s, stop_s and the times of "
            "windows count them"
        )
    if line.out_of_step_s is not None and not alone:
        notes.append(
            f"{name}: a pause of unknown length at {line.out_of_step_s:.4g} s: after it, other "
            "modalities may be out of step"
        )
    return notes


def _shape_notes(name: str, signal: Signal, x: np.ndarray, spread: np.ndarray) -> list[str]:
    """Channels that are flat, or copies of another."""
    notes = []
    flat = [c for c, s in zip(signal.channels, spread, strict=True) if s == 0]
    if flat:
        notes.append(f"{name}: {_few(flat)} flat (constant)")
    seen: dict[int, str] = {}
    for channel, row, s in zip(signal.channels, x, spread, strict=True):
        other = seen.setdefault(zlib.crc32(row.tobytes()), channel) if s > 0 else channel
        if other != channel:
            notes.append(f"{name}: {channel} is a copy of {other}")
    for row in np.flatnonzero(doubtful(signal.data)):
        if told := service_line(signal.data[row], signal.kinds[row]):
            notes.append(f"{name}: {signal.channels[row]} has {told}: is it a signal?")
    return notes


def _judged(name: str, kind: str, level: float, signal: Signal, path: Path) -> str:
    """What to say of an amplitude; "" where it is as usual.

    Raises:
        DataError: no body gives such numbers.
    """
    bounds = BOUNDS.get(kind)
    if bounds is None or level == 0 or signal.unit not in (bounds.unit, "mixed"):
        return ""
    if signal.unit == "mixed" and (bounds.unit != "uV" or signal.timeline is None):
        return ""  # as DEAP's and AMIGOS' arrays, which state no unit
    low, high = bounds.usual
    if low <= level <= high:
        return ""
    what = "median" if bounds.level else "median amplitude"
    middle = np.sqrt(low * high)
    factor = 1000.0 ** max(1, round(abs(np.log10(level / middle)) / 3))
    way = "small" if level < low else "large"
    factor_text = f"about {factor:g} times too {way} for {kind}"
    least, most = bounds.possible
    if least <= level <= most:
        return (
            f"{name}: {what} {level:.3g} {bounds.unit}, {factor_text}: is the unit right? The "
            "manifest's column unit states it"
        )
    raise DataError(
        path,
        f"amplitude of {name} ({kind})",
        f"a {what} of {level:.3g} {bounds.unit}",
        f"{low:g} to {high:g} {bounds.unit}",
        f"It is {factor_text}: the numbers are in another unit than the file says or than is taken "
        "for granted. State the true one in the manifest's column unit (uV, mV, V, uS, ...; none "
        "for numbers without one; clmer predict: --unit).",
    )


@dataclass(frozen=True)
class FaceAccount:
    """The face of one recording: tracker, unit of the landmarks, frames a second, and frames."""

    tracker: str
    unit: str
    fs: float
    frames: int
    lost: int


def face_summary(names: Sequence[str], faces: Sequence[FaceAccount]) -> list[str]:
    """A line for each group of like faces: `names` are the modalities made of them."""
    groups: dict[tuple[object, ...], list[FaceAccount]] = {}
    for face in faces:
        groups.setdefault((face.tracker, face.unit, face.fs), []).append(face)
    lines = []
    for group in groups.values():
        first, frames = group[0], sum(face.frames for face in group)
        lost = sum(face.lost for face in group)
        lines.append(
            f"{', '.join(names)}: {first.tracker}, landmarks in {first.unit}; {first.fs:g} frames "
            f"a second; {_of_length([face.frames / face.fs for face in group])}; "
            f"{100 * lost / max(frames, 1):.3g} % of the frames without a face"
        )
    return lines


def lines(report: Mapping[str, Any]) -> list[str]:
    """What a store's report says of the data, for whoever is about to use them.

    Args:
        report: `Store.report`.
    """
    said = list(report.get("signals", ()))
    said += [f"left out: {phrase}" for phrase in left_out(report)]
    for reason, count in report.get("windows_dropped", {}).items():
        said.append(f"left out: {count} windows, {reason}")
    if report.get("samples_interpolated"):
        said.append(f"interpolated: {report['samples_interpolated']} samples in short gaps")
    return said + [f"note: {note}" for note in report.get("notes", ())]


def misfit(report: Mapping[str, Any]) -> str:
    """The first field of a store's report that does not hold what `lines` and others read.

    Args:
        report: out of a file that may be damaged.

    Returns:
        Its name; "" where all do.
    """

    def texts(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)

    def table(value: Any, kind: type) -> bool:
        return isinstance(value, dict) and all(isinstance(each, kind) for each in value.values())

    def pairs(value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(each, dict)
            and all(isinstance(each.get(name), str) for name in ("one", "other"))
            for each in value
        )

    holds = {
        "signals": texts,
        "notes": texts,
        "windows_dropped": lambda value: table(value, int),
        "recordings_skipped": lambda value: table(value, str),
        "shared_samples": pairs,
        "samples_interpolated": lambda value: isinstance(value, int),
        "recordings": lambda value: isinstance(value, int),
    }
    wrong = [name for name, fits in holds.items() if name in report and not fits(report[name])]
    if report.get("recordings_skipped") and "recordings" not in report:
        wrong.append("recordings")
    return wrong[0] if wrong else ""


def left_out(report: Mapping[str, Any]) -> list[str]:
    """Recordings of a store's report without a window, a phrase per reason."""
    reasons = Counter(report.get("recordings_skipped", {}).values()).most_common()
    return [f"{count} of {report['recordings']} recordings, {why}" for why, count in reasons]


def summary(accounts: Sequence[tuple[str, Account]]) -> list[str]:
    """A line per modality and group of like recordings.

    Args:
        accounts: (recording, account), in the order read.
    """
    groups: dict[tuple[object, ...], list[Account]] = {}
    for _, a in accounts:
        key = (a.modality, a.channels, a.kinds, a.unit, a.fs, a.left_out)
        groups.setdefault(key, []).append(a)
    return [_line(group) for group in groups.values()]


def _line(group: Sequence[Account]) -> str:
    first = group[0]
    by_kind = {k: first.kinds.count(k) for k in dict.fromkeys(first.kinds)}
    count = len(first.channels)
    kinds = (
        next(iter(by_kind))
        if len(by_kind) == 1
        else ", ".join(f"{n} {k}" for k, n in by_kind.items())
    )
    named = (
        f" {' '.join(first.channels)}"
        if count <= 4
        else f" {first.channels[0]} ... " + (first.channels[-1])
    )
    levels = ", ".join(
        f"{np.median([a.levels[k] for a in group]):.3g}" + (f" {k}" if len(by_kind) > 1 else "")
        for k in by_kind
    )
    pauses = sum(a.pieces - 1 for a in group)
    parts = [
        f"{first.modality}: {count} channel{'s' * (count > 1)} ({kinds}){named}",
        f"{first.unit or 'no unit'}, median amplitude {levels}",
        f"{first.fs:g} Hz",
        _of_length([a.seconds for a in group]),
    ]
    parts += [f"{pauses} pause{'s' * (pauses > 1)}"] if pauses else []
    parts += [f"left out: {_few(first.left_out)}"] if first.left_out else []
    return "; ".join(parts)


def _of_length(seconds: Sequence[float]) -> str:
    """How many recordings, and how long: "24 recordings of 62 to 188 s"."""
    low, high = min(seconds), max(seconds)
    span = f"{low:.4g} s" if high - low <= 0.05 else f"{low:.4g} to {high:.4g} s"
    return f"{len(seconds)} recording{'s' * (len(seconds) > 1)} of {span}"


def scale_notes(accounts: Iterable[tuple[str, Account]]) -> list[str]:
    """Recordings whose amplitude is another than that of most, by a factor that units make."""
    levels: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for recording, account in accounts:
        for kind, level in account.levels.items():
            if level > 0:
                levels.setdefault((account.modality, kind), []).append((recording, level))
    notes = []
    for (modality, kind), found in levels.items():
        usual = float(np.median([level for _, level in found]))
        for word, far in (
            ("large", [(r, v) for r, v in found if v > usual * OTHER_SCALE]),
            ("small", [(r, v) for r, v in found if v < usual / OTHER_SCALE]),
        ):
            if far:
                ratio = np.median([v for _, v in far]) / usual
                factor = max(ratio, 1 / ratio)
                notes.append(
                    f"{modality}: the {kind} of {_few([r for r, _ in far])} is {factor:.2g} times "
                    f"too {word} beside the other recordings': were they stored in another unit? "
                    "The manifest's column unit states it"
                )
    return notes


def levels_of(accounts: Iterable[tuple[str, Account]], modality: str) -> dict[str, float]:
    """The median over recordings of a modality's amplitude, by type."""
    found: dict[str, list[float]] = {}
    for _, account in accounts:
        for kind, level in account.levels.items() if account.modality == modality else ():
            found.setdefault(kind, []).append(level)
    return {kind: float(np.median(levels)) for kind, levels in found.items()}


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
