"""The tables of face trackers: OpenFace (`FeatureExtraction`, versions 1 and 2), Py-Feat, our own.

OpenFace's CSV, and that of `clmer video`. Used are `X_0..67`, `Y_0..67`, `Z_0..67` (mm); the
17 `AUxx_r` and the same 17 `AUxx_c`; `gaze_angle_x`, `gaze_angle_y` (or, where they lack, the two
eyes' `gaze_0_x` ... `gaze_1_z`): a table may lack any of these groups, but each is there completely
or not at all. Beside them: `timestamp`, `frame`, `face_id`, `confidence`, `success`, where present.
The rest, AU28_c included, is ignored, and so are the spaces of OpenFace's ", " separator.

Py-Feat's CSV, versions 1 and 2. Used are `x_0..67`, `y_0..67` (pixels) and `AUxx` (0-1) of 16 of
our 17 action units and AU43, of which either group may lack completely, `frame`, `FaceScore`,
`FaceRect...`, and version 2's `gaze_pitch`, `gaze_yaw` (rad). What differs from OpenFace: landmarks
are pixels and their third axis is 0, since the depth of version 2's mesh has no stated unit; an
intensity is 5 times the probability, a presence is a probability of at least 0.5; AU43, closed
eyes, stands for AU45, the blink. There is no time but `frame`: the video's frame rate must be
stated. Faces have no number: they are linked from frame to frame by their place, and numbered from
the largest on. The signs of Py-Feat's gaze angles are undocumented; they are taken as they come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from clmer.data.face.hog import find_hog
from clmer.data.face.images import find_images
from clmer.data.face.people import link_faces
from clmer.data.face.rows import (
    AU_NAMES,
    GAZE_COLUMNS,
    INTENSITY_COLUMNS,
    LANDMARK_COLUMNS,
    PRESENCE_COLUMNS,
    Rows,
    ranges,
)
from clmer.data.face.table import Header, read_columns
from clmer.errors import DataError

NEEDED_COLUMNS = LANDMARK_COLUMNS + INTENSITY_COLUMNS + PRESENCE_COLUMNS
_OPENFACE_OPTIONAL = ("timestamp", "frame", "face_id", "confidence", "success")
#: The column by which a CSV of `clmer video` is known.
MEDIAPIPE_COLUMN = "mediapipe_faces"

_AU_COLUMNS = INTENSITY_COLUMNS + PRESENCE_COLUMNS
_EYES = tuple(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz")
_KNOWN = {*_OPENFACE_OPTIONAL, *(f"AU{n:02d}" for n in range(1, 46)), "AU1"} - {"timestamp"}
_OPENFACE_3 = (
    "OpenFace 3 has no 3-D landmarks and 8 AUs only: make the CSV with OpenFace 2's "
    "FeatureExtraction."
)
_OPENFACE_2 = "Run OpenFace 2's FeatureExtraction with -3Dfp and -aus, or without such options."

_PYFEAT_POINTS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(68))
_PYFEAT_AUS = tuple({"AU45": "AU43"}.get(name, name) for name in AU_NAMES)
_PYFEAT_GAZE = ("gaze_yaw", "gaze_pitch")
_PYFEAT_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_PYFEAT_OPTIONAL = ("frame", "FaceScore")


def read_openface(header: Header) -> Rows:
    """Every row of an OpenFace CSV.

    Raises:
        DataError: missing columns, no rows, a cell that is no number.
    """
    names = set(header.names)
    groups = [group for group in (LANDMARK_COLUMNS, _AU_COLUMNS) if not names.isdisjoint(group)]
    gaze_columns = next((c for c in (GAZE_COLUMNS, _EYES) if names.issuperset(c)), ())
    _check_openface(header, groups, bool(gaze_columns))
    optional = [name for name in _OPENFACE_OPTIONAL if name in names]
    wanted = [name for group in groups for name in group]
    table = read_columns(header, [*optional, *wanted, *gaze_columns])
    columns, count = table.columns, len(table.lines)

    points, gaze = _block(columns, LANDMARK_COLUMNS), _block(columns, gaze_columns)
    return Rows(
        path=header.path,
        lines=table.lines,
        tracker="MediaPipe" if MEDIAPIPE_COLUMN in names else "OpenFace",
        unit="mm",
        landmarks=None if points is None else points.reshape(-1, 3, 68).transpose(0, 2, 1),
        au_intensity=_block(columns, INTENSITY_COLUMNS),
        au_presence=_block(columns, PRESENCE_COLUMNS),
        gaze=None if gaze is None else _angles(gaze),
        confidence=columns.get("confidence", np.ones(count)),
        success=columns.get("success", np.ones(count)) > 0.5,
        seconds=columns.get("timestamp"),
        frame=columns.get("frame"),
        face=columns.get("face_id"),
        hog=find_hog(header.path, count),
        images=find_images(header.path, columns.get("frame")),
    )


def _check_openface(header: Header, groups: list[tuple[str, ...]], gaze: bool) -> None:
    """Refuse a table with part of a group, or with nothing to use."""
    names = set(header.names)
    known = [name for name in (*NEEDED_COLUMNS, *_EYES, *GAZE_COLUMNS) if name in names]
    if not known and names.isdisjoint(_KNOWN):
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns, none of a face tracker's",
            "the CSV of OpenFace 1 or 2, Py-Feat or clmer video",
            "Headset recordings go under another modality, such as eeg.",
        )
    missing = [name for group in groups for name in group if name not in names]
    aus = {n[:4] for n in header.names if re.fullmatch(r"AU\d\d(_[rc])?", n)}
    third = 0 < len(aus) <= 8 and names.isdisjoint(LANDMARK_COLUMNS)
    if missing or third or not (groups or gaze):
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns without {ranges(missing or NEEDED_COLUMNS)}",
            "3-D landmarks X, Y, Z_0..67, and AUxx_r and AUxx_c of 17 action units",
            _OPENFACE_3 if third else _OPENFACE_2,
        )


def _angles(values: np.ndarray) -> np.ndarray:
    """Angles [r, 2]; from two eyes' unit vectors [r, 6] as OpenFace makes them."""
    if values.shape[1] == len(GAZE_COLUMNS):
        return values
    x, y, z = (values[:, :3] + values[:, 3:]).T
    return np.stack([np.arctan2(x, -z), np.arctan2(y, -z)], axis=1)


