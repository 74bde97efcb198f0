from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clmer.data.face import AU_NAMES, NEEDED_COLUMNS, read_openface
from clmer.errors import DataError

Table = dict[str, np.ndarray]
FRAMES = 50


def make_table(frames: int = FRAMES, fps: float = 25.0) -> Table:
    """A face whose every column changes linearly with time, so that interpolation is exact."""
    time = np.arange(frames) / fps
    table: Table = {
        "frame": np.arange(1, frames + 1),
        "face_id": np.zeros(frames),
        "timestamp": np.round(time, 3),
        "confidence": np.full(frames, 0.98),
        "success": np.ones(frames),
        "gaze_0_x": np.zeros(frames),
    }
    for i, name in enumerate(NEEDED_COLUMNS):
        if name.endswith("_c"):
            table[name] = np.full(frames, float(i % 2))
        else:  # intensities stay under 5
            table[name] = np.round((i % 17 / 10 if name.endswith("_r") else i) + time, 6)
    table["AU28_c"] = np.ones(frames)
    return table


def write(path: Path, table: Table, separator: str = ", ") -> Path:
    rows = [separator.join(table)]
    rows += [separator.join(f"{v:.10g}" for v in row) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("separator", [", ", ",", "; ", "\t", " "])
def test_columns_are_found_by_name_with_any_separator(tmp_path: Path, separator: str) -> None:
    table = make_table()
    shuffled = {name: table[name] for name in sorted(table)}
    face = read_openface(write(tmp_path / "a.csv", shuffled, separator))
    assert face.fps == 25.0
    assert face.landmarks.shape == (FRAMES, 68, 3)
    assert face.au_intensity.shape == face.au_presence.shape == (FRAMES, len(AU_NAMES))
    np.testing.assert_allclose(face.landmarks[:, 7, 2], table["Z_7"], rtol=1e-6)
    np.testing.assert_allclose(face.landmarks[:, 67, 1], table["Y_67"], rtol=1e-6)
    np.testing.assert_allclose(face.au_intensity[:, 8], table["AU12_r"], rtol=1e-6)
    np.testing.assert_array_equal(face.au_presence[:, 16], table["AU45_c"])
    assert face.valid.all()


def test_version_1_without_face_id_and_rows_out_of_order(tmp_path: Path) -> None:
    table = make_table(fps=29.97)
    del table["face_id"]
    order = np.random.default_rng(0).permutation(FRAMES)
    face = read_openface(write(tmp_path / "a.csv", {k: v[order] for k, v in table.items()}))
    assert face.fps == pytest.approx(29.97, abs=0.03)
    np.testing.assert_allclose(face.landmarks[:, 0, 0], table["X_0"], rtol=1e-6)


def test_short_gaps_are_interpolated_and_long_ones_invalid(tmp_path: Path) -> None:
    table = make_table()
    expected = {name: table[name].copy() for name in ("X_3", "AU12_r")}
    lost = np.zeros(FRAMES, dtype=bool)
    lost[10:15] = True  # 5 frames = 0.2 s
    table["success"][lost] = 0
    table["confidence"][20:26] = 0.1  # 6 frames: too long
    table["X_3"][30] = np.nan
    lost |= np.isin(np.arange(FRAMES), [*range(20, 26), 30])
    for name in ("X_3", "AU12_r"):
        table[name][lost & (np.arange(FRAMES) != 30)] = 0.0
    drop = np.arange(FRAMES) != 40  # an absent row is a lost frame too
    path = write(tmp_path / "a.csv", {k: v[drop] for k, v in table.items()})
    face = read_openface(path)
    assert np.flatnonzero(~face.valid).tolist() == [20, 21, 22, 23, 24, 25]
    np.testing.assert_allclose(face.landmarks[:, 3, 0], expected["X_3"], rtol=1e-5)
    np.testing.assert_allclose(face.au_intensity[:, 8], expected["AU12_r"], rtol=1e-5)
    assert read_openface(path, max_gap_s=0.03).valid.sum() == FRAMES - 5 - 6 - 1 - 1 + 2 * 0


def test_a_face_lost_at_the_ends_is_held_but_invalid(tmp_path: Path) -> None:
    table = make_table()
    table["success"][:3] = 0
    face = read_openface(write(tmp_path / "a.csv", table))
    assert face.valid.tolist() == [False] * 3 + [True] * (FRAMES - 3)
    assert face.landmarks[0, 5, 1] == face.landmarks[3, 5, 1]


def test_of_several_faces_the_long_and_sure_one_is_kept(tmp_path: Path) -> None:
    main, passer_by = make_table(), make_table(10)
    passer_by["face_id"][:] = 1
    passer_by["confidence"][:] = 1.0
    for name in NEEDED_COLUMNS[:204]:
        passer_by[name] = passer_by[name] + 500
    both = {name: np.concatenate([passer_by[name], main[name]]) for name in main}
    face = read_openface(write(tmp_path / "a.csv", both))
    np.testing.assert_allclose(face.landmarks[:, 0, 0], main["X_0"], rtol=1e-6)


def test_without_timestamps_the_frame_rate_must_be_stated(tmp_path: Path) -> None:
    table = make_table()
    del table["timestamp"]
    path = write(tmp_path / "a.csv", table)
    with pytest.raises(DataError, match=r"timestamp.*\(fps\)"):
        read_openface(path)
    face = read_openface(path, fps=50.0)
    assert face.fps == 50.0
    assert len(face.valid) == FRAMES


def test_windows_not_a_number_is_a_lost_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", make_table())
    lines = path.read_text().splitlines()
    cells = lines[6].split(", ")
    cells[20] = "-nan(ind)"
    lines[6] = ", ".join(cells)
    path.write_text("\n".join(lines))
    assert read_openface(path).valid.all()
    assert not read_openface(path, max_gap_s=0).valid[5]


@pytest.mark.parametrize("separator", [",", "; ", "\t"])
def test_an_empty_cell_is_a_lost_frame(tmp_path: Path, separator: str) -> None:
    path = write(tmp_path / "a.csv", make_table(), separator)
    lines = path.read_text().splitlines()
    cells = lines[6].split(separator)
    cells[20] = ""
    lines[6] = separator.join(cells)
    path.write_text("\n".join(lines))
    assert not read_openface(path, max_gap_s=0).valid[5]
    assert read_openface(path, max_gap_s=0).valid[4]


def drop_some(table: Table) -> None:
    for name in ("Y_3", "Y_4", "Y_5", "Z_67", "AU12_r", "AU45_c"):
        del table[name]


def lose_throughout(table: Table) -> None:
    table["success"][:] = 0


def openface_3(table: Table) -> None:
    for name in list(table):
        if name[:2] in ("X_", "Y_", "Z_") or (name.startswith("AU") and name > "AU07"):
            del table[name]


def epoch_times(table: Table) -> None:
    table["timestamp"] += 1.7e9


def one_time(table: Table) -> None:
    table["timestamp"][:] = 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_some, r"Y_3\.\.5, Z_67, AU12_r, AU45_c"),
        (lose_throughout, "face lost in all 50 rows"),
        (openface_3, "OpenFace 3 has no 3-D landmarks"),
        (epoch_times, "counted from the video's start"),
        (one_time, "two different times"),
    ],
)
def test_faults_are_named(tmp_path: Path, damage: Callable[[Table], None], message: str) -> None:
    table = make_table()
    damage(table)
    with pytest.raises(DataError, match=message) as caught:
        read_openface(write(tmp_path / "a.csv", table))
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_no_rows_a_cut_row_no_text_and_no_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", make_table(0))
    with pytest.raises(DataError, match="0 rows"):
        read_openface(path)
    text = write(path, make_table()).read_text()
    path.write_text(text[: len(text) - 400])
    with pytest.raises(DataError, match="truncated"):
        read_openface(path)
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="readable text"):
        read_openface(path)
    with pytest.raises(DataError, match="OpenFace CSV"):
        read_openface(tmp_path / "absent.csv")
