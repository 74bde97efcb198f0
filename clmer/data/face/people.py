"""Whose rows: one person out of a table in which a tracker numbers several faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.face.rows import Rows
from clmer.errors import DataError

#: Two faces at once in more than this share of the frames with a face, and in as many frames, are
#: two people.
TWO_PEOPLE, _TWO_PEOPLE_FRAMES = 0.25, 5
#: A number that shares more than this part of its frames with the face kept is another face.
_BESIDE = 0.1
#: The same person, seen again: how far the head may be from where it was (in radii of the face:
#: root mean square distance of the points from their centre), how much its size and depth may
#: change, and how its shape (share of that radius, after turning and scaling).
_PLACE = 2.5
_SIZE = {"mm": 1.25, "px": 1.5, "share": 1.5}
SHAPE = {"mm": 0.15, "px": 0.35, "share": 0.35}
_DEPTH = 1.5
#: Rows on either side of a change that tell where the head was.
_AROUND = 25
_LISTED = 6
WAY_OUT = (
    "Say which with the manifest's column face_id or clmer predict --face-id, or keep one person's "
    "rows."
)


@dataclass(frozen=True, eq=False)
class _Face:
    """One number's rows with a face, in the order of time."""

    number: float
    rows: np.ndarray
    weight: float


def choose(
    rows: Rows, good: np.ndarray, wanted: tuple[float, ...], fps: float | None
) -> tuple[np.ndarray, list[str]]:
    """The rows of one person.

    Of several numbers that do not overlap in time, those are joined whose head is of the same
    size and shape and near the place where it was; a number beside the face kept is left out.

    Args:
        rows: of all faces, times in seconds.
        good: [r] bool, rows with a face.
        wanted: the numbers of the face that is asked for; of two at once the first counts.
        fps: the stated frame rate.

    Returns:
        [r] bool, and what is to be said.

    Raises:
        DataError: no such number; two faces at once in many frames, and none is asked for.
    """
    all_rows = np.ones(len(good), dtype=bool)
    if rows.face is None:
        if any(wanted):
            found, expected = "no column of that name: one face", "0, or no face_id"
            raise DataError(rows.path, f"face_id {wanted[0]:g}", found, expected)
        return all_rows, []
    key = _key(rows)
    order = np.argsort(key, kind="stable")
    numbers = [n for n in np.unique(rows.face) if np.isfinite(n)]
    faces = []
    for number in numbers:
        its = order[(rows.face == number)[order] & good[order]]
        faces.append(_Face(float(number), its, float(rows.confidence[its].sum())))
    if wanted:
        return _asked_for(rows, key, good, wanted, numbers), []
    faces = sorted((f for f in faces if len(f.rows)), key=lambda f: -f.weight)
    if len(faces) < 2:
        return all_rows if len(numbers) < 2 else rows.face == faces[0].number, []
    _refuse_two_people(rows, key, faces, fps)
    return _joined(rows, key, good, faces, fps)


def _asked_for(
    rows: Rows,
    key: np.ndarray,
    good: np.ndarray,
    wanted: tuple[float, ...],
    numbers: list[float],
) -> np.ndarray:
    """Rows of some numbers, in the order of preference."""
    assert rows.face is not None
    keep = np.zeros(len(key), dtype=bool)
    for number in wanted:
        if number not in numbers:
            known = ", ".join(f"{n:g}" for n in numbers[:20])
            raise DataError(rows.path, "face_id", f"no {number:g}", f"some of {known}")
        _add(keep, rows.face == number, key, good)
    return keep


def _add(keep: np.ndarray, its: np.ndarray, key: np.ndarray, good: np.ndarray) -> None:
    """Keep a number's rows too, in frames in which the face kept is absent or lost."""
    new = its & np.where(good, ~np.isin(key, key[keep & good]), ~np.isin(key, key[keep]))
    keep[keep & ~good & np.isin(key, key[new & good])] = False
    keep |= new


