"""Emotiv's tables as people and spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.tables.profiles import EPOC_CHANNELS
from clmer.data.recording import Signal
from clmer.data.synthetic.man2 import write_emotiv_csv
from clmer.errors import DataError

SAMPLES = 4200 + np.arange(14)[:, None] + 100 * np.sin(np.arange(128 * 3) / 9)


def read(path: Path, start_s: float = 0.0, stop_s: float | None = None) -> Signal:
    """The electrodes between two times."""
    file = open_biosignal(path)
    return file.signal(file.select("eeg"), start_s, stop_s)


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, list[list[str]]]:
    """A path, and the lines of a good table as cells."""
    path = tmp_path / "a.csv"
    write_emotiv_csv(path, SAMPLES)
    return path, [line.split(",") for line in path.read_text().splitlines()]


def _write(
    path: Path, rows: list[list[str]], separator: str = ",", encoding: str = "utf-8"
) -> None:
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n", encoding=encoding)


@pytest.mark.parametrize(
    ("separator", "point", "encoding"),
    [(";", ",", "utf-8-sig"), (";", ".", "utf-8"), ("\t", ".", "utf-16"), (",", ".", "latin-1")],
)
def test_tables_that_a_spreadsheet_saved(
    table: tuple[Path, list[list[str]]], separator: str, point: str, encoding: str
) -> None:
    path, rows = table
    rows[0][0] += " of M\u00fcller"
    rows[2:] = [[cell.replace(".", point) for cell in row] for row in rows[2:]]
    _write(path, [*([["sep=;"]] if separator == ";" else []), *rows], separator, encoding)
    signal = read(path)
    assert (signal.channels, signal.fs) == (EPOC_CHANNELS, 128.0)
    np.testing.assert_allclose(signal.data, SAMPLES, atol=1e-5)


def test_times_in_ms_are_read_as_such(table: tuple[Path, list[list[str]]]) -> None:
    path, rows = table
    at = rows[1].index("Timestamp")
    for row in rows[2:]:
        row[at] = f"{float(row[at]) * 1e3:.3f}"
    _write(path, rows)
    signal = read(path, start_s=1.0, stop_s=2.0)
    np.testing.assert_allclose(signal.data, SAMPLES[:, 128:256], atol=1e-5)
    assert signal.line.pieces[0].start_s == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, t: "0" if i == 5 else t, r"line 8, Timestamp: found a time .* before that of"),
        (lambda i, t: t if i < 200 else str(float(t) - 1), "line 203, Timestamp.*a file each"),
    ],
)
def test_times_that_go_back(table, change, message: str) -> None:  # type: ignore[no-untyped-def]
    path, rows = table
    at = rows[1].index("Timestamp")
    for i, row in enumerate(rows[2:]):
        row[at] = change(i, row[at])
    _write(path, rows)
    with pytest.raises(DataError, match=message):
        read(path)


def test_times_that_stand_still_leave_the_rate_and_the_counter(
    table: tuple[Path, list[list[str]]],
) -> None:
    path, rows = table
    at = rows[1].index("Timestamp")
    for row in rows[2:]:
        row[at] = "1.7E+09"
    _write(path, [*rows[:100], *rows[110:]])
    signal = read(path)
    assert signal.fs == 128.0
    assert [p.start_s for p in signal.line.pieces] == [0.0, 108 / 128]
    assert any("time is counted by the rate" in note for note in signal.notes)
    rows[0] = ["title:x"]
    _write(path, rows)
    with pytest.raises(DataError, match="the same time in all rows.*spreadsheet"):
        read(path)


def test_samples_that_were_filled_in_are_said_and_long_stretches_left_out(
    table: tuple[Path, list[list[str]]],
) -> None:
    path, rows = table
    at = rows[1].index("EEG.Interpolated")
    for i in (20, *range(150, 214)):
        rows[2 + i][at] = "1.0"
    _write(path, rows)
    signal = read(path)
    assert [(s.start_s, s.stop_s) for s in signal.line.bad] == [(150 / 128, 214 / 128)]
    assert any(note.startswith("65 samples were lost and filled in") for note in signal.notes)
    part = read(path, start_s=1.0)
    assert [s.start_s for s in part.line.bad] == [22 / 128]


def test_columns_that_are_not_read_are_named(table: tuple[Path, list[list[str]]]) -> None:
    path, rows = table
    rows[1] += ["MOT.AccX", "MarkerIndex"]
    for row in rows[2:]:
        row += ["", ""]
    _write(path, rows)
    left_out = read(path).left_out
    assert {"Counter (counter)", "Battery (battery)", "CQ.AF3 (quality)"} <= set(left_out)
