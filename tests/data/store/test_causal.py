"""`filter=causal`: no window depends on what comes after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clmer.data.recording import Recording, Signal
from clmer.data.registry import DATASETS
from clmer.data.store.filtering import CausalFilter, rows_by_band
from clmer.data.store.options import PrepareOptions
from clmer.data.store.plan import WindowPlan, resolve
from clmer.data.store.windowing import make_windows
from clmer.data.timeline import Timeline

FS = 500
KINDS = ("eeg", "ecg", "eeg", "acc")


def recorded(seconds: float, pause_at_s: float | None = None) -> Recording:
    """Channels of three types with large offsets, the same at the start whatever the length."""
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.standard_normal((60 * FS, len(KINDS))), 0).T[:, : round(seconds * FS)]
    line = None
    if pause_at_s is not None:
        line = Timeline.with_pauses(FS, x.shape[1], {round(pause_at_s * FS): 2.5})
    signal = Signal(x + 4200, FS, ("Fz", "ECG", "Cz", "acc"), KINDS, timeline=line)
    return Recording("p", "1", "", "p", {}, {"signals": signal}, source=Path("made"))


def plan(filter: str) -> WindowPlan:
    options = PrepareOptions(modalities=("signals",), window_s=1.0, filter=filter)
    return resolve(DATASETS["manifest"], Path("made"), options)


def windows(filter: str, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    made = make_windows(plan(filter), recording)
    assert not made.skipped
    return made.arrays["signals"], made.start_s


@pytest.mark.parametrize(("filter", "same"), [("causal", True), ("type", False)])
def test_what_comes_later_changes_nothing(filter: str, same: bool) -> None:
    short, long = windows(filter, recorded(8))[0], windows(filter, recorded(20))[0]
    assert len(short) == 8
    assert np.array_equal(short, long[:8]) is same


def test_a_recording_starts_without_a_transient() -> None:
    first = windows("causal", recorded(8))[0][0]
    assert np.abs(first[[0, 2]]).max() < 60  # of an offset of 4200


def test_every_piece_starts_anew_and_is_what_chunks_give() -> None:
    recording = recorded(20, pause_at_s=7.3)
    found, start_s = windows("causal", recording)
    assert start_s.tolist() == [*range(7), *range(10, 22)]
    bands = rows_by_band(plan("causal"), KINDS)
    assert len(bands) == 3
    x = recording.signals["signals"].data[:, round(7.3 * FS) :]
    causal, parts = CausalFilter(bands, FS, 128), []
    for at in range(0, x.shape[1], 7):
        parts.append(causal.push(x[:, at : at + 7]))
    piece = np.concatenate(parts, 1)
    at = round((10 - 9.8) * 128)
    np.testing.assert_array_equal(found[7], piece[:, at : at + 128])


def test_the_report_says_that_it_is_causal() -> None:
    made = make_windows(plan("causal"), recorded(8))
    eeg = made.filters["eeg"]
    assert eeg == make_windows(plan("type"), recorded(8)).filters["eeg"] + ", causal"
    assert made.filters["acc"] == "as recorded"
