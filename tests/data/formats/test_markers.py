"""What files say happened: annotations and trigger lines, at times on the recording's clock."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pytest
from support.edf_files import noise, record_times, write_edf

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.recording import Marker


def shown(path: Path) -> list[tuple[float, float, str]]:
    found = open_biosignal(path).markers
    assert all(isinstance(marker, Marker) for marker in found)
    return [(round(m.onset_s, 6), round(m.duration_s, 6), m.text) for m in found]


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_annotations_of_edf_as_mne_has_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    times = {2: b"+2.5\x153\x14happy\x14\x00", 5: b"+5\x1510\x14Rest\x14\x00+5.25\x14BAD\x14\x00"}

    def notes(record: int) -> bytes:
        return f"+{record}\x14\x14\x00".encode() + times.get(record, b"")

    plus = "EDF+C" if suffix == ".edf" else "BDF+C"
    write_edf(path, ["C3", "C4"], noise(2, 20, 128), 128, reserved=plus, notes=notes)
    assert shown(path) == [(2.5, 3.0, "happy"), (5.0, 10.0, "Rest")]
    read = mne.io.read_raw_edf if suffix == ".edf" else mne.io.read_raw_bdf
    theirs = read(path, verbose="ERROR").annotations
    kept = [a for a in theirs if a["description"] != "BAD"]
    assert shown(path) == [(a["onset"], a["duration"], a["description"]) for a in kept]


def test_times_go_on_in_a_pause(tmp_path: Path) -> None:
    path, onsets = tmp_path / "a.edf", [0, 1, 2, 10, 11, 12]
    clock = record_times(onsets)

    def notes(record: int) -> bytes:
        return clock(record) + (b"+11.5\x14sad\x14\x00" if record == 4 else b"")

    write_edf(path, ["C3"], noise(1, 6, 128), 128, reserved="EDF+D", notes=notes)
    assert shown(path) == [(11.5, 0.0, "sad")]


def test_a_trigger_line_is_markers_and_no_eeg(tmp_path: Path) -> None:
    path, fs = tmp_path / "a.edf", 128
    codes = np.zeros(20 * fs)
    codes[2 * fs : 4 * fs], codes[4 * fs : 5 * fs], codes[9 * fs :] = 10, 20, 10
    write_edf(path, ["EEG Fp1", "EEG Fp2", "DIG DTRIG"], [*noise(2, 20, fs), codes], fs)
    file = open_biosignal(path)
    assert [channel.name for channel in file.select("eeg")] == ["Fp1", "Fp2"]
    assert shown(path) == [(2.0, 2.0, "10"), (4.0, 1.0, "20"), (9.0, 11.0, "10")]


def test_the_trigger_in_biosemi_s_status_words(tmp_path: Path) -> None:
    path, fs = tmp_path / "a.bdf", 128
    words = np.full(10 * fs, 0x180000, np.int64)
    words[3 * fs : 3 * fs + 4] |= 4
    words[6 * fs : 6 * fs + 4] |= 255
    limits = {"limits": (-8388608, 8388607)}
    write_edf(path, ["A1", "A2", "Status"], [*noise(2, 10, fs), words], fs, **limits)
    length = 4 / fs
    assert shown(path) == [(3.0, length, "4"), (6.0, length, "255")]
    raw = mne.io.read_raw_bdf(path, stim_channel="Status", preload=True, verbose="ERROR")
    theirs = mne.find_events(raw, mask=255, mask_type="and", verbose="ERROR")
    assert [(t / fs, str(code)) for t, _, code in theirs] == [(t, c) for t, _, c in shown(path)]


def test_lines_that_are_no_codes_and_several_that_are(tmp_path: Path) -> None:
    path, fs = tmp_path / "a.edf", 128
    one, two, resting = np.zeros(10 * fs), np.zeros(10 * fs), np.full(10 * fs, 255.0)
    one[fs : 2 * fs], two[5 * fs : 6 * fs], resting[8 * fs : 9 * fs] = 1, 1, 127
    names = ["C3", "TTL1", "TTL2", "DC01", "Audio", "Photic"]
    analog = noise(1, 10, fs)[0]
    write_edf(path, names, [analog, one, two, resting, analog, np.zeros(10 * fs)], fs)
    assert shown(path) == [(1, 1, "TTL1 1"), (5, 1, "TTL2 1"), (8, 1, "DC01 127")]


def test_annotations_and_stim_channels_of_fif(tmp_path: Path) -> None:
    path, fs = tmp_path / "a_raw.fif", 250.0
    info = mne.create_info(["Cz", "STI 014"], fs, ["eeg", "stim"])
    data = np.vstack([noise(1, 20, fs) * 1e-6, np.zeros(5000)])
    data[1, 1000:1100] = 7
    raw = mne.io.RawArray(data, info, first_samp=500, verbose="ERROR")
    marks = [("happy", 5.0, 2.0), ("BAD_movement", 8.0, 1.0), ("EDGE boundary", 9.0, 0.0)]
    text, onset, duration = zip(*marks, strict=True)
    raw.set_annotations(mne.Annotations(onset, duration, text))
    raw.save(path, verbose="ERROR")
    assert shown(path) == [(4.0, 0.4, "7"), (5.0, 2.0, "happy")]


def test_eeglab_s_cuts_shift_what_follows(tmp_path: Path) -> None:
    export = pytest.importorskip("eeglabio.raw").export_set
    path, fs = tmp_path / "a.set", 100.0
    annotations = [["boundary", "sad"], np.array([5.0, 8.0]), np.array([30.0, 0.0])]
    export(path, noise(2, 20, fs) * 1e-6, fs, ["C3", "C4"], annotations=annotations)
    file = open_biosignal(path)
    assert shown(path) == [(38.0, 0.0, "sad")]
    assert file.duration_s == 50.0
