"""What is said of signals as they were read: one line, and what is implausible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clmer.data.recording import Signal
from clmer.data.store.plausibility import measure
from clmer.data.store.summary import SignalSummary, scale_notes, signal_lines
from clmer.errors import DataError

PATH = Path("a.edf")


def signal(kind: str = "eeg", sd: float = 20.0, level: float = 0.0, unit: str = "uV") -> Signal:
    x = level + sd * np.random.default_rng(0).standard_normal((3, 1280))
    return Signal(x, 128.0, ("a", "b", "c"), (kind,) * 3, unit)


def looked_at(**traits: object) -> SignalSummary:
    return measure("m", signal(**traits), PATH)  # type: ignore[arg-type]


def test_an_ordinary_signal_needs_no_word() -> None:
    summary = looked_at(level=4200.0)
    assert summary.notes == ()
    assert summary.levels["eeg"] == pytest.approx(20, rel=0.1)
    assert (summary.seconds, summary.pieces) == (10.0, 1)


@pytest.mark.parametrize(
    ("kind", "sd", "level", "unit", "factor"),
    [
        ("eeg", 20e6, 0, "uV", r"large for eeg"),  # microvolts taken for volts
        ("eeg", 20e-6, 0, "uV", r"small for eeg"),  # volts taken for microvolts
        ("ecg", 3e-4, 0, "uV", r"small for ecg"),
        ("gsr", 1e6, 1e9, "uS", r"large for gsr"),
        ("temp", 1e-9, 3e-5, "degC", r"small for temp"),
    ],
)
def test_no_body_gives_such_numbers(
    kind: str, sd: float, level: float, unit: str, factor: str
) -> None:
    with pytest.raises(DataError, match=rf"amplitude of m .*{factor}.*column unit"):
        looked_at(kind=kind, sd=sd, level=level, unit=unit)


@pytest.mark.parametrize(
    ("kind", "sd", "level", "unit", "factor"),
    [
        ("eeg", 0.02, 0, "uV", "1000 times too small"),
        ("eeg", 20e3, 0, "uV", "1000 times too large"),
        ("ecg", 0.3, 0, "uV", "1000 times too small"),
        ("gsr", 1.0, 2000.0, "uS", "1000 times too large"),
        ("gsr", 1e-4, 2e-3, "uS", "1000 times too small"),
        ("temp", 0.1, 307.0, "degC", "too large"),
    ],
)
def test_numbers_that_are_odd_are_named_with_the_factor(
    kind: str, sd: float, level: float, unit: str, factor: str
) -> None:
    summary = looked_at(kind=kind, sd=sd, level=level, unit=unit)
    assert any(factor in note for note in summary.notes), summary.notes


def test_numbers_in_no_unit_or_another_quantity_are_not_judged() -> None:
    assert looked_at(sd=1e-6, unit="").notes == ()
    assert looked_at(kind="gsr", sd=1, level=1e9, unit="kOhm").notes == ()


def test_a_header_read_as_samples() -> None:
    gsr = signal("gsr", 0.05, 2.0, "uS")
    gsr.data[1, :2] = 1.7e9, 4.0
    with pytest.raises(DataError, match=r"sample 1 of b: found 1700000000, .*Leave those lines"):
        measure("gsr", gsr, PATH)
    gsr.data[1, :2] = 0.0, 1.7e9
    with pytest.raises(DataError, match="sample 2 of b"):
        measure("gsr", gsr, PATH)
    gsr.data[1, :2] = 0.0, 9.0  # an amplifier settling
    measure("gsr", gsr, PATH)


def test_flat_and_copied_channels_are_named() -> None:
    x = signal()
    x.data[1] = 7.0
    x.data[2] = x.data[0]
    notes = measure("eeg", x, PATH).notes
    assert notes == ("eeg: b flat (constant)", "eeg: c is a copy of a")


def test_clipped_channels_are_named() -> None:
    x = signal()
    limit = 1.5 * x.data[0].std()
    assert not any("clipped" in note for note in measure("eeg", x, PATH).notes)
    np.clip(x.data[0], -limit, limit, out=x.data[0])
    (note,) = measure("eeg", x, PATH).notes
    assert note == "eeg: a clipped: 0.5 % of the samples or more at the amplifier's limit"


def test_a_coarse_converter_clips_nothing() -> None:
    """A slow signal rests at its ends for a while, and at the values beside them as well."""
    slow = signal("gsr", 0.5, 5.0, "uS")
    slow.data[:] = np.round(5 + np.sin(np.arange(slow.data.shape[1]) / 200), 2)
    assert not any("clipped" in note for note in measure("gsr", slow, PATH).notes)


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_mains_hum_is_named_where_it_is_most_of_a_channel(mains: float) -> None:
    x = signal()
    assert x.fs == 128
    t = np.arange(x.data.shape[1]) / x.fs
    x.data[1] += 3 * x.data[1].std() * np.sin(2 * np.pi * mains * t)
    (note,) = measure("eeg", x, PATH).notes
    assert note.startswith("eeg: b full of mains hum, 50 % of the power or more")
    assert f"at {mains:g} Hz" in note
    slow = replace(x, fs=100.0)  # which cannot hold it
    assert not any("hum" in note for note in measure("eeg", slow, PATH).notes)


def test_recordings_that_differ_by_a_factor_of_units() -> None:
    usual = [(f"p{i}/1", looked_at()) for i in range(5)]
    odd = ("p9/1", looked_at(sd=20e3))
    assert scale_notes(usual) == []
    (note,) = scale_notes([*usual, odd])
    assert "the eeg of p9/1 is 1e+03 times too large beside the other" in note
    (note,) = scale_notes([*usual, ("p8/1", looked_at(sd=0.02))])
    assert "p8/1 is 1e+03 times too small" in note


def test_one_line_per_modality_and_group_of_like_recordings() -> None:
    one = measure("eeg", replace(signal(), left_out=("ECG (ecg)", "Status (trigger)")), PATH)
    two = measure("eeg", replace(signal(), fs=256.0), PATH)
    assert signal_lines([("a", one), ("b", one), ("c", two)]) == [
        "eeg: 3 channels (eeg) a b c; uV, median amplitude 20.5; 128 Hz; 2 recordings of 10 s; "
        "left out: ECG (ecg), Status (trigger)",
        "eeg: 3 channels (eeg) a b c; uV, median amplitude 20.5; 256 Hz; 1 recording of 5 s",
    ]
