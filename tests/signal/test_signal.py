import math
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.signal
import torch

from clmer import signal
from clmer.signal import design, passes

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
    with pytest.raises(ValueError, match="expected one near a fraction of terms up to"):
        signal.resample(tone, 500, 1e-4)


@pytest.mark.parametrize("fs", [51.2, 204.8, 600.614990234375, 1e6 / 3906, 1e6 / 7813, 499.9871])
def test_resample_from_a_clock_that_is_no_round_number(fs):
    t = np.arange(round(20 * fs)) / fs
    y = signal.resample(np.sin(2 * np.pi * 9 * t), fs, 128)
    want = np.sin(2 * np.pi * 9 * np.arange(len(y)) / 128)
    assert abs(len(y) - 2560) <= 1
    assert np.abs(y - want)[128:-128].max() < 0.02  # no drift by the end


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


# --- beyond SciPy's own tests -------------------------------------------------------------------
def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def strided(x):
    """The same values behind other strides: reversed, every second, read in another order."""
    yield np.asfortranarray(x)
    yield np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1]
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    yield wide[..., ::2]
    yield np.ascontiguousarray(np.moveaxis(x, 1, 0)).swapaxes(0, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
@pytest.mark.parametrize("shape", [(3, 5, 41), (2, 13, 8), (1, 4, 129), (6, 1, 0), (2, 0, 9)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_layout_gives_the_same_bits(simd_level, dtype, shape, axis):
    x = (1000 * noise(*shape)).astype(dtype)
    want = signal.sosfilt(SOS, x, axis)
    assert want.shape == x.shape
    for view in strided(x):
        np.testing.assert_array_equal(signal.sosfilt(SOS, view, axis), want)
    if 0 in shape:
        return
    zero_phase = signal.sosfiltfilt(SOS, x, axis, "odd", 0)
    plain = scipy.signal.sosfiltfilt(SOS, x, axis, "odd", 0)
    np.testing.assert_allclose(zero_phase, plain, rtol=0, atol=1e-9 * np.abs(x).max())
    for view in strided(x):
        np.testing.assert_array_equal(signal.sosfiltfilt(SOS, view, axis, "odd", 0), zero_phase)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 127, 129, 131])
@pytest.mark.parametrize("time", [1, 2, 3, 5, 17, 67, 131])
def test_tiles_ends(simd_level, rows, time):
    """Each channel alone gives the bits that it gives among others, in either order of memory."""
    x = noise(rows, time, seed=rows)
    alone = np.stack([signal.sosfilt(SOS, row) for row in x])
    np.testing.assert_array_equal(signal.sosfilt(SOS, x), alone)
    np.testing.assert_array_equal(signal.sosfilt(SOS, np.ascontiguousarray(x.T), 0).T, alone)
    y = x.copy()
    assert signal.sosfilt(SOS, y, out=y) is y
    np.testing.assert_array_equal(y, alone)


@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
@pytest.mark.parametrize("padlen", [None, 0, 1, 40, "ringing"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.complex128])
def test_zero_phase_and_its_ends(simd_level, padtype, padlen, dtype):
    x = 100 * noise(3, 71)
    x = x + 1j * noise(3, 71, seed=1) if dtype is np.complex128 else x.astype(dtype)
    ours = signal.sosfiltfilt(SOS, x, -1, padtype, padlen)
    taken = 70 if padlen == "ringing" else padlen
    plain = scipy.signal.sosfiltfilt(SOS, x, -1, padtype, taken)
    assert ours.dtype == plain.dtype
    # SciPy extends float32 in float32, we do in float64
    bound = 1e-9 if dtype is not np.float32 or padtype != "odd" else 4 * np.finfo(np.float32).eps
    np.testing.assert_allclose(ours, plain, rtol=0, atol=bound * np.abs(x).max())
    if padtype is not None and padlen is None:
        with pytest.raises(ValueError, match="greater than padlen, which is 27"):
            signal.sosfiltfilt(SOS, x[:, :27], -1, padtype)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.longdouble, np.clongdouble])
