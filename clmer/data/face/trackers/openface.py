"""OpenFace's CSV (`FeatureExtraction`, `FaceLandmarkVid...`, 0.2 to 2.2), and `clmer video`'s.

Used are `X_0..67`, `Y_0..67`, `Z_0..67` (mm), or, without these, `x_0..67`, `y_0..67` (pixels,
third axis 0); `AUxx_r` and `AUxx_c` of our 17 action units (versions before 1.0 have 14 and 6 of
them); `gaze_angle_x`, `gaze_angle_y` (or, where they lack, the two eyes' `gaze_0_x` ...
`gaze_1_z`). A table may lack any of these groups. Beside them: `timestamp`, `frame`, `face_id`,
`confidence`, `success`, where present. The rest, AU28_c included, is ignored, and so are the spaces
of OpenFace's ", " separator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clmer.data.face.hog import find_hog
from clmer.data.face.images import find_images
from clmer.data.face.rows import (
    GAZE_COLUMNS,
    INTENSITY_COLUMNS,
    LANDMARK_COLUMNS,
    PRESENCE_COLUMNS,
    Rows,
    ranges,
)
from clmer.data.face.table import Header, Table, read_columns
from clmer.data.face.trackers import units
from clmer.data.face.trackers.names import canonical
from clmer.errors import DataError

NEEDED_COLUMNS = LANDMARK_COLUMNS + INTENSITY_COLUMNS + PRESENCE_COLUMNS
#: The column by which a CSV of `clmer video` is known.
MEDIAPIPE_COLUMN = "mediapipe_faces"
#: The 68 points in the picture.
PIXEL_COLUMNS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(68))

#: Intensities and presences.
AU_COLUMNS = INTENSITY_COLUMNS + PRESENCE_COLUMNS
_OPTIONAL = ("timestamp", "frame", "face_id", "confidence", "success")
_EYES = tuple(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz")
_KNOWN = {*_OPTIONAL, *(f"AU{n:02d}" for n in range(1, 46))} - {"timestamp"}
#: OpenFace 3 names its eight units AU01 to AU08, whichever they are, and has 98 points.
_OPENFACE_3 = (
    "OpenFace 3 has no 3-D landmarks and 8 AUs only: make the CSV with OpenFace 2's "
    "FeatureExtraction, or name the video itself."
)
_OPENFACE_2 = "Run OpenFace 2's FeatureExtraction with -3Dfp and -aus, or without such options."
#: By a word of the header, exports that hold neither points nor action units of our kinds.
_EXPORTS = {
    "Video analysis": "FaceReader's log",
    "Participant Name": "FaceReader's log",
    "#METADATA": "an export of iMotions",
    "#INFO": "an export of iMotions",
}
_BY_VIDEO = (
    "Name the video itself in the row (or make a CSV of it with clmer video); the export's own "
    "columns, such as valence, can come in as a signal of another modality."
)


def groups(header: Header) -> set[str]:
    """Which of "landmarks", "au" and "gaze" a table has, completely or in part."""
    names = set(header.names)
    there = {"gaze"} if _gaze_columns(names) else set()
    if not names.isdisjoint(LANDMARK_COLUMNS) or names.issuperset(PIXEL_COLUMNS):
        there.add("landmarks")
    if not names.isdisjoint(INTENSITY_COLUMNS):
        there.add("au")
    return there


def read_openface(header: Header) -> Rows:
    """Every row of an OpenFace CSV.

    Raises:
        DataError: missing columns, no rows, a cell that is no number.
    """
    header, unit_s = canonical(header)
    table = read_columns(header, used_columns(header))
    return replace(
        rows_of(header, table, unit_s),
        hog=find_hog(header.path, len(table.lines)),
        images=find_images(header.path, table.columns.get("frame")),
    )


def used_columns(header: Header) -> tuple[str, ...]:
    """The columns of a table that are read.

    Raises:
        DataError: part of a group is missing, or there is nothing to use.
    """
    names = set(header.names)
    gaze_columns = _gaze_columns(names)
    _check_openface(header, bool(gaze_columns))
    optional = (name for name in _OPTIONAL if name in names)
    return (*optional, *_points_of(names), *_units_of(names), *gaze_columns)


def rows_of(header: Header, table: Table, unit_s: float = 1.0) -> Rows:
    """The rows of a table's `used_columns`, whose times are in units of `unit_s` seconds."""
    names, columns, count = set(header.names), table.columns, len(table.lines)
    points_of, au_columns = _points_of(names), _units_of(names)
    points, gaze = block(columns, points_of), block(columns, _gaze_columns(names))
    strong = present = None
    notes: tuple[str, ...] = ()
    if au_columns:
        strong, present, notes = units.assembled(
            {name[:4]: columns[name] for name in au_columns if name.endswith("r")},
            {name[:4]: columns[name] for name in au_columns if name.endswith("c")},
            count,
        )
    return Rows(
        path=header.path,
        lines=table.lines,
        tracker="MediaPipe" if MEDIAPIPE_COLUMN in names else "OpenFace",
        unit="px" if points_of == PIXEL_COLUMNS else "mm",
        landmarks=None if points is None else in_space(points),
        au_intensity=strong,
        au_presence=present,
        gaze=None if gaze is None else _angles(gaze),
        confidence=columns.get("confidence", np.ones(count)),
        success=columns.get("success", np.ones(count)) > 0.5,
        seconds=seconds_of(columns, unit_s),
        frame=columns.get("frame"),
        face=columns.get("face_id"),
        notes=notes,
    )


