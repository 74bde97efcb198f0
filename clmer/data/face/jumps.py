"""Whose face, where nothing numbers it: no head is elsewhere from one frame to the next.

A tracker that follows one face can go over to another person's without a word, and tables of two
clips can be put together with times that go on. Both show as a jump of the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from clmer.data.face.people import SHAPE, shape_residual
from clmer.data.face.rows import Rows
from clmer.errors import DataError

#: A jump: further than this, and faster (a second), in radii of the face (root mean square distance
#: of its points from their centre, about 65 mm): 0.1 m at more than 2 m per second.
_FAR, _FAST = 1.5, 30.0
#: Radius from which points make a face that can be told to jump.
_LEAST_RADIUS = {"mm": 25.0, "px": 5.0, "share": 0.005}
#: Seconds after which a jump is no surprise.
_SOON_S = 0.5
#: More jumps than this share of the frames, and than this number, are two people throughout.
_MOST_SHARE, _MOST = 0.1, 5
#: Rows before a jump that tell where the head was.
_AROUND = 25
#: Parts of a clip whose faces' shapes are compared.
_PARTS = 8


@dataclass
class _Place:
    """Where a head was last, and the numbers of its rows."""

    centre: np.ndarray
    rows: list[np.ndarray] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return sum(map(len, self.rows))

    def fits(self, centre: np.ndarray, most: float) -> bool:
        """Whether a head there can be this one, which moves at most so far unseen."""
        return bool(np.linalg.norm(centre - self.centre) <= most)


def check_shape(rows: Rows, seconds: np.ndarray) -> list[str]:
    """What to say where a part of a clip shows a face of another shape than the part before it.

    Args:
        rows: with a face, of one person, in the order of time.
        seconds: [r] their times.
    """
    if rows.landmarks is None or len(seconds) < _PARTS * _AROUND:
        return []
    parts = np.array_split(np.arange(len(seconds)), _PARTS)
    shapes = [np.median(rows.landmarks[part], axis=0) for part in parts]
    if min(np.ptp(shape, axis=0)[:2].min() for shape in shapes) <= 0:
        return []
    differ = [shape_residual(a, b) for a, b in pairwise(shapes)]
    at = int(np.argmax(differ))
    if differ[at] <= SHAPE[rows.unit]:
        return []
    return [
        f"the face's shape differs by {differ[at]:.0%} of its size before and after about "
        f"{seconds[parts[at + 1][0]]:.4g} s: is it one person's?"
    ]


def main_place(rows: Rows, seconds: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The rows of the face that has most of them, where it jumps between places.

    Args:
        rows: with a face, of one number, in the order of time.
        seconds: [r] their times.

    Returns:
        [r] bool, and what is to be said.

    Raises:
        DataError: it jumps all the time.
    """
    everything = np.ones(len(seconds), dtype=bool)
    if rows.landmarks is None or len(seconds) < 2:
        return everything, []
    middles = rows.landmarks.mean(axis=1)
    square = np.square(rows.landmarks - middles[:, None]).sum(axis=2)
    radii = np.sqrt(square.mean(axis=1))
    radius = float(np.median(radii))
    centres = middles[:, :2]
    step = np.maximum(np.diff(seconds), 1e-9)
    moved = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    jumps = (moved > _FAR * radius) & (moved > _FAST * radius * step)
    at = np.flatnonzero(jumps & (step <= _SOON_S))
    if not at.size or radius < _LEAST_RADIUS[rows.unit]:
        return everything, []
    if at.size > max(_MOST, _MOST_SHARE * len(seconds)):
        first = at[0]
        raise DataError(
            rows.path,
            f"line {rows.lines[first + 1]}",
            f"{at.size} jumps of the face in {len(seconds)} frames, the first of "
            f"{rows.length(moved[first])}",
            "one person's face",
            "Rows of two people without a column face_id? Keep one person's rows.",
        )
    places: list[_Place] = []
    for part in np.split(np.arange(len(seconds)), at + 1):
        first, last = (np.median(centres[p], axis=0) for p in (part[:_AROUND], part[-_AROUND:]))
        place = next((each for each in places if each.fits(first, _FAR * radius)), None)
        if place is None:
            place = _Place(last)
            places.append(place)
        place.centre = last
        place.rows.append(part)
    kept = max(places, key=lambda place: place.count)
    keep = np.isin(np.arange(len(seconds)), np.concatenate(kept.rows))
    return keep, [_said(rows, seconds, at, moved, keep)]


def _said(
    rows: Rows, seconds: np.ndarray, at: np.ndarray, moved: np.ndarray, keep: np.ndarray
) -> str:
    first = int(at[0])
    away = f"the face jumps {rows.length(moved[first])} at {seconds[first + 1]:.6g} s (line "
    away += f"{rows.lines[first + 1]})"
    more = f" and {len(at) - 1} more times" if len(at) > 2 else " and once more" * (len(at) > 1)
    if keep.all():
        return f"{away}{more}"
    left = seconds[~keep]
    return (
        f"{away}{more}, as to another person's: {len(left)} frames at another place, within "
        f"{left.min():.6g} to {left.max():.6g} s, are left out"
    )
