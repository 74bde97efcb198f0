"""When a table's rows were sampled: by a column of times, by a counter, or by a rate alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from clmer.data.formats.tables.layout import SECONDS
from clmer.errors import DataError

#: Samples per second that a table may have.
RATES = 0.01, 100_000.0
#: Share by which a device's clock may be off; more is another rate, or lost samples.
CLOCK = 0.005
#: How far a rounded or stated rate may move the last sample.
_DRIFT_S = 0.02
#: Longer than the bursts in which a receiver hands samples on.
_ENVELOPE_S = 0.125
#: Times may go back by this where samples of a burst were stamped one by one.
_BACK_S = 0.25
#: Samples of one time above which a single lost one is within what rounding makes of times.
_FEW = 4
#: Share of a counter's steps that must be equal.
_STEADY = 0.9
_UNITS = {1.0: "s", 1e-3: "ms", 1e-6: "us", 1e-9: "ns"}
#: Seconds since 1970 of any recording's start: 2000 to 2050. Other numbers count from elsewhere,
#: such as the start of a phone, whose nanoseconds are as large as the microseconds since 1970.
_DATES = 9.46e8, 2.53e9
#: Longest step between samples that is sooner that of a date than one in a smaller unit.
_SLOW_S = 0.5
#: Rows of one time "00:01" below which it has no hours: they were less than one in two seconds.
_FEWEST_HZ = 30.0
DAY_S = 86400.0
_LONGEST_S = 100 * DAY_S
_CLOCK_TIME = re.compile(
    r"(?:(\d{4})-(\d\d)-(\d\d)[T ]|.*[ ,T])?(\d{1,2}):(\d\d)(?::(\d\d(?:[.,:]\d+)?)|[.,](\d+))?"
    r" ?([AP]M)?(?:Z| ?[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)


_ISO = re.compile(
    r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?",
    re.ASCII,
)


def is_clock_time(cell: str) -> bool:
    """Whether a cell is a time as a clock shows it, such as "23:59:59.5" or "59:59.5"."""
    return _CLOCK_TIME.fullmatch(cell) is not None


def has_date(cell: str) -> bool:
    """Whether a time as a clock shows it has a date of the form 2024-01-31 before it."""
    found = _CLOCK_TIME.fullmatch(cell)
    return found is not None and found[1] is not None


def clock_seconds(
    cells: Sequence[str], *, hours: bool = False, several: bool = False
) -> np.ndarray:
    """Times of day as seconds [n] that go on at midnight; NaN where a cell is none.

    "2024-01-31T23:59:59.5", "31.01.2024 23:59:59,5", "11:59:59 PM", and what a spreadsheet leaves
    of them, "59:59.5" (minutes and seconds). "00:01" alone is minutes and seconds too.

    Args:
        cells: as written.
        hours: whether "00:01" is hours and minutes; it is beside others that have all three.
        several: whether one series may follow another, so that times go back over midnight too.
    """
    if all(map(_ISO.fullmatch, cells)):  # which NumPy reads faster
        stamps = np.array(cells, "datetime64[us]")
        return np.asarray((stamps - stamps[0]) / np.timedelta64(1, "s"))
    founds = [_CLOCK_TIME.fullmatch(cell) for cell in cells]
    hours = hours or any(found and _has_hours(found) for found in founds)
    seconds = np.array([_of_day(found, hours) if found else np.nan for found in founds])
    period = DAY_S if hours else 3600.0
    known = np.flatnonzero(np.isfinite(seconds))
    if any(found and found[1] for found in founds):
        return seconds  # whose dates tell the day
    steps = np.diff(seconds[known])
    days = (steps < -period / 2).astype(float) - (several & (steps > period / 2))
    seconds[known[1:]] += period * np.cumsum(days)
    return seconds


def _has_hours(found: re.Match[str]) -> bool:
    """Whether a time has three numbers, a date, or half of a day."""
    return bool(found[6] or found[8] or found.start(4))


def clock_times(
    path: Path, name: str, cells: Sequence[str], fs: float | None
) -> tuple[np.ndarray, str]:
    """`clock_seconds`, where "00:01" may be hours or minutes, and what to say of that.

    Args:
        path: the file, for messages.
        name: of the column.
        cells: as written.
        fs: samples per second, where they are known.

    Raises:
        DataError: "00:01" may be either.
    """
    seconds = clock_seconds(cells)
    founds = [_CLOCK_TIME.fullmatch(cell) for cell in cells]
    if any(found is None or found[7] or _has_hours(found) for found in founds):
        return seconds, ""
    steps = np.diff(seconds)
    if not steps.any():
        return seconds, ""
    step = float(np.median(steps[steps != 0]) * np.mean(steps != 0))
    if fs:
        fits = [by for by in (1.0, 60.0) if _plausible(step * by, 1.0, fs)]
    else:
        fits = [1.0] if step > 1 / _FEWEST_HZ else [1.0, 60.0]
    if len(fits) != 1:
        raise DataError(
            path,
            name,
            f"times such as {cells[0]!r}",
            "hours, minutes and seconds: 00:00:01",
            "State the rate in the manifest's column rate (clmer predict: --rate), which tells "
            "whether they are minutes and seconds or hours and minutes.",
        )
    if fits[0] == 60.0:
        return clock_seconds(cells, hours=True), f"{name} ({cells[0]}) is taken for hh:mm"
    return seconds, f"{name} ({cells[0]}) is taken for mm:ss"


def _of_day(found: re.Match[str], hours: bool) -> float:
    year, month, day, first, second, third, tenths, half = found.groups()
    if third is None and (tenths is not None or not hours):  # "59:59.5"
        return 60.0 * int(first) + float(f"{second}.{tenths or 0}")
    hour = int(first) % 12 + 12 * (half.upper() == "PM") if half else int(first)
    rest = float((third or "0").replace(",", ".").replace(":", "."))
    try:
        days = date(int(year), int(month), int(day)).toordinal() if year else 0
    except ValueError:
        return np.nan
    return DAY_S * days + 3600.0 * hour + 60.0 * int(second) + rest


def in_seconds(
    path: Path, name: str, times: np.ndarray, unit: str, fs: float | None
) -> tuple[np.ndarray, str]:
    """Numbers of a column of times as seconds from the first on, and what to say of their unit.

    Args:
        path: the file, for messages.
        name: of the column.
        times: [n] as written.
        unit: as the file spells it; "" where it does not say.
        fs: samples per second, where they are known.

    Raises:
        DataError: the unit is not told by the file, by times since 1970, or by the rate.
    """
    seconds = times - times[0]
    scale, note = SECONDS.get(unit.lower().strip("[](){} ")), ""
    if scale is None:
        step = typical_step(seconds)
        date_scale = next((by for by in _UNITS if _DATES[0] <= times[0] * by <= _DATES[1]), None)
        scales = [by for by in _UNITS if step and _plausible(step, by, fs)]
        if date_scale and (
            date_scale in scales or not scales or (not fs and step * date_scale <= _SLOW_S)
        ):
            return np.asarray(seconds * date_scale), note
        if len(scales) != 1 or (date_scale and not fs):
            raise DataError(
                path,
                name,
                f"times in steps of {step:g} of an unknown unit",
                "seconds, or a unit in the column's name",
                f"Name it {name} [ms] (or [s], [us], [ns]), or state the column rate in the "
                "manifest (clmer predict: --rate).",
            )
        scale = scales[0]
        note = f"{name}, in steps of {step:g}, is taken for {_UNITS[scale]}" if scale < 1 else ""
    return np.asarray(seconds * scale), note


def _plausible(step: float, scale: float, fs: float | None) -> bool:
    """Whether a step can be one from sample to sample.

    Without a rate `fs`, seconds are those of 2 to 2000 Hz, other units those of 20 to 2000 Hz, and
    what may be two of them is none.
    """
    if fs:
        return 1 / 3 < step * scale * fs < 3  # how far off it is, is said later
    least, most = (5e-4, 0.5) if scale == 1.0 else (2e-3, 0.05)
    return least <= step * scale <= most


def check_order(path: Path, name: str, seconds: np.ndarray, line: int) -> np.ndarray:
    """Times [n] that never go back: one that does by a moment is that of the sample before.

    Args:
        path: the file, for messages.
        name: of the column.
        seconds: times.
        line: of the first row in the file.

    Raises:
        DataError: they go back by more, or are months apart.
    """
    far = np.flatnonzero(seconds > _LONGEST_S)
    if len(far):
        raise DataError(
            path,
            f"line {line + int(far[0])}, {name}",
            f"a time {seconds[far[0]]:g} s after the first",
            "times of one recording",
            "Correct the cell, or give recordings of several days a file each.",
        )
    highest = np.maximum.accumulate(seconds)
    back = np.flatnonzero(highest - seconds > _BACK_S)
    if len(back):
        at = int(back[0])
        raise DataError(
            path,
            f"line {line + at}, {name}",
            f"a time {highest[at] - seconds[at]:g} s before that of an earlier row",
            "times that go on",
            "Two recordings in one table need a file each; rows that are there twice must go.",
        )
    return highest


def _together(times: np.ndarray) -> int:
    """How many samples at most have nearly always one time: 1, or those of a burst."""
    changes = np.flatnonzero(np.diff(times))
    return int(np.quantile(np.diff(changes), 0.95)) if len(changes) > 1 else 1


def typical_step(times: np.ndarray) -> float:
    """From sample to sample: the mean of the middle half of stretches of whole bursts.

    It spares pauses, and times that are rounded to more than a sample.
    """
    burst, count = _together(times), len(times) - 1
    apart = burst * max(8, -(-64 // burst))
    apart = min(apart, burst * (count // 2 // burst) or count)
    steps = np.sort(times[apart:] - times[:-apart])
    rest = len(steps) // 4
    return float(steps[rest : len(steps) - rest].mean()) / apart


def _mean_step(times: np.ndarray, rough: float) -> float:
    """The mean over stretches without a pause, as long as there are enough of them."""
    lost = lost_by_time(times, 1 / rough, np.arange(len(times)))
    before = np.concatenate([[0], np.cumsum(lost[:-1])])
    apart = len(times) // 2
    while apart > 1:
        whole = before[apart:] == before[:-apart]
        if whole.sum() >= len(times) / 8:
            return float((times[apart:] - times[:-apart])[whole].mean()) / apart
        apart //= 2
    return rough


def measured_rate(path: Path, name: str, seconds: np.ndarray) -> float:
    """Samples per second by the times, rounded where that moves no sample by more than they tell.

    Raises:
        DataError: no rate that a table may have.
    """
    step = typical_step(seconds)
    low, high = RATES
    if not 1 / high <= step <= 1 / low:
        raise DataError(
            path,
            name,
            f"steps of {step:g} s",
            f"times of {low:g} to {high:g} samples per second",
            "A spreadsheet rounds times when it saves a table: take the original export, or state "
            "the rate in the manifest's column rate (clmer predict: --rate).",
        )
    rate = 1 / _mean_step(seconds, step)
    for digits in (0, 1, 2):
        near = round(rate, digits)
        if near and abs(near / rate - 1) < 5e-4 and not drifts(seconds, rate, near):
            return near
    return rate


def drifts(seconds: np.ndarray, measured: float, known: float) -> bool:
    """Whether a rate known otherwise moves the last sample by more than the times tell.

    n |1 / measured - 1 / known| > 20 ms, or what a time of several samples is rounded to
    """
    told_s = max(_DRIFT_S, (_together(seconds) - 1) / measured)
    return len(seconds) * abs(1 / measured - 1 / known) > told_s


def lost_by_time(seconds: np.ndarray, fs: float, index: np.ndarray) -> np.ndarray:
    """Samples lost after each sample.

        lateness d_i = fs t_i - n_i,   e_i = min(d_i, ..., d_{i+w}),   lost_i = round(e_{i+1} - e_i)

    A sample that was handed on late is on time again soon, so that the lower envelope e stays; a
    lost one delays all that follow. A slow clock moves e by far less than half a sample per step.

    Args:
        seconds: [n] times in order.
        fs: samples per second.
        index: [n] numbers n_i of the samples, lost ones counted that are known otherwise.

    Returns:
        [n] int64; within the last window, where late and lost look the same, only long pauses.
    """
    lost = np.zeros(len(seconds), dtype=np.int64)
    width = max(2, round(_ENVELOPE_S * fs), round(1.5 * _together(seconds)))
    width = min(width, len(seconds) // 2)
    if width >= 2:
        late = fs * seconds - index
        envelope = sliding_window_view(late, width).min(axis=1)
        lost[: len(envelope) - 1] = np.rint(np.diff(envelope) + 1e-6)
        rest = np.diff(late)[len(envelope) - 1 :]
        lost[len(envelope) - 1 : -1] = np.where(rest > width, np.rint(rest), 0)
    least = 1 if _together(seconds) <= _FEW else 2  # rounded times tell a single one from none
    return np.where(lost >= least, lost, 0)


def lost_by_counter(counter: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Samples lost after each sample by a counter, and after how many it starts again (0: never).

    Args:
        counter: [n] as written.

    Returns:
        None where its steps are not equal, so that it does not count samples.
    """
    if len(counter) < 2 or not (np.abs(counter) < 2**53).all():  # which NaN is not either
        return None
    steps = np.diff(counter)
    values, often = np.unique(steps, return_counts=True)
    step = float(values[often.argmax()])
    if step <= 0:
        return None
    wraps = round((counter.max() - counter.min()) / step) + 1 if (steps < 0).any() else 0
    ahead = steps / step
    if not np.allclose(ahead, np.rint(ahead)):
        return None
    ahead = np.rint(ahead).astype(np.int64)
    if wraps:
        ahead %= wraps
    if (ahead == 1).mean() < _STEADY:
        return None
    lost = np.zeros(len(counter), dtype=np.int64)
    lost[:-1] = np.maximum(ahead - 1, 0)
    return lost, wraps
