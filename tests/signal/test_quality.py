"""Clipping and mains hum, against signals whose shares are known."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.signal.quality import clipped_share, hum_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_the_share_of_the_mains_is_that_of_their_power(mains: float) -> None:
    """A sine of amplitude a in white noise of standard deviation s: a^2 / 2 of a^2 / 2 + s^2."""
    fs, t = 500.0, np.arange(500 * 60) / 500.0
    noise = RNG.normal(size=(3, len(t)))
    amplitude = np.array([[0.0], [1.0], [4.0]])
    shares, found = hum_of(noise + amplitude * np.sin(2 * np.pi * mains * t), fs)
    assert found == mains
    power = amplitude[:, 0] ** 2 / 2
    np.testing.assert_allclose(shares, power / (power + 1), atol=0.03)


def test_drift_is_no_power_that_hum_is_measured_by() -> None:
    fs, t = 250.0, np.arange(250 * 30) / 250.0
    x = 2 * np.sin(2 * np.pi * 50 * t) + 0.1 * RNG.normal(size=len(t)) + 100 * t
    shares, _ = hum_of(x[None], fs)
    assert shares[0] > 0.5


def test_what_cannot_be_told_is_none() -> None:
    x = RNG.normal(size=(2, 1000))
    assert not hum_of(x, 100.0)[0].any()  # 50 Hz is beyond what such a rate holds
    assert not hum_of(x[:, :200], 250.0)[0].any()  # shorter than a few seconds


def test_samples_at_a_limit_are_counted() -> None:
    x = RNG.normal(size=5000)
    clipped = np.clip(x, -1.5, 1.5)
    assert clipped_share(clipped) == pytest.approx((np.abs(x) >= 1.5).mean())
    assert clipped_share(np.clip(x, None, 1.5)) == pytest.approx((x >= 1.5).mean())
    assert clipped_share(x) == 0.0


def test_what_rests_at_its_ends_is_not_clipped() -> None:
    assert clipped_share(np.repeat([0.0, 1.0], 500)) == 0.0  # a line of markers
    slow = np.round(np.sin(np.arange(5000) / 300), 2)  # a coarse converter
    assert clipped_share(slow) == 0.0
    assert clipped_share(np.full(100, 3.0)) == 0.0
    assert clipped_share(np.empty(0)) == 0.0
