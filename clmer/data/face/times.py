"""When each row was filmed: units of the timestamps, order of the rows, and the frame rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clmer.data.face.rows import Rows
from clmer.data.formats.tables.times import DAY_S
from clmer.errors import DataError

#: Frames per second between which timestamps are taken for seconds.
_PLAUSIBLE = (1.0, 1000.0)
#: Frames per second that timestamps in a smaller unit must come to.
_USUAL = (5.0, 240.0)
_SMALLER = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_LARGER = {60.0: "minutes", 3600.0: "hours", 86400.0: "days"}
#: A stated rate may differ from that of the timestamps by this share, and by this one unsaid.
_RATE_DIFFERS, _RATE_AGREES = 0.02, 0.002
#: Seconds from which times are those of a calendar.
_EPOCH_S = 1e8
#: Frames that times of a constant rate may be off.
_EXACT = 0.05
#: Seconds without any row that are said.
_PAUSE_S = 1.0
#: Seconds that frame numbers may skip while the timestamps go on as if nothing was missing.
_SKIPPED_S = 0.2
_PAIR = "Two people in each frame? Keep one person's rows, or number the faces in a column face_id."
_STATE_RATE = (
    "State the video's frame rate (fps): the manifest's column rate (clmer predict: --face-rate)."
)
_SPLIT = "Two clips in one file? Split it there: one CSV per clip."


def in_seconds(rows: Rows, fps: float | None) -> tuple[Rows, list[str]]:
    """Rows whose timestamps are seconds; without those, and frame numbers, that say nothing.

    Args:
        rows: of all faces.
        fps: the stated frame rate.

    Returns:
        The rows, and what was done.

    Raises:
        DataError: timestamps that cannot be seconds, where no rate is stated or it does not fit.
    """
    seconds, frame = rows.seconds, rows.frame
    notes = []
    if frame is not None and not _differ(frame) and len(rows.lines) > 1:
        if seconds is not None and _differ(seconds):
            notes.append("the column frame is the same in every row and is not used")
        frame = None if seconds is not None else frame
    if seconds is None:
        return rows, notes
    rows = replace(rows, frame=frame)
    count = "frame numbers" if frame is not None else "rows"
    if not _differ(seconds):
        if fps is None:
            found = f"{len(seconds)} row(s) without two different times"
            raise DataError(rows.path, "timestamp", found, "increasing seconds", _STATE_RATE)
        found = f"all {seconds[0]:g}" if np.isfinite(seconds).any() else "empty"
        said = f"the timestamps are {found}: {count} at the stated {fps:g} frames per second are "
        return replace(rows, seconds=None), [*notes, said + "used instead"]
    steps = _steps(rows)
    if not steps.size:
        return rows, notes  # no time follows on another: the order is refused later
    step = float(np.median(steps))
    if fps is not None and abs(1 / step / fps - 1) <= _RATE_DIFFERS:
        return _of_day(rows, notes)
    counter = next((k for k in (1.0, 1e-3) if np.allclose(steps, k, rtol=1e-6)), None)
    if counter is not None:
        _check_epoch(rows, seconds)
    if counter is not None and fps is not None:
        said = f"the timestamps count frames (steps of {counter:g}): {count} at the stated "
        said += f"{fps:g} frames per second are used instead"
        return replace(rows, seconds=None), [*notes, said]
    factor = 1.0
    if counter is not None or not _PLAUSIBLE[0] < 1 / step < _PLAUSIBLE[1]:
        factor = _factor(rows, step, fps, counter)
        rate = factor / step
        notes.append(
            f"the timestamps are taken for {_SMALLER[factor]}, which are {rate:.4g} frames per "
            "second"
        )
    seconds = seconds / factor
    _check_epoch(rows, seconds)
    return _of_day(replace(rows, seconds=seconds), notes)


def _of_day(rows: Rows, notes: list[str]) -> tuple[Rows, list[str]]:
    """Times over midnight, which are none since the video's start, from the first row on."""
    seconds = rows.seconds
    if seconds is None or np.nanmax(seconds) < DAY_S or not np.nanmin(seconds) > DAY_S / 2:
        return rows, notes
    said = f"the timestamps, up to {np.nanmax(seconds):.8g} s, are of a clock: counted from the "
    return replace(rows, seconds=seconds - np.nanmin(seconds)), [*notes, said + "first row on"]


