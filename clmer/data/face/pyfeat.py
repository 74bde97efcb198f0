"""Py-Feat's CSV (versions 1 and 2): 2-D landmarks, action units as probabilities.

Used are `x_0..67`, `y_0..67` (pixels) and `AUxx` (0-1) of 16 of our 17 action units and AU43, of
which either group may lack as a whole, `frame`, `FaceScore`, `FaceRect...`, and version 2's
`gaze_pitch`, `gaze_yaw` (rad).

What differs from OpenFace: landmarks are pixels and their third axis is 0, since the depth of
version 2's mesh has no stated unit; an intensity is 5 times the probability, a presence is a
probability of at least 0.5; AU43, closed eyes, stands for AU45, the blink. There is no time but
`frame`: the video's frame rate must be stated. Faces have no number: they are linked from frame to
frame by their place, and numbered from the largest on. The signs of Py-Feat's gaze angles are
undocumented; they are taken as they come.
"""

from __future__ import annotations

import numpy as np

from clmer.data.face.names import AU_NAMES, ranges
from clmer.data.face.people import linked
from clmer.data.face.rows import Rows
from clmer.data.face.table import Header, read_columns
from clmer.errors import DataError

_POINTS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(68))
_AUS = tuple({"AU45": "AU43"}.get(name, name) for name in AU_NAMES)
_GAZE = ("gaze_yaw", "gaze_pitch")
_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_OPTIONAL = ("frame", "FaceScore")


def is_pyfeat(header: Header) -> bool:
    """Whether Py-Feat wrote it: no other tracker has these columns."""
    return {"FaceRectX", "FaceRectY"} <= set(header.names)


def read_rows(header: Header) -> Rows:
    """Every row, with a number for each face where frames have several.

    Raises:
        DataError: missing columns, no rows, a cell that is no number, frames that start again.
    """
    names = set(header.names)
    groups = [group for group in (_POINTS, _AUS) if not names.isdisjoint(group)]
    missing = [name for group in groups or (_POINTS, _AUS) for name in group if name not in names]
    if missing:
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns of Py-Feat without {ranges(missing)}",
            "x_0..67, y_0..67 and AUxx of 17 action units",
            "Py-Feat before 0.4 has 12 action units: run a newer one.",
        )
    gaze_columns = _GAZE if names.issuperset(_GAZE) else ()
    optional = [name for name in (*_OPTIONAL, *_BOX) if name in names]
    wanted = [name for group in groups for name in group]
    table = read_columns(header, [*optional, *wanted, *gaze_columns])
    columns, count = table.columns, len(table.lines)

    def block(wanted: tuple[str, ...]) -> np.ndarray | None:
        if not names.issuperset(wanted):
            return None
        return np.stack([columns[name] for name in wanted], axis=1)

    points, probability = block(_POINTS), block(_AUS)
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
        gaze=block(gaze_columns) if gaze_columns else None,
        confidence=columns.get("FaceScore", np.ones(count)),
        success=seen,
        seconds=None,
        frame=columns.get("frame"),
        face=_numbers(header, columns, table.lines) if names.issuperset(_BOX) else None,
    )


def _numbers(
    header: Header, columns: dict[str, np.ndarray], lines: np.ndarray
) -> np.ndarray | None:
    """A number for each row's face; None where no frame has two.

    Raises:
        DataError: frames of faces that go back.
    """
    frame = columns.get("frame")
    if frame is None:
        return None
    box = np.stack([columns[name] for name in _BOX], axis=1)
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
            "Two clips in one file? Split it there: one CSV a clip.",
        )
    return linked(frame, box)
