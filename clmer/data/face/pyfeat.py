"""Py-Feat's CSV (versions 1 and 2): 2-D landmarks, action units as probabilities.

Needed columns: `x_0..67`, `y_0..67` (pixels) and `AUxx` (0-1) of 16 of our 17 action units and
AU43; used where present: `frame`, `FaceScore`, `FaceRectWidth`, `FaceRectHeight`, and version 2's
`gaze_pitch`, `gaze_yaw` (rad).

What differs from OpenFace: landmarks are pixels and their third axis is 0, since the depth of
version 2's mesh has no stated unit; an intensity is 5 times the probability, a presence is a
probability of at least 0.5; AU43, closed eyes, stands for AU45, the blink. There is no time but
`frame`: the video's frame rate must be stated. Of the faces in one frame the largest is kept. The
signs of Py-Feat's gaze angles are undocumented; they are taken as they come.
"""

from __future__ import annotations

import numpy as np

from clmer.data.face.frames import Rows
from clmer.data.face.names import AU_NAMES, ranges
from clmer.data.face.table import Header, read_columns
from clmer.data.recording import DataError

_POINTS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(68))
_AUS = tuple({"AU45": "AU43"}.get(name, name) for name in AU_NAMES)
_GAZE = ("gaze_yaw", "gaze_pitch")
_OPTIONAL = ("frame", "FaceScore", "FaceRectWidth", "FaceRectHeight")


def is_pyfeat(header: Header) -> bool:
    """Whether Py-Feat wrote it: no other tracker has these columns."""
    return {"FaceRectX", "FaceRectY"} <= set(header.names)


def read_rows(header: Header) -> Rows:
    """Every frame's largest face.

    Raises:
        DataError: missing columns, no rows, a cell that is no number.
    """
    names = set(header.names)
    missing = [name for name in (*_POINTS, *_AUS) if name not in names]
    if missing:
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns of Py-Feat without {ranges(missing)}",
            "x_0..67, y_0..67 and AUxx of 17 action units",
            "Py-Feat before 0.4 has 12 action units: run a newer one.",
        )
    gaze_columns = _GAZE if names.issuperset(_GAZE) else ()
    optional = [name for name in _OPTIONAL if name in names]
    columns = read_columns(header, [*optional, *_POINTS, *_AUS, *gaze_columns])
    if {"frame", "FaceRectWidth", "FaceRectHeight"} <= names:
        area = columns["FaceRectWidth"] * columns["FaceRectHeight"]
        best = _largest(columns["frame"], np.nan_to_num(area, nan=-1.0))
        columns = {name: column[best] for name, column in columns.items()}
    points = np.stack([columns[name] for name in _POINTS], axis=1)  # [r, 136]
    count = len(points)
    landmarks = np.zeros((count, 68, 3))
    landmarks[:, :, :2] = points.reshape(count, 2, 68).transpose(0, 2, 1)
    probability = np.stack([columns[name] for name in _AUS], axis=1)
    return Rows(
        path=header.path,
        tracker="Py-Feat 2" if "mesh_x_0" in names or gaze_columns else "Py-Feat 1",
        unit="px",
        landmarks=landmarks,
        au_intensity=5.0 * probability,
        au_presence=np.where(np.isfinite(probability), probability >= 0.5, np.nan),
        gaze=np.stack([columns[name] for name in _GAZE], axis=1) if gaze_columns else None,
        confidence=columns.get("FaceScore", np.ones(count)),
        success=np.isfinite(points).all(axis=1),
        seconds=None,
        frame=columns.get("frame"),
        face=None,
    )


def _largest(frame: np.ndarray, area: np.ndarray) -> np.ndarray:
    """The row of the largest face in each frame, in the frames' order."""
    order = np.lexsort((area, frame))
    last = np.append(frame[order][1:] != frame[order][:-1], True)
    return order[last]
