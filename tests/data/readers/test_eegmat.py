"""Reading the mental-arithmetic recordings, whole and damaged."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from clmer.data.readers import eegmat
from clmer.data.recording import Recording
from clmer.errors import DataError


@pytest.fixture
def pair(clmer_data: Path, tmp_path: Path) -> Path:
    """Two people's short recordings, free to be damaged."""
    for name in ("Subject00_1", "Subject00_2", "Subject05_1", "Subject05_2"):
        source = clmer_data / "eegmat" / f"{name[:-1]}2.edf"  # the shorter one stands for both
        shutil.copyfile(source, tmp_path / f"{name}.edf")
    return tmp_path


def patch(path: Path, at: int, text: str) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(text.encode())


def read_all(root: Path) -> list[Recording]:
    return list(eegmat.read(root))


def test_every_person_has_rest_then_arithmetic(clmer_data: Path) -> None:
    root = clmer_data / "eegmat"
    files = eegmat.sources(root)
    assert len(files) == 48
    assert files == sorted(files)
    reader = eegmat.read(root)
    rest, arithmetic = next(reader), next(reader)
    assert (rest.subject, rest.trial, rest.labels) == ("Subject00", "1", {"label": "rest"})
    assert arithmetic.labels == {"label": "arithmetic"}
    assert rest.stimulus == "rest"
    assert rest.group == "Subject00"
    assert rest.baseline_s == 0.0
    assert rest.source == root / "Subject00_1.edf"
    eeg, ecg = rest.signals["eeg"], rest.signals["ecg"]
    assert eeg.channels == eegmat.EEG_CHANNELS
    assert eeg.kinds == ("eeg",) * 19
    assert (ecg.channels, ecg.kinds) == (("ECG",), ("ecg",))
    assert eeg.fs == ecg.fs == 500.0
    assert eeg.duration_s == ecg.duration_s == 182.0
    assert arithmetic.signals["eeg"].duration_s == 62.0


def test_samples_are_microvolts_of_the_named_channel(clmer_data: Path) -> None:
    path = clmer_data / "eegmat" / "Subject00_1.edf"
    content = path.read_bytes()
    signals, label = 22, b"EEG O1"
    column = [content[256 + 16 * i : 272 + 16 * i].strip() for i in range(signals)].index(label)

    def header(offset: int) -> float:
        return float(content[256 + offset * signals + 8 * column :][:8])

    physical_min, physical_max, digital_min, digital_max = map(header, (104, 112, 120, 128))
    counts = [int(content[256 + 216 * signals + 8 * i :][:8]) for i in range(signals)]
    start = 256 * (signals + 1) + 2 * sum(counts[:column])
    digital = np.frombuffer(content, "<i2", counts[column], start).astype(float)
    gain = (physical_max - physical_min) / (digital_max - digital_min)
    expected = (digital - digital_min) * gain + physical_min
    eeg = next(eegmat.read(clmer_data / "eegmat")).signals["eeg"]
    got = eeg.data[eeg.channels.index("O1"), : counts[column]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert 5 < eeg.data.std() < 50


def test_reading_is_silent(pair: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_all(pair)
    assert capfd.readouterr() == ("", "")


def test_a_missing_channel_is_named(pair: Path) -> None:
    at = (pair / "Subject05_1.edf").read_bytes().index(b"EEG O1")
    patch(pair / "Subject05_1.edf", at, "EEG XX")
    with pytest.raises(DataError, match=r"Subject05_1\.edf: channels: found no O1"):
        read_all(pair)


def test_another_sampling_rate_is_refused(pair: Path) -> None:
    patch(pair / "Subject05_1.edf", 244, "2       ")  # seconds a record
    with pytest.raises(DataError, match="found 250 Hz, expected 500 Hz as in Subject00_1.edf"):
        read_all(pair)


def test_a_slower_channel_is_refused(pair: Path) -> None:
    # Half the ECG's samples a record become the annotations': same length, another rate.
    for name, count in (("ECG ECG", "250"), ("EDF Annotations", None)):
        content = (pair / "Subject05_1.edf").read_bytes()
        column = (content.index(name.encode()) - 256) // 16
        at = 256 + 216 * 22 + 8 * column
        value = count or str(int(content[at : at + 8]) + 250)
        patch(pair / "Subject05_1.edf", at, value.ljust(8))
    with pytest.raises(DataError, match="found 250 and 500 Hz"):
        read_all(pair)


@pytest.mark.parametrize("size", [0, 100, 256, 3000, 5888, 400_000, -1])
def test_a_truncated_file_is_an_error(pair: Path, size: int) -> None:
    path = pair / "Subject05_2.edf"
    os.truncate(path, size if size >= 0 else path.stat().st_size - 1)
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_all(pair)


def test_truncation_names_the_records(pair: Path) -> None:
    os.truncate(pair / "Subject05_2.edf", 400_000)
    with pytest.raises(DataError, match=r"number of records: found 1\d\.\d+ .*expected 62 "):
        read_all(pair)


def test_a_person_with_one_recording_is_refused(pair: Path) -> None:
    (pair / "Subject05_1.edf").unlink()
    with pytest.raises(DataError, match=r"Subject05_1\.edf: file: found nothing"):
        eegmat.sources(pair)


@pytest.mark.parametrize("name", [".", "absent"])
def test_the_wrong_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match="`root`"):
        eegmat.sources(tmp_path / name)
