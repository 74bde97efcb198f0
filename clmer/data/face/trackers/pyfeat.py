"""Py-Feat's CSV, versions 0.x, 1 and 2.

Used are `x_0..67`, `y_0..67` (pixels; of a mesh of 478 points those that are iBUG's) and `AUxx`
(0-1) of our 17 action units, of which either group may lack completely; `frame`, `FaceScore`,
`FaceRect...`, and version 2's `gaze_pitch`, `gaze_yaw` (rad). What differs from OpenFace: landmarks
are pixels and their third axis is 0, since the depth of the mesh has no stated unit; an intensity
is 5 times the probability, a presence is a probability of at least 0.5; AU43, closed eyes, stands
for AU45, the blink. Version 0.x has 12 action units where its detector was JAANet or DRML; version
2's MPDetector has MediaPipe's blendshapes in place of action units. There is no time but `frame`:
the video's frame rate must be stated. Faces have no number: they are linked from frame to frame by
their place, and numbered from the largest on. The signs of Py-Feat's gaze angles are undocumented;
they are taken as they come.
"""

from __future__ import annotations

import numpy as np

from clmer.data.face.people import numbered
from clmer.data.face.rows import AU_NAMES, Rows, ranges
from clmer.data.face.table import Header, read_columns
from clmer.data.face.trackers import units
from clmer.data.face.trackers.mediapipe import Mesh, blendshapes, find_mesh
from clmer.data.face.trackers.mesh import PRESENCE, known_units, units_of
from clmer.data.face.trackers.names import canonical
from clmer.data.face.trackers.openface import PIXEL_COLUMNS, block, in_space, seconds_of
from clmer.errors import DataError

_GAZE = ("gaze_yaw", "gaze_pitch")
_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_OPTIONAL = ("timestamp", "frame", "FaceScore")
#: The pose, which no other table with probabilities of action units has.
_POSE = {"Pitch", "Roll", "Yaw"}
#: Units of ours by the names that may stand for them, the first one counting.
_NAMES = {au: (au,) for au in AU_NAMES} | {"AU45": ("AU43", "AU45")}


def is_pyfeat(header: Header) -> bool:
    """Whether Py-Feat wrote it: no other tracker has these columns."""
    names = set(canonical(header)[0].names)
    has_units = any(each in names for each in AU_NAMES)
    return {"FaceRectX", "FaceRectY"} <= names or (has_units and bool(names & {*_POSE, "AU43"}))


def groups(header: Header) -> set[str]:
    """Which of "landmarks", "au" and "gaze" a table has."""
    names = set(header.names)
    there = {"gaze"} if names.issuperset(_GAZE) else set()
    there |= {"landmarks"} if names.issuperset(PIXEL_COLUMNS) else set()
    return there | ({"au"} if _unit_columns(names) or known_units(blendshapes(header)) else set())


def _unit_columns(names: set[str]) -> dict[str, str]:
    """By name of a unit the column that stands for it."""
    found = {au: next((n for n in others if n in names), "") for au, others in _NAMES.items()}
    return {au: name for au, name in found.items() if name}


def read_pyfeat(header: Header) -> Rows:
    """Every row, with a number for each face where frames have several.

    Raises:
        DataError: missing columns, no rows, a cell that is no number, frames that start again.
    """
    header, unit_s = canonical(header)
    names = set(header.names)
    mesh, shapes = find_mesh(header), blendshapes(header)
    own = _unit_columns(names)
    _check(header, mesh, own, len(own or known_units(shapes)))
    gaze_columns = _GAZE if names.issuperset(_GAZE) else ()
    points_of = () if mesh or "x_0" not in names else PIXEL_COLUMNS
    if mesh and mesh.prefix:  # the 68 points have columns of their own
        mesh, points_of = (None, PIXEL_COLUMNS) if "x_0" in names else (mesh, ())
    au_columns = own.values() if own else shapes.values()
    optional = [name for name in (*_OPTIONAL, *_BOX) if name in names]
    mesh_columns = mesh.columns("xy") if mesh else ()
    table = read_columns(header, [*optional, *points_of, *mesh_columns, *au_columns, *gaze_columns])
    columns, count = table.columns, len(table.lines)

    points = block(columns, mesh_columns or points_of)
    seen = np.ones(count, dtype=bool) if points is None else np.isfinite(points).all(axis=1)
    scores = {au: columns[name] for au, name in own.items()}
    if not own:
        scores = units_of({shape: columns[name] for shape, name in shapes.items()})
    strong, present, notes = _action_units(scores, count) if scores else (None, None, ())
    return Rows(
        path=header.path,
        lines=table.lines,
        tracker=_version(names, own),
        unit="px",
        landmarks=None if points is None else in_space(points),
        au_intensity=strong,
        au_presence=present,
        gaze=block(columns, gaze_columns),
        confidence=columns.get("FaceScore", np.ones(count)),
        success=seen,
        seconds=seconds_of(columns, unit_s),
        frame=columns.get("frame"),
        face=_face_numbers(header, columns, table.lines) if names.issuperset(_BOX) else None,
        au_scale=5.0,
        notes=notes,
    )


def _action_units(
    scores: dict[str, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Intensities and presences of probabilities, and what is to be said."""
    presence = {
        au: np.where(np.isnan(score), np.nan, score >= PRESENCE) for au, score in scores.items()
    }
    return units.assembled({au: 5.0 * score for au, score in scores.items()}, presence, count)


def _version(names: set[str], own: dict[str, str]) -> str:
    """Py-Feat's version, as far as the columns tell."""
    if "mesh_x_0" in names or names.issuperset(_GAZE) or not own:
        return "Py-Feat 2"
    return "Py-Feat 1" if len(own) == len(AU_NAMES) else "Py-Feat 0"


def _check(header: Header, mesh: Mesh | None, own: dict[str, str], count: int) -> None:
    """Refuse a table with part of a group, or with nothing to use."""
    names = set(header.names)
    points = [name for name in PIXEL_COLUMNS if name not in names]
    is_part = not mesh and 0 < len(points) < len(PIXEL_COLUMNS)
    if is_part or 0 < count < units.LEAST or not (count or mesh or not points):
        lacking = [name for name in AU_NAMES if name not in own]
        missing = (points if is_part or not count else []) + (lacking if not is_part else [])
        raise DataError(
            header.path,
            "header",
            f"{len(header.names)} columns of Py-Feat without {ranges(missing)}",
            f"x_0..67, y_0..67 and AUxx of at least {units.LEAST} of 17 action units",
            "Keep the columns that Py-Feat wrote.",
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
    box = np.stack([columns[name] for name in _BOX], axis=1)
    return numbered(header.path, frame, box, lines)
