"""Faces that are too small for MediaPipe's detector: looked for in parts of the picture.

The detector (BlazeFace, short range) shrinks the whole picture to 128 x 128 px and finds faces of
about a sixth of its longer side, however many pixels they have. `search` lets it look at square
parts; a face that is found there is then tracked in a `View`, a square part of the picture that
stays where it is until the face has moved or grown too much, in MediaPipe's own video mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from clmer.data.face.trackers.mesh import FIELD_OF_VIEW_DEG

_SHARES = (1.0, 0.5, 0.25)  # of the shorter side: parts that are searched
_MIN_PART = 48  # px
_ROOM = 3.5  # side of a view in face sizes
_OFF = 0.8  # face sizes by which a view may be off before another one takes its place
_GROWN = 1.5  # the same of its side


@dataclass(frozen=True)
class View:
    """A square part of the picture, px."""

    left: int
    top: int
    side: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part of a picture [height, width, 3], contiguous."""
        rows = slice(self.top, self.top + self.side)
        return np.ascontiguousarray(image[rows, self.left : self.left + self.side])

    def fits(self, points: np.ndarray, width: int, height: int) -> bool:
        """Whether a face [n, 2 or more], px, in a picture of that size needs no other view."""
        best, size = around(points, width, height), float(np.ptp(points[:, :2], axis=0).max())
        off = max(abs(best.left - self.left), abs(best.top - self.top))
        grown = max(best.side, self.side) / min(best.side, self.side)
        return off <= _OFF * size and grown <= _GROWN


def around(points: np.ndarray, width: int, height: int) -> View:
    """The view of a face [n, 2 or more], px, in a picture of that size."""
    size = float(np.ptp(points[:, :2], axis=0).max())
    side = int(min(max(_ROOM * size, _MIN_PART), width, height))
    x, y = points[:, :2].mean(axis=0)
    left, top = (round(float(c) - side / 2) for c in (x, y))
    return View(min(max(left, 0), width - side), min(max(top, 0), height - side), side)


def search(
    image: np.ndarray, detect: Callable[[np.ndarray], list[np.ndarray]]
) -> np.ndarray | None:
    """The largest face [68, 3], px of the picture, in the largest parts that show one.

    Args:
        image: [height, width, 3].
        detect: faces [68, 3] in a picture, px of it.
    """
    for share in _SHARES:
        found = [
            points + np.array([view.left, view.top, 0.0])
            for view in _parts(image, share)
            for points in detect(view.of(image))
        ]
        if found:
            return max(found, key=lambda points: float(np.ptp(points[:, :2], axis=0).prod()))
    return None


def quarter_turn(image: np.ndarray, detect: Callable[[np.ndarray], list[np.ndarray]]) -> int:
    """Degrees clockwise to turn the picture by so that a face is found; 0 where none is."""
    for quarters in (1, 3, 2):
        if detect(np.ascontiguousarray(np.rot90(image, -quarters))):
            return 90 * quarters
    return 0


def in_picture(pose: np.ndarray, view: View, width: int, height: int) -> np.ndarray:
    """A pose [4, 4], cm, seen in a view as if alone, in terms of the whole picture's camera.

    Both have the same vertical field of view, so that the view's camera stands nearer; and the
    view's axis is a ray of the picture's camera, about which the head is turned.
    """
    focal = height / (2 * np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2))
    x, y, z = pose[:3, 3]
    own = focal * view.side / height
    u = view.left + view.side / 2 - own * x / z - width / 2  # y up, z towards the viewer
    v = view.top + view.side / 2 + own * y / z - height / 2
    depth = z * height / view.side
    ray = np.array([view.left + view.side / 2 - width / 2, height / 2 - view.top - view.side / 2])
    turned = np.eye(4)
    turned[:3, :3] = _turn(ray / focal) @ pose[:3, :3]
    turned[:3, 3] = -u * depth / focal, v * depth / focal, depth
    return turned


def _turn(slope: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] that brings the axis (0, 0, -1) to the ray (slope, -1)."""
    ray = np.array([*slope, -1.0])
    ray /= np.linalg.norm(ray)
    axis = np.array([0.0, 0.0, -1.0])
    x, y, z = np.cross(axis, ray)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + axis @ ray))


def _parts(image: np.ndarray, share: float) -> Iterator[View]:
    """Overlapping squares: a face of up to half their side is whole in one of them."""
    height, width, _ = image.shape
    side = max(int(share * min(height, width)), min(_MIN_PART, height, width))
    counts = [max(int(np.ceil(2 * (whole - side) / side)), 0) for whole in (height, width)]
    tops, lefts = (
        np.linspace(0, whole - side, count + 1).astype(int).tolist()
        for whole, count in zip((height, width), counts, strict=True)
    )
    yield from (View(left, top, side) for top in tops for left in lefts)
