"""Accuracy against long double, on noise and on every real recording, and MNE beside it."""

from __future__ import annotations

import io
import zipfile

import mne
import numpy as np
import pytest
import scipy.signal

from clmer import signal
from clmer.signal.design import steady_state


def assert_as_good_as_scipy(sos, x):
    """The error against long double is at most twice SciPy's, the floor 8 eps max|y|."""
    truth = scipy.signal.sosfilt(sos.astype(np.longdouble), np.asarray(x, np.longdouble))
    ours, plain = signal.sosfilt(sos, x), scipy.signal.sosfilt(sos, x)
    floor = 8 * np.finfo(ours.dtype).eps * np.abs(truth).max()
    assert np.abs(ours - truth).max() <= max(2 * np.abs(plain - truth).max(), floor)


def exactly_both_ways(sos, x, edge):
    """`sosfiltfilt` in long double, which SciPy has for sosfilt alone."""
    wide, sections = np.asarray(x, np.longdouble), sos.astype(np.longdouble)
    left, right = wide[:, edge:0:-1], wide[:, -2 : -edge - 2 : -1]
    y = np.concatenate((2 * wide[:, :1] - left, wide, 2 * wide[:, -1:] - right), 1)
    for _ in range(2):
        start = steady_state(sections)[:, None] * y[:, :1]
        y = scipy.signal.sosfilt(sections, y, zi=start)[0][:, ::-1]
    return y[:, edge:-edge]


def assert_both_ways_as_good_as_scipy(sos, x, edge=40):
    truth = exactly_both_ways(sos, x, edge)
    ours, plain = (m.sosfiltfilt(sos, x, padlen=edge) for m in (signal, scipy.signal))
    floor = 8 * np.finfo(ours.dtype).eps * np.abs(truth).max()
    assert np.abs(ours - truth).max() <= max(2 * np.abs(plain - truth).max(), floor)


@pytest.mark.parametrize(("low", "high", "fs"), [(0.1, 45, 512), (1, 45, 500), (4, 45, 128)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "time"), [(3, 20_000), (1, 300_000)])
def test_narrow_low_edges(simd_level, low, high, fs, dtype, rows, time):
    x = (np.random.default_rng(0).standard_normal((rows, time)) + 4200).astype(dtype)
    sos = signal.butter_bandpass(low, high, fs)
    assert_as_good_as_scipy(sos, x)
    assert_both_ways_as_good_as_scipy(sos, x)


@pytest.fixture(scope="module")
def eegmat(clmer_data):
    files = sorted((clmer_data / "eegmat").glob("*.edf"))
    if not files:
        pytest.skip(f"no eegmat recordings in {clmer_data}; set CLMER_DATA to run this test")
    return files


def test_every_eegmat_recording(eegmat):
    """In every third channel: all of them take 12 s."""
    sos = signal.butter_bandpass(1, 45, 500)
    for path in eegmat:
        raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
        assert raw.info["sfreq"] == 500
        assert_as_good_as_scipy(sos, raw.get_data(units="uV")[::3])


@pytest.mark.parametrize(("low", "high"), [(1, 45), (None, 40), (0.5, None)])
def test_a_recording_filtered_as_mne_does(eegmat, low, high):
    raw = mne.io.read_raw_edf(eegmat[0], preload=True, verbose="error")
    theirs = raw.copy().filter(low, high, method="iir", verbose="error")
    ours = signal.filter_raw(raw, low, high)
    assert ours is raw
    scale = np.abs(theirs.get_data()).max()
    np.testing.assert_allclose(ours.get_data(), theirs.get_data(), rtol=0, atol=1e-9 * scale)
    for edge in ("highpass", "lowpass"):
        assert ours.info[edge] == theirs.info[edge]


def test_causal_recordings_and_picks(eegmat):
    raw = mne.io.read_raw_edf(eegmat[0], verbose="error")  # not loaded
    names = raw.ch_names[:3]
    before = raw.get_data()
    signal.filter_raw(raw, 1, 45, phase="forward", picks=names)
    streamed = signal.Bandpass(1, 45, 500).push(before[:3])
    np.testing.assert_array_equal(raw.get_data()[:3], streamed)
    np.testing.assert_array_equal(raw.get_data()[3:], before[3:])
    with pytest.raises(ValueError, match="expected 'zero' or 'forward'"):
        signal.filter_raw(raw, 1, 45, phase="backward")


