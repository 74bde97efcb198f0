"""What a signal as read is like, and whether its type can have such numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from clmer.data.recording import Signal
from clmer.data.service_channels import evenly_spaced, service_type, suspicious
from clmer.data.store.summary import SignalSummary, some_of
from clmer.errors import DataError
from clmer.signal.quality import clipped_share, hum_of

#: A first sample this many spreads away from the rest is no sample.
_NO_SAMPLE = 1e6
#: Types whose amplifiers have limits that a body's signal should not reach.
_AMPLIFIED = ("eeg", "ieeg", "eog", "emg", "ecg", "ppg", "resp", "gsr")
#: Share of samples at a limit from which on a channel is called clipped.
_CLIPPED = 0.005
#: Types that mains hum gets into, and the share of their power that is called so.
_HUMMING, _HUM = ("eeg", "ieeg", "eog", "emg", "ecg"), 0.5


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


def measure(name: str, signal: Signal, path: Path, *, alone: bool = True) -> SignalSummary:
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
    x = np.asarray(evenly_spaced(signal.data), np.float64)
    ordered = np.sort(x, axis=1)
    middle, spread = _middle_and_spread(x, ordered)
    _check_first(signal, middle, spread, path)
    levels = _levels(signal.kinds, middle, spread)
    notes = [
        *signal.notes,
        *_flat_notes(name, signal, spread),
        *_copy_notes(name, signal, x, middle, spread),
        *_service_notes(name, signal, ordered),
        *_clip_notes(name, signal),
        *_hum_notes(name, signal),
        *_time_notes(name, signal, alone),
    ]
    notes += [
        text for kind in levels if (text := _level_note(name, kind, levels[kind], signal, path))
    ]
    return SignalSummary(
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


def amplitudes(x: np.ndarray, kinds: Sequence[str]) -> dict[str, float]:
    """The median amplitude of each type's channels [C, n], as `measure` gives it."""
    x = np.asarray(x, np.float64)
    return _levels(kinds, *_middle_and_spread(x, np.sort(x, axis=1)))


def _middle_and_spread(x: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust standard deviation [C] of channels [C, n], given also in order."""
    low, middle, high = _quartiles(ordered) if x.size else np.zeros((3, len(x)))
    spread = (high - low) / 1.349
    constant = spread == 0
    if x.size and constant.any():
        spread[constant] = x[constant].std(axis=1)
    return middle, spread


def _levels(kinds: Sequence[str], middle: np.ndarray, spread: np.ndarray) -> dict[str, float]:
    """The median amplitude of each type's channels, those that are constant left out."""
    values: dict[str, list[float]] = {}
    for kind, level, width in zip(kinds, np.abs(middle).tolist(), spread.tolist(), strict=True):
        bounds = BOUNDS.get(kind)
        value = level if bounds and bounds.level else width
        values.setdefault(kind, []).extend([value] if value > 0 else [])
    return {kind: median(found) if found else 0.0 for kind, found in values.items()}


def _quartiles(ordered: np.ndarray) -> np.ndarray:
    """Lower quartile, median and upper quartile of sorted rows [3, C], as `np.percentile`."""
    place = np.array([0.25, 0.5, 0.75]) * (ordered.shape[1] - 1)
    below = place.astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[1] - 1)
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


def _flat_notes(name: str, signal: Signal, spread: np.ndarray) -> list[str]:
    """Channels that are constant."""
    flat = [signal.channels[row] for row in np.flatnonzero(spread == 0)]
    return [f"{name}: {some_of(flat)} flat (constant)"] if flat else []


def _copy_notes(
    name: str, signal: Signal, x: np.ndarray, middle: np.ndarray, spread: np.ndarray
) -> list[str]:
    """Channels that are copies of another: [C, n] samples `x`, of `middle` and `spread` [C]."""
    rows = np.flatnonzero(spread > 0)
    _, which, counts = np.unique(middle[rows], return_inverse=True, return_counts=True)
    notes: list[str] = []
    first: dict[bytes, str] = {}
    for row in rows[counts[which] > 1]:  # copies have one median
        channel = signal.channels[row]
        other = first.setdefault(x[row].tobytes(), channel)
        if other != channel:
            notes.append(f"{name}: {channel} is a copy of {other}")
    return notes


def _service_notes(name: str, signal: Signal, ordered: np.ndarray) -> list[str]:
    """Channels that may be no signal of a body."""
    return [
        f"{name}: {signal.channels[row]} has {found}: is it a signal?"
        for row in np.flatnonzero(suspicious(signal.data, ordered))
        if (found := service_type(signal.data[row], signal.kinds[row]))
    ]


def _clip_notes(name: str, signal: Signal) -> list[str]:
    """Channels that stand at their amplifier's limit."""
    rows = zip(signal.channels, signal.kinds, signal.data, strict=True)
    found = [
        channel for channel, kind, x in rows if kind in _AMPLIFIED and clipped_share(x) >= _CLIPPED
    ]
    share = f"{100 * _CLIPPED:g} % of the samples or more"
    said = f"{name}: {some_of(found)} clipped: {share} at the amplifier's limit"
    return [said] if found else []


def _hum_notes(name: str, signal: Signal) -> list[str]:
    """Channels that hold mains hum more than anything else, in the longest piece."""
    rows = [row for row, kind in enumerate(signal.kinds) if kind in _HUMMING]
    pieces = signal.line.pieces
    if not rows or not pieces:
        return []
    piece = max(pieces, key=lambda each: each.stop - each.first)
    shares, mains = hum_of(signal.data[rows, piece.first : piece.stop], signal.fs)
    found = [signal.channels[rows[at]] for at in np.flatnonzero(shares >= _HUM)]
    share = f"{100 * _HUM:g} % of the power or more at {mains:g} Hz"
    said = f"{name}: {some_of(found)} full of mains hum, {share}: was an electrode loose?"
    return [said] if found else []


def _level_note(name: str, kind: str, level: float, signal: Signal, path: Path) -> str:
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