def test_dtypes_that_scipy_takes(dtype):
    x = noise(2, 3, 60).astype(dtype)
    if x.dtype.kind == "c":
        x += 1j * noise(2, 3, 60, seed=1)
    zi = np.ones((4, 2, 2, 60))
    for sos in (SOS, SOS.astype(np.float32), SOS.astype(complex)):
        for axis, own in ((-1, None), (1, zi)):
            ours = signal.sosfilt(sos, x, axis, own)
            plain = scipy.signal.sosfilt(sos, x, axis, own)
            pairs = [(ours, plain)] if own is None else list(zip(ours, plain, strict=True))
            for got, want in pairs:
                assert got.dtype == want.dtype
                np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)
        both = signal.sosfiltfilt(sos, x)
        assert both.dtype == scipy.signal.sosfiltfilt(sos, x).dtype


def test_scale_and_out():
    counts = (3000 * noise(6, 500)).astype(np.int16)
    want = signal.sosfilt(SOS, counts * 0.3)
    np.testing.assert_array_equal(signal.sosfilt(SOS, counts, scale=0.3), want)
    y = np.zeros((500, 6)).T
    assert signal.sosfilt(SOS, counts, scale=0.3, out=y) is y
    np.testing.assert_array_equal(y, want)
    x = noise(4, 80)
    for out, message in (
        (np.zeros((4, 81)), r"found \(4, 81\) float64"),
        (np.zeros((4, 80), np.float32), "float32, expected an array"),
        ([0.0], "found <class 'list'>"),
        (x[::-1], "overlaps x"),
        (np.broadcast_to(0.0, (4, 80)), "read-only"),
    ):
        with pytest.raises(ValueError, match=message):
            signal.sosfilt(SOS, x, out=out)


@pytest.mark.parametrize("shape", [(6, 500), (3, 30000)])  # in one pass, and in blocks of time
def test_zero_phase_into_an_array_rounds_once(simd_level, shape):
    x = noise(*shape)
    want = signal.sosfiltfilt(SOS, x)
    narrow = np.full(shape, np.nan, np.float32)
    assert signal.sosfiltfilt(SOS, x, out=narrow) is narrow
    np.testing.assert_array_equal(narrow, want.astype(np.float32))
    own = x.copy()
    assert signal.sosfiltfilt(SOS, own, out=own) is own
    np.testing.assert_array_equal(own, want)
    for out, message in ((np.zeros(shape, np.int32), "int32, expected"), (x[::-1], "overlaps x")):
        with pytest.raises(ValueError, match=message):
            signal.sosfiltfilt(SOS, x, out=out)


def test_a_thread_may_have_its_own_number_of_threads():
    before = passes.thread_count()
    with passes.threads_of_a_pass(before + 1):
        assert passes.thread_count() == before + 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(passes.thread_count).result() == before
    assert passes.thread_count() == before


@pytest.mark.parametrize(
    "sos",
    [
        np.full((2, 6), np.nan),
        2 * SOS,
        SOS[:, :5],
        SOS[None],
        np.ones((1, 6)) * [1, 1, 1, 0, 1, 1],
    ],
)
def test_malformed_sections_get_scipys_error(sos):
    for ours, plain in ((signal.sosfilt, scipy.signal.sosfilt),
                        (signal.sosfiltfilt, scipy.signal.sosfiltfilt)):  # fmt: skip
        with pytest.raises(ValueError, match="sos") as theirs:
            plain(sos, np.zeros(99))
        with pytest.raises(ValueError, match="sos") as found:
            ours(sos, np.zeros(99))
        assert str(found.value) == str(theirs.value)
    if sos.shape[-1] == 6 and sos.ndim == 2:
        with pytest.raises(ValueError, match="should be all ones"):
            signal.Stream(sos)


def test_other_errors_are_scipys():
    x = np.zeros((3, 50))
    for arguments in (
        (SOS, 3.0),
        (SOS, x, -1, np.zeros((4, 3))),
        (SOS, x, 0, np.zeros((4, 3, 2))),
        (SOS, np.array(["a", "b"])),
        (SOS, x, 2),
    ):
        with pytest.raises((ValueError, NotImplementedError, TypeError, IndexError)) as theirs:
            scipy.signal.sosfilt(*arguments)
        with pytest.raises(type(theirs.value)) as found:
            signal.sosfilt(*arguments)
        assert str(found.value).split(",")[0] == str(theirs.value).split(",")[0]


