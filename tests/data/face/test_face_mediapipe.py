"""MediaPipe's mesh and blendshapes as people write them; every point tells its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.face_cases import Csv, Table

from clmer.data.face import AU_NAMES, aligned, face_modalities, read_face
from clmer.data.face.trackers.mesh import IBUG
from clmer.errors import DataError

FRAMES, FPS = 50, 30.0
TIME = np.arange(FRAMES) / FPS
#: A mesh: point i at x = 0.3 + i / 1000, y = 0.2 + i / 2000, z = -i / 10000, and a slow sway.
POINT = np.arange(478)
SWAY = 0.01 * np.sin(TIME)
MESH = {
    "x": 0.3 + POINT / 2000 + SWAY[:, None],
    "y": 0.2 + POINT % 100 / 200 + SWAY[:, None],
    "z": -POINT / 10000 + 0 * SWAY[:, None],
}
STYLES = (
    "{a}_{i}",
    "{a}{i}",
    "landmark_{i}_{a}",
    "lm{i}_{a}",
    "{i}_{a}",
    "face_{a}_{i}",
    "Landmark {i} {A}",
    "point{i}.{a}",
    "landmark_{a}_{i}",
)


def mesh(style: str = "{a}_{i}", points: int = 478, first: int = 0, axes: str = "xyz") -> Table:
    return {
        style.format(a=a, A=a.upper(), i=i + first): MESH[a][:, i]
        for i in range(points)
        for a in axes
    }


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("points", "first"), [(478, 0), (468, 1)])
def test_points_are_found_by_number_and_axis(
    face_csv: Csv, style: str, points: int, first: int
) -> None:
    path = face_csv(
        {"frame": np.arange(FRAMES * 1.0), "timestamp": TIME} | mesh(style, points, first)
    )
    assert face_modalities(path) == ("landmarks",)
    face = read_face(path)
    assert (face.tracker, face.unit, face.fps) == ("MediaPipe", "share", FPS)
    for ibug in (0, 30, 45, 67):
        for axis, name in enumerate("xyz"):
            found = face.landmarks[:, ibug, axis]
            np.testing.assert_allclose(found, MESH[name][:, IBUG[ibug]], rtol=1e-5, atol=1e-6)
    assert face.valid.all()
    assert np.isfinite(aligned(face).landmarks).all()


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("time", 1),
        ("timestamp_ms", 1e3),
        ("Time (ms)", 1e3),
        ("time_sec", 1),
        ("timestamp_us", 1e6),
    ],
)
def test_times_under_other_names_and_in_other_units(face_csv: Csv, name: str, unit: float) -> None:
    face = read_face(face_csv({name: 100 * unit / FPS + unit * TIME} | mesh()))
    assert face.fps == pytest.approx(FPS, rel=1e-3)
    assert np.flatnonzero(face.valid)[0] == 100


def test_without_a_time_the_rate_must_be_stated(face_csv: Csv) -> None:
    path = face_csv({"frame_idx": np.arange(FRAMES * 1.0)} | mesh())
    with pytest.raises(DataError, match="frame rate"):
        read_face(path)
    assert read_face(path, fps=24.0).fps == 24.0


def test_the_picture_s_size_makes_pixels_of_shares(face_csv: Csv) -> None:
    size = {"image_width": np.full(FRAMES, 640.0), "image_height": np.full(FRAMES, 480.0)}
    face = read_face(face_csv({"timestamp": TIME} | size | mesh()))
    assert face.unit == "px"
    wanted = MESH["x"][:, IBUG[8]] * 640, MESH["y"][:, IBUG[8]] * 480
    np.testing.assert_allclose(face.landmarks[:, 8, :2].T, wanted, rtol=1e-5)
    assert not face.landmarks[..., 2].any()


def test_pixels_and_no_depth(face_csv: Csv) -> None:
    table = {name: 1000 * column for name, column in mesh(axes="xy").items()}
    face = read_face(face_csv({"timestamp": TIME} | table))
    assert face.unit == "px"
    np.testing.assert_allclose(face.landmarks[:, 8, 0], 1000 * MESH["x"][:, IBUG[8]], rtol=1e-5)


def test_frames_without_a_face_are_empty_zero_or_absent(face_csv: Csv) -> None:
    table = {"frame": np.arange(FRAMES * 1.0), "timestamp": TIME} | mesh()
    for name, column in table.items():
        if name not in ("frame", "timestamp"):
            table[name] = column.copy()
            table[name][10:20], table[name][25:34] = 0.0, np.nan
    table = {name: np.delete(column, slice(36, 45)) for name, column in table.items()}
    face = read_face(face_csv(table))
    lost = [*range(10, 20), *range(25, 34), *range(36, 45)]
    assert np.flatnonzero(~face.valid).tolist() == lost


def long_table(people: int = 1) -> Table:
    frame, who, point = np.meshgrid(np.arange(FRAMES), np.arange(people), POINT, indexing="ij")
    at = frame.ravel(), point.ravel()
    table: Table = {"frame": at[0] * 1.0, "timestamp": at[0] / FPS, "landmark": at[1] * 1.0}
    table |= {axis: MESH[axis][at] + 0.4 * who.ravel() * (axis == "x") for axis in "xyz"}
    return table | ({"face_id": who.ravel() * 1.0} if people > 1 else {})


@pytest.mark.parametrize("first", [0, 1])
def test_a_row_per_point(face_csv: Csv, first: int) -> None:
    table = long_table()
    face = read_face(face_csv(table | {"landmark": table["landmark"] + first}))
    assert (face.fps, len(face.valid)) == (FPS, FRAMES)
    np.testing.assert_allclose(face.landmarks[:, 48, 1], MESH["y"][:, IBUG[48]], rtol=1e-5)
    np.testing.assert_allclose(face.landmarks[:, 48, 2], MESH["z"][:, IBUG[48]], rtol=1e-5)


def test_frames_without_a_row_per_point_are_lost(face_csv: Csv) -> None:
    table = long_table()
    keep = ~np.isin(table["frame"], range(10, 25))
    face = read_face(face_csv({name: column[keep] for name, column in table.items()}))
    assert np.flatnonzero(~face.valid).tolist() == list(range(10, 25))


def test_two_people_with_a_row_per_point(face_csv: Csv) -> None:
    table = long_table(2)
    path = face_csv(table)
    with pytest.raises(DataError, match=r"two or more faces at once in 50 of 50 frames.*face_id"):
        read_face(path)
    face = read_face(path, face_id=1)
    np.testing.assert_allclose(face.landmarks[:, 8, 0], MESH["x"][:, IBUG[8]] + 0.4, rtol=1e-5)
    del table["face_id"]
    with pytest.raises(DataError, match=r"line 480: found point 0 .*again.*face_id"):
        read_face(face_csv(table))


def test_two_people_without_a_number_are_told_apart_by_place(face_csv: Csv) -> None:
    one = {"frame": np.arange(FRAMES * 1.0), "timestamp": TIME} | mesh(points=468)
    other = one | {n: c * 0.5 + 0.6 for n, c in one.items() if n.startswith("x_")}
    both = {n: np.stack([one[n], other[n]], axis=1).ravel() for n in one}
    path = face_csv(both)
    with pytest.raises(DataError, match="two or more faces at once in 50 of 50 frames"):
        read_face(path)
    face = read_face(path, face_id=0)  # the largest
    np.testing.assert_allclose(face.landmarks[:, 8, 0], MESH["x"][:, IBUG[8]], rtol=1e-5)


def test_a_mesh_that_lacks_points_is_refused(face_csv: Csv) -> None:
    table = long_table()
    few = {name: column[table["landmark"] < 400] for name, column in table.items()}
    with pytest.raises(DataError, match=r"400 points, 0 to 399"):
        read_face(face_csv(few))


ARKIT = (
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff "
    "cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight "
    "eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight "
    "eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight "
    "mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel "
    "mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker "
    "mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft "
    "mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight "
    "noseSneerLeft noseSneerRight"
).split()
SCORES = {name: np.full(FRAMES, 0.01 * (i + 1)) + SWAY for i, name in enumerate(ARKIT)}


@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda name: name[0].upper() + name[1:],
        lambda name: f"blendshape_{name}",
        lambda name: name.replace("Left", "_L").replace("Right", "_R"),
        str.lower,
    ],
)
def test_blendshapes_under_arkit_s_names(face_csv: Csv, write) -> None:
    table = {"timestamp": TIME} | {write(name): column for name, column in SCORES.items()}
    path = face_csv(table | {write("_neutral") if write is str else "neutral": SWAY})
    assert face_modalities(path) == ("au",)
    face = read_face(path)
    assert (face.landmarks, face.tracker, face.notes) == (None, "MediaPipe", ())
    s = SCORES
    by_hand = {
        "AU01": s["browInnerUp"],
        "AU12": (s["mouthSmileLeft"] + s["mouthSmileRight"]) / 2,
        "AU25": np.maximum(s["jawOpen"] - s["mouthClose"], 0),
        "AU26": s["jawOpen"],
        "AU45": (s["eyeBlinkLeft"] + s["eyeBlinkRight"]) / 2,
    }
    for name, score in by_hand.items():
        at = AU_NAMES.index(name)
        np.testing.assert_allclose(face.au_intensity[:, at], 5 * score, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(face.au_presence[:, at], score >= 0.5)


def test_blendshapes_beside_the_mesh_and_some_of_them_absent(face_csv: Csv) -> None:
    few = {n: c for n, c in SCORES.items() if not n.startswith(("nose", "cheek"))}
    path = face_csv({"timestamp": TIME} | mesh() | few)
    assert face_modalities(path) == ("landmarks", "au")
    assert "no intensity of AU06, AU09: 0 throughout" in " ".join(read_face(path).notes)


def test_py_feat_s_mesh_is_no_68_points(face_csv: Csv) -> None:
    """Py-Feat's MPDetector: x_0..477 in pixels, and blendshapes for action units."""
    table: Table = {"frame": np.arange(FRAMES * 1.0)}
    table |= {f"FaceRect{n}": np.full(FRAMES, 100.0) for n in ("X", "Y", "Width", "Height")}
    table |= {name: 500 * column for name, column in mesh().items()} | SCORES
    face = read_face(face_csv(table), fps=FPS)
    assert (face.tracker, face.unit) == ("Py-Feat 2", "px")
    np.testing.assert_allclose(face.landmarks[:, 8, 0], 500 * MESH["x"][:, IBUG[8]], rtol=1e-5)
    at = AU_NAMES.index("AU26")
    np.testing.assert_allclose(face.au_intensity[:, at], 5 * SCORES["jawOpen"], rtol=1e-4)


def test_manifests_take_what_the_tables_hold(tmp_path: Path) -> None:
    """Without `modalities` those are used that are there, in the tables of all people."""
    from support.face_cases import text

    from clmer.data.registry import DATASETS
    from clmer.data.store.prepare import prepare

    lines = ["subject,trial,label,modality,path"]
    for k in range(2):
        (tmp_path / f"{k}.csv").write_text(text({"timestamp": TIME} | SCORES))
        lines.append(f"p{k},1,{'xy'[k]},face,{k}.csv")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    store = prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "c", progress=False)
    assert list(store.modalities) == ["au"]
    assert "the face tables hold no landmarks: au alone is used" in store.report["notes"]
