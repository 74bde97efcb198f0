"""Tables as people and spreadsheets save them: the numbers are those that were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.manifest.reader import read_file
from clmer.data.recording import Signal
from clmer.errors import DataError

RATE, COUNT = 250, 500
SAMPLES = np.random.default_rng(0).normal(0, 20, (3, COUNT)).round(3)
SECONDS = np.arange(COUNT) / RATE
HEAD = ("Time [s]", "Fp1 [uV]", "Fp2 [uV]", "Marker", "EDA [\u00b5S]")


def cells() -> list[list[str]]:
    """Rows of `HEAD`'s columns: EEG twice, a marker at row 100, skin conductance."""
    return [
        [f"{t:.3f}", f"{a:.3f}", f"{b:.3f}", "7" if i == 100 else "0", f"{c:.3f}"]
        for i, (t, a, b, c) in enumerate(zip(SECONDS, *SAMPLES, strict=True))
    ]


def joined(rows: list[list[str]], separator: str, point: str = ".") -> str:
    """Text of rows."""
    return "".join(separator.join(c.replace(".", point) for c in row) + "\n" for row in rows)


def check(signal: Signal) -> None:
    """The two electrodes, and nothing else."""
    assert signal.channels == ("Fp1", "Fp2")
    assert (signal.unit, signal.fs, signal.kinds) == ("uV", 250.0, ("eeg", "eeg"))
    np.testing.assert_allclose(signal.data, SAMPLES[:2], atol=1e-9)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize(
    ("separator", "point", "ends"),
    [(",", ".", "\n"), (";", ",", "\r\n"), (";", ".", "\n"), ("\t", ".", "\r"), ("\t", ",", "\n"),
     (", ", ".", "\n"), ("|", ".", "\n")],
)  # fmt: skip
def test_separators_decimal_signs_and_encodings(
    tmp_path: Path, encoding: str, separator: str, point: str, ends: str
) -> None:
    path = tmp_path / "a.csv"
    text = joined([list(HEAD)], separator) + joined(cells(), separator, point)
    path.write_bytes(text.replace("\n", ends).encode(encoding))
    check(read_file(path, "eeg"))
    gsr = read_file(path, "gsr")
    assert (gsr.channels, gsr.unit) == (("EDA",), "uS")
    np.testing.assert_allclose(gsr.data, SAMPLES[2:], atol=1e-9)
    (marker,) = open_biosignal(path).markers
    assert (marker.onset_s, marker.text) == (pytest.approx(0.4), "7")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".dat"])
