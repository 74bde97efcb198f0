"""From rows, one per tracked face and frame, to a regular series of one face."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from clmer.data.face import checks, jumps, people, times
from clmer.data.face.rows import Rows
from clmer.data.recording import FaceSeries
from clmer.errors import DataError

#: Frames worked on at once.
_BLOCK = 4096
#: Rows further than this from a regular frame (in frames) come from a variable frame rate.
REGULAR = 0.25
#: A tracker's confidence (0-1) under which a frame counts as lost, and the longest gap in seconds
#: that is interpolated, where nothing else is asked for.
MIN_CONFIDENCE, MAX_GAP_S = 0.5, 0.2


def to_series(
    rows: Rows,
    *,
    fps: float | None,
    min_confidence: float,
    max_gap_s: float,
    face_id: tuple[float, ...] = (),
) -> FaceSeries:
    """One face on a regular frame grid that begins at the video's start and ends with the rows.

    A frame is lost where the tracker says so, `confidence` is under `min_confidence`, a value is
    not finite or the row is absent or another face's. Gaps up to `max_gap_s` with a face on both
    sides are interpolated linearly; longer ones hold their neighbours' values and have valid =
    False. Frames at irregular times are interpolated too. Whose rows are taken: `people.choose`.

    Args:
        rows: as the tracker wrote them.
        fps: frames per second; by default from the timestamps.
        min_confidence: confidence (0-1) under which a frame counts as lost.
        max_gap_s: longest gap in seconds that is interpolated.
        face_id: the tracker's numbers of the face wanted, where the file has several.

    Raises:
        DataError: no timestamp and no fps, unusable times, two people, values on another scale, or
            a face lost throughout.
    """
    rows, notes = _readable(rows, fps)
    good = _good(rows, min_confidence)
    everyone, first = rows, 0.0 if rows.frame is None else float(rows.frame.min(initial=1.0))
    rows, good, added = _of_one_person(rows, good, face_id, fps, min_confidence)
    notes += added
    place, rate, added = times.positions(rows, fps, first)
    notes += added
    last = _last(everyone, rate, first) if len(everyone.lines) > len(place) else 0.0
    place = _snapped(rows, place, last)
    known, added = _usable(rows, good, place, rate, face_id)
    notes += added
    complete = len(known) == len(place) and (np.diff(known) == 1).all()
    seen, added = checks.check(rows if complete else rows.at(known), rate)
    notes += added
    frames = int(max(np.rint(place).max(), np.rint(last))) + 1
    confidence = np.zeros(frames, dtype=np.float32)
    confidence[np.rint(place).astype(np.int64)] = np.nan_to_num(rows.confidence)
    return regular_series(seen, place[known], frames, rate, max_gap_s, confidence, tuple(notes))


def _readable(rows: Rows, fps: float | None) -> tuple[Rows, list[str]]:
    """Rows with usable values, confidences and times, and what was done."""
    notes = list(rows.notes)
    in_seconds = partial(times.in_seconds, fps=fps)
    for step in (checks.with_confidence, checks.without_empty, in_seconds, _placed):
        rows, added = step(rows)
        notes += added
    return rows, notes


def _of_one_person(
    rows: Rows,
    good: np.ndarray,
    face_id: tuple[float, ...],
    fps: float | None,
    min_confidence: float,
) -> tuple[Rows, np.ndarray, list[str]]:
    """One person's rows, which of them show a face [r] bool, and what is to be said.

    Raises:
        DataError: two people, or no row with a face.
    """
    notes: list[str] = []
    if good.any():
        keep, notes = people.choose(rows, good, face_id, fps)
        rows, good = (rows, good) if keep.all() else (rows.at(keep), good[keep])
    if not good.any():
        raise DataError(
            rows.path,
            "success, confidence",
            f"the face lost in all {len(good)} rows",
            f"frames with success 1 and confidence >= {min_confidence:g}",
            "Leave this recording's face out or check the video.",
        )
    rows, added = _with_own_pictures(rows)
    return rows, good, [*notes, *added]


def _usable(
    rows: Rows, good: np.ndarray, place: np.ndarray, rate: float, face_id: tuple[float, ...]
) -> tuple[np.ndarray, list[str]]:
    """Numbers of the rows with a face, one per frame in order, without jumps to another place."""
    notes: list[str] = []
    known = np.flatnonzero(good)
    known = known[np.argsort(place[known], kind="stable")]
    known = known[np.append(np.diff(place[known]) > 0, True)]  # of equal places the last row
    if len(face_id) < 2:  # of several numbers one may stand in for another
        keep, notes = jumps.main_place(rows.at(known), place[known] / rate)
        known = known[keep]
    return known, [*notes, *jumps.check_shape(rows.at(known), place[known] / rate)]


def _last(rows: Rows, rate: float, first: float) -> float:
    """The place of the last row, whoever's face it is: the video goes on until there."""
    if rows.seconds is not None:
        return float(rows.seconds.max()) * rate
    return 0.0 if rows.frame is None else float(rows.frame.max()) - first


def _good(rows: Rows, min_confidence: float) -> np.ndarray:
    """[r] bool, rows with a face."""
    good = rows.success & (rows.confidence >= min_confidence)
    for values in rows.values.values():
        good &= np.isfinite(values).all(axis=1)
    return good


