"""Several faces in one table, and one whose number changes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.face_cases import FPS, FRAMES, Csv, Table, person, some, stacked, text

from clmer.data.face import LANDMARK_COLUMNS, read_face
from clmer.data.manifest import reader as manifest
from clmer.errors import DataError


def test_a_plain_table_has_no_notes(face_csv: Csv) -> None:
    face = read_face(face_csv(person()))
    assert face.notes == ()
    assert (face.fps, len(face.valid)) == (FPS, FRAMES)
    assert face.valid.all()


def test_two_people_are_refused_unless_one_is_asked_for(face_csv: Csv) -> None:
    left, right = person(seed=1, x=-150), person(seed=2, number=1, x=200)
    path = face_csv(stacked(left, some(right, slice(0, 250)), by="frame"))
    with pytest.raises(DataError) as caught:
        read_face(path)
    for part in (
        "face 0 in 500 frames, 0 to 19.96 s, at x -150 mm",
        "face 1 in 250 frames, 0 to 9.96 s",
        "column face_id",
        "predict --face-id",
    ):
        assert part in str(caught.value)
    one, other = read_face(path, face_id="0"), read_face(path, face_id=1)
    np.testing.assert_allclose(one.au_intensity[:, 8], left["AU12_r"], rtol=1e-5)
    np.testing.assert_allclose(other.au_intensity[:250, 8], right["AU12_r"][:250], rtol=1e-5)
    # the video goes on without that person: those windows are counted as lost
    assert len(other.valid) == FRAMES
    assert other.valid[:250].all()
    assert not other.valid[250:].any()
    with pytest.raises(DataError, match=r"face_id: found no 7, expected some of 0, 1"):
        read_face(path, face_id=7)
    with pytest.raises(DataError, match=r"face_id: found 'left'"):
        read_face(path, face_id="left")


def test_one_of_two_people_whose_number_changes(face_csv: Csv) -> None:
    left, right = person(seed=1, x=-150), person(seed=2, number=1, x=200)
    left["face_id"][300:] = 2
    path = face_csv(stacked(left, right, by="frame"))
    face = read_face(path, face_id="0; 2")
    np.testing.assert_allclose(face.au_intensity[:, 8], left["AU12_r"], rtol=1e-5)
    assert face.valid.all()
    both = read_face(path, face_id="2;1")  # the second stands in where the first is absent
    np.testing.assert_allclose(both.au_intensity[:300, 8], right["AU12_r"][:300], rtol=1e-5)
    np.testing.assert_allclose(both.au_intensity[300:, 8], left["AU12_r"][300:], rtol=1e-5)


def test_a_face_id_of_a_table_without_ids(face_csv: Csv) -> None:
    table = person()
    del table["face_id"]
    path = face_csv(table)
    assert read_face(path, face_id=0).valid.all()
    with pytest.raises(DataError, match=r"face_id 1: found no column of that name"):
        read_face(path, face_id=1)


def test_a_brief_second_face_is_left_out_and_said(face_csv: Csv) -> None:
    main, brief = person(), some(person(seed=3, number=1, x=300), slice(100, 160))
    face = read_face(face_csv(stacked(main, brief, by="frame")))
    np.testing.assert_allclose(face.landmarks[:, 5, 0], main["X_5"], atol=1e-3)
    assert face.valid.all()
    (note,) = face.notes
    assert "face 1 in 60 frames, 4 to 6.36 s" in note
    assert "left out: beside face 0" in note


def test_doubtful_faces_are_no_people(face_csv: Csv) -> None:
    ghost = person(seed=3, number=1, x=300)
    ghost["confidence"][:] = 0.2
    face = read_face(face_csv(stacked(person(), ghost, by="frame")))
    assert face.valid.all()
    assert face.landmarks[:, 30, 0].max() < 100


def test_a_person_whose_number_changes_goes_on(face_csv: Csv) -> None:
    table = person()
    table["face_id"][260:] = 1
    table["face_id"][400:] = 3
    face = read_face(face_csv(table))
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-5)
    assert face.valid.all()
    (note,) = face.notes
    assert "face 0 in 260 frames" in note
    assert "goes on as face 1 in 140 frames" in note
    assert "face 3 in 100 frames" in note


def test_rows_of_a_lost_number_hide_no_face(face_csv: Csv) -> None:
    first, second = person(), person(number=1)  # both have rows throughout
    first["success"][260:] = 0
    second["success"][:260] = 0
    path = face_csv(stacked(first, second, by="frame"))
    for face in (read_face(path), read_face(path, face_id="0;1"), read_face(path, face_id="1;0")):
        np.testing.assert_allclose(face.au_intensity[:, 8], first["AU12_r"], rtol=1e-5)
        assert face.valid.all()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"x": 300.0}, r"another person, \d+ mm away"),
        ({"size": 1.4}, "times as large"),
        ({"size": 0.7}, "times as large"),
    ],
)
def test_another_person_who_takes_the_seat_is_left_out(
    face_csv: Csv, other: dict[str, float], reason: str
) -> None:
    first, second = person(seed=1), person(seed=2, number=1, **other)
    table = stacked(some(first, slice(0, 300)), some(second, slice(300, None)))
    face = read_face(face_csv(table))
    assert len(face.valid) == FRAMES
    assert np.flatnonzero(face.valid).tolist() == list(range(300))
    (note,) = face.notes
    assert "face 1 in 200 frames, 12 to 19.96 s" in note
    assert re.search(f"left out.*{reason}", note)


def test_another_face_s_shape(face_csv: Csv) -> None:
    table = person()
    table["face_id"][300:] = 1
    rng = np.random.default_rng(0)
    for name in LANDMARK_COLUMNS:
        table[name][300:] += rng.normal(0, 12)
    (note,) = read_face(face_csv(table)).notes
    assert "shape differs" in note


def test_a_number_that_changes_without_landmarks_is_joined_and_said(face_csv: Csv) -> None:
    table = {n: c for n, c in person().items() if n not in LANDMARK_COLUMNS}
    table["face_id"][260:] = 1
    face = read_face(face_csv(table))
    assert face.valid.all()
    assert "no landmarks to compare" in face.notes[0]


def test_the_manifest_says_which_face(tmp_path: Path) -> None:
    for k in (0, 1):
        both = stacked(person(seed=k, x=-150), person(seed=k + 5, number=1, x=150), by="frame")
        (tmp_path / f"{k}.csv").write_text(text(both))
    lines = ["subject,trial,label,modality,path,face_id"]
    lines += [f"p{k}{i},1,{'xy'[i]},au,{k}.csv,{i}" for k in (0, 1) for i in (0, 1)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    found = {r.subject: r.face.au_intensity[:, 8] for r in manifest.read(tmp_path) if r.face}
    np.testing.assert_allclose(found["p11"], person(seed=6)["AU12_r"], rtol=1e-5)
    np.testing.assert_allclose(found["p10"], person(seed=1)["AU12_r"], rtol=1e-5)
    (tmp_path / "manifest.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    with pytest.raises(DataError, match=r"1\.csv: face_id|0\.csv: face_id"):
        list(manifest.read(tmp_path))


# --- one number, or none ------------------------------------------------------------------------
def later(table: Table, frames: int = FRAMES) -> Table:
    """The same rows, with times that go on after a first clip."""
    return {
        **table,
        "frame": table["frame"] + frames,
        "timestamp": table["timestamp"] + frames / FPS,
    }


def test_a_tracker_that_goes_over_to_another_person(face_csv: Csv) -> None:
    one, other = person(seed=1), person(seed=2, x=200)
    table = stacked(
        some(one, slice(0, 300)), some(other, slice(300, 400)), some(one, slice(400, 500))
    )
    face = read_face(face_csv(table))
    assert face.valid.tolist() == [True] * 300 + [False] * 100 + [True] * 100
    np.testing.assert_allclose(face.au_intensity[450, 8], one["AU12_r"][450], rtol=1e-5)
    (note,) = face.notes
    assert re.search(r"jumps 2\d\d mm at 12 s \(line 302\) and once more.*100 frames", note)
    assert "within 12 to 15.96 s, are left out" in note


@pytest.mark.parametrize("numbered", [True, False])
def test_two_clips_whose_times_go_on(face_csv: Csv, numbered: bool) -> None:
    table = stacked(person(seed=1), later(some(person(seed=2, x=-180), slice(0, 200))))
    if not numbered:
        del table["face_id"], table["frame"]
    face = read_face(face_csv(table))
    assert face.valid.sum() == FRAMES
    assert "200 frames at another place" in face.notes[0]


def test_a_number_that_goes_over_to_the_other_person(face_csv: Csv) -> None:
    left, right = person(seed=1, x=-150), person(seed=2, number=1, x=150)
    left["face_id"][300:], right["face_id"][300:] = 1, 0
    face = read_face(face_csv(stacked(left, right, by="frame")), face_id=0)
    assert face.valid.tolist() == [True] * 300 + [False] * 200


def test_two_people_row_by_row_without_numbers(face_csv: Csv) -> None:
    both = stacked(person(seed=1, x=-150), person(seed=2, x=150), by="frame")
    del both["face_id"]
    with pytest.raises(DataError, match=r"line 3: found frame 1 again.*Two people in each frame\?"):
        read_face(face_csv(both))
    del both["frame"], both["timestamp"]
    with pytest.raises(DataError, match="999 jumps of the face in 1000 frames.*Rows of two people"):
        read_face(face_csv(both), fps=FPS)


def test_a_head_that_moves_is_no_jump(face_csv: Csv) -> None:
    table = person(seed=3)
    nod = 60 * np.sin(2 * np.pi * 1.5 * table["timestamp"])
    lean = np.where(table["timestamp"] < 10, 0, 300)  # while it was lost
    for name in LANDMARK_COLUMNS[:68]:
        table[name] = table[name] + nod + lean
    table["success"][(table["timestamp"] > 9) & (table["timestamp"] < 11)] = 0
    face = read_face(face_csv(table))
    assert face.notes == ()


def test_a_face_of_another_shape_at_the_same_place_is_said(face_csv: Csv) -> None:
    one, other = person(seed=1), later(person(seed=2))
    for name in LANDMARK_COLUMNS[68:136]:
        other[name] = 1.6 * other[name]
    face = read_face(face_csv(stacked(one, other)))
    assert re.search(
        r"shape differs by \d+% of its size before and after about 20 s", face.notes[0]
    )
