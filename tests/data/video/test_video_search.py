"""Parts of the picture, and what a face found there means in the whole one."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.data.face.trackers.mesh import FIELD_OF_VIEW_DEG
from clmer.data.video.search import View, around, in_picture, quarter_turn, search


def square(x: float, y: float, size: float) -> np.ndarray:
    """The corners [4, 3] of a face."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) / 2
    return corners * (size, size, 0) + (x, y, 0)


def bright(image: np.ndarray, least: float) -> list[np.ndarray]:
    """A stand-in for the detector: the white square, if whole and not under a share of the side."""
    rows, columns = (np.flatnonzero(image[:, :, 0].any(axis=k)) for k in (1, 0))
    if not rows.size or rows.size < least * max(image.shape[:2]):
        return []
    if min(rows[0], columns[0]) == 0 or rows[-1] == len(image) - 1:
        return []
    if columns[-1] == image.shape[1] - 1:
        return []
    size = (columns.size + rows.size) / 2
    return [square(columns.mean() + 0.5, rows.mean() + 0.5, size)]


@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (480, 480), (60, 90)])
@pytest.mark.parametrize("share", [0.3, 0.15, 0.08])
@pytest.mark.parametrize("place", [(0.3, 0.5), (0.52, 0.47), (0.8, 0.75)])
def test_a_small_face_is_found_wherever_it_is(
    shape: tuple[int, int], share: float, place: tuple[float, float]
) -> None:
    height, width = shape
    size = round(share * min(shape))
    left, top = round(place[0] * width - size / 2), round(place[1] * height - size / 2)
    image = np.zeros((*shape, 3), np.uint8)
    image[top : top + size, left : left + size] = 255
    found = search(image, lambda part: bright(part, 0.16 if min(shape) > 100 else 0.05))
    assert found is not None
    np.testing.assert_allclose(found[0, :2], (left, top), atol=1)


def test_where_no_face_is_none_is_found() -> None:
    assert search(np.zeros((100, 200, 3), np.uint8), lambda part: bright(part, 0.1)) is None


def test_the_way_to_turn_a_picture() -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[:10] = 255  # a face's top, at the top of an upright picture

    def is_upright(part: np.ndarray) -> list[np.ndarray]:
        return [part] if part[:10].all() else []

    for quarters in (1, 2, 3):
        lying = np.rot90(image, quarters)  # counter-clockwise
        assert quarter_turn(lying, is_upright) == 90 * quarters
    assert quarter_turn(image[20:], is_upright) == 0


def test_a_view_fits_until_the_face_has_moved_or_grown() -> None:
    view = around(square(300, 200, 40), 640, 360)
    for face, fits in (
        (square(300, 200, 40), True),
        (square(320, 190, 40), True),
        (square(360, 200, 40), False),
        (square(300, 200, 90), False),
        (square(300, 200, 8), False),
    ):
        assert view.fits(face, 640, 360) == fits
    large = around(square(300, 170, 300), 640, 360)  # as large as the picture
    assert all(large.fits(square(x, 190, 310), 640, 360) for x in range(200, 400, 10))
    for x, y in ((0, 0), (640, 360), (5, 200)):
        edge = around(square(x, y, 40), 640, 360)
        image = np.arange(640 * 360 * 3, dtype=np.int64).reshape(360, 640, 3)
        part = edge.of(image)
        assert part.shape == (edge.side, edge.side, 3)
        assert part[0, 0, 0] == image[edge.top, edge.left, 0]
    assert around(square(100, 100, 300), 640, 360).side == 360


def project(points: np.ndarray, pose: np.ndarray, height: int, centre: np.ndarray) -> np.ndarray:
    """Pixels [n, 2] of points [n, 3] of the head (cm), y up, in a picture of that height."""
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    focal = height / (2 * np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2))
    return centre + focal * seen[:, :2] / -seen[:, 2:] * (1, -1)


@pytest.mark.parametrize("view", [View(0, 0, 720), View(900, 100, 90), View(200, 600, 100)])
def test_a_pose_in_a_part_is_one_in_the_picture(view: View) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-8, 8, (30, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = turn * np.sign(np.linalg.det(turn))
    pose[:3, 3] = 2.0, -3.0, -60.0
    width, height = 1280, 720
    offset = np.array([view.left, view.top]) + view.side / 2
    there = project(points, pose, view.side, offset)
    whole = in_picture(pose, view, width, height)
    here = project(points, whole, height, np.array([width, height]) / 2)
    # The depth within the head is seen from farther away: some per cent of its size at most.
    size = np.ptp(there, axis=0).max()
    assert np.abs(here - there).max() < 0.15 * size
    assert np.linalg.norm(here.mean(axis=0) - there.mean(axis=0)) < 0.02 * size
    np.testing.assert_allclose(whole[:3, :3] @ whole[:3, :3].T, np.eye(3), atol=1e-12)
    assert whole[2, 3] == pytest.approx(pose[2, 3] * height / view.side)
