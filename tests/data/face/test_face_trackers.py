"""Faces beyond OpenFace's columns: Py-Feat, gaze, HOG, variable rates, and head motion removed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clmer.data.face import AU_NAMES, STABLE_POINTS, aligned, read_face, read_openface
from clmer.data.face.hog import Hog
from clmer.data.face.windows import FACE_ROWS, FACE_TOKENS, FaceWindows
from clmer.data.recording import FaceSeries
from clmer.data.synthetic import signals
from clmer.errors import DataError

FRAMES = 40
PYFEAT_AUS = "01 02 04 05 06 07 09 10 11 12 14 15 17 20 23 24 25 26 28 43".split()


def write_csv(path: Path, table: dict[str, list[object]]) -> Path:
    rows = [",".join(table), *(",".join(map(str, r)) for r in zip(*table.values(), strict=True))]
    path.write_text("\n".join([*rows, ""]))
    return path


def pyfeat(version: int = 1) -> dict[str, list[object]]:
    time = range(FRAMES)
    table: dict[str, list[object]] = {"frame": list(time)}
    table |= {f"FaceRect{n}": [100.0] * FRAMES for n in ("X", "Y", "Width", "Height")}
    table["FaceScore"] = [0.99] * FRAMES
    for axis, base in (("x", 100), ("y", 200)):
        table |= {f"{axis}_{i}": [base + i + t for t in time] for i in range(68)}
    table |= {f"AU{au}": [int(au) / 100] * FRAMES for au in PYFEAT_AUS}
    if version == 2:
        table |= {
            "gaze_pitch": [0.1] * FRAMES,
            "gaze_yaw": [-0.2] * FRAMES,
            "mesh_x_0": [1] * FRAMES,
        }
    table["input"] = ["clip.mp4"] * FRAMES
    return table


def test_py_feat_1_is_known_by_its_header(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", pyfeat())
    with pytest.raises(DataError, match=r"timestamp.*\(fps\)"):
        read_face(path)
    face = read_face(path, fps=25.0)
    assert (face.tracker, face.unit, face.gaze) == ("Py-Feat 1", "px", None)
    assert face.landmarks[3, 5].tolist() == [108.0, 208.0, 0.0]
    assert face.au_intensity[0, AU_NAMES.index("AU45")] == pytest.approx(5 * 0.43)  # from AU43
    assert face.au_intensity[0, AU_NAMES.index("AU12")] == pytest.approx(5 * 0.12)
    assert not face.au_presence.any()
    assert face.valid.all()


def test_py_feat_2_has_gaze_and_empty_rows_are_lost_frames(tmp_path: Path) -> None:
    table = pyfeat(2)
    for name, values in table.items():
        if name not in ("frame", "input"):
            values[20:30] = [""] * 10
            values[5] = "nan"
    face = read_face(write_csv(tmp_path / "a.csv", table), fps=25.0)
    assert face.tracker == "Py-Feat 2"
    assert face.gaze is not None
    np.testing.assert_allclose(face.gaze, np.tile([-0.2, 0.1], (FRAMES, 1)), rtol=1e-6)
    assert np.flatnonzero(~face.valid).tolist() == list(range(20, 30))
    assert face.confidence is not None
    assert face.confidence[5] == 0


def beside(table: dict[str, list[object]], frames: range) -> dict[str, list[object]]:
    """Py-Feat's table with a second, smaller face in some frames, before the other's row."""
    rows = []
    for frame in range(FRAMES):
        row = {name: values[frame] for name, values in table.items()}
        if frame in frames:
            rows.append(row | {"FaceRectX": 400.0, "FaceRectWidth": 50.0, "x_0": 400.0})
        rows.append(row)
    return {name: [row[name] for row in rows] for name in table}


def test_py_feat_s_two_people_are_refused_unless_one_is_asked_for(tmp_path: Path) -> None:
    table = pyfeat()
    path = write_csv(tmp_path / "a.csv", beside(table, range(FRAMES)))
    with pytest.raises(DataError) as caught:
        read_face(path, fps=25.0)
    assert "face 0 in 40 frames, 0 to 1.56 s" in str(caught.value)
    assert "face 1 in 40 frames" in str(caught.value)
    assert "face_id" in str(caught.value)
    large, small = (read_face(path, fps=25.0, face_id=number) for number in (0, "1"))
    assert large.landmarks[:, 0, 0].tolist() == table["x_0"]
    assert small.landmarks[:, 0, 0].tolist() == [400.0] * FRAMES


def test_py_feat_s_brief_second_face_is_left_out_and_said(tmp_path: Path) -> None:
    table = pyfeat()
    face = read_face(write_csv(tmp_path / "a.csv", beside(table, range(10, 18))), fps=25.0)
    assert face.landmarks[:, 0, 0].tolist() == table["x_0"]
    assert face.valid.all()
    note, *_ = face.notes
    assert "face 1 in 8 frames, 0.4 to 0.68 s" in note
    assert "left out: beside face 0" in note


def test_two_clips_of_py_feat_in_one_table(tmp_path: Path) -> None:
    table = {name: values * 2 for name, values in pyfeat().items()}
    path = write_csv(tmp_path / "a.csv", table)
    with pytest.raises(DataError, match=r"line 42, frame: found 0 after the 39 of line 41.*Split"):
        read_face(path, fps=25.0)


def test_a_py_feat_with_few_action_units_is_refused(tmp_path: Path) -> None:
    table = pyfeat()
    for au in PYFEAT_AUS[4:14]:
        del table[f"AU{au}"]
    with pytest.raises(DataError, match=r"Py-Feat without AU06, AU07, .*at least 10 of 17"):
        read_face(write_csv(tmp_path / "a.csv", table), fps=25.0)


def openface(path: Path, seconds: np.ndarray, **extra: np.ndarray) -> Path:
    from clmer.data.face import NEEDED_COLUMNS

    table = {"timestamp": seconds, **extra, **dict.fromkeys(NEEDED_COLUMNS, seconds)}
    return write_csv(path, {name: values.tolist() for name, values in table.items()})


def test_gaze_comes_as_angles_or_from_the_eyes_vectors(tmp_path: Path) -> None:
    time = np.arange(FRAMES) / 25
    angles = {"gaze_angle_x": 0.1 + time, "gaze_angle_y": time - 0.2}
    face = read_openface(openface(tmp_path / "a.csv", time, **angles))
    assert face.gaze is not None
    np.testing.assert_allclose(face.gaze.T, list(angles.values()), atol=1e-6)
    eyes = {f"gaze_{e}_{a}": np.full(FRAMES, v) for e in "01" for a, v in zip("xyz", (3, -4, -5))}  # noqa: B905
    face = read_openface(openface(tmp_path / "b.csv", time, **eyes))
    assert face.gaze is not None
    np.testing.assert_allclose(face.gaze[0], [np.arctan(3 / 5), np.arctan(-4 / 5)], atol=1e-6)


def test_a_variable_frame_rate_is_interpolated_at_the_true_times(tmp_path: Path) -> None:
    steps = np.tile([0.04, 0.04, 0.055, 0.025], 10)
    seconds = np.concatenate([[0.0], np.cumsum(steps)])
    face = read_openface(openface(tmp_path / "a.csv", seconds))
    assert face.fps == 25.0
    np.testing.assert_allclose(face.landmarks[:, 3, 1], np.arange(len(face.valid)) / 25, atol=1e-6)
    assert face.valid.all()


# --- head motion ---
def moving_face(frames: int = 200) -> tuple[FaceSeries, np.ndarray]:
    """A known smile under a known head motion; and the smile alone."""
    time = np.arange(frames) / 25
    smile = np.sin(2 * np.pi * 0.5 * time)[:, None, None] * 4 * signals.expression_patterns()[0]
    still = signals.neutral_face() + smile  # the pattern moves no stable point
    turns = Rotation.from_euler(
        "xyz", np.stack([0.3 * np.sin(time), 0.5 * np.cos(time), 0.2 * time / 8], 1)
    )
    points = np.einsum("nij,npj->npi", turns.as_matrix(), still)
    points += np.stack([20 * np.sin(time), 10 * time, 600 + 30 * np.cos(time)], axis=1)[:, None]
    zeros = np.zeros((frames, 17), dtype=np.float32)
    series = FaceSeries(25.0, points.astype(np.float32), zeros, zeros, np.ones(frames, dtype=bool))
    return series, smile


def test_aligning_leaves_the_expression_and_takes_the_motion() -> None:
    series, smile = moving_face()
    face = aligned(series)
    assert np.ptp(series.landmarks[:, 30], axis=0).min() > 10
    assert np.ptp(face.landmarks[:, STABLE_POINTS], axis=0).max() < 1e-3
    # Up to one rotation that all frames share, what moves is the smile: compare its size ...
    moved = face.landmarks - face.landmarks.mean(axis=0)
    expected = smile - smile.mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(moved, axis=2), np.linalg.norm(expected, axis=2), atol=1e-3
    )
    # ... and, as the template is nearly this face's own shape, its direction.
    assert np.abs(moved - expected).max() < 0.1 * np.abs(expected).max()
    assert np.abs(face.landmarks[:, STABLE_POINTS].mean(axis=(0, 1))).max() < 1e-3


def test_aligning_ignores_lost_frames_and_any_rigid_motion_of_the_whole() -> None:
    series, _ = moving_face()
    wild = series.landmarks.copy()
    wild[:20] += 300 * np.random.default_rng(0).standard_normal((20, 68, 3)).astype(np.float32)
    valid = np.arange(len(wild)) >= 20
    one = aligned(FaceSeries(25.0, wild, series.au_intensity, series.au_presence, valid))
    turn = Rotation.from_euler("xyz", [0.2, -0.4, 0.1]).as_matrix()
    other = aligned(
        FaceSeries(
            25.0,
            (wild @ turn.T + 50).astype(np.float32),
            series.au_intensity,
            series.au_presence,
            valid,
        )
    )
    np.testing.assert_allclose(one.landmarks[20:], other.landmarks[20:], atol=2e-3)


def test_aligning_pixels_scales_and_turns_in_the_plane_only() -> None:
    series, _ = moving_face()
    flat = np.zeros_like(series.landmarks)
    base = signals.neutral_face()[:, :2]
    for i, row in enumerate(flat):
        angle, scale = 0.01 * i, 1 + 0.01 * i
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        row[:, :2] = scale * base @ turn.T + 100 + i
    face = aligned(
        FaceSeries(25.0, flat, series.au_intensity, series.au_presence, series.valid, unit="px")
    )
    assert face.unit == "mm"
    assert np.ptp(face.landmarks, axis=0).max() < 1e-2
    assert face.landmarks[0, 45, 0] > face.landmarks[0, 36, 0]  # not mirrored


# --- HOG ---
def write_hog(path: Path, frames: int, good: int = 1) -> None:
    with path.open("wb") as file:
        for frame in range(frames):
            cells = np.zeros((12, 12, 31), dtype="<f4")
            cells[:] = frame + np.arange(31) / 100
            cells[3:6, 9:12] += 1000.0  # region 1, 3
            file.write(struct.pack("<3if", 12, 12, 31, good if frame == 7 else 1) + cells.tobytes())


def test_hog_is_averaged_over_regions(tmp_path: Path) -> None:
    openface(tmp_path / "a.csv", np.arange(FRAMES) / 25)
    write_hog(tmp_path / "a.hog", FRAMES)
    face = read_openface(tmp_path / "a.csv")
    times = np.array([[0.0, 0.04, 0.09]])  # frames 0, 1, 2
    windows = FaceWindows.at(face, times, ("hog", "gaze"))
    assert list(windows.arrays) == ["hog"]  # no gaze there
    hog = windows.arrays["hog"]
    assert hog.shape == (1, len(FACE_ROWS["hog"]), 3) == (1, 496, 3)
    regions = hog.reshape(FACE_TOKENS["hog"], 31, 3)
    np.testing.assert_allclose(regions[0, 30], [0.3, 1.3, 2.3], rtol=1e-6)
    np.testing.assert_allclose(regions[7, 0], [1000, 1001, 1002], rtol=1e-6)
    assert not windows.lost.any()


def test_a_frame_without_hog_loses_its_window(tmp_path: Path) -> None:
    openface(tmp_path / "a.csv", np.arange(FRAMES) / 25)
    write_hog(tmp_path / "a.hog", FRAMES, good=-1)
    times = np.array([[0.0, 0.04], [0.28, 0.32]])
    windows = FaceWindows.at(read_openface(tmp_path / "a.csv"), times, ("hog",))
    assert windows.lost.tolist() == [False, True]


def test_hog_files_are_checked_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.hog"
    write_hog(path, 3)
    whole = path.read_bytes()
    for content, message in (
        (whole[:-100], r"records: found 2\.99"),
        (b"", "0 bytes"),
        (whole[:7], "7 bytes"),
        (struct.pack("<3if", 2**30, 2**30, 31, 1), "1073741824 x 1073741824 cells"),
        (struct.pack("<3if", -1, 12, 31, 1), "12 x -1 cells"),
        (whole[: len(whole) // 3] + b"\1" * (2 * len(whole) // 3), "records of different sizes"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            Hog(path, 3, np.arange(3)).regions(np.arange(3))
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        Hog(path, 3, np.arange(3)).regions(np.arange(3))
