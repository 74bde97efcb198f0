"""Tables of every version of OpenFace and Py-Feat, by the columns that each writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.face_cases import FPS, FRAMES, Csv, Table, person, text

from clmer.data.face import AU_NAMES, face_modalities, read_face, tracker_of
from clmer.errors import DataError

#: What OpenFace before 1.0 predicts (its documentation's list of columns).
OLD_R = "AU01 AU02 AU04 AU05 AU06 AU09 AU10 AU12 AU14 AU15 AU17 AU20 AU25 AU26".split()
OLD_C = "AU04 AU12 AU15 AU23 AU28 AU45".split()
#: Py-Feat 0.x with JAANet or DRML.
JAANET = "01 02 04 06 07 10 12 14 15 17 23 24".split()
TIME = np.arange(FRAMES) / FPS


def some_of(table: Table, *starts: str) -> Table:
    return {name: column for name, column in table.items() if name.startswith(starts)}


def old_units() -> Table:
    units = {f"{au}_r": np.full(FRAMES, 2.0 + i / 10) for i, au in enumerate(OLD_R)}
    units["AU12_r"] = np.where(TIME < 10, 0.5, 3.0)
    return units | {f"{au}_c": (TIME > 5) * 1.0 for au in OLD_C}


def gaze_vectors(angle: float) -> Table:
    """Both eyes look right by an angle, and down by half of it."""
    x, y, z = np.tan(angle), np.tan(angle / 2), -1.0
    return {
        f"gaze_{eye}_{axis}": np.full(FRAMES, v)
        for eye in "01"
        for axis, v in zip("xyz", (x, y, z), strict=True)
    }


def test_openface_before_1_has_14_intensities_and_6_presences(face_csv: Csv) -> None:
    table = some_of(person(), "frame", "timestamp", "confidence", "success", "X_", "Y_", "Z_")
    face = read_face(face_csv(table | gaze_vectors(0.2) | old_units()))
    assert (face.tracker, face.unit, face.fps) == ("OpenFace", "mm", FPS)
    np.testing.assert_allclose(face.landmarks[:, 3, 1], table["Y_3"], rtol=1e-6)
    np.testing.assert_allclose(face.gaze, np.tile([0.2, 0.1], (FRAMES, 1)), atol=1e-6)
    at = AU_NAMES.index
    np.testing.assert_allclose(face.au_intensity[:, at("AU05")], 2.3, rtol=1e-6)
    assert not face.au_intensity[:, [at("AU07"), at("AU23"), at("AU45")]].any()
    assert face.au_presence[:, at("AU12")].tolist() == (TIME > 5).tolist()  # as the table says
    assert face.au_presence[:, at("AU45")].tolist() == (TIME > 5).tolist()
    assert face.au_presence[:, at("AU05")].all()  # by the intensity
    assert "the table has no intensity of AU07, AU23, AU45: 0 throughout" in face.notes
    assert any("no presence of AU01, AU02" in note for note in face.notes)


@pytest.mark.parametrize(("seconds", "success"), [("timestamp(seconds)", "detection_success")])
def test_openface_0_2_wrote_points_without_an_underscore(
    face_csv: Csv, seconds: str, success: str
) -> None:
    table = person()
    old = {"frame": table["frame"], seconds: table["timestamp"], "confidence": table["confidence"]}
    old[success] = np.where(TIME > 19, 0.0, 1.0)
    old |= {n.replace("_", ""): v for n, v in some_of(table, "X_", "Y_", "Z_").items()}
    face = read_face(face_csv(old))
    np.testing.assert_allclose(face.landmarks[:400, 67, 2], table["Z_67"][:400], rtol=1e-6)
    assert face.valid.tolist() == (TIME <= 19).tolist()
    assert face.au_intensity is None


def test_the_eyes_of_openface_0_2(face_csv: Csv) -> None:
    vectors = {name[5:]: v for name, v in gaze_vectors(0.3).items()}  # 0_x, ...
    table: Table = {"frame": TIME * FPS + 1, "timestamp": TIME, "success": np.ones(FRAMES)}
    table |= {f"{name[2]}_{name[0]}": v for name, v in vectors.items()}
    table |= {f"{axis}_h{eye}": np.zeros(FRAMES) for eye in "01" for axis in "xyz"}
    path = face_csv(table)
    assert face_modalities(path) == ("gaze",)
    face = read_face(path)
    np.testing.assert_allclose(face.gaze, np.tile([0.3, 0.15], (FRAMES, 1)), atol=1e-6)


def test_openface_with_2dfp_has_landmarks_in_pixels(face_csv: Csv) -> None:
    table = person()
    flat = {n: v for n, v in table.items() if n[:2] not in ("X_", "Y_", "Z_", "AU")}
    flat |= {n.lower(): 400 + 2 * v for n, v in some_of(table, "X_", "Y_").items()}
    units = some_of(table, "AU")
    for given, there in ((flat, ("landmarks",)), (flat | units, ("landmarks", "au"))):
        path = face_csv(given)
        assert face_modalities(path) == there
        face = read_face(path)
        assert (face.unit, len(face.notes)) == ("px", 0)
        np.testing.assert_allclose(face.landmarks[:, 30, 0], 400 + 2 * table["X_30"], rtol=1e-6)
        assert not face.landmarks[..., 2].any()
    np.testing.assert_allclose(face.au_intensity[:, 3], table["AU05_r"], rtol=1e-6)  # as it is


@pytest.mark.parametrize("kept", ["_r", "_c"])
def test_intensities_without_presences(face_csv: Csv, kept: str) -> None:
    table = {n: v for n, v in person().items() if n[:2] not in ("X_", "Y_", "Z_")}
    table = {n: v for n, v in table.items() if not n.startswith("AU") or n.endswith(kept)}
    path = face_csv(table)
    if kept == "_c":
        with pytest.raises(DataError, match=r"without AU01_r, AU02_r"):
            read_face(path)
        return
    face = read_face(path)
    np.testing.assert_array_equal(face.au_presence[:, 6], (table["AU09_r"] >= 1.0))
    assert "no presence of any action unit" in " ".join(face.notes)


def test_names_in_other_letters(face_csv: Csv) -> None:
    table = {n: v for n, v in person().items() if n[:2] not in ("X_", "Y_", "Z_")}
    other = {n.replace("AU0", "au").replace("AU", "au"): v for n, v in table.items()}
    other = {
        n.replace("timestamp", "Time (s)").replace("face_id", "FaceID"): v for n, v in other.items()
    }
    face = read_face(face_csv(other))
    assert face.fps == FPS
    np.testing.assert_allclose(face.au_intensity[:, 0], table["AU01_r"], rtol=1e-6)


def pyfeat(units: list[str]) -> Table:
    table: Table = {"frame": np.arange(40.0)}
    table |= {f"FaceRect{n}": np.full(40, 100.0) for n in ("X", "Y", "Width", "Height")}
    table["FaceScore"] = np.full(40, 0.99)
    for axis, base in (("x", 100), ("y", 200)):
        table |= {f"{axis}_{i}": base + i + np.arange(40.0) for i in range(68)}
    return table | {f"AU{au}": np.full(40, int(au) / 100) for au in units}


def test_py_feat_0_has_12_action_units(face_csv: Csv) -> None:
    face = read_face(face_csv(pyfeat(JAANET)), fps=30.0)
    assert (face.tracker, face.fps, face.unit) == ("Py-Feat 0", 30.0, "px")
    np.testing.assert_allclose(face.au_intensity[5, AU_NAMES.index("AU17")], 5 * 0.17)
    assert face.landmarks[3, 5].tolist() == [108.0, 208.0, 0.0]
    assert "no intensity of AU05, AU09, AU20, AU25, AU26, AU45" in " ".join(face.notes)


def test_py_feat_without_the_box_is_known_by_pose_and_units(face_csv: Csv) -> None:
    table = {n: v for n, v in pyfeat(JAANET).items() if not n.startswith("Face")}
    face = read_face(
        face_csv(table | dict.fromkeys(("Pitch", "Roll", "Yaw"), np.zeros(40))), fps=30
    )
    assert face.tracker == "Py-Feat 0"


@pytest.mark.parametrize(("points", "units"), [(0, 8), (98, 0), (98, 8)])
def test_openface_3_is_told_by_its_units_or_points(face_csv: Csv, points: int, units: int) -> None:
    """Its eight units are called AU01 to AU08 whichever they are, and its points are 98."""
    table: Table = {"frame": TIME * FPS, "timestamp": TIME, "face_id": 0 * TIME}
    table |= {f"AU{i:02d}_r": TIME for i in range(1, units + 1)}
    table |= {f"{axis}_{i}": TIME for axis in "xy" for i in range(points)}
    with pytest.raises(DataError, match="OpenFace 3 has no 3-D landmarks and 8 AUs"):
        read_face(face_csv(table))


def test_facereader_and_imotions_are_recognised_and_told_how_to_come_in(tmp_path: Path) -> None:
    log = tmp_path / "facereader.txt"
    log.write_text("Video analysis detailed log\rFrame rate:\t30\rVideo Time\tNeutral\tHappy\r")
    with pytest.raises(DataError, match=r"found FaceReader's log.*Name the video itself"):
        read_face(log)
    log.write_text("#METADATA,,,\n#DATA,,,\nRow,Timestamp,EventSource,Joy\n1,0,1,0.2\n")
    with pytest.raises(DataError, match=r"found an export of iMotions.*Name the video itself"):
        read_face(log)


def test_what_is_no_face_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content in ("Timestamp,EEG.AF3\n0,1\n", "", "subject,x,y\n1,2,3\n", text({"frame": TIME})):
        path.write_text(content)
        assert not tracker_of(path)
    assert not tracker_of(tmp_path / "absent.csv")
