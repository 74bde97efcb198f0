"""The plain features: of known sinusoids and beats, by the type of each channel."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.data.store.store import Modality
from clmer.features import classic
from clmer.features.bands import band_power
from clmer.features.beats import rr_intervals
from clmer.features.classic import classic_features
from clmer.pipeline.window_features import band_powers

FS = 128.0


def tone(frequency: float, seconds: float = 4.0, amplitude: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * FS)) / FS + 0.3)


def beats(rate: float, seconds: float = 5.0, flip: bool = False) -> np.ndarray:
    """An ECG-like train of narrow R waves with slow T waves, `rate` beats a minute."""
    t = np.arange(round(seconds * FS)) / FS
    x = np.zeros_like(t)
    for at in np.arange(0.4, seconds, 60 / rate):
        x += np.exp(-0.5 * ((t - at) / 0.012) ** 2)
        x += 0.25 * np.exp(-0.5 * ((t - at - 0.25) / 0.05) ** 2)
    return -x if flip else x


def test_band_power_finds_the_band_and_its_power() -> None:
    tones = (2, 6, 10, 20, 37)
    x = np.stack([tone(f, amplitude=3.0) for f in tones])[:, None]  # [5, 1, T]
    f = classic_features(x, FS, "eeg")
    assert f.shape == (5, 5)
    assert f.argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    # A sine of amplitude A holds A^2 / 2.
    np.testing.assert_allclose(10 ** np.diag(f), 4.5, rtol=0.05)


def test_bands_are_clipped_to_what_preparation_kept() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 512))
    full = classic_features(x, FS, "eeg").reshape(3, 2, 5)
    kept = classic_features(x, FS, "eeg", band=(4.0, 45.0)).reshape(3, 2, 4)
    np.testing.assert_allclose(kept, full[:, :, 1:], rtol=1e-12)
    # 1-s windows resolve 1 Hz; a silent channel stays finite.
    short = classic_features(np.zeros((2, 3, 128)), FS, "eeg", band=(1.0, 45.0))
    assert short.shape == (2, 15)
    assert np.isfinite(short).all()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(7, 2, 256)).astype(np.float32)
    whole = classic_features(x, FS, "eeg")
    monkeypatch.setattr(classic, "CHUNK", 3)
    np.testing.assert_allclose(classic_features(x, FS, "eeg"), whole, rtol=1e-12)


@pytest.mark.parametrize("rate", [50, 72, 110, 150])
@pytest.mark.parametrize("flip", [False, True])
def test_heart_rate_of_known_beats(rate: float, flip: bool) -> None:
    x = beats(rate, flip=flip) + 0.02 * np.random.default_rng(0).normal(size=640)
    mean, sd, bpm, flag = classic_features(x[None, None], FS, "ecg")[0]
    assert bpm == pytest.approx(rate, rel=0.02)
    assert mean == pytest.approx(60 / rate, rel=0.02)
    assert sd < 0.005  # less than a sample
    assert flag == 0


def test_successive_differences_of_alternating_intervals() -> None:
    t, x = np.arange(round(10 * FS)) / FS, np.zeros(round(10 * FS))
    for at in np.cumsum([0.5, *[0.8, 0.9] * 5]):
        x += np.exp(-0.5 * ((t - at) / 0.012) ** 2)
    assert rr_intervals(x[None], FS)[0, 4] == pytest.approx(0.1, rel=0.05)
    assert np.isnan(rr_intervals(x[None, : round(1.6 * FS)], FS)[0, 4])  # one interval


def test_windows_without_beats_are_flagged() -> None:
    x = np.stack([np.zeros(640), beats(6.0)])[:, None]  # nothing; one beat
    f = classic_features(x, FS, "ecg")
    assert (f[:, 3] == 1).all()
    assert np.isnan(f[:, :3]).all()
    short = classic_features(np.zeros((2, 1, 32)), FS, "ecg")
    assert (short[:, 3] == 1).all()


def test_faces_get_mean_and_sd_of_each_row() -> None:
    x = np.random.default_rng(0).normal(size=(4, 204, 25))
    f = classic_features(x, 25.0, "landmarks")
    assert f.shape == (4, 408)
    np.testing.assert_allclose(f[2, 5], x[2, 5].mean())
    np.testing.assert_allclose(f[2, 204 + 5], x[2, 5].std())


def test_physio_treats_each_channel_by_its_kind() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 640))
    kinds = ("eeg", "gsr", "eeg", "ecg")
    f = classic_features(x, FS, "physio", kinds=kinds)
    assert f.shape == (3, 2 * 5 + 2 + 4)
    np.testing.assert_array_equal(f[:, :10], classic_features(x[:, [0, 2]], FS, "eeg"))
    assert classic_features(x, FS, "physio").shape == (3, 4 * 7)
    with pytest.raises(ValueError, match="2 kinds for 4 channels"):
        classic_features(x, FS, "physio", kinds=("eeg", "ecg"))


def test_a_modality_of_any_name_is_read_by_its_kinds() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 640)).astype(np.float32)

    def powers(name: str, *kinds: str) -> np.ndarray:
        return band_powers(Modality(name, 4, FS, tuple("abcd"), kinds), x, (4.0, 45.0))

    eeg = powers("eeg", *["eeg"] * 4)
    assert eeg.shape == (3, 4 * 4)  # 4 to 45 Hz
    np.testing.assert_array_equal(powers("headset", *["eeg"] * 4), eeg)
    assert powers("headset", "eeg", "ecg", "gsr", "eeg").shape == (3, 2 * 4 + 4 + 2)
    assert powers("physio", *["eeg"] * 4).shape == (3, 4 * 6)
    assert powers("landmarks").shape == (3, 8)


def test_a_window_of_a_sample_has_no_bands_but_zero_power() -> None:
    powers = band_power(np.ones((2, 3, 1)), FS)
    assert len(powers) == 5
    assert all(part.shape == (2, 3) for part in powers.values())
