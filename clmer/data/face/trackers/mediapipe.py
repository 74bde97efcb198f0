"""Tables of MediaPipe's face mesh and blendshapes, as people write them.

**Landmarks** of 468 or 478 points, of which the 68 that are iBUG's are used (`mesh.IBUG`): a column
per number under any name that has the axis and the point's number (`x_0`, `x0`, `landmark_0_x`,
`lm0_x`, `face_x_0`), counted from 0 or 1; or long tables, with a row per point and the columns
frame (or a time), landmark, x, y and z. Values are shares of the picture's width and height, z in
widths, which stay as they are (unit "share"), become pixels where the table has the picture's width
and height, or are pixels already; pixels have a third axis of 0.

**Blendshapes** under ARKit's names, in any case and with any prefix (`browInnerUp`, `EyeBlinkLeft`,
`blendshape_jawOpen`, `eyeBlink_L`): intensity = 5 x score, presence = score >= 0.5, as `mesh` says.

Times, frames, faces and confidence: `names`. A frame without a face is a row of empty cells or
zeros, or no row at all. Faces without a number are linked from frame to frame by their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clmer.data.face.people import numbered
from clmer.data.face.rows import Rows
from clmer.data.face.table import Header, read_columns
from clmer.data.face.trackers import units
from clmer.data.face.trackers.mesh import BLENDSHAPES, IBUG, PRESENCE, known_units, units_of
from clmer.data.face.trackers.names import canonical
from clmer.data.face.trackers.openface import block, in_space, seconds_of
from clmer.errors import DataError

#: Points of the mesh, without and with the irises.
_POINTS = (468, 478)
_AXIS_FIRST = re.compile(r"(?:(.*)[_ .-])?([xyz])[_ .-]?\[?(\d+)\]?", re.I)
_NUMBER_FIRST = re.compile(r"(.*?)[_ .-]?(\d+)[_ .-]?([xyz])", re.I)
_NUMBER = (
    "landmark landmarkid landmarkindex landmarkidx landmarknumber landmarkno point pointid "
    "pointindex pointidx keypoint keypointid index idx id lm lmid"
).split()
_WIDTHS = "width imagewidth framewidth imgwidth videowidth imgw imagew w".split()
_HEIGHTS = "height imageheight frameheight imgheight videoheight imgh imageh h".split()
_OPTIONAL = ("timestamp", "frame", "face_id", "confidence", "success")
#: Shares of a picture are at most 1, and a little more of a face that leaves it.
_SHARE = 2.0
_BY_SHAPE = {name.lower(): name for name in BLENDSHAPES}
_BY_SHAPE |= {
    f"{name.removesuffix(side).lower()}{side[0].lower()}": name
    for name in BLENDSHAPES
    for side in ("Left", "Right")
    if name.endswith(side)
}
_LONGEST_FIRST = sorted(_BY_SHAPE, key=len, reverse=True)


@dataclass(frozen=True, eq=False)
class Mesh:
    """The columns of a mesh.

    Args:
        prefix: what their names have in common.
        names: by axis and number of the point, from 0.
    """

    prefix: str
    names: Mapping[str, Mapping[int, str]]

    def columns(self, axes: str) -> tuple[str, ...]:
        """Those of iBUG's points, axis by axis."""
        return tuple(self.names[axis][point] for axis in axes for point in IBUG)

    @property
    def axes(self) -> str:
        """Which there are: "xyz", or "xy" where there is no depth."""
        return "xyz" if "z" in self.names else "xy"


def find_mesh(header: Header) -> Mesh | None:
    """The mesh in a table of a row per frame, if there is one."""
    found: dict[tuple[bool, str], dict[str, dict[int, str]]] = {}
    for name in header.names:
        if match := _NUMBER_FIRST.fullmatch(name):
            key, axis, number = (True, match[1]), match[3], match[2]
        elif match := _AXIS_FIRST.fullmatch(name):
            key, axis, number = (False, match[1] or ""), match[2], match[3]
        else:
            continue
        found.setdefault(key, {}).setdefault(axis.lower(), {})[int(number)] = name
    for (_, prefix), axes in found.items():
        counted = {axis: _from_0(names) for axis, names in axes.items()}
        whole = {axis: names for axis, names in counted.items() if len(names) in _POINTS}
        if {"x", "y"} <= whole.keys():
            return Mesh(prefix, whole)
    return None


