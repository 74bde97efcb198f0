"""Recordings that are valid and odd, each prepared and compared with an independent computation.

They were found by `fuzz_recordings.py`, which also writes, computes and compares them.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from fuzz_recordings import check
from support.fuzz_recordings_study import ELECTRODES, MICROVOLT, File, Line, Row, Study

from clmer import signal
from clmer.data.channels import kind_of_name
from clmer.data.manifest.reader import read_file
from clmer.data.registry import DATASETS
from clmer.data.store.prepare import prepare
from clmer.errors import DataError

FZ = Line("Fz", "eeg", "Fz", "uV", "uV", 1.0, Fraction(200))
GSR = Line("GSR", "gsr", "GSR", "uS", "uS", 1.0, Fraction(200))
FILE = File("edf", (FZ,), Fraction(10), (), (), "1", False, 1, 0)
LABELS = {("p1", "a"): ("calm", "1"), ("p2", "a"): ("angry", "2")}


def compare(folder: Path, file: File, *rows: Row, window_s: float = 1.0) -> int:
    """Two people with the same file: how many windows were compared."""
    rows = rows or (Row("", "a", "eeg", ""),)
    everyone = tuple(
        replace(row, subject=who, file=f"{who}_a") for who in ("p1", "p2") for row in rows
    )
    files = {"p1_a": file, "p2_a": file}
    return check(Study(files, {}, everyone, LABELS, window_s, 0.5, "type", False), folder)


def at(line: Line, rate: float) -> Line:
    return replace(line, rate=Fraction(rate))


@pytest.mark.parametrize("fs", [50, 100, 125, 129, 250, 300, 500, 512, 51.2, 1000])
@pytest.mark.parametrize("count", [40, 2500, 20_000])
def test_the_ratio_of_usual_rates_is_exact_at_any_length(fs: float, count: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, count))
    ratio = Fraction(128) / Fraction(str(fs))
    want = scipy.signal.resample_poly(x, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    np.testing.assert_array_equal(signal.resample(x, fs, 128), want)


def test_a_stretch_between_pauses_that_is_shorter_than_a_window(tmp_path: Path) -> None:
    pauses = ((Fraction(4), Fraction(2)), (Fraction(5), Fraction(2)))
    assert compare(tmp_path, replace(FILE, pauses=pauses), window_s=2.0) == 2 * (5 + 7)


@pytest.mark.parametrize("option", [0, 1])
def test_free_text_of_brainvision_marks_a_bad_stretch_as_its_own_marker_does(
    tmp_path: Path, option: int
) -> None:
    bad = ((Fraction(3), Fraction(4), "BAD_movement"),)
    file = replace(FILE, format="vhdr", record="", bad=bad, option=option)
    assert compare(tmp_path, file) == 2 * (19 - 3)


def test_names_padded_with_dots_beside_others(tmp_path: Path) -> None:
    assert kind_of_name("Fc5.") == kind_of_name("Cz..") == kind_of_name("EEG Af7.") == "eeg"
    dotted = replace(FZ, who="FC5", label="Fc5.")
    assert compare(tmp_path, replace(FILE, lines=(dotted, FZ))) == 38


def test_a_table_without_a_unit_leaves_the_types_as_they_are(tmp_path: Path) -> None:
    """BIDS' "n/a" is no unit of an unknown kind."""
    nameless = replace(FZ, who="S4", label="S4", unit="", told="eeg", factor=1e3)
    other = replace(FZ, who="22", kind="none", label="22", ours="", told="none")
    file = replace(FILE, lines=(nameless, other), table=True)
    assert compare(tmp_path, file, Row("", "a", "eeg", "", unit="mV")) == 38


@pytest.mark.parametrize(("kind", "ours"), [("temp", "degC"), ("resp", ""), ("acc", "")])
@pytest.mark.parametrize("channels", [(), ("probe",)])
def test_a_stated_type_decides_the_unit_of_a_fif_file(
    tmp_path: Path, kind: str, ours: str, channels: tuple[str, ...]
) -> None:
    """A channel of unknown type is not a voltage once somebody says what it is."""
    probe = Line("probe", kind, "probe", "", ours, 1.0, Fraction(200), "?")
    file = replace(FILE, format="fif", record="", lines=(probe,))
    row = Row("", "a", kind, "", channels=channels, kind=kind)
    assert compare(tmp_path, file, row) == 38


@pytest.mark.parametrize("rate", [4, 10, 50])
def test_a_pause_is_one_for_a_file_s_slow_signals_too(tmp_path: Path, rate: int) -> None:
    """One lost record of 0.1 s, which is less than a sample of skin conductance."""
    gaps = tuple((Fraction(at), Fraction(1, 10)) for at in (2, 4, 6))
    step = "0.5" if rate == 4 else "0.1"
    file = replace(FILE, lines=(at(FZ, 200), at(GSR, rate)), pauses=gaps, record=step)
    rows = (Row("", "a", "eeg", ""), Row("", "a", "gsr", ""))
    assert 0 < compare(tmp_path, file, *rows) < 38


