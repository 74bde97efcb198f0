"""Causal resampling: SciPy's result a little later, the bits of one pass, quiet starts."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.signal import Resampler, resample

RATES = [
    (500, 128),
    (512, 128),
    (256, 128),
    (1000, 128),
    (64, 128),
    (4, 128),
    (600.614990234375, 128),
]


def smooth(fs: float, seconds: float = 12.0, channels: int = 3) -> np.ndarray:
    """Sines that both rates hold with room."""
    t, top = np.arange(round(fs * seconds)) / fs, 0.2 * min(fs, 128)
    hz = top * np.array([0.1, 0.4, 1.0])[:channels, None]
    return np.sin(2 * np.pi * hz * t + hz)


@pytest.mark.parametrize(("fs_in", "fs_out"), RATES)
def test_it_is_the_signal_of_a_delay_before(fs_in, fs_out):
    resampler = Resampler(fs_in, fs_out)
    y = resampler.push(smooth(fs_in))
    assert resampler.delay_s == 4 / min(fs_in, fs_out)
    t = np.arange(y.shape[1]) / fs_out - resampler.delay_s
    top = 0.2 * min(fs_in, 128)
    hz = top * np.array([0.1, 0.4, 1.0])[:, None]
    settled = t > resampler.delay_s
    np.testing.assert_allclose(
        y[:, settled], np.sin(2 * np.pi * hz * t + hz)[:, settled], atol=0.01
    )


@pytest.mark.parametrize(("fs_in", "fs_out"), RATES)
def test_as_many_samples_as_have_come(fs_in, fs_out):
    x = smooth(fs_in)
    assert Resampler(fs_in, fs_out).push(x).shape == resample(x, fs_in, fs_out).shape


@pytest.mark.parametrize(("fs_in", "fs_out"), [*RATES, (128, 128)])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_give_the_bits_of_one_pass(fs_in, fs_out, size):
    x = np.random.default_rng(0).standard_normal((3, 200))
    resampler = Resampler(fs_in, fs_out)
    parts = [resampler.push(x[:, at : at + size]) for at in range(0, x.shape[1], size)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), Resampler(fs_in, fs_out).push(x))
    resampler.reset()
    np.testing.assert_array_equal(resampler.push(x), Resampler(fs_in, fs_out).push(x))


@pytest.mark.parametrize(("fs_in", "fs_out"), RATES)
def test_a_constant_stays(fs_in, fs_out):
    y = Resampler(fs_in, fs_out).push(np.full((2, 400), 4000.0))
    np.testing.assert_allclose(y, 4000.0, rtol=1e-12)


def test_what_the_lower_rate_cannot_hold_is_removed():
    t = np.arange(5000) / 1000
    y = Resampler(1000, 128).push(np.sin(2 * np.pi * 110 * t)[None])
    assert np.abs(y[:, 200:]).max() < 0.01


@pytest.mark.parametrize("rate", [0, -1.0, np.nan, np.inf])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="finite ones > 0"):
        Resampler(rate, 128)


def test_resamplers_of_the_same_rates_share_their_kernel():
    first, second = Resampler(500, 128), Resampler(500, 128)
    assert first._bank is second._bank
    with pytest.raises(ValueError, match="read-only"):
        first._bank[0, 0] = 1.0