def _key(rows: Rows) -> np.ndarray:
    """What rows of one frame have in common."""
    if rows.frame is not None:
        return rows.frame
    if rows.seconds is not None:
        return rows.seconds
    assert rows.face is not None
    key = np.zeros(len(rows.face))
    for number in np.unique(rows.face):
        key[rows.face == number] = np.arange((rows.face == number).sum())
    return key


def _refuse_two_people(rows: Rows, key: np.ndarray, faces: list[_Face], fps: float | None) -> None:
    frames, counts = np.unique(
        np.concatenate([np.unique(key[face.rows]) for face in faces]), return_counts=True
    )
    shared = int((counts > 1).sum())
    if shared < _TWO_PEOPLE_FRAMES or shared <= TWO_PEOPLE * len(frames):
        return
    listed = "; ".join(_described(rows, face, fps) for face in faces[:_LISTED])
    more = f" and {len(faces) - _LISTED} more" if len(faces) > _LISTED else ""
    raise DataError(
        rows.path,
        "face_id" if rows.tracker.startswith("OpenFace") else "faces",
        f"two or more faces at once in {shared} of {len(frames)} frames: {listed}{more}",
        "one person",
        WAY_OUT,
    )


def _described(rows: Rows, face: _Face, fps: float | None) -> str:
    text = f"face {face.number:g} in {len(face.rows)} frames"
    time = rows.seconds
    if time is None and fps is not None and rows.frame is not None:
        time = (rows.frame - min(1.0, np.nanmin(rows.frame))) / fps
    if time is not None:
        text += f", {time[face.rows].min():.4g} to {time[face.rows].max():.4g} s"
    elif rows.frame is not None:
        text += f", {rows.frame[face.rows].min():g} to {rows.frame[face.rows].max():g}"
    if rows.landmarks is not None:
        text += f", at x {rows.length(rows.landmarks[face.rows, :, 0].mean())}"
    return text


def _joined(
    rows: Rows, key: np.ndarray, good: np.ndarray, faces: list[_Face], fps: float | None
) -> tuple[np.ndarray, list[str]]:
    """The surest face, and those that go on with it."""
    assert rows.face is not None
    main, *others = faces
    keep = rows.face == main.number
    kept = main.rows
    joined: list[str] = []
    left: list[str] = []
    for face in sorted(others, key=lambda f: _distance(key, main, f)):
        beside = np.isin(key[face.rows], key[kept])
        if beside.mean() > _BESIDE:
            reason = f"beside face {main.number:g}"
        else:
            reason = _another(rows, key, kept, face.rows[~beside])
        if reason:
            left.append(f"{_described(rows, face, fps)}, is left out: {reason}")
            continue
        _add(keep, rows.face == face.number, key, good)
        kept = np.concatenate([kept, face.rows[~beside]])
        kept = kept[np.argsort(key[kept], kind="stable")]
        joined.append(_described(rows, face, fps))
    notes = left[:_LISTED] + [f"{len(left) - _LISTED} more faces are left out"] * (
        len(left) > _LISTED
    )
    if joined:
        why = "place, size and shape agree"
        if rows.landmarks is None:
            why = "nothing overlaps, and there are no landmarks to compare"
        more = f" and {len(joined) - _LISTED} more" if len(joined) > _LISTED else ""
        goes_on = f"goes on as {'; '.join(joined[:_LISTED])}{more}: {why}"
        notes.insert(0, f"{_described(rows, main, fps)}, {goes_on}")
    return keep, notes


def _distance(key: np.ndarray, main: _Face, face: _Face) -> float:
    """How far a face's frames are from the main one's."""
    first, last = key[main.rows[0]], key[main.rows[-1]]
    return float(max(key[face.rows[0]] - last, first - key[face.rows[-1]]))