def _placed(rows: Rows) -> tuple[Rows, list[str]]:
    """The rows that have a time, or else a frame number."""
    notes = []
    seconds, frame = rows.seconds, rows.frame
    if frame is not None and not np.isfinite(frame).all():
        unnumbered = not np.isfinite(frame).any()
        if unnumbered or (seconds is not None and np.isfinite(seconds[~np.isfinite(frame)]).any()):
            notes.append("the column frame has empty cells and is not used")
            rows, frame = replace(rows, frame=None), None
    place = seconds if seconds is not None else frame
    if place is None or np.isfinite(place).all():
        return rows, notes
    name = "timestamp" if seconds is not None else "frame number"
    placed = np.isfinite(place)
    return rows.at(placed), [*notes, f"{int((~placed).sum())} rows without a {name} are left out"]


def _with_own_pictures(rows: Rows) -> tuple[Rows, list[str]]:
    """Pictures are named after the tracker's number of the face."""
    if rows.images is None or rows.face is None:
        return rows, []
    numbers = np.unique(rows.face[np.isfinite(rows.face)])
    if len(numbers) > 1:
        return replace(rows, images=None), ["no pictures are used, as the face's number changes"]
    if len(numbers) == 1 and 0 <= numbers[0] < 100:
        return replace(rows, images=replace(rows.images, face=int(numbers[0]))), []
    return rows, []


def _snapped(rows: Rows, place: np.ndarray, last: float) -> np.ndarray:
    """Places on whole frames where they are off by rounded timestamps only.

    Raises:
        DataError: places that no video has.
    """
    count, end = len(place), max(place.max(), last)
    if not (np.isfinite(place).all() and place.min() > -0.5 and end < 100 * count + 1e3):
        raise DataError(
            rows.path,
            "timestamp" if rows.seconds is not None else "frame",
            f"{count} rows at frames {place.min():g} to {end:g}",
            "times counted from the video's start",
            _longest_pause(rows, place),
        )
    regular = np.rint(place)
    return regular if np.abs(place - regular).max() <= REGULAR else place


def _longest_pause(rows: Rows, place: np.ndarray) -> str:
    """Where the rows of an impossible clip are furthest apart."""
    order = np.argsort(place)
    steps = np.diff(place[order])
    if not steps.size or not np.isfinite(steps).all():
        return ""
    at = order[int(steps.argmax()) + 1]
    return f"Line {rows.lines[at]} is {steps.max():.0f} frames after the row before it."


def regular_series(
    rows: Rows,
    at: np.ndarray,
    frames: int,
    rate: float,
    max_gap_s: float,
    confidence: np.ndarray,
    notes: tuple[str, ...],
) -> FaceSeries:
    """Rows with a face, brought to frames 0, 1, ... of a regular series.

    Args:
        rows: [m] rows.
        at: [m] the place of each in frames, ascending.
        frames: how many there are in all.
        rate: of them, per second.
        max_gap_s: longest gap in seconds that is interpolated.
        confidence: [frames].
        notes: of the series.
    """
    nearest, valid = _nearest(at, frames, max_gap_s * rate)

    def filled(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        flat = values.reshape(len(values), -1)
        return _interpolated(at, flat, frames).reshape(frames, *values.shape[1:])

    presence = filled(rows.au_presence)
    return FaceSeries(
        fps=rate,
        landmarks=filled(rows.landmarks),
        au_intensity=filled(rows.au_intensity),
        au_presence=None if presence is None else (presence >= 0.5).astype(np.float32),
        valid=valid,
        gaze=filled(rows.gaze),
        confidence=confidence,
        hog=None if rows.hog is None else rows.hog.at(nearest),
        images=None if rows.images is None else rows.images.at(nearest),
        unit=rows.unit,
        tracker=rows.tracker,
        notes=notes,
    )


def _interpolated(at: np.ndarray, values: np.ndarray, frames: int) -> np.ndarray:
    """Values [m, k] at ascending places, linear at frames 0, 1, ..., as `np.interp`: float32."""
    out = np.empty((frames, values.shape[1]), np.float32)
    for first in range(0, frames, _BLOCK):
        time = np.arange(first, min(first + _BLOCK, frames))
        before = (np.searchsorted(at, time, side="right") - 1).clip(min=0)
        after = np.minimum(before + 1, len(at) - 1)
        step = np.where(after > before, at[after] - at[before], 1.0)
        share = ((time - at[before]) / step).clip(0.0, 1.0)[:, None]
        share[after == before] = 0.0
        low = values[before]
        out[first : first + len(time)] = low + share * (values[after] - low)
    return out


def _nearest(at: np.ndarray, frames: int, max_gap: float) -> tuple[np.ndarray, np.ndarray]:
    """The row nearest to each frame, and whether it lies between rows at most `max_gap` apart."""
    time = np.arange(frames)
    after = np.searchsorted(at, time).clip(max=len(at) - 1)
    before = np.searchsorted(at, time, side="right").clip(min=1) - 1
    valid = at[after] - at[before] <= int(max_gap + 1e-6) + 1
    valid &= (at[0] - 0.5 <= time) & (time <= at[-1] + 0.5)
    return np.where(np.abs(at[after] - time) < np.abs(at[before] - time), after, before), valid