@pytest.mark.parametrize("phase", ["zero", "forward"])
def test_pieces_are_filtered_one_by_one_as_mne_does(phase):
    """Joined, cropped at both ends, one stretch skipped by the amplifier."""
    rng = np.random.default_rng(0)
    info = mne.create_info(3, 128.0, "eeg", verbose="error")
    parts = [
        mne.io.RawArray(20 * rng.standard_normal((3, n)), info, verbose="error")
        for n in (3000, 2500, 2001)
    ]
    raw = mne.concatenate_raws(parts, verbose="error")
    raw.annotations.append([2.0, 10.0, 50.0], [1.0, 2.5, 3.0], ["bad", "BAD_ACQ_SKIP", "blink"])
    raw.crop(1.5, 56.0, verbose="error")
    theirs = raw.copy().filter(4, 40, method="iir", phase=phase, verbose="error").get_data()
    before = raw.get_data()
    ours = signal.filter_raw(raw, 4, 40, phase=phase).get_data()
    cuts = np.cumsum([0, 3000, 2500, 2001]) - 192
    skipped = np.r_[round(8.5 * 128) : (11 * 128)]
    np.testing.assert_array_equal(ours[:, skipped], before[:, skipped])
    if phase == "zero":
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    else:  # MNE's starts from zeros, ours from the steady state: beyond the start they agree
        starts, stops = [0, skipped[-1] + 1, *cuts[1:3]], [skipped[0], *cuts[1:3], None]
        for start, stop in zip(starts, stops, strict=True):
            own = before[:, start:stop]
            np.testing.assert_array_equal(
                ours[:, start:stop], signal.Bandpass(4, 40, 128).push(own)
            )
            assert np.abs(ours[:, start:stop] - theirs[:, start:stop])[:, 256:].max() < 1e-3


@pytest.mark.parametrize("person", ["01", "02", "03"])
def test_the_headsets_offset_makes_no_transient(clmer_data, person):
    path = clmer_data / "feis" / f"{person}.zip"
    if not path.is_file():
        pytest.skip(f"no FEIS recording: {path} is missing; set CLMER_DATA to run this test")
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".csv"))
        table = archive.read(name).decode()
    header = table.splitlines()[0].split(",")
    columns = [i for i, n in enumerate(header) if n in ("F3", "AF3", "O1", "T7", "P8", "FC6")]
    x = np.loadtxt(io.StringIO(table), delimiter=",", usecols=columns, skiprows=1).T
    assert x.mean() > 1000
    sos = signal.butter_bandpass(1, 50, 256)
    assert_as_good_as_scipy(sos, x)
    y, from_zeros = signal.Bandpass(1, 50, 256).push(x), signal.sosfilt(sos, x)
    assert np.abs(y[:, 0]).max() < 1e-6 * x.mean()
    assert np.abs(from_zeros[:, :64] - y[:, :64]).max() > 0.5 * x.mean()  # what a start costs
    start = scipy.signal.sosfilt_zi(sos)[:, None] * x[:, :1]
    plain, _ = scipy.signal.sosfilt(sos, x, zi=start)
    np.testing.assert_allclose(y, plain, rtol=0, atol=1e-9 * x.mean())


@pytest.mark.parametrize(
    "picks", [None, ["F3"], ["EOG"], "eog", "eeg", [0, 1], ["F3", "F4"], "data"]
)
def test_info_follows_what_was_filtered_as_in_mne(picks):
    rng = np.random.default_rng(0)
    kinds = ["eeg", "eeg", "eog", "ref_meg", "mag", "stim"]
    info = mne.create_info(["F3", "F4", "EOG", "R1", "M1", "S1"], 250.0, kinds, verbose="error")
    info["bads"] = ["F4"]
    raw = mne.io.RawArray(rng.standard_normal((6, 4000)), info, verbose="error")
    theirs = raw.copy().filter(1, 40, picks=picks, method="iir", verbose="error")
    before = raw.get_data()
    signal.filter_raw(raw, 1, 40, picks=picks)
    for edge in ("highpass", "lowpass"):
        assert raw.info[edge] == theirs.info[edge]
    assert raw.info["bads"] == ["F4"]
    for own, other, old in zip(raw.get_data(), theirs.get_data(), before, strict=True):
        assert np.array_equal(own, old) == np.array_equal(other, old)
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-8)


def test_what_is_no_recording_is_refused_by_name():
    info = mne.create_info(2, 100.0, "eeg", verbose="error")
    epochs = mne.EpochsArray(np.zeros((3, 2, 200)), info, verbose="error")
    for other in (epochs, epochs.average(), np.zeros((2, 200))):
        with pytest.raises(TypeError, match=f"found {type(other).__name__}, expected an MNE reco"):
            signal.filter_raw(other, 1, 40)
