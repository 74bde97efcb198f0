"""Serialised faces: what trackers wrote, as one `FaceSeries`.

    read_face("p01.csv")                      # OpenFace, Py-Feat, MediaPipe, clmer video
    read_face("pair.csv", face_id=1)          # one of two people in one table
    aligned(series)                           # expression without the head's motion

The header tells the tracker; OpenFace 3, which has no 3-D landmarks, is refused. What was odd in a
table, and what was done about it, is in `FaceSeries.notes`.
"""

from __future__ import annotations

from pathlib import Path

from clmer.data.face import trackers
from clmer.data.face.frames import MAX_GAP_S, MIN_CONFIDENCE, to_series
from clmer.data.face.rigid import STABLE_POINTS, aligned
from clmer.data.face.rows import (
    AU_NAMES,
    GAZE_COLUMNS,
    INTENSITY_COLUMNS,
    LANDMARK_COLUMNS,
    PRESENCE_COLUMNS,
)
from clmer.data.face.table import read_header
from clmer.data.face.trackers import NEEDED_COLUMNS, face_modalities, tracker_of
from clmer.data.recording import FaceSeries
from clmer.errors import DataError

__all__ = [
    "AU_NAMES",
    "GAZE_COLUMNS",
    "INTENSITY_COLUMNS",
    "LANDMARK_COLUMNS",
    "NEEDED_COLUMNS",
    "PRESENCE_COLUMNS",
    "STABLE_POINTS",
    "aligned",
    "face_modalities",
    "read_face",
    "read_openface",
    "tracker_of",
]


def read_face(
    path: Path,
    *,
    fps: float | None = None,
    min_confidence: float = MIN_CONFIDENCE,
    max_gap_s: float = MAX_GAP_S,
    face_id: float | str | None = None,
) -> FaceSeries:
    """Read a tracker's CSV as a series of one face on a regular grid from the video's start.

    Args:
        path: the CSV; comma, semicolon, tab or space separated.
        fps: frames per second; by default from the timestamps, which Py-Feat lacks.
        min_confidence: the tracker's confidence (0-1) under which a frame counts as lost.
        max_gap_s: longest gap in seconds that is interpolated; longer ones have valid = False.
        face_id: the number of the face that is wanted, where the table has several people's;
            "0;2" where it changes.

    Raises:
        DataError: no such file, missing columns, no rows, a cell that is no number, no timestamp
            and no fps, times that are no seconds or go back, two people and no face_id, values on
            another scale, or a face lost throughout.
    """
    return to_series(
        trackers.read_rows(read_header(path)),
        fps=fps,
        min_confidence=min_confidence,
        max_gap_s=max_gap_s,
        face_id=_numbers(path, face_id),
    )


def read_openface(
    path: Path,
    *,
    fps: float | None = None,
    min_confidence: float = MIN_CONFIDENCE,
    max_gap_s: float = MAX_GAP_S,
    face_id: float | str | None = None,
) -> FaceSeries:
    """`read_face` for OpenFace's CSV alone: any other is an error that names missing columns."""
    return to_series(
        trackers.read_openface(read_header(path)),
        fps=fps,
        min_confidence=min_confidence,
        max_gap_s=max_gap_s,
        face_id=_numbers(path, face_id),
    )


def _numbers(path: Path, face_id: float | str | None) -> tuple[float, ...]:
    """The numbers of a face; none where none is asked for."""
    parts = [] if face_id is None else [part.strip() for part in str(face_id).split(";")]
    try:
        return tuple(float(part) for part in parts if part)
    except ValueError as error:
        expected = "the number of a face in that file, or several with ; between them"
        raise DataError(path, "face_id", repr(face_id), expected) from error
