"""XDF: streams by name and type, on one clock, with their gaps and markers, as pyxdf has them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support.edf_files import noise
from support.xdf_files import Stream, write_xdf

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.manifest.reader import read_file
from clmer.data.timeline import Piece
from clmer.errors import DataError

pyxdf = pytest.importorskip("pyxdf")


def eeg(start_s: float = 100.0, seconds: float = 20.0, **more: object) -> Stream:
    options: dict[str, object] = {"labels": ["TP9", "AF7"], "units": ["microvolts"] * 2} | more
    times = start_s + np.arange(round(seconds * 256)) / 256
    data = noise(2, seconds, 256).T
    return Stream("Muse", "EEG", times, data, 256.0, **options)  # type: ignore[arg-type]


def markers(times: list[float], texts: list[str], **more: object) -> Stream:
    return Stream("Task", "Markers", np.array(times), texts, form="string", **more)  # type: ignore[arg-type]


def test_streams_of_different_clocks_come_on_one(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    gsr_times = 5000.5 + np.arange(20 * 32) / 32  # its clock is 4900 s ahead
    gsr = Stream(
        "Shimmer", "GSR", gsr_times, noise(1, 20, 32).T, 32.0, ["GSR"], ["uS"], offset_s=-4900.0
    )
    write_xdf(path, eeg(), gsr, markers([9.0, 14.0], ["happy", "sad"], offset_s=94.0))
    file = open_biosignal(path)
    assert [(c.name, c.kind, c.fs) for c in file.all_channels] == [
        ("TP9", "eeg", 256.0),
        ("AF7", "eeg", 256.0),
        ("GSR", "gsr", 32.0),
    ]
    assert [(round(m.onset_s, 6), m.text) for m in file.markers] == [(3.0, "happy"), (8.0, "sad")]
    skin, brain = read_file(path, "gsr"), read_file(path, "eeg")
    assert (skin.unit, skin.fs, brain.unit, brain.fs) == ("uS", 32.0, "uV", 256.0)
    assert brain.line.pieces == (Piece(0.0, 0, 5120),)
    assert skin.line.pieces[0].start_s == pytest.approx(0.5, abs=1e-6)
    assert file.duration_s == pytest.approx(20.5)
    theirs, _ = pyxdf.load_xdf(path, verbose=False)
    np.testing.assert_allclose(brain.data, theirs[0]["time_series"].T)
    np.testing.assert_allclose(skin.data, theirs[1]["time_series"].T)
    start = theirs[0]["time_stamps"][0]
    assert [m.onset_s for m in file.markers] == pytest.approx(theirs[2]["time_stamps"] - start)
    part = file.signal(["GSR"], 10.0, 15.0)
    at = np.flatnonzero(np.isclose(theirs[1]["time_stamps"] - start, 10.0, atol=1e-3))[0]
    np.testing.assert_allclose(part.data[0], theirs[1]["time_series"][at : at + 160, 0])


@pytest.mark.parametrize("seconds", [0.75, 3.0])
def test_a_gap_stays_a_gap(tmp_path: Path, seconds: float) -> None:
    path, stream = tmp_path / "a.xdf", eeg()
    stream.times[2560:] += seconds
    write_xdf(path, stream)
    got = read_file(path, "eeg")
    assert [(p.first, p.stop) for p in got.line.pieces] == [(0, 2560), (2560, 5120)]
    assert got.line.pieces[1].start_s == pytest.approx(10.0 + seconds, abs=1e-6)
    assert open_biosignal(path).duration_s == pytest.approx(20 + seconds)


def test_jitter_is_no_gap_and_a_slow_clock_has_its_own_rate(tmp_path: Path) -> None:
    path, stream = tmp_path / "a.xdf", eeg(seconds=60)
    rng = np.random.default_rng(0)
    stream.times += rng.uniform(0, 0.02, len(stream.times))
    write_xdf(path, stream)
    got = read_file(path, "eeg")
    assert (got.fs, len(got.line.pieces)) == (256.0, 1)
    beats = Stream(
        "Slow", "SpO2", 100 + np.arange(60) + rng.uniform(0, 0.1, 60), np.ones((60, 1)), 1.0
    )
    write_xdf(path, beats)
    assert len(open_biosignal(path).source.timeline(0).pieces) == 1
    slow = eeg(seconds=60)
    slow.times[:] = 100 + (slow.times - 100) * 1.01
    write_xdf(path, slow)
    got = read_file(path, "eeg")
    assert got.fs == pytest.approx(256 / 1.01)
    assert "253.465 Hz by its times, 256 Hz by its header" in got.notes[0]


def test_two_streams_of_a_type_are_told_apart_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    one, two = eeg(), eeg()
    two.name, two.data = "Second", -np.asarray(two.data)
    write_xdf(path, one, two)
    file = open_biosignal(path)
    names = ("Muse/TP9", "Muse/AF7", "Second/TP9", "Second/AF7")
    assert file.channels == names
    with pytest.raises(DataError, match=r"channels of Muse, Second.*column channels \(Muse\)"):
        read_file(path, "eeg")
    got = read_file(path, "eeg", channels=("second",))
    assert got.channels == names[2:]
    np.testing.assert_allclose(got.data, np.asarray(two.data, np.float32).T)


def test_channels_without_a_description_are_of_the_stream_s_type(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    pulse = Stream("Polar H10", "ECG", 100 + np.arange(1300) / 130, noise(1, 10, 130).T, 130.0)
    write_xdf(path, eeg(labels=(), units=()), pulse)
    file = open_biosignal(path)
    assert [(c.name, c.kind) for c in file.all_channels] == [
        ("ch1", "eeg"),
        ("ch2", "eeg"),
        ("Polar H10", "ecg"),
    ]
    with pytest.raises(DataError, match="unit of ch1: found none"):
        read_file(path, "eeg")
    assert read_file(path, "eeg", unit="uV").channels == ("ch1", "ch2")


def test_streams_that_are_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    buttons = Stream("Keys", "", np.array([103.0]), np.array([[4]]), form="int32")
    mouse = Stream("Mouse", "MoCap", np.array([101.0, 104.0]), np.zeros((2, 2)))
    empty = Stream("Empty", "Markers", np.array([]), [], form="string")
    write_xdf(path, eeg(), buttons, mouse, empty)
    file = open_biosignal(path)
    assert [(m.onset_s, m.text) for m in file.markers] == [(pytest.approx(3.0), "4")]
    assert [note.partition(":")[2] for note in file.notes] == [
        " stream Empty has no samples",
        " an irregular stream of several numbers is not read",
    ]
    write_xdf(path, markers([1.0], ["a"]))
    with pytest.raises(DataError, match=r"streams: found Task \(Markers\).*LabRecorder"):
        open_biosignal(path)


def test_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.xdf"
    write_xdf(path, eeg(lost=100))
    with pytest.raises(DataError, match="stream Muse: found 5120 samples, expected 5220"):
        open_biosignal(path)
    write_xdf(path, eeg(footer=False))
    assert "Muse has no end" in open_biosignal(path).notes[0]
    path.write_bytes(path.read_bytes()[:-3000])
    cut = open_biosignal(path)
    assert 17 < cut.duration_s < 20
    assert "pyxdf says" in cut.notes[0]
    assert capfd.readouterr() == ("", "")
    path.write_bytes(b"not an XDF file at all")
    with pytest.raises(DataError, match="pyxdf's error Invalid XDF file"):
        open_biosignal(path)
    monkeypatch.setitem(sys.modules, "pyxdf", None)
    path.write_bytes(b"XDF: something else")
    with pytest.raises(DataError, match="no pyxdf.*pip install pyxdf"):
        open_biosignal(path)


def test_times_that_no_clock_says(tmp_path: Path) -> None:
    path, stream = tmp_path / "a.xdf", eeg()
    stream.times[3000:3010] = 1e300
    write_xdf(path, stream)
    file = open_biosignal(path)
    with pytest.raises(DataError, match="times of .*TP9: found a sample 1e.*expected times within"):
        file.signal(["TP9"])
    back = eeg()
    back.times[:] = back.times[::-1].copy()  # the mean rate of these is below 0
    write_xdf(path, back)
    assert open_biosignal(path).signal(["TP9"]).fs == 256
