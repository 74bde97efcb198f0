"""Streams: chunks, starts, gaps, state in hand; and whole recordings beside SciPy and MNE."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn

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


def test_hours_in_small_chunks_drift_no_further_than_rounding():
    """An hour of 8-sample chunks: the state is all that passes on, and its error has a fixed point.

    Chunks give the bits of one pass, so 24 hours are 24 times this, from another start.
    """
    x = (noise(4, 3600 * 128, seed=3) + 4200).astype(np.float32)
    stream = streams()
    y = np.concatenate([stream.push(part) for part in chunks(x, range(8, x.shape[1], 8))], 1)
    zi = scipy.signal.sosfilt_zi(SOS)[:, None] * x[:, :1].astype(np.float64)
    want, _ = scipy.signal.sosfilt(SOS, x.astype(np.float64), zi=zi)
    tail = slice(-4096, None)
    eps = np.finfo(np.float32).eps
    assert np.abs(y[:, tail] - want[:, tail]).max() <= eps * np.abs(want).max()


# --- whole recordings ---------------------------------------------------------------------------
def assert_as_good_as_scipy(sos, x):
    """The error against long double is at most twice SciPy's, the floor 8 eps max|y|."""
    wide = np.asarray(x, np.longdouble)
    truth = scipy.signal.sosfilt(sos.astype(np.longdouble), wide)
    ours, plain = signal.sosfilt(sos, x), scipy.signal.sosfilt(sos, x)
    floor = 8 * np.finfo(ours.dtype).eps * np.abs(truth).max()
    assert np.abs(ours - truth).max() <= max(2 * np.abs(plain - truth).max(), floor)


def test_a_narrow_low_edge():
    sos = signal.butter_bandpass(0.1, 45, 512)
    for dtype in (np.float32, np.float64):
        assert_as_good_as_scipy(sos, (noise(3, 20_000) + 4200).astype(dtype))


def test_eegmat_recordings(clmer_data):
    mne = pytest.importorskip("mne")
    files = sorted((clmer_data / "eegmat").glob("*_2.edf"))[:3]
    if not files:
        pytest.skip(f"no eegmat recordings in {clmer_data}")
    for path in files:
        raw = mne.io.read_raw_edf(path, preload=True, verbose="error").pick("eeg")
        x = raw.get_data(units="uV")
        sos = signal.butter_bandpass(1, 45, raw.info["sfreq"])
        assert_as_good_as_scipy(sos, x)
        theirs = raw.copy().filter(1, 45, method="iir", verbose="error").get_data()
        ours = signal.filter_raw(raw, 1, 45).get_data()
        middle = slice(1000, -1000)  # at the ends their padding differs
        error = np.abs(ours - theirs)[:, middle].max()
        assert error <= 1e-6 * np.abs(theirs).max()


def test_feis_headset_offset(clmer_data):
    import io
    import zipfile

    archives = sorted((clmer_data / "feis").rglob("*.zip"))
    if not archives:
        pytest.skip(f"no FEIS recordings in {clmer_data}")
    with zipfile.ZipFile(archives[0]) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".csv"))
        rows = archive.read(name).decode().splitlines()
    header = rows[0].split(",")
    columns = [i for i, n in enumerate(header) if n in ("F3", "AF3", "O1", "T7", "P8", "FC6")]
    x = np.loadtxt(io.StringIO("\n".join(rows[1:4000])), delimiter=",", usecols=columns).T
    assert x.mean() > 1000  # the headset's offset
    sos = signal.butter_bandpass(1, 50, 256)
    assert_as_good_as_scipy(sos, x)
    y = signal.Bandpass(1, 50, 256).push(x)
    assert np.abs(y[:, :64]).max() < 0.2 * x.mean()  # no transient from the offset


# --- the layer ----------------------------------------------------------------------------------
def test_the_layer_is_the_op():
    from clmer.nn import Bandpass

    layer = Bandpass(128, 4, 45)
    x = torch.randn(2, 3, 50, requires_grad=True)
    y = nn.Sequential(layer, nn.ReLU())(x)
    assert torch.equal(y, clmer.sosfilt(x, torch.from_numpy(SOS))[0].relu())
    y.sum().backward()
    assert x.grad is not None
    layer.half()
    assert layer.sos.dtype == torch.float64
    assert torch.equal(layer.sos, torch.from_numpy(SOS))
    assert set(layer.state_dict()) == {"sos"}
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), layer(x))
