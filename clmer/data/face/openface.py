"""OpenFace's CSV (`FeatureExtraction`, versions 1 and 2), and that of `clmer.data.video`.

Used are `X_0..67`, `Y_0..67`, `Z_0..67` (mm); the 17 `AUxx_r` and the same 17 `AUxx_c`;
`gaze_angle_x`, `gaze_angle_y` (or, where they lack, the two eyes' `gaze_0_x` ... `gaze_1_z`): a
table may lack any of these groups, but each is there as a whole or not at all. Beside them:
`timestamp`, `frame`, `face_id`, `confidence`, `success`, where present. The rest, AU28_c
included, is ignored, and so are the spaces of OpenFace's ", " separator.
"""

from __future__ import annotations

import re

import numpy as np

from clmer.data.face import hog, images
from clmer.data.face.names import (
    GAZE_COLUMNS,
    INTENSITY_COLUMNS,
    LANDMARK_COLUMNS,
    PRESENCE_COLUMNS,
    ranges,
)
from clmer.data.face.rows import Rows
from clmer.data.face.table import Header, read_columns
from clmer.errors import DataError

NEEDED_COLUMNS = LANDMARK_COLUMNS + INTENSITY_COLUMNS + PRESENCE_COLUMNS
OPTIONAL_COLUMNS = ("timestamp", "frame", "face_id", "confidence", "success")
#: The column by which a CSV of `clmer.data.video` is known.
MEDIAPIPE_COLUMN = "mediapipe_faces"

_AU_COLUMNS = INTENSITY_COLUMNS + PRESENCE_COLUMNS
_EYES = tuple(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz")
_KNOWN = {*OPTIONAL_COLUMNS, *(f"AU{n:02d}" for n in range(1, 46)), "AU1"} - {"timestamp"}
_OPENFACE_3 = (
    "OpenFace 3 has no 3-D landmarks and 8 AUs only: make the CSV with OpenFace 2's "
    "FeatureExtraction."
)
_OPENFACE_2 = "Run OpenFace 2's FeatureExtraction with -3Dfp and -aus, or without such options."


def read_rows(header: Header) -> Rows:
    """Every row of an OpenFace CSV.

    Raises:
        DataError: missing columns, no rows, a cell that is no number.
    """
    names = set(header.names)
    groups = [group for group in (LANDMARK_COLUMNS, _AU_COLUMNS) if not names.isdisjoint(group)]
    gaze_columns = next((c for c in (GAZE_COLUMNS, _EYES) if names.issuperset(c)), ())
    _check_columns(header, groups, bool(gaze_columns))
    optional = [name for name in OPTIONAL_COLUMNS if name in names]
    wanted = [name for group in groups for name in group]
    table = read_columns(header, [*optional, *wanted, *gaze_columns])
    columns, count = table.columns, len(table.lines)

    def block(wanted: tuple[str, ...]) -> np.ndarray | None:
        if not names.issuperset(wanted):
            return None
        return np.stack([columns[name] for name in wanted], axis=1)

    points, gaze = block(LANDMARK_COLUMNS), block(gaze_columns) if gaze_columns else None
    return Rows(
        path=header.path,
        lines=table.lines,
        tracker="MediaPipe" if MEDIAPIPE_COLUMN in names else "OpenFace",
        unit="mm",
        landmarks=None if points is None else points.reshape(-1, 3, 68).transpose(0, 2, 1),
        au_intensity=block(INTENSITY_COLUMNS),
        au_presence=block(PRESENCE_COLUMNS),
        gaze=None if gaze is None else _gaze(gaze),
        confidence=columns.get("confidence", np.ones(count)),
        success=columns.get("success", np.ones(count)) > 0.5,
        seconds=columns.get("timestamp"),
        frame=columns.get("frame"),
        face=columns.get("face_id"),
        hog=hog.beside(header.path, count),
        images=images.beside(header.path, columns.get("frame")),
    )


def _check_columns(header: Header, groups: list[tuple[str, ...]], gaze: bool) -> None:
    """Refuse a table with part of a group, or with nothing to use."""
    names = set(header.names)
    known = [name for name in (*NEEDED_COLUMNS, *_EYES, *GAZE_COLUMNS) if name in names]
    if not known and names.isdisjoint(_KNOWN):
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns, none of a face tracker's",
            "the CSV of OpenFace 1 or 2, Py-Feat or clmer.data.video",
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


def _gaze(values: np.ndarray) -> np.ndarray:
    """Angles [r, 2]; from two eyes' unit vectors [r, 6] as OpenFace makes them."""
    if values.shape[1] == len(GAZE_COLUMNS):
        return values
    x, y, z = (values[:, :3] + values[:, 3:]).T
    return np.stack([np.arctan2(x, -z), np.arctan2(y, -z)], axis=1)
