"""Streams: the bits of one pass, starts, gaps, state in hand, drift."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.signal
import torch

import clmer
from clmer import signal

SOS = signal.butter_bandpass(4, 45, 128)


def noise(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def chunks(x, cuts):
    return np.split(x, cuts, axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_layouts_and_chunks_give_the_same_bits(simd_level, dtype):
    x = (1000 * noise(19, 700)).astype(dtype)
    whole = signal.sosfilt(SOS, x)
    for view in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x[::-1, ::-1][::-1, ::-1]):
        np.testing.assert_array_equal(signal.sosfilt(SOS, view), whole)
    np.testing.assert_array_equal(signal.sosfilt(SOS, np.ascontiguousarray(x.T), axis=0), whole.T)
    zi = np.zeros((4, 19, 2))
    parts = []
    for part in chunks(x, [1, 8, 9, 200, 471]):
        y, zi = signal.sosfilt(SOS, part, zi=zi)
        parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


def test_each_channel_alone_gives_the_same_bits():
    x = noise(11, 300, dtype=np.float32)
    whole = signal.sosfilt(SOS, x)
    for row, y in zip(x, whole, strict=True):
        np.testing.assert_array_equal(signal.sosfilt(SOS, row), y)


def test_torch_takes_time_first_without_a_copy(simd_level):
    x = torch.from_numpy(noise(500, 13, dtype=np.float32))
    y, state = clmer.sosfilt(x.T, torch.from_numpy(SOS))
    want, end = clmer.sosfilt(x.T.contiguous(), torch.from_numpy(SOS))
    assert torch.equal(y, want)
    assert torch.equal(state, end)


def test_subnormal_tails_vanish_and_the_callers_mode_stays():
    x = np.zeros((3, 20_000))
    x[:, 0] = 1e-300
    y = signal.sosfilt(SOS, x)
    tiny = np.finfo(np.float64).tiny
    assert not ((np.abs(y) < tiny) & (y != 0)).any()
    assert np.array(tiny) / 2 != 0  # flushed to zero if the mode had stayed


# --- starts, gaps, state ------------------------------------------------------------------------
def streams(**options):
    return signal.Bandpass(4, 45, 128, **options)


def test_a_lost_packet_is_refused_and_changes_nothing():
    x = noise(5, 90) + 4200
    stream, calm = streams(), streams()
    np.testing.assert_array_equal(stream.push(x[:, :30]), calm.push(x[:, :30]))
    bad = x[:, 30:60].copy()
    bad[3, 7] = np.nan
    with pytest.raises(ValueError, match=r"found nan in channel 3, sample 7.*gaps='hold'"):
        stream.push(bad)
    np.testing.assert_array_equal(stream.push(x[:, 30:]), calm.push(x[:, 30:]))
    assert not stream.lost.any()


@pytest.mark.parametrize("gaps", ["hold", "reset"])
@pytest.mark.parametrize("cuts", [[], [20], [10, 33, 34, 35, 60], list(range(1, 100))])
def test_gaps(gaps, cuts):
    x = noise(3, 100) + 4200
    holes = np.zeros(x.shape, bool)
    holes[0, 30:40] = holes[0, 90:] = holes[2, :5] = holes[2, 34] = True
    broken = np.where(holes, np.nan, x)
    broken[0, 35] = np.inf
    stream = streams(gaps=gaps)
    y = np.concatenate([stream.push(part) for part in chunks(broken, cuts)], 1)
    np.testing.assert_array_equal(stream.lost, holes.sum(1))
    np.testing.assert_array_equal(stream.gap_count, [2, 0, 2])
    np.testing.assert_array_equal(y[1], streams().push(x[1:2])[0])  # its neighbours do not matter
    if gaps == "hold":
        held = x.copy()
        held[0, 30:40], held[0, 90:], held[2, 34] = x[0, 29], x[0, 89], x[2, 33]
        np.testing.assert_array_equal(y[0], streams().push(held[:1])[0])
        assert np.isnan(y[2, :5]).all()
        np.testing.assert_array_equal(y[2, 5:], streams().push(held[2:, 5:])[0])
    else:
        np.testing.assert_array_equal(np.isnan(y), holes)
        for channel, start, stop in ((0, 0, 30), (0, 40, 90), (2, 5, 34), (2, 35, 100)):
            alone = streams().push(x[channel : channel + 1, start:stop])[0]
            np.testing.assert_array_equal(y[channel, start:stop], alone)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint8])
def test_counts_are_scaled_as_they_are_read(dtype):
    counts = np.random.default_rng(0).integers(0, 200, (14, 300)).astype(dtype)
    x = counts * 0.51
    stream, plain = streams(scale=0.51), streams()
    for part, want in zip(chunks(counts, [8, 16, 150]), chunks(x, [8, 16, 150]), strict=True):
        y = stream.push(part)
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, plain.push(want), rtol=0, atol=1e-11)


def test_a_held_sample_is_scaled_once():
    x = noise(1, 60)
    x[0, 30:40] = np.nan
    held = x.copy()
    held[0, 30:40] = x[0, 29]
    stream = streams(scale=0.5, gaps="hold")
    y = np.concatenate([stream.push(part) for part in chunks(x, [10, 30, 35])], 1)
    np.testing.assert_allclose(y, streams().push(0.5 * held), rtol=0, atol=1e-12)


def test_a_chain_is_its_filters_in_one_pass():
    x = noise(6, 400) + 4200
    band, mains = streams(), signal.Notch(50, 128)
    chain = signal.Chain(band, mains)
    np.testing.assert_array_equal(chain.sos, np.vstack([band.sos, mains.sos]))
    y = chain.push(x)
    np.testing.assert_allclose(y, mains.push(band.push(x)), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="found no filter"):
        signal.Chain()


def test_state_goes_to_another_process_and_back():
    x = noise(4, 200, dtype=np.float32)
    stream, other = streams(gaps="hold"), streams(gaps="hold")
    stream.push(x[:, :77])
    saved = stream.state_dict()
    want = stream.push(x[:, 77:])
    other.load_state_dict({key: value.tolist() for key, value in saved.items()})
    np.testing.assert_array_equal(other.push(x[:, 77:]), want)
    with pytest.raises(ValueError, match="state of another filter"):
        signal.Notch(50, 128).load_state_dict(saved)


def test_bad_policies_and_cascades():
    with pytest.raises(ValueError, match="expected 'raise', 'hold' or 'reset'"):
        streams(gaps="ignore")
    with pytest.raises(ValueError, match="scale: found nan"):
        streams(scale=np.nan)
    with pytest.raises(ValueError, match="found 68 sections, expected 1 to 64"):
        signal.Stream(np.tile(SOS, (17, 1)))
    assert signal.sosfilt(np.tile(SOS, (17, 1)), noise(2, 50)).shape == (2, 50)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
@pytest.mark.parametrize("channels", [1, 3, 4, 19, 32, 33])
def test_random_chunks_give_the_bits_of_one_push(simd_level, dtype, channels):
    rng = np.random.default_rng(channels)
    x = (1000 * rng.standard_normal((channels, 1009)) + 4200).astype(dtype)
    whole = streams(scale=0.25).push(x)
    assert whole.dtype == (np.float32 if dtype == np.float32 else np.float64)
    for order in ("C", "F"):
        cuts = sorted(rng.integers(0, 1009, 40))  # some of them empty
        stream = streams(scale=0.25)
        y = [stream.push(np.array(part, order=order)) for part in chunks(x, cuts)]
        np.testing.assert_array_equal(np.concatenate(y, 1), whole)


def test_a_scale_is_a_product_on_the_way_in():
    counts = np.random.default_rng(0).integers(-30_000, 30_000, (5, 400)).astype(np.int16)
    stream, plain = streams(scale=0.51), streams()
    for part in chunks(counts, [100, 103]):
        np.testing.assert_array_equal(stream.push(part), plain.push(part * 0.51))
    with pytest.raises(ValueError, match="expected a finite number"):
        streams(scale=np.nan)


def test_a_gap_is_seen_though_the_state_forgets_it():
    """Without poles a NaN has left the state after two samples."""
    stream = signal.Stream([[0.5, 0.5, 0, 1, 0, 0]])
    stream.push(np.ones((2, 8)))
    bad = np.ones((2, 8))
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="found nan in channel 1, sample 2"):
        stream.push(bad)


def test_a_gap_over_chunks_counts_once_and_held_samples_are_of_the_right_kind():
    x = noise(2, 60, dtype=np.float32) + 4200
    broken = x.copy()
    broken[0, 20:40] = np.nan
    stream = streams(gaps="hold")
    y = np.concatenate([stream.push(part) for part in chunks(broken, [25, 30, 40])], 1)
    assert y.dtype == np.float32
    assert list(stream.gap_count) == [1, 0]
    assert list(stream.lost) == [20, 0]
    broken[0, 20:40] = x[0, 19]
    np.testing.assert_array_equal(y, streams().push(broken))
    stream.reset()
    assert stream.lost.size == 0
    np.testing.assert_array_equal(stream.push(x[:1]), streams().push(x[:1]))


def test_integers_of_any_width_and_foreign_bytes():
    x = (1000 * noise(3, 50)).astype(np.int64)
    want = streams().push(x.astype(np.float64))
    for dtype in (np.int64, np.uint16, ">i2", ">f4"):
        positive = np.abs(x) if dtype == np.uint16 else x
        stream, plain = streams(), streams()
        for part in chunks(positive, [20]):
            own = part.astype(dtype)
            found = stream.push(own)
            wide = own.astype(np.float32 if dtype == ">f4" else np.float64)
            np.testing.assert_array_equal(found, plain.push(wide))
    assert want.dtype == np.float64


def test_a_stream_survives_pickling():
    x = noise(4, 90)
    stream = streams()
    stream.push(x[:, :50])
    twin = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(twin.push(x[:, 50:]), stream.push(x[:, 50:]))


def test_saved_states_that_are_not_whole():
    saved = streams().state_dict()
    del saved["last"]
    with pytest.raises(ValueError, match="found no last"):
        streams().load_state_dict(saved)
    fresh = streams()
    fresh.load_state_dict(streams().state_dict())
    assert fresh.push(noise(6, 10)).shape == (6, 10)


def test_a_chain_has_one_rate():
    with pytest.raises(ValueError, match=r"found filters for \[128, 256\] Hz"):
        signal.Chain(streams(), signal.Notch(50, 256))


@pytest.mark.slow
def test_a_day_in_small_chunks_drifts_no_further_than_rounding():
    """24 hours of 32 channels at 128 Hz in chunks of 8 against one pass of SciPy's in float64."""
    hour = 3600 * 128
    rng = np.random.default_rng(3)
    base = 20 * rng.standard_normal((32, hour)) + 4200
    stream, zi, apart = streams(), None, []
    for each in range(24):
        x = np.roll(base, 1000 * each, axis=1) + each  # the offset creeps
        if zi is None:
            zi = scipy.signal.sosfilt_zi(SOS)[:, None] * x[:, :1]
        plain, zi = scipy.signal.sosfilt(SOS, x, zi=zi)
        y = np.concatenate([stream.push(x[:, at : at + 8]) for at in range(0, hour, 8)], 1)
        apart.append(np.abs(y - plain).max())
    assert 0 < max(apart) < 1e-9 * 4200
    assert apart[-1] <= 2 * apart[0]


def test_other_callers_keep_their_floating_point_mode():
    x = noise(8, 300)
    before = torch.get_num_threads()
    want = streams().push(x)
    assert torch.set_flush_denormal(True)
    try:
        np.testing.assert_array_equal(streams().push(x), want)
        assert np.array(np.finfo(np.float64).tiny) / 2 == 0  # still flushing, as it was
    finally:
        torch.set_flush_denormal(False)
    streams().push(x)
    assert np.array(np.finfo(np.float64).tiny) / 2 != 0
    assert torch.get_num_threads() == before


def test_a_chunk_of_samples_by_channels_is_refused_with_the_way_out():
    stream = signal.Bandpass(1, 45, 250)
    stream.push(np.zeros((8, 25)))
    with pytest.raises(ValueError, match=r"found shape \(25, 8\), expected \[8, n\].*push chunk.T"):
        stream.push(np.zeros((25, 8)))
