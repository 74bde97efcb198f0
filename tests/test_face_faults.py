"""Face tables that are easily read wrongly: other people, clocks, spreadsheets, scales."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clmer.data import DATASETS, manifest
from clmer.data.face import AU_NAMES, LANDMARK_COLUMNS, read_face
from clmer.data.inspect_figures import tracking
from clmer.data.prepare import prepare
from clmer.data.recording import DataError
from clmer.data.synthetic import signals

Table = dict[str, np.ndarray]
FPS, FRAMES = 25.0, 500


def person(
    frames: int = FRAMES, seed: int = 0, number: int = 0, x: float = 0.0, size: float = 1.0
) -> Table:
    """A plausible face of OpenFace's: it sways, and an action unit of its own comes and goes."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / FPS
    own = rng.normal(0, 2, (68, 3))
    points = size * (signals.neutral_face() + own) + [x, 0, 600]
    points = points + 5 * np.sin(time + seed)[:, None, None] + rng.normal(0, 0.2, (frames, 68, 3))
    table: Table = {
        "frame": np.arange(1.0, frames + 1),
        "face_id": np.full(frames, float(number)),
        "timestamp": time,
        "confidence": np.full(frames, 0.98),
        "success": np.ones(frames),
    }
    table |= dict(zip(LANDMARK_COLUMNS, points.transpose(2, 1, 0).reshape(204, -1), strict=True))
    for i, au in enumerate(AU_NAMES):
        table[f"{au}_r"] = 2 + 1.5 * np.sin((1 + seed) * time + i)
    table |= {f"{au}_c": (table[f"{au}_r"] > 2.0).astype(float) for au in AU_NAMES}
    return table


def stacked(*tables: Table, by: str = "") -> Table:
    """Rows one after the other, sorted by a column."""
    both = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.argsort(both[by], kind="stable") if by else slice(None)
    return {name: column[order] for name, column in both.items()}


def some(table: Table, rows: slice | np.ndarray) -> Table:
    return {name: column[rows] for name, column in table.items()}


def text(table: Table, separator: str = ", ") -> str:
    rows = [separator.join(table)]
    rows += [separator.join(f"{v:.8g}" for v in row) for row in zip(*table.values(), strict=True)]
    return "\n".join(rows) + "\n"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[Table | str | bytes], Path]:
    def write(content: Table | str | bytes) -> Path:
        path = tmp_path / "a.csv"
        content = text(content) if isinstance(content, dict) else content
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


Csv = Callable[[Table | str | bytes], Path]


def test_a_plain_table_has_no_notes(csv: Csv) -> None:
    face = read_face(csv(person()))
    assert face.notes == ()
    assert (face.fps, len(face.valid)) == (FPS, FRAMES)
    assert face.valid.all()


# --- people ---
def test_two_people_are_refused_unless_one_is_asked_for(csv: Csv) -> None:
    left, right = person(seed=1, x=-150), person(seed=2, number=1, x=200)
    path = csv(stacked(left, some(right, slice(0, 250)), by="frame"))
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
    with pytest.raises(DataError, match=r"face_id: found no 7, expected one of 0, 1"):
        read_face(path, face_id=7)
    with pytest.raises(DataError, match=r"face_id: found 'left'"):
        read_face(path, face_id="left")


def test_a_face_id_of_a_table_without_ids(csv: Csv) -> None:
    table = person()
    del table["face_id"]
    path = csv(table)
    assert read_face(path, face_id=0).valid.all()
    with pytest.raises(DataError, match=r"face_id 1: found no column of that name"):
        read_face(path, face_id=1)


def test_a_brief_second_face_is_left_out_and_said(csv: Csv) -> None:
    main, brief = person(), some(person(seed=3, number=1, x=300), slice(100, 160))
    face = read_face(csv(stacked(main, brief, by="frame")))
    np.testing.assert_allclose(face.landmarks[:, 5, 0], main["X_5"], atol=1e-3)
    assert face.valid.all()
    (note,) = face.notes
    assert "face 1 in 60 frames, 4 to 6.36 s" in note
    assert "left out: beside face 0" in note


def test_doubtful_faces_are_no_people(csv: Csv) -> None:
    ghost = person(seed=3, number=1, x=300)
    ghost["confidence"][:] = 0.2
    face = read_face(csv(stacked(person(), ghost, by="frame")))
    assert face.valid.all()
    assert face.landmarks[:, 30, 0].max() < 100