def _from_0(names: Mapping[int, str]) -> dict[int, str]:
    """Points numbered from 0, also where they count from 1; none where some are missing."""
    first = min(names)
    if first > 1 or sorted(names) != list(range(first, first + len(names))):
        return {}
    return {number - first: name for number, name in names.items()}


def find_long(header: Header) -> tuple[str, ...]:
    """The columns (point, x, y[, z]) of a table of a row per point; none of another table."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in header.names}
    number = next((plain[name] for name in _NUMBER if name in plain), None)
    axes = [plain[axis] for axis in "xyz" if axis in plain]
    return (number, *axes) if number and len(axes) >= 2 else ()


def blendshapes(header: Header) -> dict[str, str]:
    """Columns by ARKit's name, of those that action units are made of."""
    found: dict[str, str] = {}
    for name in header.names:
        if re.search(r"\d", name):
            continue  # a point's
        plain = re.sub(r"[^a-z]", "", name.lower())
        shape = next((shape for shape in _LONGEST_FIRST if plain.endswith(shape)), None)
        if shape and len(plain) - len(shape) <= len("blendshapescore"):
            found.setdefault(_BY_SHAPE[shape], name)
    return found


def is_mediapipe(header: Header) -> bool:
    """Whether it is a mesh, or blendshapes of most action units."""
    is_mesh = bool(find_mesh(header) or find_long(header))
    return is_mesh or len(known_units(blendshapes(header))) >= units.LEAST


def groups(header: Header) -> set[str]:
    """Which of "landmarks" and "au" a table has."""
    there = {"landmarks"} if find_mesh(header) or find_long(header) else set()
    return there | ({"au"} if len(known_units(blendshapes(header))) >= units.LEAST else set())


def read_mediapipe(header: Header) -> Rows:
    """Every face of every frame.

    Raises:
        DataError: no rows, a cell that is no number, points that are missing or twice.
    """
    header, unit_s = canonical(header)
    mesh, shapes = find_mesh(header), blendshapes(header)
    long = () if mesh else find_long(header)
    optional = [name for name in _OPTIONAL if name in header.names]
    size = _picture(header)
    axes = mesh.axes if mesh else "xyz"[: len(long) - 1]
    wanted = mesh.columns(axes) if mesh else long
    table = read_columns(header, list(dict.fromkeys([*optional, *size, *wanted, *shapes.values()])))
    columns, lines = table.columns, table.lines
    if long:
        columns, lines = _frames(header, columns, lines, long)
        wanted = tuple(f"{axis}_{point}" for axis in axes for point in IBUG)
    count = len(lines)

    points = block(columns, wanted)
    landmarks, unit, found = None, "share", np.ones(count, dtype=bool)
    if points is not None:
        landmarks, unit, found = _in_unit(in_space(points), columns, size)
    success = columns.get("success", np.ones(count)) > 0.5
    strong, present, notes = _action_units(columns, shapes, count)
    return Rows(
        path=header.path,
        lines=lines,
        tracker="MediaPipe",
        unit=unit,
        landmarks=landmarks,
        au_intensity=strong,
        au_presence=present,
        gaze=None,
        confidence=columns.get("confidence", np.ones(count)),
        success=success & found,
        seconds=seconds_of(columns, unit_s),
        frame=columns.get("frame"),
        face=_faces(header, columns, landmarks, found, lines),
        au_scale=5.0,
        notes=notes,
    )