def _check_epoch(rows: Rows, seconds: np.ndarray) -> None:
    if np.nanmin(seconds) > _EPOCH_S:
        found = f"{np.nanmin(seconds):.10g} s in the first row"
        expected, hint = "times counted from the video's start", "Subtract the first row's time."
        raise DataError(rows.path, "timestamp", found, expected, hint)


def _differ(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() < finite.max())


def _steps(rows: Rows) -> np.ndarray:
    """Seconds per frame between successive rows of a face, where time goes on; else their mean."""
    assert rows.seconds is not None
    count = len(rows.seconds)
    face = np.zeros(count) if rows.face is None else rows.face
    frame = np.arange(count) if rows.frame is None else rows.frame
    order = np.lexsort((frame, face))
    with np.errstate(invalid="ignore", over="ignore"):
        time = np.diff(rows.seconds[order])
        number = np.diff(frame[order]) if rows.frame is not None else np.ones(count - 1)
        same = np.diff(face[order]) == 0
        use = same & (time >= 0) & (number > 0) & np.isfinite(time) & np.isfinite(number)
    time, number = time[use], number[use]
    if (time == 0).any():  # rounded: single steps say little
        return np.array([time.sum() / number.sum()] if time.any() else [])
    return np.asarray(time / number)


def _factor(rows: Rows, step: float, fps: float | None, counter: float | None) -> float:
    """What timestamps in a smaller unit than seconds are to be divided by.

    Raises:
        DataError: no unit makes them fit.
    """
    if counter is None:
        for factor in _SMALLER:
            rate = factor / step
            fits = fps is None or abs(rate / fps - 1) <= _RATE_DIFFERS
            if fits and _USUAL[0] <= rate <= _USUAL[1]:
                return factor
    found = f"steps of {step:g}, which as seconds are {1 / step:.4g} frames per second"
    expected = "seconds, at more than 1 and less than 1000 frames per second"
    smaller = (f"Divide by {k:g} if they are {u}." for k, u in _SMALLER.items() if k / step > 1)
    larger = (
        f"Multiply by {k:g} if they are {u}."
        for k, u in _LARGER.items()
        if _USUAL[0] <= 1 / step / k <= _USUAL[1]
    )
    if counter is not None:
        found, hint = f"{found}: it seems to count frames", _STATE_RATE
    elif fps is not None:
        expected = f"times of the stated {fps:g} frames per second"
        hint = "Remove the column timestamp to have frame numbers and that rate used."
    else:
        hint = next(smaller if 1 / step <= 1 else larger, _STATE_RATE)
    raise DataError(rows.path, "timestamp", found, expected, hint)


def positions(rows: Rows, fps: float | None, first: float) -> tuple[np.ndarray, float, list[str]]:
    """Each row's place in frames after the video's start.

    Args:
        rows: of one face, each with a time or a frame number.
        fps: the stated frame rate.
        first: the video's first frame: OpenFace counts from 1, others from 0.

    Returns:
        Places [r], the frame rate, and what is to be said of them.

    Raises:
        DataError: no times and no rate; two rows of one time; times that go back; a stated rate
            that is not that of the times.
    """
    rows, order, notes = _in_order(rows)
    frame, seconds = rows.frame, rows.seconds
    if seconds is not None and frame is not None and (np.diff(seconds[order]) == 0).any():
        seconds, said = _rounded(rows, frame[order], seconds[order], fps)
        notes.append(said)
    if seconds is None:
        if fps is None:
            expected = "seconds of each frame, or a frame rate"
            raise DataError(rows.path, "timestamp", "no such column", expected, _STATE_RATE)
        if frame is None:
            return np.arange(len(rows.lines), dtype=np.float64), fps, notes
        return frame - first, fps, notes
    place = None
    if frame is not None:
        _check_skips(rows, frame[order], seconds[order], rows.lines[order])
        place, rate = _of_frames(frame, seconds, order)
    if place is None:
        rate = _rate(rows, seconds[order])
        place = seconds * rate
    if fps is not None:
        notes += _compare(rows, rate, fps)
        place, rate = seconds * fps, fps
    return place, rate, notes + _pauses(seconds[order], rows.lines[order])


