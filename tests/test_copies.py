"""The audit of leakage: samples that two recordings share, whatever they are called."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.data.copies import Copies, words_of

FS = 128.0


def audit(*recordings: np.ndarray) -> dict[tuple[str, str], float]:
    copies = Copies()
    for number, x in enumerate(recordings):
        copies.add(str(number), "eeg", words_of(x), FS)
    return {(pair.one, pair.other): pair.seconds for pair in copies.shared()}


def pink(seconds: float, seed: int, fs: float = FS) -> np.ndarray:
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(seconds * fs)))
    return np.fft.irfft(white / np.sqrt(np.arange(1, len(white) + 1)), round(seconds * fs)) * 1e3


@pytest.mark.parametrize("seconds", [4, 60, 1200])
def test_the_same_samples_in_another_unit_with_an_offset_and_rounded(seconds: float) -> None:
    x = pink(seconds, 0)
    found = audit(x, pink(seconds, 1), np.float32(x * 1e-6 + 1e-3))
    assert list(found) == [("0", "2")]
    assert found["0", "2"] == pytest.approx(seconds, rel=0.35)


def test_trials_that_overlap() -> None:
    x = pink(120, 2)
    at = lambda a, b: x[round(a * FS) : round(b * FS)]  # noqa: E731
    found = audit(at(0, 30), at(20.01, 50), at(50, 80), at(79.98, 110))
    assert list(found) == [("0", "1")]
    assert found["0", "1"] == pytest.approx(10, rel=0.4)


def test_other_recordings_of_one_rhythm_share_nothing() -> None:
    t = np.arange(7680) / FS
    alpha = [20 * np.sin(2 * np.pi * 10 * t + k) + pink(60, k) / 100 for k in range(20)]
    assert audit(*alpha) == {}
    flat, drift = np.zeros(7680), np.arange(7680.0)
    assert audit(flat, flat, drift, drift, np.sign(np.sin(t)), np.sign(np.sin(t))) == {}
    assert audit(np.zeros(3), np.zeros(0)) == {}