def test_a_part_with_one_sample_of_a_slow_signal_before_a_pause(tmp_path: Path) -> None:
    file = replace(FILE, lines=(at(FZ, 200), at(GSR, 4)), pauses=((Fraction(1), Fraction(1)),))
    rows = [Row("", "a", name, "", "0.994", "8") for name in ("eeg", "gsr")]
    assert compare(tmp_path, file, *rows, window_s=0.5) > 0


@pytest.mark.parametrize("names", [("eeg",), ("eeg", "ecg")])
def test_a_part_of_one_window_that_begins_between_two_samples(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Its first sample is 2 ms early, and so is its end before the pause."""
    file = replace(
        FILE,
        lines=(at(FZ, 32), replace(at(FZ, 50), who="ECG", kind="ecg", label="ECG")),
        pauses=((Fraction(2), Fraction(2)),),
    )
    rows = [Row("", "a", name, "", "0.002", "2.502") for name in names]
    assert compare(tmp_path, file, *rows, window_s=2.0) == 2


def test_an_eeglab_file_that_types_its_channels(tmp_path: Path) -> None:
    """ "X3" is typed MISC, "foo" EEG: neither name tells it."""
    eeg = replace(FZ, who="foo", label="foo", unit="", told="eeg")
    other = replace(FZ, who="X3", kind="none", label="X3", unit="", ours="", told="none")
    file = replace(FILE, format="set", record="", lines=(eeg, other))
    assert compare(tmp_path, file) == 38
    read = read_file(tmp_path / "p1_a_eeg.set", "eeg")
    assert read.channels == ("foo",)
    assert read.left_out == ("X3 (unknown)",)


def test_a_fif_recording_in_several_files(tmp_path: Path) -> None:
    rate = Fraction(512)
    names = [name for name in ELECTRODES if "-" not in name]
    lines = tuple(Line(name, "eeg", name, "", "uV", 1.0, rate) for name in names)
    bad = ((Fraction(14), Fraction(15), "BAD_late"),)
    file = File("fif", lines, Fraction(24), ((Fraction(6), Fraction(0)),), bad, "", False, 2, 0)
    row = Row("", "a", "eeg", "", "0", "22")
    assert compare(tmp_path, file, row) == 2 * (43 - 1 - 3)
    assert len(list(tmp_path.glob("p1_a_eeg*.fif"))) > 1


def test_a_part_within_a_pause_is_left_out_without_a_warning(tmp_path: Path) -> None:
    pauses = ((Fraction(4), Fraction(5)),)
    rows = [Row("", "a", "eeg", "", "5", "8"), Row("", "b", "eeg", "", "10", "14")]
    study = Study(
        {"p1_a": replace(FILE, pauses=pauses)},
        {},
        tuple(replace(row, subject="p1", file="p1_a") for row in rows),
        {("p1", "a"): ("calm", "1"), ("p1", "b"): ("angry", "2")},
        1.0,
        1.0,
        "type",
        False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(study, tmp_path) == 4
    store = prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "cache", progress=False)
    assert list(store.report["recordings_skipped"]) == ["p1/a"]


@pytest.mark.parametrize("format_", ["edf", "bdf", "vhdr"])
@pytest.mark.parametrize(
    ("spelt", "true", "factor"),
    [("V", "uV", r"1e\+06 times too large"), ("uV", "V", r"1e\+06 times too small")],
)
def test_numbers_in_another_unit_than_the_file_says(
    tmp_path: Path, format_: str, spelt: str, true: str, factor: str
) -> None:
    """The error tells the factor, and the column `unit` mends it."""
    line = replace(FZ, unit=spelt, factor=MICROVOLT[true])
    record = "" if format_ == "vhdr" else "1"
    # samples of single precision, since a BrainVision file's resolution follows its unit
    file = replace(FILE, format=format_, record=record, lines=(line,), option=4)
    with pytest.raises(DataError, match=factor):
        compare(tmp_path, file)
    (tmp_path / "stated").mkdir()
    assert compare(tmp_path / "stated", file, Row("", "a", "eeg", "", unit=true)) == 38


@pytest.mark.parametrize("spelt", ["BS", "mm", "K"])
@pytest.mark.parametrize("format_", ["edf", "vhdr"])
def test_a_unit_that_nobody_knows(tmp_path: Path, format_: str, spelt: str) -> None:
    file = replace(
        FILE,
        format=format_,
        record="" if format_ == "vhdr" else "1",
        lines=(replace(FZ, unit=spelt),),
        option=4,
    )
    with pytest.raises(DataError, match=f"unit of Fz: found '{spelt}'"):
        compare(tmp_path, file)
    (tmp_path / "stated").mkdir()
    assert compare(tmp_path / "stated", file, Row("", "a", "eeg", "", unit="uV")) == 38