def test_a_cascade_that_grows_is_followed_like_scipys():
    sos = np.array([[1.0, 0, 0, 1, -2.1, 1.2]])
    x = noise(2, 200)
    plain = scipy.signal.sosfilt(sos, x)
    assert np.abs(plain).max() > 1e8
    np.testing.assert_allclose(signal.sosfilt(sos, x), plain, rtol=1e-9)


def test_one_section_as_a_row_and_sections_beyond_a_pass():
    x = noise(2, 300)
    np.testing.assert_allclose(signal.sosfilt(SOS[0], x), scipy.signal.sosfilt(SOS[0], x))
    sos = np.tile(signal.butter_bandpass(None, 60, 128, 1), (70, 1))
    for function in ("sosfilt", "sosfiltfilt"):
        ours, plain = (getattr(m, function)(sos, x) for m in (signal, scipy.signal))
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-9 * np.abs(plain).max())


@pytest.mark.parametrize(
    "edges", [(4, 45, 128), (0.1, 45, 512), (None, 30, 256), (0.5, None, 128), (1, 45, 500)]
)
def test_steady_states_and_ringing(edges):
    from mne.filter import estimate_ringing_samples

    sos = signal.butter_bandpass(*edges)
    zi = scipy.signal.sosfilt_zi(sos)
    np.testing.assert_allclose(design.steady_state(sos), zi, rtol=1e-9, atol=1e-9 * abs(zi).max())
    assert design.ringing_samples(sos) == estimate_ringing_samples(sos)


def test_ringing_that_does_not_end_is_warned_of():
    with pytest.warns(UserWarning, match="still rings after 3000 samples"):
        assert design.ringing_samples(np.array([[1.0, 0, 0, 1, -2, 1]]), 3000) == 3000


# --- blocks of time -----------------------------------------------------------------------------
def test_what_is_cut_into_blocks():
    assert passes.block_count(SOS, 1, 1_000_000)[0] == 64
    assert passes.block_count(SOS, 4, 1_000_000)[0] == 16
    for rows, time in ((17, 1_000_000), (4, 10_000), (0, 1_000_000), (1, 0)):
        assert passes.block_count(SOS, rows, time) == (1, 0)
    unstable = np.array([[1.0, 0, 0, 1, -2.1, 1.2]])
    integrator = np.array([[1.0, 0, 0, 1, -1, 0]])
    for sos in (unstable, integrator, np.full((1, 6), np.nan)):
        assert passes.block_count(sos, 1, 1_000_000) == (1, 0)


@pytest.mark.parametrize("shape", [(100_003,), (1, 70_001), (4, 50_021), (2, 3, 40_009)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.complex64])
def test_blocks_are_one_pass_within_rounding(simd_level, shape, dtype):
    x = (300 * noise(*shape) + 4200).astype(dtype)
    assert passes.block_count(SOS, math.prod(shape[:-1]), shape[-1])[0] > 1
    sos = SOS.astype(np.finfo(dtype).dtype if dtype != np.int16 else np.float64)
    y = signal.sosfilt(sos, x, scale=0.5)
    zi = np.zeros((4, *shape[:-1], 2), sos.dtype)
    want, _ = signal.sosfilt(sos, x, -1, zi, scale=0.5)
    assert y.dtype == want.dtype
    bound = 8 * np.finfo(sos.dtype).eps * np.abs(want).max()
    np.testing.assert_allclose(y, want, rtol=0, atol=bound)
    moved = signal.sosfilt(sos, np.moveaxis(x, -1, 0), 0, scale=0.5)
    np.testing.assert_array_equal(np.moveaxis(moved, 0, -1), y)
    if dtype in (np.float32, np.float64):
        own = x.copy()
        np.testing.assert_array_equal(signal.sosfilt(sos, own, scale=0.5, out=own), y)


