"""The audit of leakage: samples that two recordings share, whatever they are called."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, resample_poly, sosfiltfilt

from clmer.data.duplicates import DuplicateFinder, words_in, words_of
from clmer.signal import resample

FS = 128.0


def audit(*recordings: np.ndarray) -> dict[tuple[str, str], float]:
    copies = DuplicateFinder()
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


def test_noise_in_a_narrow_band_is_no_copy() -> None:
    alpha = butter(2, [8, 13], "band", fs=FS, output="sos")
    noise = np.random.default_rng(0).standard_normal((400, 2000))
    assert audit(*noise) == {}
    assert audit(*sosfiltfilt(alpha, noise)) == {}


def test_turning_points_at_the_same_places_are_no_copy() -> None:
    """Motion in a narrow band turns alike by chance, among thousands of pairs; it is not equal."""
    rng = np.random.default_rng(0)
    turns = np.cumsum(rng.integers(1, 5, 600))

    def heights() -> np.ndarray:
        up = np.where(np.arange(600) % 2, 1.0, -1.0)
        return np.asarray(up * rng.uniform(0.5, 2.0, 600))

    x, other = (np.interp(np.arange(turns[-1]), turns, heights()) for _ in range(2))
    assert audit(x, other) == {}
    assert [*audit(x, -3 * x + 1)] == [("0", "1")]


def slow(seed: int, samples: int = 160, fs: float = 4.0) -> np.ndarray:
    """Skin conductance in uS: it turns every few seconds."""
    steps = np.random.default_rng(seed).standard_normal(samples).cumsum()
    return 5 + 0.05 * np.asarray(sosfiltfilt(butter(2, 0.2, fs=fs, output="sos"), steps))


def test_a_slow_signal_s_copy_in_another_unit() -> None:
    x = slow(0)
    assert list(audit(x, slow(1), np.float32(x / 1000), slow(2))) == [("0", "2")]
    t = np.linspace(0, 40, 160)
    drift, steps = 1e-3 * t**2, np.floor(t / 4) % 3
    assert audit(drift, drift, steps, steps) == {}  # anybody's
    for rate in (0.05, 0.1, 0.23, 0.25, 0.4):
        breath = np.sin(2 * np.pi * rate * t + 1)
        assert audit(breath, breath) == {}


@pytest.mark.parametrize("fs", [128.0, 500.0])
def test_a_copy_at_another_rate_is_known_by_what_is_prepared(fs: float) -> None:
    band = butter(4, [4, 45], "band", fs=FS, output="sos")
    found = pink(60, 3, fs)
    copy = resample_poly(found, 2, 1)
    prepared = [
        sosfiltfilt(band, resample(x[None], rate, FS)[0])
        for x, rate in ((found, fs), (pink(60, 4, fs), fs), (copy, 2 * fs))
    ]
    assert list(audit(*prepared)) == [("0", "2")]


def test_channels_in_another_order_or_dead() -> None:
    names = ("Fp1", "EEG Cz", "O2-REF")
    x = np.stack([pink(30, seed) for seed in (5, 6, 7)])
    dead = np.where(np.arange(3)[:, None] == 0, 0.0, x)
    other = np.stack([pink(30, seed) for seed in (8, 9, 10)])
    copies = DuplicateFinder()
    for name, channels, data in (
        ("a", names, x),
        ("b", names[::-1], x[::-1]),
        ("c", names, dead),
        ("d", names, other),
    ):
        for channel, words in words_in(channels, [(0.0, data)], FS, (0.0, np.inf)).items():
            copies.add(name, "eeg", *words, channel)
    assert {(p.one, p.other) for p in copies.shared()} == {("a", "b"), ("a", "c"), ("b", "c")}


def test_what_lies_outside_the_windows_is_not_compared() -> None:
    x = pink(60, 11)[None]
    copies = DuplicateFinder()
    for name, start_s, span in (("a", 0.0, (0.0, 20.0)), ("b", -20.0, (0.0, 20.0))):
        (words,) = words_in(["Cz"], [(start_s, x)], FS, span).values()
        copies.add(name, "eeg", *words)
    assert copies.shared() == []