def _pauses(seconds: np.ndarray, lines: np.ndarray) -> list[str]:
    """Where the table says nothing for a while."""
    notes = []
    if seconds[0] > _PAUSE_S:
        notes.append(f"the first row is at {seconds[0]:.6g} s: nothing is known before it")
    steps = np.diff(seconds)
    if (steps > _PAUSE_S).any():
        at = int(steps.argmax())
        notes.append(
            f"no row for {steps[steps > _PAUSE_S].sum():.4g} s in all, longest from "
            f"{seconds[at]:.6g} s (line {lines[at]}) to {seconds[at + 1]:.6g} s"
        )
    return notes


def _in_order(rows: Rows) -> tuple[Rows, np.ndarray, list[str]]:
    """The rows' order in time, by frame numbers where there are any, and without these if useless.

    Raises:
        DataError: a frame or a time twice, or times that go back.
    """
    notes = []
    seconds, frame, order = rows.seconds, rows.frame, np.arange(len(rows.lines))
    if frame is not None:
        order = np.argsort(frame, kind="stable")
        twice = np.flatnonzero(np.diff(frame[order]) == 0)
        if twice.size and seconds is not None and (np.diff(seconds) > 0).all():
            notes.append("frame numbers that come twice are not used: the timestamps increase")
            rows, order = replace(rows, frame=None), np.arange(len(rows.lines))
        elif twice.size:
            again = int(order[twice + 1].min())
            first = int(np.flatnonzero(frame == frame[again])[0])
            raise _twice(rows, first, again, f"frame {frame[again]:g}")
        elif (np.diff(order) < 0).any():
            notes.append("the rows are not in the order of their frame numbers and were sorted")
    if seconds is not None:
        step = np.diff(seconds[order])
        for at in np.flatnonzero(step < 0)[:1]:
            before, after = order[at], order[at + 1]
            raise DataError(
                rows.path,
                f"line {rows.lines[after]}, timestamp",
                f"{seconds[after]:g} s after the {seconds[before]:g} s of line "
                f"{rows.lines[before]}",
                "times that increase from frame to frame",
                _SPLIT,
            )
        for at in np.flatnonzero(step == 0)[:1] if rows.frame is None else ():
            raise _twice(rows, int(at), int(at) + 1, f"{seconds[at]:g} s")
    return rows, order, notes


def _twice(rows: Rows, first: int, again: int, what: str) -> DataError:
    """A frame that has two rows."""
    of_both = (np.array_equal(v[first], v[again], equal_nan=True) for v in rows.values.values())
    hint = "Remove the duplicated rows." if all(of_both) else _SPLIT if again > first + 1 else _PAIR
    return DataError(
        rows.path,
        f"line {rows.lines[again]}",
        f"{what} again, as in line {rows.lines[first]}",
        "one row per frame",
        hint,
    )


