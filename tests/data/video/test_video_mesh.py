"""From MediaPipe's mesh to OpenFace's terms, and the CSV."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.video_cases import make_face, make_mesh, scores

from clmer.data.face import AU_NAMES, NEEDED_COLUMNS, read_face
from clmer.data.face.trackers.mesh import IBUG, MESH_POINTS, action_units, to_face
from clmer.data.video.table import COLUMNS, TableWriter


def test_each_ibug_point_is_one_mesh_point() -> None:
    assert len(IBUG) == len(set(IBUG)) == 68
    assert max(IBUG) < MESH_POINTS


def test_points_are_millimetres_in_the_camera_s_frame() -> None:
    face, mesh = make_face(), make_mesh()
    assert np.linalg.norm(face.points[45] - face.points[36]) == pytest.approx(89.0)
    np.testing.assert_allclose(face.image, mesh[:, :2] * (640, 480))
    scale = face.points[:, 0] / (face.image[:, 0] - 320)
    np.testing.assert_allclose(scale, scale[0])
    np.testing.assert_allclose(face.points[:, 1], scale[0] * (face.image[:, 1] - 240))
    nearer = mesh[:, 2].argsort()
    assert (np.diff(face.points[nearer, 2]) >= 0).all()
    np.testing.assert_allclose(face.translation, [10, -20, 500])


def test_action_units_follow_the_blendshapes() -> None:
    given = scores(mouthSmileLeft=0.8, mouthSmileRight=0.6, jawOpen=0.7, mouthClose=0.5)
    au = dict(zip(AU_NAMES, action_units(given), strict=True))
    assert au["AU12"] == pytest.approx(0.7)
    assert au["AU26"] == pytest.approx(0.7)
    assert au["AU25"] == pytest.approx(0.2)
    assert sum(au.values()) == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("given", "axis", "sign"),
    [
        ({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, 0, 1),  # the person's left: image right
        ({"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}, 0, -1),
        ({"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0}, 1, 1),
        ({"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}, 1, -1),
    ],
)
def test_gaze_has_openface_s_signs(given: dict[str, float], axis: int, sign: int) -> None:
    gaze = to_face(make_mesh(), scores(**given), np.eye(4), 640, 480).gaze
    assert gaze[axis] == pytest.approx(0.5 * sign)
    assert gaze[1 - axis] == pytest.approx(0.0)


def test_gaze_turns_with_the_head_and_the_pose_is_its_angles() -> None:
    pose, angle = np.eye(4), 0.3
    # About MediaPipe's y axis (up): the face turns to the image's right.
    pose[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    face = to_face(make_mesh(), scores(), pose, 640, 480)
    np.testing.assert_allclose(face.gaze, [angle, 0], atol=1e-12)
    np.testing.assert_allclose(face.rotation, [0, -angle, 0], atol=1e-12)


def test_the_csv_is_one_that_our_reader_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with TableWriter(path) as table:
        for i in range(50):
            table.add(i / 30, None if i in (10, 11) else make_face(i), 2)
        table.finish()
    assert os.listdir(tmp_path) == ["a.csv"]
    assert set(NEEDED_COLUMNS) < set(COLUMNS)
    face = read_face(path)
    assert (face.tracker, face.unit, face.fps) == ("MediaPipe", "mm", pytest.approx(30, abs=0.01))
    assert face.valid.all()
    assert face.confidence is not None
    assert np.flatnonzero(face.confidence == 0).tolist() == [10, 11]
    expected = make_face(7)
    np.testing.assert_allclose(face.landmarks[7], expected.points, atol=0.006)
    np.testing.assert_allclose(face.au_intensity[7, AU_NAMES.index("AU12")], 3.5, atol=1e-3)
    assert face.au_presence[7, AU_NAMES.index("AU12")] == 1
    assert face.gaze is not None
    np.testing.assert_allclose(face.gaze[7], expected.gaze, atol=1e-4)


def test_a_csv_that_is_not_finished_never_appears(tmp_path: Path) -> None:
    stale = tmp_path / ".a.csv.999999999.tmp"
    stale.write_text("killed")
    with pytest.raises(KeyboardInterrupt), TableWriter(tmp_path / "a.csv") as table:  # noqa: PT012
        table.add(0.0, make_face(), 1)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