@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
def test_zero_phase_in_blocks(padtype):
    x = noise(2, 60_013) + 4200
    plain = scipy.signal.sosfiltfilt(SOS, x, -1, padtype, 500)
    ours = signal.sosfiltfilt(SOS, x, -1, padtype, 500)
    np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-10 * np.abs(plain).max())


def test_threads_change_no_bits_in_blocks_either():
    x, before = noise(3, 100_000), torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append((signal.sosfilt(SOS, x), signal.sosfiltfilt(SOS, x)))
    torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 1000, 150_000, 199_999])
def test_what_is_not_finite_stays_across_blocks_of_time(worst, at):
    x = np.random.default_rng(0).standard_normal((2, 200_000))
    x[0, at] = worst
    with np.errstate(invalid="ignore"):
        for ours, theirs in (
            (signal.sosfilt, scipy.signal.sosfilt),
            (signal.sosfiltfilt, scipy.signal.sosfiltfilt),
        ):
            got, want = ours(SOS, x), theirs(SOS, x)
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
            np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-11)


def test_native_byte_order_by_its_other_name():
    """As arrays out of `scipy.io.loadmat` have it."""
    x = np.random.default_rng(0).standard_normal((3, 500))
    named = x.view(np.dtype("f8").newbyteorder("<" if sys.byteorder == "little" else ">"))
    assert named.dtype.byteorder != x.dtype.byteorder
    np.testing.assert_array_equal(signal.sosfiltfilt(SOS, named), signal.sosfiltfilt(SOS, x))
    np.testing.assert_array_equal(signal.sosfilt(SOS, named), signal.sosfilt(SOS, x))
    other = x.astype(x.dtype.newbyteorder())
    np.testing.assert_array_equal(signal.sosfiltfilt(SOS, other), signal.sosfiltfilt(SOS, x))
    streams = [signal.Stream(SOS), signal.Stream(SOS)]
    for part in (slice(0, 100), slice(100, 500)):
        got = streams[0].push(named[:, part]), streams[1].push(x[:, part])
        np.testing.assert_array_equal(*got)


def equal_sections(count, radius):
    return np.array([[(1 - radius) ** 2, 0, 0, 1, -2 * radius, radius**2]] * count)


@pytest.mark.parametrize(("count", "radius"), [(1, 0.95), (24, 0.95), (64, 0.95), (64, 0.5)])
def test_blocks_of_equal_sections(count, radius):
    sos = equal_sections(count, radius)
    x = noise(200_000) * 10 + 4200
    assert passes.block_count(sos, 1, x.size)[0] > 1
    want = scipy.signal.sosfilt(sos, x)
    np.testing.assert_allclose(signal.sosfilt(sos, x), want, rtol=0, atol=2e-12 * want.max())
    both = scipy.signal.sosfiltfilt(sos, x)
    ours = signal.sosfiltfilt(sos, x)
    np.testing.assert_allclose(ours, both, rtol=0, atol=2e-11 * np.abs(both).max())


@pytest.mark.parametrize(
    "sos",
    [
        signal.butter_bandpass(1, 45, 500),
        np.vstack([signal.butter_bandpass(4, 45, 128)] * 5),
        equal_sections(32, 0.9),
        np.vstack([[[1.0, 0, 0, 1, 0, 0]], signal.notch(50, 500)]),  # a mere gain in front
        # the second section's zero hides from y what the first holds for long
        np.array([[1.0, 0, 0, 1, -0.999, 0], [1, -0.999, 0, 1, -0.5, 0]]),
    ],
)
def test_a_run_in_outlasts_the_impulse_response(sos):
    run_in = passes.forgetting_samples(np.ascontiguousarray(sos).tobytes(), 1 << 20)
    h, slowest = np.zeros(8 * int(run_in)), 0
    h[0] = 1
    for section in sos:
        h = scipy.signal.sosfilt(section[None], h)
        h /= np.abs(h).max()
        left = np.abs(h[::-1]).cumsum()[::-1]
        slowest = max(slowest, int((left > np.exp(-90)).sum()))
    assert slowest <= run_in <= 1.2 * slowest + 4


