"""Rows that are no signal by their samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.edf_files import noise, write_edf

from clmer.data.manifest.reader import read_file
from clmer.data.service_channels import service_type
from clmer.data.store.plausibility import measure
from clmer.errors import DataError


def _markers(count: int = 1280) -> np.ndarray:
    line = np.zeros(count)
    line[300:310], line[600:610] = 5, 7
    return line


def _photodiode(count: int = 1280) -> np.ndarray:
    return np.where(np.arange(count) // 3 % 2, 950.0, 12.0)


def _clock(count: int = 1280) -> np.ndarray:
    jitter = np.random.default_rng(0).normal(0, 1e-4, count)
    return 1.7e9 + np.arange(count) / 128 + jitter


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_markers(), "line of markers"),
        (_photodiode(), "line of markers"),
        (np.arange(1280) // 40, "line of markers"),
        (np.arange(1280.0) % 129, "counter"),
        (np.arange(1280) / 128, "counter"),
        (_clock(), "clock"),
    ],
)
def test_service_lines_are_told_by_their_samples(row: np.ndarray, said: str) -> None:
    assert said in service_type(np.asarray(row, float), "eeg")


def test_signals_are_not_taken_for_lines() -> None:
    x = noise(1, 10, 128)[0]
    pulse = np.tile(np.r_[np.zeros(110), np.linspace(0, 900, 9), np.linspace(900, 0, 9)], 10)
    drifting = np.cumsum(np.abs(x)) * 1e-3
    for row, kind in (
        (x, "eeg"),
        (np.rint(x / 5), "eeg"),  # a coarse converter
        (x.clip(-5, 5), "eeg"),  # a saturated channel
        (pulse + np.rint(x / 20), "ecg"),
        (drifting, "gsr"),
        (np.rint(30 + np.arange(1280) / 700), "temp"),
        (np.zeros(1280), "eeg"),  # flat: said elsewhere
    ):
        assert service_type(row, kind) == ""


def test_a_marker_line_under_an_unknown_name_is_no_eeg(tmp_path: Path) -> None:
    path, x = tmp_path / "a.edf", [*noise(2, 10, 128), _markers()]
    write_edf(path, ["Ch1", "Ch2", "Ch3"], x, 128)
    with pytest.raises(DataError, match="channel Ch3: found 3 different values.*column channels"):
        read_file(path, "eeg")
    assert read_file(path, "eeg", channels=("Ch1", "Ch2")).channels == ("Ch1", "Ch2")


def test_a_marker_row_or_a_clock_in_an_array_is_no_eeg(tmp_path: Path) -> None:
    path, x = tmp_path / "a.npy", noise(2, 10, 128)
    for row, said in ((_markers(), "markers"), (np.arange(1280) / 128, "clock")):
        np.save(path, np.vstack([x, row]))
        with pytest.raises(DataError, match=f"channel ch3: found .*{said}"):
            read_file(path, "eeg", rate=128)
        with pytest.raises(DataError, match=f"channel c: found .*{said}"):
            read_file(path, "eeg", rate=128, channels=("a", "b", "c"))
        signal = read_file(path, "eeg", rate=128, kind="eeg")  # stated
        notes = measure("eeg", signal, path).notes
        assert any("ch3 has" in note and said in note for note in notes)
