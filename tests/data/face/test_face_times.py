"""Clocks, orders and rates of face tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
from support.face_cases import FPS, FRAMES, Csv, person, some, stacked, text

from clmer.data.face import read_face
from clmer.errors import DataError


@pytest.mark.parametrize(
    ("factor", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")]
)
@pytest.mark.parametrize("fps", [None, 25.0])
@pytest.mark.parametrize("numbered", [True, False])
def test_smaller_units_of_time(
    face_csv: Csv, factor: float, unit: str, fps: float | None, numbered: bool
) -> None:
    table = person()
    table["timestamp"] = table["timestamp"] * factor
    if not numbered:
        del table["frame"]
    face = read_face(face_csv(text(table).replace("e+", "E+")), fps=fps)
    assert (face.fps, len(face.valid)) == (FPS, FRAMES)
    assert unit in face.notes[0]
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t * 25, "count frames"),
        (lambda t: t * 0.025, "count frames"),
        (lambda t: t / 86400, "days"),
        (lambda t: t / 60, "minutes"),
        (lambda t: 100 * t, r"0\.25 frames per second.*Divide by 1000"),
    ],
)
def test_times_that_are_no_seconds(
    face_csv: Csv, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    table = person()
    table["timestamp"] = change(table["timestamp"])
    with pytest.raises(DataError, match=message) as caught:
        read_face(face_csv(table))
    assert "timestamp" in str(caught.value)


@pytest.mark.parametrize(
    "times",
    [np.zeros(FRAMES), np.arange(FRAMES) / 1000, np.arange(1.0, FRAMES + 1), [np.nan] * FRAMES],
    ids=["zeros", "thousandths", "numbers", "empty"],
)
@pytest.mark.parametrize("missing", [False, True])
def test_a_stated_rate_stands_in_for_useless_timestamps(
    face_csv: Csv, times: np.ndarray, missing: bool
) -> None:
    table = person()
    table["timestamp"] = np.asarray(times)
    rows = np.arange(FRAMES) != 40 if missing else np.ones(FRAMES, dtype=bool)
    path = face_csv(some(table, rows))
    face = read_face(path, fps=25.0)
    assert (face.fps, len(face.valid)) == (25.0, FRAMES)
    np.testing.assert_allclose(face.au_intensity[300:, 8], table["AU12_r"][300:], rtol=1e-5)
    assert "frame numbers at the stated 25 frames per second" in face.notes[0]
    with pytest.raises(DataError, match=r"timestamp.*\(fps\)"):
        read_face(path)


def test_a_rate_that_is_not_that_of_the_times(face_csv: Csv) -> None:
    path = face_csv(person())
    with pytest.raises(DataError, match=r"30 frames per second stated, 25 by the timestamps"):
        read_face(path, fps=30.0)
    face = read_face(path, fps=25.1)
    assert "25.1 frames per second, that of the timestamps 25" in face.notes[0]
    assert read_face(path, fps=25.0).notes == ()


def test_two_clips_in_one_table(face_csv: Csv) -> None:
    clip = person(100)
    restarted = stacked(clip, clip)
    with pytest.raises(DataError, match=r"line 102: found frame 1 again, as in line 2.*Remove"):
        read_face(face_csv(restarted))
    other = stacked(clip, person(100, seed=1))
    with pytest.raises(DataError, match=r"line 102: found frame 1 again, as in line 2.*Split"):
        read_face(face_csv(other))
    other["frame"] = np.arange(1.0, 201)
    with pytest.raises(DataError, match=r"line 102, timestamp: found 0 s after the 3\.96 s"):
        read_face(face_csv(other))
    del other["frame"]
    with pytest.raises(DataError, match=r"line 102, timestamp: found 0 s after"):
        read_face(face_csv(other))
    faster = stacked(clip, person(100))
    faster["timestamp"][100:] *= 25 / 30
    del faster["frame"]
    with pytest.raises(DataError, match=r"line 102, timestamp"):
        read_face(face_csv(faster))


def test_a_row_twice(face_csv: Csv) -> None:
    rows = np.insert(np.arange(100), 50, 49)
    table = some(person(100), rows)
    with pytest.raises(DataError, match=r"line 52: found frame 50 again, as in line 51.*duplic"):
        read_face(face_csv(table))
    del table["frame"]
    with pytest.raises(DataError, match=r"line 52: found 1\.96 s again, as in line 51"):
        read_face(face_csv(table))


def test_useless_frame_numbers_are_said(face_csv: Csv) -> None:
    table = person(100)
    table["frame"][:] = 0
    face = read_face(face_csv(table))
    assert face.valid.all()
    assert "frame" in face.notes[0]


def test_rows_out_of_order_are_sorted_and_said(face_csv: Csv) -> None:
    table = person(100)
    face = read_face(face_csv(some(table, np.random.default_rng(0).permutation(100))))
    np.testing.assert_allclose(face.landmarks[:, 0, 0], table["X_0"], atol=1e-3)
    assert "were sorted" in face.notes[0]


def test_left_out_frames_and_times_that_ignore_them(face_csv: Csv) -> None:
    rows = np.delete(np.arange(FRAMES), slice(100, 150))
    table = some(person(), rows)
    face = read_face(face_csv(table))  # times go on: the frames are lost
    assert face.notes == ("no row for 2.04 s in all, longest from 3.96 s (line 101) to 6 s",)
    assert np.flatnonzero(~face.valid).tolist() == list(range(100, 150))
    table["timestamp"] = np.arange(450) / FPS
    with pytest.raises(DataError, match=r"line 102, timestamp: .* but 51 frames"):
        read_face(face_csv(table))


def test_rounded_timestamps(face_csv: Csv) -> None:
    table = person()
    table["timestamp"] = np.arange(FRAMES) / 60
    exact = table["timestamp"].copy()
    table["timestamp"] = exact.round(2)
    face = read_face(face_csv(table))
    assert face.fps == pytest.approx(60, rel=2e-3)
    assert len(face.valid) == FRAMES
    table["timestamp"] = (exact / 2).round(2)  # 120 frames per second: some have the same time
    face = read_face(face_csv(table))
    assert face.fps == pytest.approx(120, rel=2e-3)
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-5)
    assert face.notes
    table["timestamp"] = np.floor(exact)
    path = face_csv(table)
    with pytest.raises(DataError, match=r"same time.*\(fps\)"):
        read_face(path)
    assert len(read_face(path, fps=60.0).valid) == FRAMES


def test_a_pause_that_no_clip_has(face_csv: Csv) -> None:
    table = person()
    table["timestamp"][250:] += 3600
    with pytest.raises(DataError, match=r"video's start\. Line 252 is 90001 frames after"):
        read_face(face_csv(table))


def test_a_late_start_and_rows_without_a_time(face_csv: Csv) -> None:
    table = some(person(), slice(100, None))
    face = read_face(face_csv(table))
    assert "the first row is at 4 s" in face.notes[0]
    assert not face.valid[:100].any()
    table = person()
    table["timestamp"][[7, 8]] = np.nan
    face = read_face(face_csv(table))
    assert "2 rows without a timestamp" in face.notes[0]
    assert face.valid.all()


def test_numbers_all_over_the_place_are_one_short_note(face_csv: Csv) -> None:
    table = person()
    table["face_id"] = np.random.default_rng(0).integers(0, 400, FRAMES).astype(float)
    (note,) = read_face(face_csv(table)).notes
    assert len(note) < 600


FORMS = {
    "24 hours": "%H:%M:%S.%f",
    "12 hours": "%I:%M:%S.%f %p",
    "date": "%Y-%m-%d %H:%M:%S.%f",
    "iso": "%Y-%m-%dT%H:%M:%S.%f",
    "zone": "%Y-%m-%dT%H:%M:%S.%f+01:00",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("fps", [None, 25.0])
@pytest.mark.parametrize("several", [False, True])
def test_clock_times_go_on_at_midnight(
    face_csv: Csv, fps: float | None, several: bool, form: str
) -> None:
    table = person()
    rows = [line.split(",") for line in text(table, ",").rstrip("\n").split("\n")]
    at = rows[0].index("timestamp")
    for i, row in enumerate(rows[1:]):
        row[at] = (datetime(2024, 2, 28, 23, 59, 59) + timedelta(seconds=i / FPS)).strftime(form)
    if several:  # face by face, so that the clock goes back to before midnight
        place = rows[0].index("face_id")
        again = [[*row[:place], "1", *row[place + 1 :]] for row in rows[1:]]
        rows += again
    path = face_csv("".join(",".join(row) + "\n" for row in rows))
    face = read_face(path, fps=fps, face_id=1 if several else None)
    assert (face.fps, len(face.valid), face.valid.all()) == (FPS, FRAMES, True)
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-5)
    assert any("of a clock: counted from the first row on" in note for note in face.notes)