def test_a_person_whose_number_changes_goes_on(csv: Csv) -> None:
    table = person()
    table["face_id"][260:] = 1
    table["face_id"][400:] = 3
    face = read_face(csv(table))
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-5)
    assert face.valid.all()
    (note,) = face.notes
    assert "face 0 in 260 frames" in note
    assert "goes on as face 1 in 140 frames" in note
    assert "face 3 in 100 frames" in note


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"x": 300.0}, r"another person, \d+ mm away"),
        ({"size": 1.4}, "times as large"),
        ({"size": 0.7}, "times as large"),
    ],
)
def test_another_person_who_takes_the_seat_is_left_out(
    csv: Csv, other: dict[str, float], reason: str
) -> None:
    first, second = person(seed=1), person(seed=2, number=1, **other)
    table = stacked(some(first, slice(0, 300)), some(second, slice(300, None)))
    face = read_face(csv(table))
    assert len(face.valid) == FRAMES
    assert np.flatnonzero(face.valid).tolist() == list(range(300))
    (note,) = face.notes
    assert "face 1 in 200 frames, 12 to 19.96 s" in note
    assert re.search(f"left out.*{reason}", note)


def test_another_face_s_shape(csv: Csv) -> None:
    table = person()
    table["face_id"][300:] = 1
    rng = np.random.default_rng(0)
    for name in LANDMARK_COLUMNS:
        table[name][300:] += rng.normal(0, 12)
    (note,) = read_face(csv(table)).notes
    assert "shape differs" in note


def test_a_number_that_changes_without_landmarks_is_joined_and_said(csv: Csv) -> None:
    table = {n: c for n, c in person().items() if n not in LANDMARK_COLUMNS}
    table["face_id"][260:] = 1
    face = read_face(csv(table))
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


