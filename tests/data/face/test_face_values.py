"""Face tables that lack something, or hold it on another scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.face_cases import FRAMES, Csv, Table, person, stacked, text

from clmer.data.face import read_face
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.errors import DataError
from clmer.report.inspection.figures import tracking


def without(*prefixes: str) -> Table:
    return {n: c for n, c in person().items() if not n.startswith(prefixes)}


def study(root: Path, tables: list[Table]) -> None:
    lines = ["subject,trial,label,modality,path,rate"]
    for k, table in enumerate(tables):
        (root / f"{k}.csv").write_text(text(table))
        np.save(root / f"{k}.npy", np.random.default_rng(k).normal(0, 10, (2, 2560)))
        lines += [f"p{k},1,{'xy'[k % 2]},eeg,{k}.npy,128", f"p{k},1,{'xy'[k % 2]},face,{k}.csv,"]
    (root / "manifest.csv").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("absent", "there", "message"),
    [
        (("X_", "Y_", "Z_"), "au", r"0\.csv: landmarks: found no landmarks: it holds action units"),
        (("AU",), "landmarks", r"0\.csv: au: found no action units: it holds landmarks only"),
    ],
)
def test_action_units_and_landmarks_come_without_each_other(
    tmp_path: Path, absent: tuple[str, ...], there: str, message: str
) -> None:
    study(tmp_path, [without(*absent), without(*absent)])
    face = read_face(tmp_path / "0.csv")
    assert (face.landmarks is None, face.au_intensity is None) == (there == "au", there != "au")
    assert tracking(face)

    def prepared(*modalities: str) -> Store:
        options = PrepareOptions(modalities=modalities)
        cache = tmp_path / "c"
        return prepare(DATASETS["manifest"], tmp_path, options, cache=cache, progress=False)

    with pytest.raises(DataError, match=message) as caught:
        prepared("eeg", "landmarks", "au")
    assert f"`modalities=eeg,{there}`" in str(caught.value)
    store = prepared()  # what the tables hold
    assert list(store.modalities) == ["eeg", there]
    assert store.report["windows"] == 40
    assert prepared("eeg", there).report["windows"] == 40
    (tmp_path / "0.csv").write_text(text(person()))  # now one of two has both
    with pytest.raises(DataError, match=message.replace("0", "1")):
        prepared()


def test_gaze_alone_and_groups_of_empty_cells(face_csv: Csv) -> None:
    table = without("AU", "X_", "Y_", "Z_")
    with pytest.raises(DataError, match="-3Dfp and -aus"):
        read_face(face_csv(table))
    table["gaze_angle_x"] = table["gaze_angle_y"] = np.sin(table["timestamp"])
    assert read_face(face_csv(table)).gaze is not None
    table = person()
    for name in table:
        if name.startswith("AU"):
            table[name][:] = np.nan
    face = read_face(face_csv(table))
    assert face.au_intensity is None
    assert face.valid.all()
    assert "AUxx_c: no value in any row, not used" in face.notes
    table = person()
    table["AU45_r"][:] = np.nan
    with pytest.raises(DataError, match=r"AUxx_r: found 1 of 17 columns without a value"):
        read_face(face_csv(table))


def scaled(prefix: tuple[str, ...], factor: float, plus: float = 0.0) -> Table:
    table = person()
    for name in table:
        if name.startswith(prefix) and not name.endswith("_c"):
            table[name] = table[name] * factor + plus
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (scaled(("AU",), 20), r"line \d+, AU\d\d_r: .*0 to 5.*Divide the intensities by 20"),
        (scaled(("X_", "Y_", "Z_"), 1e-3), r"radius 0\.0\d+, expected about 65 mm.*by 1000"),
        (scaled(("X_", "Y_", "Z_"), 1e3), r"Divide X, Y and Z by 1000"),
        (scaled(("Z_",), 0), r"Z_0\.\.67: found 0 in every row"),
        (scaled(("confidence",), 500), r"confidence: found up to 490"),
        (scaled(("X_7",), 1, 1e9), r"line \d+, X_0.*: found 1e\+09, expected at most 1e\+06"),
    ],
)
def test_scales_that_cannot_be(face_csv: Csv, table: Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_face(face_csv(table))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (scaled(("AU",), 0.2), "multiply by 5 if they are 0 to 1"),
        (scaled(("AU",), 1, -2), "standardised before"),
        (scaled(("X_", "Y_", "Z_"), 0.1), "multiply by 10 if they are centimetres"),
        (scaled(("X_", "Y_", "Z_"), 4), "expected about 65 mm: pixels"),
        (scaled(("confidence",), 100), "confidence goes up to 98: it is taken for percent"),
        (scaled(("X_", "Y_", "Z_", "AU"), 0, 1), "landmarks are the same in all 500 frames"),
    ],
)
def test_scales_that_are_odd_are_said(face_csv: Csv, table: Table, message: str) -> None:
    face = read_face(face_csv(table))
    assert any(message in note for note in face.notes), face.notes
    assert face.valid.all()


def test_percent_hides_no_doubtful_frame(face_csv: Csv) -> None:
    table = scaled(("confidence",), 100)
    table["confidence"][100:150] = 20
    assert np.flatnonzero(~read_face(face_csv(table)).valid).tolist() == list(range(100, 150))


def test_gaze_in_degrees(face_csv: Csv) -> None:
    table = person()
    radians = {"gaze_angle_x": 0.3 + table["timestamp"] / 100, "gaze_angle_y": np.full(FRAMES, 0.1)}
    face = read_face(face_csv(table | {name: np.degrees(v) for name, v in radians.items()}))
    np.testing.assert_allclose(face.gaze[:, 0], radians["gaze_angle_x"], rtol=1e-5)
    assert "degrees" in face.notes[0]


def test_a_face_that_stands_still_for_a_while_is_said(face_csv: Csv) -> None:
    table = person()
    for name in table:
        if name[:2] in ("X_", "Y_", "Z_", "AU"):
            table[name][200:251] = table[name][200]
    (note,) = read_face(face_csv(table)).notes
    assert "51 of 500 frames, longest for 2.04 s from line 202" in note


def test_pictures_are_those_of_the_face(tmp_path: Path) -> None:
    both = stacked(person(50), person(50, seed=1, number=1, x=300), by="frame")
    (tmp_path / "a.csv").write_text(text(both))
    (tmp_path / "a_aligned").mkdir()
    images = read_face(tmp_path / "a.csv", face_id=1).images
    assert images is not None
    assert images.face == 1
    table = person(50)
    table["face_id"][30:] = 1
    (tmp_path / "a.csv").write_text(text(table))
    face = read_face(tmp_path / "a.csv")
    assert face.images is None
    assert any("no pictures" in note for note in face.notes)