def is_pyfeat(header: Header) -> bool:
    """Whether Py-Feat wrote it: no other tracker has these columns."""
    return {"FaceRectX", "FaceRectY"} <= set(header.names)


def read_pyfeat(header: Header) -> Rows:
    """Every row, with a number for each face where frames have several.

    Raises:
        DataError: missing columns, no rows, a cell that is no number, frames that start again.
    """
    names = set(header.names)
    groups = [group for group in (_PYFEAT_POINTS, _PYFEAT_AUS) if not names.isdisjoint(group)]
    missing = [
        name
        for group in groups or (_PYFEAT_POINTS, _PYFEAT_AUS)
        for name in group
        if name not in names
    ]
    if missing:
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns of Py-Feat without {ranges(missing)}",
            "x_0..67, y_0..67 and AUxx of 17 action units",
            "Py-Feat before 0.4 has 12 action units: run a newer one.",
        )
    gaze_columns = _PYFEAT_GAZE if names.issuperset(_PYFEAT_GAZE) else ()
    optional = [name for name in (*_PYFEAT_OPTIONAL, *_PYFEAT_BOX) if name in names]
    wanted = [name for group in groups for name in group]
    table = read_columns(header, [*optional, *wanted, *gaze_columns])
    columns, count = table.columns, len(table.lines)

    points, probability = _block(columns, _PYFEAT_POINTS), _block(columns, _PYFEAT_AUS)
    landmarks, presence, seen = None, None, np.ones(count, dtype=bool)
    if points is not None:
        landmarks, seen = np.zeros((count, 68, 3)), np.isfinite(points).all(axis=1)
        landmarks[:, :, :2] = points.reshape(count, 2, 68).transpose(0, 2, 1)
    if probability is not None:
        presence = np.where(np.isfinite(probability), probability >= 0.5, np.nan)
    return Rows(
        path=header.path,
        lines=table.lines,
        tracker="Py-Feat 2" if "mesh_x_0" in names or gaze_columns else "Py-Feat 1",
        unit="px",
        landmarks=landmarks,
        au_intensity=None if probability is None else 5.0 * probability,
        au_presence=presence,
        gaze=_block(columns, gaze_columns),
        confidence=columns.get("FaceScore", np.ones(count)),
        success=seen,
        seconds=None,
        frame=columns.get("frame"),
        face=_face_numbers(header, columns, table.lines) if names.issuperset(_PYFEAT_BOX) else None,
    )


def _face_numbers(
    header: Header, columns: dict[str, np.ndarray], lines: np.ndarray
) -> np.ndarray | None:
    """A number for each row's face; None where no frame has two.

    Raises:
        DataError: frames of faces that go back.
    """
    frame = columns.get("frame")
    if frame is None:
        return None
    box = np.stack([columns[name] for name in _PYFEAT_BOX], axis=1)
    found = np.flatnonzero(np.isfinite(box).all(axis=1) & np.isfinite(frame))
    if len(np.unique(frame[found])) == len(found):
        return None
    for at in np.flatnonzero(np.diff(frame[found]) < 0)[:1]:
        before, after = found[at], found[at + 1]
        raise DataError(
            header.path,
            f"line {lines[after]}, frame",
            f"{frame[after]:g} after the {frame[before]:g} of line {lines[before]}",
            "frames in order",
            "Two clips in one file? Split it there: one CSV per clip.",
        )
    return link_faces(frame, box)


def _block(columns: Mapping[str, np.ndarray], wanted: tuple[str, ...]) -> np.ndarray | None:
    """Some columns side by side [rows, wanted]; None where one lacks, or none is wanted."""
    if not wanted or not columns.keys() >= set(wanted):
        return None
    return np.stack([columns[name] for name in wanted], axis=1)