# --- clocks ---
@pytest.mark.parametrize(
    ("factor", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")]
)
@pytest.mark.parametrize("fps", [None, 25.0])
@pytest.mark.parametrize("numbered", [True, False])
def test_smaller_units_of_time(
    csv: Csv, factor: float, unit: str, fps: float | None, numbered: bool
) -> None:
    table = person()
    table["timestamp"] = table["timestamp"] * factor
    if not numbered:
        del table["frame"]
    face = read_face(csv(text(table).replace("e+", "E+")), fps=fps)
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
        (lambda t: 100 * t, r"0\.25 frames a second.*Divide by 1000"),
    ],
)
def test_times_that_are_no_seconds(
    csv: Csv, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    table = person()
    table["timestamp"] = change(table["timestamp"])
    with pytest.raises(DataError, match=message) as caught:
        read_face(csv(table))
    assert "timestamp" in str(caught.value)


@pytest.mark.parametrize(
    "times",
    [np.zeros(FRAMES), np.arange(FRAMES) / 1000, np.arange(1.0, FRAMES + 1), [np.nan] * FRAMES],
    ids=["zeros", "thousandths", "numbers", "empty"],
)
@pytest.mark.parametrize("missing", [False, True])
def test_a_stated_rate_stands_in_for_useless_timestamps(
    csv: Csv, times: np.ndarray, missing: bool
) -> None:
    table = person()
    table["timestamp"] = np.asarray(times)
    rows = np.arange(FRAMES) != 40 if missing else np.ones(FRAMES, dtype=bool)
    path = csv(some(table, rows))
    face = read_face(path, fps=25.0)
    assert (face.fps, len(face.valid)) == (25.0, FRAMES)
    np.testing.assert_allclose(face.au_intensity[300:, 8], table["AU12_r"][300:], rtol=1e-5)
    assert "frame numbers at the stated 25 frames a second" in face.notes[0]
    with pytest.raises(DataError, match=r"timestamp.*\(fps\)"):
        read_face(path)


def test_a_rate_that_is_not_that_of_the_times(csv: Csv) -> None:
    path = csv(person())
    with pytest.raises(DataError, match=r"30 frames a second stated, 25 by the timestamps"):
        read_face(path, fps=30.0)
    face = read_face(path, fps=25.1)
    assert "25.1 frames a second, that of the timestamps 25" in face.notes[0]
    assert read_face(path, fps=25.0).notes == ()


def test_two_clips_in_one_table(csv: Csv) -> None:
    clip = person(100)
    restarted = stacked(clip, clip)
    with pytest.raises(DataError, match=r"line 102: found frame 1 again, as in line 2.*Remove"):
        read_face(csv(restarted))
    other = stacked(clip, person(100, seed=1))
    with pytest.raises(DataError, match=r"line 102: found frame 1 again, as in line 2.*Split"):
        read_face(csv(other))
    other["frame"] = np.arange(1.0, 201)
    with pytest.raises(DataError, match=r"line 102, timestamp: found 0 s after the 3\.96 s"):
        read_face(csv(other))
    del other["frame"]
    with pytest.raises(DataError, match=r"line 102, timestamp: found 0 s after"):
        read_face(csv(other))
    faster = stacked(clip, person(100))
    faster["timestamp"][100:] *= 25 / 30
    del faster["frame"]
    with pytest.raises(DataError, match=r"line 102, timestamp"):
        read_face(csv(faster))


def test_a_row_twice(csv: Csv) -> None:
    rows = np.insert(np.arange(100), 50, 49)
    table = some(person(100), rows)
    with pytest.raises(DataError, match=r"line 52: found frame 50 again, as in line 51.*duplic"):
        read_face(csv(table))
    del table["frame"]
    with pytest.raises(DataError, match=r"line 52: found 1\.96 s again, as in line 51"):
        read_face(csv(table))


def test_useless_frame_numbers_are_said(csv: Csv) -> None:
    table = person(100)
    table["frame"][:] = 0
    face = read_face(csv(table))
    assert face.valid.all()
    assert "frame" in face.notes[0]


def test_rows_out_of_order_are_sorted_and_said(csv: Csv) -> None:
    table = person(100)
    face = read_face(csv(some(table, np.random.default_rng(0).permutation(100))))
    np.testing.assert_allclose(face.landmarks[:, 0, 0], table["X_0"], atol=1e-3)
    assert "were sorted" in face.notes[0]


def test_left_out_frames_and_times_that_ignore_them(csv: Csv) -> None:
    rows = np.delete(np.arange(FRAMES), slice(100, 150))
    table = some(person(), rows)
    face = read_face(csv(table))  # times go on: the frames are lost
    assert face.notes == ("no row for 2.04 s in all, longest from 3.96 s (line 101) to 6 s",)
    assert np.flatnonzero(~face.valid).tolist() == list(range(100, 150))
    table["timestamp"] = np.arange(450) / FPS
    with pytest.raises(DataError, match=r"line 102, timestamp: .* but 51 frames"):
        read_face(csv(table))


def test_rounded_timestamps(csv: Csv) -> None:
    table = person()
    table["timestamp"] = np.arange(FRAMES) / 60
    exact = table["timestamp"].copy()
    table["timestamp"] = exact.round(2)
    face = read_face(csv(table))
    assert face.fps == pytest.approx(60, rel=2e-3)
    assert len(face.valid) == FRAMES
    table["timestamp"] = (exact / 2).round(2)  # 120 frames a second: some have the same time
    face = read_face(csv(table))
    assert face.fps == pytest.approx(120, rel=2e-3)
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-5)
    assert face.notes
    table["timestamp"] = np.floor(exact)
    path = csv(table)
    with pytest.raises(DataError, match=r"same time.*\(fps\)"):
        read_face(path)
    assert len(read_face(path, fps=60.0).valid) == FRAMES


def test_a_late_start_and_rows_without_a_time(csv: Csv) -> None:
    table = some(person(), slice(100, None))
    face = read_face(csv(table))
    assert "the first row is at 4 s" in face.notes[0]
    assert not face.valid[:100].any()
    table = person()
    table["timestamp"][[7, 8]] = np.nan
    face = read_face(csv(table))
    assert "2 rows without a timestamp" in face.notes[0]
    assert face.valid.all()


def test_numbers_all_over_the_place_are_one_short_note(csv: Csv) -> None:
    table = person()
    table["face_id"] = np.random.default_rng(0).integers(0, 400, FRAMES).astype(float)
    (note,) = read_face(csv(table)).notes
    assert len(note) < 600


# --- what is not in the file ---
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
    with pytest.raises(DataError, match=message) as caught:
        prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "c", progress=False)
    assert f"--modalities eeg,{there}" in str(caught.value)
    store = prepare(
        DATASETS["manifest"],
        tmp_path,
        modalities=("eeg", there),
        cache=tmp_path / "c",
        progress=False,
    )
    assert store.report["windows"] == 40