def _points_of(names: set[str]) -> tuple[str, ...]:
    return LANDMARK_COLUMNS if "X_0" in names else PIXEL_COLUMNS if "x_0" in names else ()


def _units_of(names: set[str]) -> tuple[str, ...]:
    if names.isdisjoint(INTENSITY_COLUMNS):
        return ()
    return tuple(name for name in AU_COLUMNS if name in names)


def _gaze_columns(names: set[str]) -> tuple[str, ...]:
    return next((c for c in (GAZE_COLUMNS, _EYES) if names.issuperset(c)), ())


def _check_openface(header: Header, gaze: bool) -> None:
    """Refuse a table with part of a group, or with nothing to use."""
    names = set(header.names)
    known = [name for name in (*NEEDED_COLUMNS, *_EYES, *GAZE_COLUMNS) if name in names]
    if not known and names.isdisjoint({*_KNOWN, "x_0"}):
        raise _no_tracker(header)
    there = [name for name in INTENSITY_COLUMNS if name in names]
    landmarks = PIXEL_COLUMNS if "x_0" in names and "X_0" not in names else LANDMARK_COLUMNS
    used = [group for group in (landmarks, AU_COLUMNS) if not names.isdisjoint(group)]
    missing = [name for group in used for name in group if name not in names]
    aus = {n[:4] for n in header.names if re.fullmatch(r"AU\d\d(_[rc])?", n)}
    third = 0 < len(aus) <= 8 or bool(aus & {"AU03", "AU08"}) or "x_97" in names
    third &= names.isdisjoint(LANDMARK_COLUMNS)
    is_part = landmarks in used and not names.issuperset(landmarks)
    is_part |= AU_COLUMNS in used and len(there) < units.LEAST
    if is_part or third or not (used or gaze):
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns without {ranges(missing or NEEDED_COLUMNS)}",
            "3-D landmarks X, Y, Z_0..67, and AUxx_r and AUxx_c of 17 action units",
            _OPENFACE_3 if third else _OPENFACE_2,
        )


def _no_tracker(header: Header) -> DataError:
    """What to say of a table with no column of a face tracker's."""
    first = " ".join(header.names)
    export = next((name for word, name in _EXPORTS.items() if first.startswith(word)), "")
    found = f"{len(header.names)} columns, none of a face tracker's"
    return DataError(
        header.path,
        "header",
        export or found,
        "the CSV of OpenFace 1 or 2, Py-Feat, MediaPipe or clmer video",
        _BY_VIDEO if export else "Headset recordings go under another modality, such as eeg.",
    )


def _angles(values: np.ndarray) -> np.ndarray:
    """Angles [r, 2]; from two eyes' unit vectors [r, 6] as OpenFace makes them."""
    if values.shape[1] == len(GAZE_COLUMNS):
        return values
    x, y, z = (values[:, :3] + values[:, 3:]).T
    return np.stack([np.arctan2(x, -z), np.arctan2(y, -z)], axis=1)


def in_space(points: np.ndarray) -> np.ndarray:
    """Points [r, 68, 3] of columns [r, 204] or [r, 136], axis by axis; a third axis of 0."""
    axes = points.reshape(len(points), -1, 68).transpose(0, 2, 1)
    return np.pad(axes, ((0, 0), (0, 0), (0, 3 - axes.shape[2])))


def seconds_of(columns: Mapping[str, np.ndarray], unit_s: float) -> np.ndarray | None:
    """The times of the column timestamp in seconds, if there is one."""
    return columns["timestamp"] * unit_s if "timestamp" in columns else None


def block(columns: Mapping[str, np.ndarray], wanted: tuple[str, ...]) -> np.ndarray | None:
    """Some columns side by side [rows, wanted]; None where one lacks, or none is wanted."""
    if not wanted or not columns.keys() >= set(wanted):
        return None
    return np.stack([columns[name] for name in wanted], axis=1)