def _rounded(
    rows: Rows, frame: np.ndarray, seconds: np.ndarray, fps: float | None
) -> tuple[np.ndarray | None, str]:
    """Timestamps of equal times made distinct by frame numbers, or None where a rate is stated.

    Raises:
        DataError: they are too coarse for the frame rate.
    """
    if fps is not None:
        said = "the timestamps are rounded so that several frames have one time"
        return (
            None,
            f"{said}: frame numbers at the stated {fps:g} frames per second are used instead",
        )
    steps = np.diff(seconds)
    slope, start = np.polyfit(frame - frame[0], seconds, 1)  # seconds per frame
    if steps.max() > 1.5 * slope * max(1.0, np.diff(frame).max()):
        raise DataError(
            rows.path,
            "timestamp",
            f"{int((steps == 0).sum())} times the same time for two frames, and then steps of "
            f"{steps.max():g} s",
            "a time for each frame",
            _STATE_RATE,
        )
    assert rows.frame is not None
    exact = start + slope * (rows.frame - frame[0])
    said = "several frames have one timestamp: frame numbers stand in for the rounded times"
    return exact - min(0.0, exact.min()), said


def _check_skips(rows: Rows, frame: np.ndarray, seconds: np.ndarray, lines: np.ndarray) -> None:
    """Refuse timestamps that take no notice of frames left out: what follows would be shifted."""
    number, time = np.diff(frame), np.diff(seconds)
    if not number.size:
        return
    usual = np.median(time / number)
    skips = (number > 1) & (time < 0.5 * number * usual)
    lost_s = float((number * usual - time)[skips].sum())
    if lost_s > _SKIPPED_S:
        at = int(np.flatnonzero(skips)[0])
        raise DataError(
            rows.path,
            f"line {lines[at + 1]}, timestamp",
            f"{time[at]:g} s later than line {lines[at]}, but {number[at]:g} frames",
            f"about {number[at] * usual:g} s",
            "Timestamps or frame numbers were made anew after rows were left out: keep those that "
            "the tracker wrote, or remove the wrong column.",
        )


def _of_frames(
    frame: np.ndarray, seconds: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray | None, float]:
    """Places and rate by frame numbers, where the times are theirs but for rounding; else None."""
    number, time = frame[order] - frame[order[0]], seconds[order] - seconds[order[0]]
    if len(order) < 2 or not time[-1] > 0:
        return None, 0.0
    rate = round(float(number[-1] / time[-1]), 3)
    rounded = 1.05 * rate * _resolution(seconds)  # a time and the last one, in frames
    if not rate > 0 or np.abs(time * rate - number).max() > max(_EXACT, rounded):
        return None, 0.0
    return frame + float(np.median(seconds * rate - frame)), rate


def _resolution(seconds: np.ndarray) -> float:
    """The decimal that times are rounded to, in seconds."""
    for digits in range(6):
        scaled = seconds * 10.0**digits
        if np.abs(scaled - np.rint(scaled)).max() < 1e-4:
            return 10.0**-digits
    return 0.0


def _rate(rows: Rows, seconds: np.ndarray) -> float:
    """Frames per second; rounded timestamps and absent rows do not bias it."""
    steps = np.diff(seconds)
    steps = steps[steps > 0]
    if not (steps.size and np.isfinite(steps).all()):
        found = f"{seconds.size} row(s) without two different times"
        raise DataError(rows.path, "timestamp", found, "increasing seconds", _STATE_RATE)
    frames = np.rint(steps / np.median(steps)).sum()
    return round(float(frames / steps.sum()), 3)


def _compare(rows: Rows, measured: float, stated: float) -> list[str]:
    """What is to be said of a stated rate beside the timestamps.

    Raises:
        DataError: they are of different videos.
    """
    differs = abs(measured / stated - 1)
    if differs > _RATE_DIFFERS:
        raise DataError(
            rows.path,
            "rate",
            f"{stated:g} frames per second stated, {measured:g} by the timestamps",
            "the same",
            "State no rate to have the timestamps used, or remove the column timestamp.",
        )
    if differs <= _RATE_AGREES:
        return []
    return [
        f"the rate stated is {stated:g} frames per second, that of the timestamps {measured:g}: "
        "the timestamps are used"
    ]