@pytest.mark.parametrize(
    "above",
    ["sep=;\n", '"sep=;"\n\n', "% a device's comment\n#another, with commas, in it\n",
     "Device: X\nSubject;p01\nSampling rate;250\n\n", "\n\n"],
)  # fmt: skip
def test_what_stands_above_the_header(tmp_path: Path, suffix: str, above: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(above + joined([list(HEAD)], ";") + joined(cells(), ";"))
    check(read_file(path, "eeg"))


def test_a_second_line_of_units_and_blanks_as_separators(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    names = [[name.split()[0] for name in HEAD], ["s", "uV", "uV", "-", "uS"]]
    path.write_text(joined(names, "\t") + joined(cells(), "\t"))
    check(read_file(path, "eeg"))
    path.write_text(joined(names[:1], "  ") + joined(cells(), "   "))
    with pytest.raises(DataError, match=r"a\.txt: unit of Fp1: found none.*column unit"):
        read_file(path, "eeg")
    check(read_file(path, "eeg", unit="uV"))


def test_a_header_that_numpy_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    np.savetxt(path, np.c_[SECONDS, SAMPLES[:2].T], header="time_s Fp1_uV Fp2_uV", fmt="%.3f")
    check(read_file(path, "eeg"))


def test_without_a_header_a_rate_and_names_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "p01_eda.txt"
    path.write_text("".join(f"{x:.3f}\n" for x in SAMPLES[2] + 100))
    with pytest.raises(DataError, match=r"rate: found no column of times.*column rate"):
        read_file(path, "gsr")
    signal = read_file(path, "gsr", rate=4.0, unit="uS")
    assert (signal.fs, signal.channels, signal.kinds) == (4.0, ("p01_eda",), ("gsr",))
    np.testing.assert_allclose(signal.data, SAMPLES[2:] + 100)
    np.savetxt(tmp_path / "b.csv", SAMPLES.T, delimiter=",")
    signal = read_file(tmp_path / "b.csv", "eeg", rate=250.0, unit="uV")
    assert signal.channels == ("ch1", "ch2", "ch3")
    np.testing.assert_allclose(signal.data, SAMPLES)


def test_one_column_of_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("EDA [uS]\n" + "".join(f"{x + 50:.3f}\n".replace(".", ",") for x in SAMPLES[2]))
    signal = read_file(path, "gsr", rate=4.0)
    np.testing.assert_allclose(signal.data, SAMPLES[2:] + 50)


@pytest.mark.parametrize(
    ("line", "at", "cell", "message"),
    [
        (200, 1, "12.x", r"line 202, Fp1: found '12\.x', expected a number"),
        (200, 1, "1.234,5", r"line 202: found 6 cells, expected 5"),
        (300, 2, "inf", r"line 302, Fp2: found 'inf', expected a number"),
        (400, 0, "0.1", r"line 402, Time: found a time 1\.496 s before"),
    ],
)
def test_what_is_not_understood_names_line_and_cell(
    tmp_path: Path, line: int, at: int, cell: str, message: str
) -> None:
    path, rows = tmp_path / "a.csv", cells()
    rows[line][at] = cell
    path.write_text(joined([list(HEAD)], ",") + joined(rows, ","))
    with pytest.raises(DataError, match=rf"a\.csv: {message}"):
        read_file(path, "eeg")


def test_a_header_in_the_middle_and_a_cut_end(tmp_path: Path) -> None:
    path, head = tmp_path / "a.csv", joined([list(HEAD)], ",")
    path.write_text(head + joined(cells(), ",") + head + joined(cells(), ","))
    with pytest.raises(DataError, match=r"line 502, Time.*header there twice"):
        read_file(path, "eeg")
    path.write_text((head + joined(cells(), ","))[:-15])
    signal = read_file(path, "eeg")
    np.testing.assert_allclose(signal.data, SAMPLES[:2, :-1])
    assert any("ends within line 501" in note for note in signal.notes)


def test_missing_numbers_are_filled_or_left_out(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.csv", cells()
    for i in (50, *range(200, 300)):
        rows[i][1] = ""
    path.write_text(joined([list(HEAD)], ",") + joined(rows, ","))
    signal = read_file(path, "eeg")
    good = np.r_[0:50, 51:200, 300:500]
    np.testing.assert_allclose(signal.data[:, good], SAMPLES[:2, good])
    assert signal.data[0, 50] == pytest.approx((SAMPLES[0, 49] + SAMPLES[0, 51]) / 2)
    (span,) = signal.line.bad
    assert (span.start_s, span.stop_s) == (pytest.approx(0.8), pytest.approx(1.2))
    assert any("Fp1: 101 missing numbers" in note for note in signal.notes)
    assert not read_file(path, "gsr").line.bad


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"0 bytes"),
        ("just a sentence, and another\n", r"rows: found none of numbers.*\.npy of \[channels"),
        ("#METADATA,,\n#DATA,,\nRow,Timestamp,EventSource,GSR\n1,2,3,4\n", "iMotions.*one sensor"),
        ("Video analysis detailed log\nVideo Time\tNeutral\n00:00:00.000\t0.9\n", "clmer video"),
        ("frame,face_id,timestamp,AU01_r\n1,0,0,0\n2,0,.1,0\n", "face tracker.*modality face"),
    ],
)
def test_other_kinds_of_tables_are_told_how_to_come_in(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_biosignal(tmp_path / "a.csv")
    (tmp_path / "b.txt").write_bytes(b"\x00\x01\x02 no text")
    with pytest.raises(DataError, match=r"b\.txt: text"):
        open_biosignal(tmp_path / "b.txt")


def test_a_part_of_a_brainvision_recording_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(100))
    with pytest.raises(DataError, match=r"give a\.vhdr, which is missing"):
        open_biosignal(tmp_path / "a.dat")


