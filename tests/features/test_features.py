"""`window_features`: which features by type of channel, their names, what is not known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import clmer.features
from clmer.data.store.store import Modality
from clmer.features import feature_blocks, feature_names, is_missing, window_features
from clmer.features.covariance import correlations, log_covariance
from clmer.features.skin import skin_conductance

FS = 128.0


def modality(name: str, channels: int, *kinds: str, fs: float = FS) -> Modality:
    return Modality(name, channels, fs, tuple(f"c{i}" for i in range(channels)), kinds)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def column(x: np.ndarray, of: Modality, name: str) -> np.ndarray:
    return np.asarray(window_features(x, of)[:, feature_names(of, x.shape[-1]).index(name)])


@pytest.mark.parametrize(
    ("of", "samples"),
    [
        (modality("eeg", 4), 256),
        (modality("headset", 3, "eeg", "ecg", "gsr"), 640),
        (modality("physio", 5, "eog", "emg", "resp", "ppg", "temp"), 256),
        (modality("wrist", 3, "acc", "acc", "acc", fs=50.0), 128),
        (modality("landmarks", 204, fs=25.0), 25),
        (modality("mobilevit", 4), 6),
        (modality("x", 1), 20),
    ],
)
def test_every_column_has_a_name_of_its_own(of: Modality, samples: int) -> None:
    found = window_features(noise(3, len(of.channels), samples), of)
    names = feature_names(of, samples)
    assert found.shape == (3, len(names))
    assert len(set(names)) == len(names)
    assert found.dtype == np.float64


def test_a_window_depends_on_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    of, x = modality("physio", 4, "eeg", "ecg", "gsr", "acc"), noise(7, 4, 640)
    whole = window_features(x, of)
    monkeypatch.setattr(clmer.features, "CHUNK", 3)
    np.testing.assert_allclose(window_features(x, of), whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(window_features(x[4:5], of), whole[4:5], rtol=1e-9, atol=1e-12)


def test_motion_has_its_moments_spectrum_and_correlations() -> None:
    of = modality("body", 2, "acc", "acc", fs=50.0)
    t = np.arange(128) / 50
    x = np.stack([np.sin(2 * np.pi * 2 * t), 3 - np.sin(2 * np.pi * 2 * t)])[None]
    assert column(x, of, "c1 mean")[0] == pytest.approx(3, abs=0.05)
    assert column(x, of, "c0 max")[0] == pytest.approx(1, abs=0.01)
    assert column(x, of, "acc correlation 1-2")[0] == pytest.approx(-1, abs=1e-6)
    names = [n for n in feature_names(of, 128) if n.startswith("c0 log power")]
    assert names[np.argmax([column(x, of, n)[0] for n in names])] == "c0 log power 1.6-2.4 Hz"


def test_correlations_know_flat_channels_and_their_limit() -> None:
    x = noise(2, 3, 64).astype(np.float64)
    x[:, 1] = 5.0
    ((names, found),) = correlations(x).items()
    assert names == ("correlation 1-2", "correlation 1-3", "correlation 2-3")
    assert (found[:, 0] == 0).all()
    assert found[0, 1] == pytest.approx(np.corrcoef(x[0, 0], x[0, 2])[0, 1])
    assert correlations(noise(2, 41, 8)) == {} == correlations(noise(2, 1, 8))


def test_log_covariance_is_the_matrix_logarithm() -> None:
    x = noise(3, 4, 400).astype(np.float64)
    found = np.hstack([*log_covariance(x).values()])
    covariance = np.cov(x[1], bias=True)
    covariance += 1e-3 * np.trace(covariance) / 4 * np.eye(4)
    expected = scipy.linalg.logm(covariance)
    i, j = np.triu_indices(4)
    scale = np.where(i == j, 1, np.sqrt(2))
    np.testing.assert_allclose(found[1], expected[i, j] * scale, atol=1e-9)
    low_rank = np.repeat(x[:, :1], 4, axis=1)
    assert all(np.isfinite(part).all() for part in log_covariance(low_rank).values())


def test_blocks_side_by_side_are_the_features() -> None:
    of, x = modality("physio", 5, "eeg", "eeg", "ecg", "acc", "eeg"), noise(3, 5, 640)
    blocks = feature_blocks(x, of)
    assert [*blocks] == ["eeg", "eeg covariance", "ecg", "acc"]
    np.testing.assert_array_equal(np.hstack([*blocks.values()]), window_features(x, of))


def test_skin_responses_are_counted() -> None:
    t = np.arange(round(30 * FS)) / FS
    x = 0.01 * t + sum(np.exp(-0.5 * ((t - at) / 0.7) ** 2) for at in (5, 12, 21))
    found = skin_conductance(x[None, None], FS)
    assert found["responses per minute"][0, 0] == pytest.approx(6, rel=0.05)
    assert found["response height"][0, 0] == pytest.approx(1, rel=0.1)
    rising = skin_conductance((0.01 * t)[None, None], FS)
    assert rising["slope"][0, 0] == pytest.approx(0.01)
    assert rising["responses per minute"][0, 0] == 0


def test_a_short_window_is_its_own_features() -> None:
    x = noise(3, 2, 5)
    np.testing.assert_array_equal(window_features(x, modality("x", 2)), x.reshape(3, -1))


def test_a_missing_signal_is_not_known() -> None:
    x = noise(4, 2, 256)
    x[1], x[2] = 0, 7
    eeg, other, face = modality("eeg", 2), modality("other", 2), modality("au", 2)
    assert is_missing(x, eeg).tolist() == [False, True, True, False]
    assert is_missing(x, other).tolist() == [False, True, False, False]
    assert not is_missing(x, face).any()
    assert np.isnan(window_features(x, eeg)).all(1).tolist() == [False, True, True, False]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'eeg': expected \[N, 2, T\] windows, found \(3, 4"):
        window_features(noise(3, 4, 64), modality("eeg", 2))