def test_gaze_alone_and_groups_of_empty_cells(csv: Csv) -> None:
    table = without("AU", "X_", "Y_", "Z_")
    with pytest.raises(DataError, match="-3Dfp and -aus"):
        read_face(csv(table))
    table["gaze_angle_x"] = table["gaze_angle_y"] = np.sin(table["timestamp"])
    assert read_face(csv(table)).gaze is not None
    table = person()
    for name in table:
        if name.startswith("AU"):
            table[name][:] = np.nan
    face = read_face(csv(table))
    assert face.au_intensity is None
    assert face.valid.all()
    assert "AUxx_c: no value in any row, not used" in face.notes
    table = person()
    table["AU45_r"][:] = np.nan
    with pytest.raises(DataError, match=r"AUxx_r: found 1 of 17 columns without a value"):
        read_face(csv(table))


# --- spreadsheets ---
PLAIN = text(person(60))
SEMICOLONS = text(person(60), ";")


def with_quotes(plain: str) -> str:
    head, _, body = plain.partition("\n")
    return ",".join(f'"{" " * bool(i)}{n}"' for i, n in enumerate(head.split(", "))) + "\n" + body


@pytest.mark.parametrize(
    "content",
    [
        SEMICOLONS.replace(".", ","),
        "sep=;\n" + SEMICOLONS.replace(".", ","),
        "sep=;\r\n" + SEMICOLONS.replace("\n", "\r\n"),
        "\ufeff" + SEMICOLONS.replace(".", ","),
        "\ufeffsep=;\n" + SEMICOLONS,
        text(person(60), "\t").replace(".", ","),
        text(person(60), " ").replace(".", ","),
        "\n".join(
            ",".join(f'"{c}"' for c in line.split(";")) for line in SEMICOLONS.split("\n")[:-1]
        ).replace(".", ","),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        ("\ufeff" + SEMICOLONS.replace(".", ",")).encode("utf-16-le"),
        "\n" + PLAIN,
        with_quotes(PLAIN),
        PLAIN + ("," * 242 + "\n") * 3,
        PLAIN + "\n\n",
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", ",\n"),
        "\n".join(line + (";" if i else "") for i, line in enumerate(SEMICOLONS.split("\n")[:-1])),
    ],
    ids=[
        *("semicolons", "sep", "sep crlf", "bom", "bom sep", "tabs", "spaces", "quoted", "crlf"),
        *("cr", "utf-16", "utf-16-le", "utf-16-be", "bom utf-16", "empty first line", "quotes"),
        *("empty rows", "empty lines", "no line end", "trailing", "trailing rows"),
    ],
)
def test_tables_saved_again_hold_the_same_numbers(csv: Csv, content: str | bytes) -> None:
    face = read_face(csv(content))
    expected = read_face(csv(PLAIN))
    np.testing.assert_array_equal(face.landmarks, expected.landmarks)
    np.testing.assert_array_equal(face.au_intensity, expected.au_intensity)
    assert (face.fps, len(face.valid), face.notes) == (FPS, 60, ())