def test_what_is_never_forgotten_is_filtered_in_one_pass():
    slow = signal.butter_bandpass(0.01, 40, 1000)
    hidden = np.array([[1.0, 0, 0, 1, -1, 0], [1, -1, 0, 1, -0.5, 0]])
    for sos in (slow, hidden, equal_sections(64, 0.9999)):
        assert passes.block_count(sos, 1, 1_000_000) == (1, 0)


@pytest.mark.parametrize(
    "section",
    [[1.0, 0, 0, 1, -1, 0], [1, 0, 0, 1, -2, 1], [1, 0.5, 0, 1, -2.1, 1.2], [1, 0, 0, 1, 0, 1]],
)
def test_poles_on_and_beyond_the_unit_circle(section):
    sos, x = np.array([section]), noise(3, 70_000)
    with np.errstate(all="ignore"):
        want = scipy.signal.sosfilt(sos, x)
        y = signal.sosfilt(sos, x)
    before = np.isfinite(want) & np.isfinite(y)
    assert (np.isfinite(want) == before).mean() > 0.999
    size = np.maximum.accumulate(np.abs(np.where(before, want, 0)), -1)
    np.testing.assert_array_less(np.abs(y - want)[before], (1e-9 * size + 1e-9)[before])


def test_a_pole_at_one_has_no_steady_state():
    for sos in (np.array([[1.0, 0, 0, 1, -1, 0]]), np.array([[1.0, 0, 0, 1, -2, 1]])):
        with pytest.raises(np.linalg.LinAlgError):
            scipy.signal.sosfiltfilt(sos, noise(2, 300))
        for call in (
            lambda sos=sos: signal.sosfiltfilt(sos, noise(2, 300)),
            lambda sos=sos: signal.Stream(sos),
        ):
            with pytest.raises(np.linalg.LinAlgError, match="pole at z = 1 in section 0"):
                call()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float16, np.float32, float])
def test_designers_take_any_number(kind):
    want = signal.notch(50, 1000, harmonics=6)
    np.testing.assert_array_equal(signal.notch(kind(50), 1000, kind(30), np.uint8(6)), want)
    np.testing.assert_array_equal(signal.notch(kind(50), np.int16(1000), harmonics=6), want)
    want = signal.butter_bandpass(4, 45, 128)
    np.testing.assert_array_equal(signal.butter_bandpass(kind(4), kind(45), np.uint8(128)), want)
    x = noise(600)
    want = signal.resample(x, 100, 64)
    np.testing.assert_array_equal(signal.resample(x, kind(100), np.array(kind(64))), want)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: signal.notch(50, 500, q=0), "found q 0.0, expected a finite number > 0"),
        (lambda: signal.notch(50, 500, q=-3), "found q -3.0"),
        (lambda: signal.notch(50, 500, q=np.nan), "found q nan"),
        (lambda: signal.notch(50, 500, q=np.inf), "found q inf"),
        (lambda: signal.Notch(50, 500, q=-3), "found q -3.0"),
        (lambda: signal.notch(np.nan, 500), "found freq nan"),
        (lambda: signal.butter_bandpass(1, 45, 500, order=0), "found order 0, expected 1 or more"),
        (lambda: signal.Bandpass(1, 45, 500, order=-1), "found order -1"),
        (lambda: signal.butter_bandpass(1, np.nan, 500), "high nan"),
        (lambda: signal.resample(np.ones(9), np.inf, 5), "found rates inf"),
        (lambda: signal.resample(np.ones(9), 5, np.nan), "found rates 5.0 and nan"),
    ],
)
def test_designers_refuse_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_padding_where_scipy_has_none():
    x = noise(2, 300)
    for padlen in (-1, -500, 0):
        want = scipy.signal.sosfiltfilt(SOS, x, padlen=padlen)
        ours = signal.sosfiltfilt(SOS, x, padlen=padlen)
        np.testing.assert_allclose(ours, want, rtol=0, atol=1e-12 * np.abs(want).max())