def _action_units(
    columns: Mapping[str, np.ndarray], shapes: Mapping[str, str], count: int
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    scores = units_of({shape: columns[name] for shape, name in shapes.items()})
    if len(scores) < units.LEAST:
        return None, None, ()
    return units.assembled(
        {au: 5.0 * score for au, score in scores.items()},
        {au: np.where(np.isnan(s), np.nan, s >= PRESENCE) for au, s in scores.items()},
        count,
    )


def _picture(header: Header) -> tuple[str, ...]:
    """The columns of the picture's width and height, if both are there."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in header.names}
    pair = [next((plain[n] for n in names if n in plain), "") for names in (_WIDTHS, _HEIGHTS)]
    return tuple(pair) if all(pair) else ()


def _in_unit(
    points: np.ndarray, columns: Mapping[str, np.ndarray], size: tuple[str, ...]
) -> tuple[np.ndarray, str, np.ndarray]:
    """Points [r, 68, 3], their unit, and [r] bool whether there is a face."""
    found = np.isfinite(points).all(axis=(1, 2)) & points[..., :2].any(axis=(1, 2))
    largest = float(np.median(np.abs(points[found, :, :2]).max(axis=(1, 2)))) if found.any() else 0
    is_share = largest <= _SHARE
    if is_share and not size:
        return points, "share", found
    points = points.copy()
    if is_share:
        points[..., 0] *= columns[size[0]][:, None]
        points[..., 1] *= columns[size[1]][:, None]
    points[..., 2] = 0.0
    return points, "px", found


def _frames(
    header: Header, columns: Mapping[str, np.ndarray], lines: np.ndarray, long: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One row per face and frame of a table with one per point, the points as `x_0`, ....

    Raises:
        DataError: no column that tells frames apart, another number of points, or one twice.
    """
    keys = [name for name in ("frame", "timestamp", "face_id") if name in columns]
    number = columns[long[0]]
    if not keys or keys == ["face_id"]:
        expected = "a column of the frame or of the time beside each point"
        raise DataError(header.path, "header", ", ".join(header.names[:8]), expected)
    known = np.unique(number[np.isfinite(number)])
    first = float(known[0]) if known.size else 0.0
    if len(known) not in _POINTS or first not in (0, 1) or np.ptp(known) != len(known) - 1:
        found = f"{len(known)} points, {first:g} to {known.max(initial=0.0):g}"
        expected = "the 468 or 478 points of MediaPipe's face mesh, counted from 0 or 1"
        raise DataError(header.path, long[0], found, expected)
    values = np.stack([columns[name] for name in keys], axis=1)
    _, starts, row = np.unique(values, axis=0, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    there = np.isfinite(number)
    point = (number[there] - first).astype(np.int64)
    cells = row[there] * len(known) + point
    order = np.argsort(cells, kind="stable")
    for at in np.flatnonzero(np.diff(cells[order]) == 0)[:1]:
        before, again = (np.flatnonzero(there)[order[at + i]] for i in (0, 1))
        found = f"point {number[again]:g} of the frame again, as in line {lines[before]}"
        hint = "Two people in each frame? Number the faces in a column face_id."
        raise DataError(header.path, f"line {lines[again]}", found, "each point once", hint)
    out = {name: column[starts] for name, column in columns.items() if name not in long}
    for axis, name in zip("xyz", long[1:], strict=False):
        grid = np.full((len(starts), len(known)), np.nan)
        grid[row[there], point] = columns[name][there]
        out |= {f"{axis}_{i}": grid[:, i] for i in IBUG}
    return out, lines[starts]


def _faces(
    header: Header,
    columns: Mapping[str, np.ndarray],
    landmarks: np.ndarray | None,
    found: np.ndarray,
    lines: np.ndarray,
) -> np.ndarray | None:
    """Which face a row is of: as numbered, or by place where a frame has several."""
    if "face_id" in columns:
        return columns["face_id"]
    frame = columns.get("frame", columns.get("timestamp"))
    if landmarks is None or frame is None:
        return None
    low, high = landmarks[..., :2].min(axis=1), landmarks[..., :2].max(axis=1)
    box = np.where(found[:, None], np.concatenate([low, high - low], axis=1), np.nan)
    return numbered(header.path, frame, box, lines)