def _another(rows: Rows, key: np.ndarray, kept: np.ndarray, new: np.ndarray) -> str:
    """Why rows show another person than the rows before or after them; "" where they do not."""
    if rows.landmarks is None:
        return ""
    at = int(np.searchsorted(key[kept], key[new[0]]))
    if at:
        near, first = kept[max(0, at - _AROUND) : at], new[:_AROUND]
    else:
        near, first = kept[:_AROUND], new[-_AROUND:]
    before, after = (np.median(rows.landmarks[part], axis=0) for part in (near, first))
    centres = before.mean(axis=0), after.mean(axis=0)
    sizes = [_radius(points) for points in (before, after)]
    if not min(sizes) > 0:
        return ""
    moved = np.linalg.norm((centres[1] - centres[0])[:2])
    if moved > _PLACE * sizes[0]:
        return f"another person, {rows.length(float(moved))} away"
    limit = _SIZE[rows.unit]
    if not 1 / limit < sizes[1] / sizes[0] < limit:
        return f"another person, a face {sizes[1] / sizes[0]:.2g} times as large"
    depths = [centre[2] for centre in centres]
    if min(depths) > 0 and max(depths) > _DEPTH * min(depths):
        return f"another person, {rows.length(max(depths) - min(depths))} nearer or farther"
    own, other = (np.median(rows.landmarks[part], axis=0) for part in (kept, new))
    residual = shape_residual(own, other)
    if residual > SHAPE[rows.unit]:
        return f"another person, whose face's shape differs by {residual:.0%} of its size"
    return ""


def _radius(points: np.ndarray) -> float:
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))


def shape_residual(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square distance of two shapes [68, 3], turned and scaled to fit, by their size."""
    x, y = ((p - p.mean(axis=0)) / _radius(p) for p in (one, other))
    singular = np.linalg.svd(x.T @ y, compute_uv=False) / len(x)
    return float(np.sqrt(max(0.0, 1 - min(1.0, singular.sum()) ** 2)))


def link_faces(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Numbers for faces that a tracker does not number, from the largest face on.

    A box belongs to the face whose last box is nearest, at most its own width away.

    Args:
        frame: [r] number of the frame, ascending.
        box: [r, 4] left, top, width and height in pixels; NaN where there is no face.

    Returns:
        [r] number from 0; NaN where there is no face.
    """
    number = np.full(len(frame), np.nan)
    found = np.flatnonzero(np.isfinite(box).all(axis=1) & np.isfinite(frame))
    if not len(found):
        return number
    centre, width = box[:, :2] + box[:, 2:] / 2, np.maximum(box[:, 2], 1e-9)
    last = np.empty(0, dtype=np.int64)  # each face's latest row
    for rows in np.split(found, np.flatnonzero(np.diff(frame[found])) + 1):
        apart = np.linalg.norm(centre[rows][:, None] - centre[last], axis=2)  # [faces now, before]
        apart /= np.maximum(width[rows][:, None], width[last])
        face = np.full(len(rows), -1)
        for flat in np.argsort(apart, axis=None)[: (apart <= 1.0).sum()]:
            new, old = divmod(int(flat), len(last))
            if face[new] < 0 and old not in face:
                face[new] = old
        fresh = face < 0
        face[fresh] = len(last) + np.arange(fresh.sum())
        last = np.concatenate([last, rows[fresh]])
        last[face] = rows
        number[rows] = face
    area = np.bincount(number[found].astype(np.int64), box[found, 2] * box[found, 3])
    rank = np.empty(len(area))
    rank[np.argsort(-area, kind="stable")] = np.arange(len(area))
    number[found] = rank[number[found].astype(np.int64)]
    return number


def numbered(
    path: Path, frame: np.ndarray, box: np.ndarray, lines: np.ndarray
) -> np.ndarray | None:
    """`link_faces` of a table's rows; None where no frame has two faces.

    Args:
        path: the table.
        frame: [r] number of the frame.
        box: [r, 4], as in `link_faces`.
        lines: [r] their lines in the file.

    Raises:
        DataError: frames of faces that go back.
    """
    found = np.flatnonzero(np.isfinite(box).all(axis=1) & np.isfinite(frame))
    if len(np.unique(frame[found])) == len(found):
        return None
    for at in np.flatnonzero(np.diff(frame[found]) < 0)[:1]:
        before, after = found[at], found[at + 1]
        raise DataError(
            path,
            f"line {lines[after]}, frame",
            f"{frame[after]:g} after the {frame[before]:g} of line {lines[before]}",
            "frames in order",
            "Two clips in one file? Split it there: one CSV per clip.",
        )
    return link_faces(frame, box)
