"""From rows, one a tracked face and frame, to a regular series of one face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.face.hog import Hog
from clmer.data.face.images import FaceImages
from clmer.data.recording import DataError, FaceSeries

#: Rows further than this from a regular frame (in frames) come from a variable frame rate.
_REGULAR = 0.25


@dataclass(frozen=True, eq=False)
class Rows:
    """What a tracker wrote, in the units of `FaceSeries`.

    Args:
        path: the file.
        tracker: its name.
        unit: of the landmarks, "mm" or "px".
        landmarks: [r, 68, 3].
        au_intensity, au_presence: [r, 17].
        gaze: [r, 2] rad, or None.
        confidence: [r], 0-1.
        success: [r] bool, False where the tracker says that it lost the face.
        seconds: [r] time of the frame in the video, or None.
        frame: [r] number of the frame, from 0 or 1, or None.
        face: [r] which of several faces, or None.
        hog: the descriptors of the same rows, or None.
        images: the pictures of the same rows, or None.
    """

    path: Path
    tracker: str
    unit: str
    landmarks: np.ndarray
    au_intensity: np.ndarray
    au_presence: np.ndarray
    gaze: np.ndarray | None
    confidence: np.ndarray
    success: np.ndarray
    seconds: np.ndarray | None
    frame: np.ndarray | None
    face: np.ndarray | None
    hog: Hog | None = None
    images: FaceImages | None = None


def to_series(
    rows: Rows, *, fps: float | None, min_confidence: float, max_gap_s: float
) -> FaceSeries:
    """One face on a regular frame grid that begins at the video's start.

    A frame is lost where the tracker says so, `confidence` is under `min_confidence`, a value is
    not finite or the row is absent. Gaps up to `max_gap_s` with a face on both sides are
    interpolated linearly; longer ones hold their neighbours' values and have valid = False. Of
    several faces the one with the largest sum of confidence over its frames is kept (a long and
    sure one beats a brief or doubtful one). Frames at irregular times are interpolated too.

    Args:
        rows: as the tracker wrote them.
        fps: frames per second; by default from the timestamps.
        min_confidence: confidence (0-1) under which a frame counts as lost.
        max_gap_s: longest gap in seconds that is interpolated.

    Raises:
        DataError: no timestamp and no fps, unusable times, or a face lost throughout.
    """
    count = len(rows.success)
    values = [rows.landmarks.reshape(count, -1), rows.au_intensity, rows.au_presence]
    values += [rows.gaze] if rows.gaze is not None else []
    table = np.concatenate(values, axis=1)  # [r, 238 or 240]
    good = rows.success & (rows.confidence >= min_confidence) & np.isfinite(table).all(axis=1)
    if not good.any():
        raise DataError(
            rows.path,
            "success, confidence",
            f"the face lost in all {count} rows",
            f"frames with success 1 and confidence >= {min_confidence:g}",
            "Leave this recording's face out or check the video.",
        )
    keep = np.ones(count, dtype=bool)
    if rows.face is not None:
        keep = rows.face == _main_face(rows.face, np.where(good, rows.confidence, 0))
    position, rate = _positions(rows, keep, fps)
    frames = int(np.rint(position[keep]).max()) + 1
    confidence = np.zeros(frames, dtype=np.float32)
    confidence[np.rint(position[keep]).astype(np.int64)] = np.nan_to_num(rows.confidence[keep])

    known = np.flatnonzero(keep & good)
    known = known[np.argsort(position[known], kind="stable")]
    known = known[np.append(np.diff(position[known]) > 0, True)]  # of equal times the last row
    filled, valid, nearest = _fill(table[known], position[known], frames, max_gap_s * rate)
    parts = np.split(filled, np.cumsum([part.shape[1] for part in values])[:-1], axis=1)
    return FaceSeries(
        fps=rate,
        landmarks=parts[0].reshape(frames, 68, 3).astype(np.float32),
        au_intensity=parts[1].astype(np.float32),
        au_presence=(parts[2] >= 0.5).astype(np.float32),
        valid=valid,
        gaze=parts[3].astype(np.float32) if rows.gaze is not None else None,
        confidence=confidence,
        hog=None if rows.hog is None else rows.hog.at(known[nearest]),
        images=None if rows.images is None else rows.images.at(known[nearest]),
        unit=rows.unit,
        tracker=rows.tracker,
    )


def _main_face(face: np.ndarray, confidence: np.ndarray) -> float:
    ids, inverse = np.unique(face, return_inverse=True)
    return float(ids[np.argmax(np.bincount(inverse, weights=confidence))])


def _positions(rows: Rows, keep: np.ndarray, fps: float | None) -> tuple[np.ndarray, float]:
    """Each row's place in frames after the video's start, and the frame rate."""
    count = len(rows.success)
    if rows.seconds is not None:
        rate = fps if fps is not None else _rate(rows.path, np.sort(rows.seconds[keep]))
        position = rows.seconds * rate
    elif fps is None:
        raise DataError(
            rows.path,
            "timestamp",
            "no such column",
            "seconds of each frame, or a frame rate",
            "State the video's frame rate (fps).",
        )
    else:
        rate = fps
        position = np.arange(count, dtype=np.float64) if rows.frame is None else rows.frame
        position = position - min(1.0, position.min())  # OpenFace counts from 1, others from 0
    if not (
        np.isfinite(position).all() and position.min() > -0.5 and position.max() < 100 * count + 1e3
    ):
        raise DataError(
            rows.path,
            "timestamp" if rows.seconds is not None else "frame",
            f"{count} rows at frames {position.min():g} to {position.max():g}",
            "times counted from the video's start",
        )
    regular = np.rint(position)
    if np.abs(position - regular)[keep].max() <= _REGULAR:  # off by rounded timestamps only
        position = regular
    return position, rate


def _rate(path: Path, seconds: np.ndarray) -> float:
    """Frames per second; rounded timestamps and absent rows do not bias it."""
    steps = np.diff(seconds)
    steps = steps[steps > 0]
    if not (steps.size and np.isfinite(steps).all()):
        raise DataError(
            path,
            "timestamp",
            f"{seconds.size} row(s) without two different times",
            "increasing seconds",
            "State the video's frame rate (fps).",
        )
    frames = np.rint(steps / np.median(steps)).sum()
    return round(float(frames / steps.sum()), 3)


def _fill(
    values: np.ndarray, at: np.ndarray, frames: int, max_gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [m, V] at ascending places [m] brought to frames 0, 1, ...

    Returns:
        values [frames, V]; valid [frames], between rows at most `max_gap` lost frames apart; the
        nearest row of each frame.
    """
    time = np.arange(frames)
    filled = np.empty((frames, values.shape[1]))
    for column in range(values.shape[1]):
        filled[:, column] = np.interp(time, at, values[:, column])
    after = np.searchsorted(at, time).clip(max=len(at) - 1)
    before = np.searchsorted(at, time, side="right").clip(min=1) - 1
    valid = at[after] - at[before] <= int(max_gap + 1e-6) + 1
    valid &= (at[0] - 0.5 <= time) & (time <= at[-1] + 0.5)
    nearest = np.where(np.abs(at[after] - time) < np.abs(at[before] - time), after, before)
    return filled, valid, nearest