def test_a_column_of_an_unknown_name_is_no_eeg(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    columns = zip(SECONDS, *SAMPLES[:2], strict=True)
    rows = "".join(f"{t:.3f},{a:.3f},{b:.3f}\n" for t, a, b in columns)
    path.write_text(f"time [s],strain a,strain b\n{rows}")
    with pytest.raises(DataError, match=r"strain a, strain b \(unknown\).*column kind"):
        read_file(path, "eeg")
    assert read_file(path, "pupil", kind="other").channels == ("strain a", "strain b")
    path.write_text(f"time [s],Ch 1 [uV],Ch 2 [uV]\n{rows}")
    assert read_file(path, "eeg").channels == ("Ch 1", "Ch 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('time,Fp1\n0.00,"1,100.5"\n0.01,"1,101.5"\n', r"line 2, Fp1: found '1,100\.5'"),
        ("trial,start_s,stop_s\n1,0,10\n2,10,20\n", "a column of samples beside them"),
        ("subject;trial;valence\np1;1;3\np2;2;4\n", "rate: found no column of times"),
    ],
)
def test_tables_that_hold_no_samples(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_biosignal(tmp_path / "a.csv")


def test_an_empatica_file_that_a_spreadsheet_saved(tmp_path: Path) -> None:
    values = "".join(f"{x + 100:.6f}\n" for x in SAMPLES[0])
    text = f"1700000000.000000\n4.000000\n{values}".replace(".", ",")
    (tmp_path / "EDA.csv").write_text(text)
    signal = read_file(tmp_path / "EDA.csv", "gsr")
    assert (signal.fs, signal.unit) == (4.0, "uS")
    np.testing.assert_allclose(signal.data[0], SAMPLES[0] + 100)


def test_times_that_a_spreadsheet_cut_to_tenths(tmp_path: Path) -> None:
    lines = [f"{i / 256 // 60:02.0f}:{i / 256 % 60:04.1f},{i * i % 83}.5\n" for i in range(20_000)]
    (tmp_path / "a.csv").write_text(f"TimeStamp,Fp1 [uV]\n{''.join(lines)}")
    signal = read_file(tmp_path / "a.csv", "eeg")
    assert (signal.fs, len(signal.line.pieces)) == (256.0, 1)


@pytest.mark.parametrize(
    ("rows", "separator", "message"),
    [
        ([("0.00", "893"), ("0.01", "1,010"), ("0.02", "1,200")], "\t", "'1,010' beside '893'"),
        ([("0,00", "1.275"), ("0,01", "910"), ("0,02", "959")], ";", "'1.275' beside '910'"),
        ([("0,00", "1.275"), ("0,01", "1.310"), ("0,02", "1.290")], ";", "'1.275'"),
        ([("0.00", "893"), ("0.01", "1.010"), ("0.02", "1.200")], ",", "'1.010' beside '893'"),
        ([("0", "1,275"), ("4", "1,310"), ("8", "1,290")], "\t", "'1,275'"),
    ],
)
def test_what_may_be_thousands_is_refused(
    tmp_path: Path, rows: list[tuple[str, str]], separator: str, message: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(separator.join(row) + "\n" for row in [("t", "Cz [uV]"), *rows * 9]))
    with pytest.raises(DataError, match=rf"a\.txt: Cz: found {message}.*signs between thousands"):
        open_biosignal(path, rate=100.0)


@pytest.mark.parametrize(
    ("rows", "separator", "values"),
    [
        ([("0,004", "2,275"), ("0,008", "2,310")], "\t", [2.275, 2.31]),  # the times' sign is clear
        ([("0", "2,275"), ("4", "2,310")], ";", [2.275, 2.31]),  # a comma beside semicolons
        ([("0.004", "893.000"), ("0.008", "1.010")], "\t", [893.0, 1.01]),
        ([("0.004", "893"), ("0.008", "1.01")], "\t", [893.0, 1.01]),
    ],
)
def test_what_has_decimals_is_read(
    tmp_path: Path, rows: list[tuple[str, str]], separator: str, values: list[float]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(separator.join(row) + "\n" for row in [("nr", "Cz [uV]"), *rows * 50]))
    signal = open_biosignal(path, rate=100.0).signal(["Cz"])
    np.testing.assert_array_equal(signal.data[0], values * 50)