@pytest.mark.parametrize(
    "missing",
    [
        *("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "#NV", "<NA>"),
        *("-nan(ind)", "-1.#IND", "1.#QNAN", '""', '"NA"', "-nan"),
    ],
)
@pytest.mark.parametrize("separator", [",", ", ", ";"])
def test_ways_to_write_a_missing_number(csv: Csv, missing: str, separator: str) -> None:
    lines = text(person(60), separator).split("\n")
    cells = lines[6].split(separator)
    cells[20] = missing
    lines[6] = separator.join(cells)
    face = read_face(csv("\n".join(lines)), max_gap_s=0.0)
    assert np.flatnonzero(~face.valid).tolist() == [5]


def test_truth_values_of_r_and_pandas(csv: Csv) -> None:
    lines = PLAIN.split("\n")
    rows = [line.split(", ") for line in lines[1:-1]]
    for i, row in enumerate(rows):
        row[4] = "FALSE" if i < 3 else "TRUE"
    face = read_face(csv("\n".join([lines[0], *map(", ".join, rows)])))
    assert np.flatnonzero(~face.valid).tolist() == [0, 1, 2]


def change_cell(content: str, separator: str, line: int, cell: str) -> str:
    lines = content.split("\n")
    cells = lines[line - 1].split(separator)
    cells[20] = cell
    lines[line - 1] = separator.join(cells)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (change_cell(PLAIN, ", ", 12, "0,98"), r"line 12: found 244 cells, expected 243.*comma"),
        (change_cell(PLAIN, ", ", 12, "1, 2"), r"line 12: found 244 cells"),
        (change_cell(SEMICOLONS, ";", 12, "1;2"), r"line 12: found 244 cells"),
        (change_cell(SEMICOLONS, ";", 12, "1,234.5"), r"line 12, X_15: found '1,234\.5'.*thousand"),
        (change_cell(SEMICOLONS, ";", 12, "1.234.5"), r"line 12, X_15: .*thousand"),
        (
            change_cell(SEMICOLONS, ";", 12, "1,5"),
            r"line 12, X_15: found a comma in a number, and a",
        ),
        (
            change_cell(SEMICOLONS.replace(".", ","), ";", 12, "1.5"),
            r"and a point in line 12, X_15",
        ),
        (change_cell(PLAIN, ", ", 12, "1_5"), r"line 12, X_15: found '1_5', expected a number"),
        (change_cell(PLAIN, ", ", 12, "twelve"), r"line 12, X_15: found 'twelve'"),
        (PLAIN + PLAIN, r"line 62, timestamp: found 'timestamp'.*Split it there"),
        ("\n".join(f'"{line}"' for line in PLAIN.split("\n")), "each line as one quoted cell"),
        (change_cell("sep=,\n" + PLAIN, ", ", 13, "twelve"), r"line 13, X_15"),
        (change_cell("\n\n" + PLAIN, ", ", 14, "twelve"), r"line 14, X_15"),
        (change_cell(PLAIN.replace("\n", "\n\n", 1), ", ", 13, "twelve"), r"line 13, X_15"),
        (PLAIN.replace("\n3, ", "\n", 1), r"line 4: found 242 cells.*empty where there is no"),
        ("\n".join(f"{i}, {s}" if i else s for i, s in enumerate(PLAIN.split("\n"))), "row.names"),
    ],
)
def test_errors_name_the_line_of_the_file(csv: Csv, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_face(csv(content))
    assert "truncated" not in str(caught.value)


def test_a_cut_row_is_called_truncated(csv: Csv) -> None:
    with pytest.raises(DataError, match=r"line 61: found \d+ cells in the last row.*truncated"):
        read_face(csv(PLAIN[:-400]))


def test_a_name_twice(csv: Csv) -> None:
    lines = text(person(60)).split("\n")
    doubled = [lines[0] + ", X_0", *(line + ", 1" for line in lines[1:-1])]
    with pytest.raises(DataError, match="header, X_0: found two columns of that name"):
        read_face(csv("\n".join(doubled)))
    same = [f"{line}, {line.split(', ')[5]}" for line in lines[:-1]]
    assert read_face(csv("\n".join(same))).valid.all()


def test_text_that_is_not_used_may_be_anything(csv: Csv) -> None:
    lines = text(person(60), ",").split("\n")
    rows = [b"input," + lines[0].encode()]
    rows += ["Größe, 1.mp4".encode("cp1252").join([b'"', b'",']) + r.encode() for r in lines[1:-1]]
    np.testing.assert_array_equal(
        read_face(csv(b"\n".join(rows))).landmarks, read_face(csv(PLAIN)).landmarks
    )


# --- scales ---
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
    ],
)
def test_scales_that_cannot_be(csv: Csv, table: Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_face(csv(table))


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
def test_scales_that_are_odd_are_said(csv: Csv, table: Table, message: str) -> None:
    face = read_face(csv(table))
    assert any(message in note for note in face.notes), face.notes
    assert face.valid.all()


def test_percent_hides_no_doubtful_frame(csv: Csv) -> None:
    table = scaled(("confidence",), 100)
    table["confidence"][100:150] = 20
    assert np.flatnonzero(~read_face(csv(table)).valid).tolist() == list(range(100, 150))


def test_gaze_in_degrees(csv: Csv) -> None:
    table = person()
    radians = {"gaze_angle_x": 0.3 + table["timestamp"] / 100, "gaze_angle_y": np.full(FRAMES, 0.1)}
    face = read_face(csv(table | {name: np.degrees(v) for name, v in radians.items()}))
    np.testing.assert_allclose(face.gaze[:, 0], radians["gaze_angle_x"], rtol=1e-5)
    assert "degrees" in face.notes[0]


def test_a_face_that_stands_still_for_a_while_is_said(csv: Csv) -> None:
    table = person()
    for name in table:
        if name[:2] in ("X_", "Y_", "Z_", "AU"):
            table[name][200:251] = table[name][200]
    (note,) = read_face(csv(table)).notes
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
