"""Tangent space of EEG's covariances: its equation, what it can learn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import logm, sqrtm

from clmer.baselines import logistic
from clmer.baselines.tangent import eeg_of, tangent_blocks
from clmer.data.store.store import Modality

pytest.importorskip("pyriemann")


def test_tangent_vectors_are_the_equation() -> None:
    """Around a mean of two covariances, which is known in closed form."""
    from pyriemann.estimation import Covariances
    from scipy import signal

    x = np.random.default_rng(0).standard_normal((2, 3, 512))
    found = tangent_blocks(x, 128.0, np.arange(2))["tangent alpha"]
    sos = signal.butter(4, (8.0, 13.0), "bandpass", fs=128.0, output="sos")
    a, b = Covariances("oas").transform(signal.sosfiltfilt(sos, x, padlen=128))
    root = np.real(sqrtm(a))
    inverse = np.linalg.inv(root)
    mean = root @ np.real(sqrtm(inverse @ b @ inverse)) @ root  # the geodesic's middle
    whiten = np.linalg.inv(np.real(sqrtm(mean)))
    upper = np.triu_indices(3)
    scale = np.where(upper[0] == upper[1], 1.0, np.sqrt(2))
    for row, covariance in zip(found, (a, b), strict=True):
        wanted = np.real(logm(whiten @ covariance @ whiten))[upper] * scale
        np.testing.assert_allclose(np.sort(row), np.sort(wanted), atol=1e-5)


def test_a_correlation_in_one_band_is_learnt() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    time = np.arange(256) / 128
    wave = np.sin(2 * np.pi * 10 * time + rng.uniform(0, 6, (120, 1)))
    x = rng.standard_normal((120, 3, 256))
    x[:, 0] += wave
    x[:, 1] += np.where(y[:, None] == 1, 1, -1) * wave  # the sign alone tells the classes apart
    train = np.arange(90)
    blocks = tangent_blocks(x, 128.0, train)
    fitted = logistic.fit({n: b[train] for n, b in blocks.items()}, y[train], train // 15, 2)
    said = fitted.floor.log_odds({n: b[90:] for n, b in blocks.items()}).argmax(1)
    assert (said == y[90:]).mean() > 0.9


def test_the_modality_with_eeg_is_read() -> None:
    physio = Modality("physio", 3, 128.0, ("a", "b", "c"), kinds=("eeg", "ecg", "eeg"))
    assert eeg_of({"au": Modality("au", 2, 25.0, ("x", "y")), "physio": physio}) == (
        "physio",
        [0, 2],
    )
    with pytest.raises(ValueError, match="two EEG channels"):
        eeg_of({"au": Modality("au", 2, 25.0, ("x", "y"))})
