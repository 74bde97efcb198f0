"""Arrays by name out of `.mat` and `.npz`, with a rate among them or in the manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.manifest import reader as manifest
from clmer.data.manifest.reader import read_file
from clmer.errors import DataError

RNG = np.random.default_rng(0)
EEG = RNG.normal(0, 20, (4, 600))
GSR = 2 + np.abs(RNG.normal(0, 0.3, 600))


def write(path: Path, **arrays: object) -> Path:
    """A file of arrays, of the kind that its suffix tells."""
    if path.suffix == ".npz":
        np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    else:
        scipy.io.savemat(path, arrays, do_compression=True)
    return path


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
@pytest.mark.parametrize("transposed", [False, True])
def test_one_matrix_and_a_rate(tmp_path: Path, name: str, transposed: bool) -> None:
    x = EEG.T if transposed else EEG
    path = write(tmp_path / name, data=x)
    with pytest.raises(DataError, match=r"rate: found none beside data.*column rate.*as fs"):
        read_file(path, "eeg")
    signal = read_file(path, "eeg", rate=200.0)
    assert (signal.channels, signal.fs, signal.unit) == (
        ("data1", "data2", "data3", "data4"), 200.0, "uV")  # fmt: skip
    np.testing.assert_array_equal(signal.data, EEG)
    np.testing.assert_array_equal(read_file(path, "eeg", rate=200.0, unit="mV").data, 1e3 * EEG)


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
@pytest.mark.parametrize("rate", ["fs", "Fs", "srate", "sampling_rate", "SampleRate"])
def test_a_rate_and_names_beside_it(tmp_path: Path, name: str, rate: str) -> None:
    names = np.array(["Fp1", "Fp2", "C3", "ECG"], dtype=object if name == "a.mat" else str)
    path = write(tmp_path / name, eeg=EEG, channels=names, **{rate: 250})
    signal = read_file(path, "eeg")
    assert (signal.channels, signal.fs, signal.duration_s) == (("Fp1", "Fp2", "C3"), 250.0, 2.4)
    np.testing.assert_array_equal(signal.data, EEG[:3])
    np.testing.assert_array_equal(read_file(path, "ecg").data, EEG[3:])


def test_several_of_one_length_are_channels_by_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", eeg=EEG, eda=GSR, fs=100.0, marker=np.arange(600) // 300)
    eda = read_file(path, "gsr")
    assert (eda.channels, eda.unit) == (("eda",), "uS")
    np.testing.assert_array_equal(eda.data[0], GSR)
    np.testing.assert_array_equal(read_file(path, "eeg").data, EEG)
    assert [(m.onset_s, m.text) for m in open_biosignal(path).markers] == [(3.0, "1")]
    lines = ["subject,trial,label,modality,path,start_s,stop_s"]
    lines += [f"p{p},1,{p},{m},a.mat,{p * 3},{p * 3 + 3}" for p in (0, 1) for m in ("eeg", "eda")]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    _, second = manifest.read(tmp_path)
    np.testing.assert_array_equal(second.signals["gsr"].data[0], GSR[300:])


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
def test_what_is_no_recording_says_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for arrays, message in (
        ({"eeg": EEG, "eda": GSR[:300], "fs": 100}, r"different lengths: eeg \[4, 600\]"),
        ({"trials": RNG.normal(size=(5, 4, 600)), "fs": 100}, r"trials \[5, 4, 600\].*each trial"),
        ({"fs": 100}, r"arrays of samples: found fs .*save\('x\.mat'"),
        ({"eeg": np.where(EEG > 60, np.nan, EEG), "fs": 100}, r"eeg: found nan in sample \d+"),
    ):  # fmt: skip
        write(path, **arrays)
        with pytest.raises(DataError, match=message):
            open_biosignal(path)
    path.write_bytes(write(path, eeg=EEG, fs=100).read_bytes()[:2000])
    with pytest.raises(DataError, match=r"stream|\.npz of numpy"):
        open_biosignal(path)


def test_matlab_s_newest_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    with pytest.raises(DataError, match=r"MATLAB 7\.3.*-v7"):
        open_biosignal(path)
    scipy.io.savemat(path, {"EEG": {"data": EEG, "srate": 100}, "x": EEG.astype(complex)})
    with pytest.raises(DataError, match=r"arrays of samples: found none"):
        open_biosignal(path)


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("called", ["channels", "labels", "ch_names", "chanlabels"])
def test_names_tell_which_side_is_time(
    tmp_path: Path, name: str, transposed: bool, called: str
) -> None:
    x = RNG.normal(0, 20, (64, 60))
    words = np.array([f"E{i}" for i in range(64)], dtype=object if name == "a.mat" else str)
    path = write(tmp_path / name, eeg=x.T if transposed else x, fs=128, **{called: words})
    signal = open_biosignal(path).signal(["E0", "E63"])
    np.testing.assert_array_equal(signal.data, x[[0, 63]])
    path = write(tmp_path / name, eeg=x.T if transposed else x, fs=128)
    with pytest.raises(DataError, match=r"eeg: found .*either of which may be time.*as channels"):
        open_biosignal(path)


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
def test_other_words_are_no_names_of_channels(tmp_path: Path, name: str) -> None:
    words = np.array(["calm", "fear", "joy", "rest"], dtype=object if name == "a.mat" else str)
    path = write(tmp_path / name, eeg=EEG, fs=128.0, conditions=words, trial_labels=words)
    assert read_file(path, "eeg").channels == ("eeg1", "eeg2", "eeg3", "eeg4")
    path = write(tmp_path / name, eda=GSR, fs=128.0, label="calm")
    assert read_file(path, "gsr").channels == ("eda",)


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
@pytest.mark.parametrize("called", ["labels", "names", "data_labels"])
def test_labels_that_may_be_classes_are_asked_about(tmp_path: Path, name: str, called: str) -> None:
    def listed(*words: str) -> dict[str, np.ndarray]:
        return {called: np.array(words, dtype=object if name == "a.mat" else str)}

    path = write(tmp_path / name, eeg=EEG, fs=128.0, **listed("calm", "fear", "joy", "rest"))
    told = rf"{called}: found calm, fear, joy, rest, as many as .*call the list channels.*trials"
    with pytest.raises(DataError, match=told):
        open_biosignal(path)
    path = write(tmp_path / name, eeg=EEG, fs=128.0, **listed("calm", "joy", "calm", "joy"))
    assert read_file(path, "eeg").channels == ("eeg1", "eeg2", "eeg3", "eeg4")  # classes for sure
    path = write(tmp_path / name, eeg=EEG, fs=128.0, **listed("calm", "joy", "fear"))
    assert read_file(path, "eeg").channels == ("eeg1", "eeg2", "eeg3", "eeg4")
    path = write(tmp_path / name, eeg=EEG, fs=128.0, **listed("Fz", "Cz", "front", "ECG"))
    assert read_file(path, "ecg").channels == ("ECG",)
    path = write(tmp_path / name, eeg=EEG, fs=128.0, **listed("E1", "E2", "E3", "E4"))
    assert read_file(path, "eeg").channels == ("E1", "E2", "E3", "E4")


@pytest.mark.parametrize("name", ["a.mat", "a.npz"])
def test_two_rates_are_an_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, eeg=EEG, rate=3.0, srate=250.0)
    with pytest.raises(DataError, match=r"rate: found rate = 3, srate = 250.*column rate"):
        open_biosignal(path)
    assert open_biosignal(path, rate=250.0).duration_s == 2.4
    path = write(tmp_path / name, eeg=EEG, fs=250.0, srate=250.0)
    assert open_biosignal(path).duration_s == 2.4
