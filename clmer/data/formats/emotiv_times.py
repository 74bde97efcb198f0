"""When an Emotiv table's samples were taken: rate, lost samples, and those that were filled in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from clmer.data.timeline import Span
from clmer.errors import DataError

#: Seconds that lost samples may sum to: signals and face drift apart by as much.
MAX_LOST_S = 0.05
#: Share by which a headset's clock may be off; more is another rate, or lost samples.
_CLOCK = 0.005
RATES = 1, 100_000  # samples per second that a recording may have
_ENVELOPE_S = 0.125  # longer than the bursts in which a receiver hands samples on
#: Longer stretches of samples that were filled in are not used.
_MAX_FILLED_S = 0.25


def in_seconds(path: Path, times: np.ndarray, fs: float | None) -> tuple[np.ndarray, list[str]]:
    """Times that may be in ms, from the first sample on, in s, and what to say of them.

    Raises:
        DataError: times that go back.
    """
    if not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
        where = int(np.flatnonzero(~(np.diff(times) >= 0))[0]) + 2
        raise DataError(
            path, "Timestamp", f"no time after the one before it in sample {where}",
            "seconds, ascending",
            "Leave such rows out; two recordings in one table need a file each.",
        )  # fmt: skip
    if times[-1] == 0:
        raise DataError(
            path, "Timestamp", "steps of 0 s in all rows", "seconds, ascending",
            "A spreadsheet rounds them when it saves the table: take the original export.",
        )  # fmt: skip
    if not fs or abs(_step(times) * fs / 1e3 - 1) > _CLOCK:
        return times, []
    return times / 1e3, [f"{path.name}: its times are in ms"]


def filled_spans(flags: np.ndarray, fs: float) -> tuple[tuple[Span, ...], list[str]]:
    """Stretches of filled samples that are too long to count, and what to say of all.

    Args:
        flags: [n] bool, whether each sample was filled in.
        fs: samples per second.
    """
    if not flags.any():
        return (), []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    spans = tuple(
        Span(a / fs, b / fs, "filled in by the headset's program")
        for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if b - a > _MAX_FILLED_S * fs
    )
    return spans, [
        f"{int(flags.sum())} samples were lost and filled in by the headset's program; stretches "
        f"above {_MAX_FILLED_S:g} s are left out"
    ]


def measured_rate(path: Path, seconds: np.ndarray) -> float:
    """Samples per second where the header does not say; times may be rounded to milliseconds."""
    step = _step(seconds)
    low, high = RATES
    if not 1 / high <= step <= 1 / low:
        raise DataError(
            path, "Timestamp", f"steps of {step:g} s", f"seconds, {low} to {high} samples in each"
        )
    whole = round(1 / step)
    return float(whole) if abs(whole * step - 1) < _CLOCK else 1 / step


def _step(seconds: np.ndarray) -> float:
    """Seconds from sample to sample: the median over stretches of some, which rounding spares."""
    apart = min(64, len(seconds) - 1)
    return float(np.median(seconds[apart:] - seconds[:-apart])) / apart


def check_ends(path: Path, seconds: np.ndarray, start_s: float, stop_s: float, fs: float) -> None:
    """Refuse a part that begins or ends in a pause.

    Raises:
        DataError: it does.
    """
    slack = MAX_LOST_S + 1 / fs
    for what, found, wanted in (
        ("begin", float(seconds[0]), start_s),
        ("end", float(seconds[-1]) + 1 / fs, stop_s),
    ):
        if abs(found - wanted) > slack:
            raise _gap(path, f"samples that {what} at {found:.3f} s, not at {wanted:.3f}", fs)


def check_times(path: Path, seconds: np.ndarray, fs: float) -> None:
    """Refuse times [n] with lost samples, or of another rate than `fs`.

    Raises:
        DataError: times that go back, lost samples of more than `MAX_LOST_S`, another rate.
    """
    steps = np.diff(seconds)
    if not (len(steps) and np.isfinite(steps).all() and steps.min() >= 0):
        raise DataError(path, "Timestamp", "times that do not increase", "seconds, ascending")
    if steps.max() > MAX_LOST_S + 1 / fs:
        where = int(steps.argmax())
        raise _gap(path, f"a gap of {steps[where]:.3f} s at {seconds[where]:.3f} s", fs)
    duration_s = seconds[-1] - seconds[0]
    lost = _lost_samples(seconds, fs)
    other_rate = lost.sum() > len(steps) / 2 or lost.sum() < -len(steps) / 4
    if lost.sum() > MAX_LOST_S * fs and not other_rate:
        found = f"{lost.sum()} samples lost in {duration_s:.1f} s"
        where = int(np.flatnonzero(lost > 0)[0])
        raise _gap(path, f"{found}, the first at {seconds[where]:.3f} s", fs)
    measured = (len(steps) + (0 if other_rate else lost.sum())) / duration_s
    if len(steps) > fs and abs(measured / fs - 1) > _CLOCK:
        raise DataError(
            path,
            "sampling rate",
            f"{fs:g} Hz in the header",
            f"the times' {measured:.1f} Hz",
            "One of the two is wrong: correct the header, or export the file again.",
        )


def _lost_samples(seconds: np.ndarray, fs: float) -> np.ndarray:
    """Samples lost after each sample.

        lateness d_i = fs t_i - i,   e_i = min(d_i, ..., d_{i+w}),   lost_i = round(e_{i+1} - e_i)

    A sample that was handed on late is on time again soon, so that the lower envelope e stays; a
    lost one delays all that follow. A slow clock moves e by far less than half a sample per step.

    Args:
        seconds: [n] ascending times.
        fs: samples per second.

    Returns:
        [n] int64; 0 within the last window, where late and lost look the same.
    """
    lost = np.zeros(len(seconds), dtype=np.int64)
    width = max(2, round(_ENVELOPE_S * fs))
    if len(seconds) > width:
        late = fs * seconds - np.arange(len(seconds))
        envelope = sliding_window_view(late, width).min(axis=1)
        lost[: len(envelope) - 1] = np.rint(np.diff(envelope))
    return lost


def _gap(path: Path, found: str, fs: float) -> DataError:
    return DataError(
        path,
        "Timestamp",
        found,
        f"samples every {1 / fs:.4f} s, lost ones of {MAX_LOST_S:g} s in all",
        "Take a part without them with start_s and stop_s, or export again with lost samples "
        "interpolated, as EmotivPRO does.",
    )
