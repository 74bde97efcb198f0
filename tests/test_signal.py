import warnings

import numpy as np
import pytest
import scipy.signal

from clmer import signal

SOS = signal.butter_bandpass(4, 45, 128)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_sosfilt_is_scipys(dtype, axis):
    rng = np.random.default_rng(0)
    x = (100 * rng.standard_normal((40, 50, 30))).astype(dtype)
    got, want = signal.sosfilt(SOS, x, axis), scipy.signal.sosfilt(SOS, x, axis)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    shape = list(x.shape)
    shape[axis] = 2
    zi = rng.standard_normal((4, *shape))
    got, got_zf = signal.sosfilt(SOS, x, axis, zi)
    want, want_zf = scipy.signal.sosfilt(SOS, x, axis, zi)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got_zf, want_zf, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
@pytest.mark.parametrize("axis", [0, 1])
def test_sosfiltfilt_is_scipys(padtype, axis):
    x = np.random.default_rng(0).standard_normal((90, 70))
    got = signal.sosfiltfilt(SOS, x, axis, padtype)
    np.testing.assert_allclose(
        got, scipy.signal.sosfiltfilt(SOS, x, axis, padtype), rtol=1e-9, atol=1e-12
    )


def test_malformed_input_has_scipys_words():
    with pytest.raises(ValueError, match="should be all ones"):
        signal.sosfilt(2 * SOS, np.zeros(9))
    with pytest.raises(ValueError, match="Invalid zi shape"):
        signal.sosfilt(SOS, np.zeros(9), zi=np.zeros((4, 3)))
    with pytest.raises(ValueError, match="greater than padlen"):
        signal.sosfiltfilt(SOS, np.zeros(9))
    with pytest.raises(ValueError, match="0 < low < high < 64"):
        signal.butter_bandpass(45, 4, 128)


def test_push_equals_one_pass_and_an_offset_makes_no_transient():
    x = np.random.default_rng(0).standard_normal((14, 1000)).astype(np.float32) + 4200
    whole = signal.Bandpass(4, 45, 128)
    stream = signal.Bandpass(4, 45, 128)
    y = whole.push(x)
    chunks = [stream.push(part) for part in np.split(x, [1, 9, 17, 500], axis=1)]
    np.testing.assert_array_equal(np.concatenate(chunks, 1), y)
    assert np.abs(y).max() < 10
    stream.reset()
    np.testing.assert_array_equal(stream.push(x), y)
    with pytest.raises(ValueError, match=r"expected \[14, n\]"):
        stream.push(x[:3])


def test_notch_removes_mains_and_harmonics():
    t = np.arange(5120) / 512
    x = np.sin(2 * np.pi * 50 * t) + np.sin(2 * np.pi * 100 * t) + np.sin(2 * np.pi * 10 * t)
    y = signal.Notch(50, 512, harmonics=2).push(x[None])[0, 2560:]
    assert np.abs(y - np.sin(2 * np.pi * 10 * t)[2560:]).max() < 0.05


def test_resample_keeps_a_tone_and_removes_what_would_alias():
    t = np.arange(5000) / 500
    tone, alias = np.sin(2 * np.pi * 10 * t), np.sin(2 * np.pi * 118 * t)
    y = signal.resample(tone + alias, 500, 128)
    assert y.shape == (1280,)
    want = np.sin(2 * np.pi * 10 * np.arange(1280) / 128)
    assert np.abs(y - want)[64:-64].max() < 0.02
    with pytest.raises(ValueError, match="round the rates"):
        signal.resample(tone, 499.9871, 128)


def test_arrays_that_torch_does_not_take():
    x = np.random.default_rng(0).standard_normal((3, 90))
    want, streamed = scipy.signal.sosfilt(SOS, x), signal.Bandpass(4, 45, 128).push(x)
    frozen, sos = x.copy(), SOS.copy()
    frozen.setflags(write=False)
    sos.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(signal.sosfilt(sos, frozen), want, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(signal.Bandpass(4, 45, 128).push(frozen), streamed)
    y = signal.Bandpass(4, 45, 128).push(x.astype(">f8"))
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, streamed)


@pytest.mark.parametrize(
    ("chunk", "message"),
    [(3.0, r"expected \[C, n\]"), (np.ones(4), r"expected \[C, n\]"), (1j * SOS, "complex128")],
)
def test_chunks_that_are_refused(chunk, message):
    with pytest.raises(ValueError, match=message):
        signal.Bandpass(4, 45, 128).push(chunk)
