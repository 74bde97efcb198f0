from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clmer.data.store.store import Modality
from clmer.nn import Encoder
from clmer.pipeline import tokenizer
from clmer.pipeline.run.folder import Run
from clmer.pipeline.tokenizer import WindowArrays
from clmer.train.messages import constant_lines


def arrays_of(x, fs=128.0, count_of_tokens=None, reference=None):
    """Windows of two people in memory."""
    count = x.shape[1]
    channels = tuple(f"c{i}" for i in range(count))
    people = np.repeat(["a", "b"], -(-len(x) // 2))[: len(x)]
    modalities = {"eeg": Modality("eeg", count_of_tokens or count, fs, channels)}
    return WindowArrays(modalities, {"eeg": x}, people, reference=reference)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3, 128)).astype(np.float32)
    x[:, 1] = 5 + 10 * x[:, 1]
    x[:, 2] = 7  # a dead channel
    x[20:] *= 4  # the second person's amplifier
    return x


CPU = torch.device("cpu")


def standardised(windows, reference=None):
    """By the first person's statistics, or by each person's reference."""
    store = arrays_of(windows, reference=reference)
    fitted = tokenizer.Tokenizer.fit(store, np.arange(20), "raw")
    return fitted.standardise({"eeg": windows}, CPU, store.read_against)["eeg"]


def test_statistics_are_the_training_parts(windows):
    train = np.arange(20)
    x = standardised(windows)
    assert x[train, :2].mean((0, 2)).abs().max() < 1e-5
    assert (x[train, :2].std((0, 2)) - 1).abs().max() < 1e-3
    assert x[20:, 0].std() > 3
    assert (x[train, 2] == 0).all()


def test_a_reference_removes_what_a_persons_amplifier_adds(windows):
    x = standardised(windows, np.ones(40, bool))
    for rows in (slice(0, 20), slice(20, 40)):
        assert x[rows, :2].mean((0, 2)).abs().max() < 1e-5
        assert (x[rows, :2].std((0, 2)) - 1).abs().max() < 1e-3


def test_one_persons_windows_alone_are_standardised_as_among_others(windows):
    known = np.arange(40) % 20 < 6
    store = arrays_of(windows, reference=known)
    fitted = tokenizer.Tokenizer.fit(store, np.arange(20), "raw")
    own = arrays_of(windows).rows(np.arange(20, 40))
    alone = replace(own, people=None, reference=known[20:])
    alone = fitted.standardise(alone.arrays, CPU, alone.read_against)["eeg"]
    assert torch.equal(alone, standardised(windows, known)[20:])


def test_a_reference_is_asked_for_where_one_was_trained_with(windows):
    fitted = tokenizer.Tokenizer.fit(
        arrays_of(windows, reference=np.ones(40, bool)), np.arange(20), "raw"
    )
    with pytest.raises(ValueError, match="reference: found none, expected"):
        fitted.standardise({"eeg": windows}, CPU)


def test_small_units_are_no_constant_channels(windows):
    rng = np.random.default_rng(0)
    x = np.repeat(windows[:, :1].astype(np.float64), 5, axis=1)
    x[:, 0] *= 1e-7  # siemens
    x[:, 1] = 5e-6 + 3e-7 * x[:, 1]
    x[:, 2] = 4200.0
    x[:, 3] = 4200.0 + 1e-4 * rng.standard_normal(x[:, 3].shape)  # float32's last digit
    x[:, 4] = 1e-11 * rng.standard_normal(x[:, 4].shape)  # what a filter leaves of a constant
    fitted = tokenizer.Tokenizer.fit(arrays_of(x.astype(np.float32)), np.arange(20), "raw")
    assert fitted.constant() == {"eeg": ("c2", "c3", "c4")}
    out = fitted.standardise({"eeg": x}, CPU)["eeg"][:20]
    torch.testing.assert_close(out[:, :2].std((0, 2)), torch.ones(2), rtol=1e-3, atol=0)
    assert not out[:, 2:].any()
    assert constant_lines(fitted) == [
        "Constant in a training part, so given as zeros: eeg c2, c3, c4."
    ]


def test_raw_tokens_are_axis_major_rows():
    x = torch.arange(2 * 6 * 4.0).reshape(2, 6, 4)
    tokens = tokenizer.raw_tokens(arrays_of(x.numpy(), count_of_tokens=3), {"eeg": x})["eeg"]
    assert tokens.shape == (2, 3, 8)
    assert torch.equal(tokens[:, 1], x[:, 2:4].flatten(1))


def test_contrastive_tokens_are_standardised_on_training_windows(windows):
    encoder = Encoder(3, 128, width=4, features=18)
    train, x = np.arange(20), {"eeg": torch.from_numpy(windows)}
    for kind, shape in (("channel", (3, 6 * encoder.steps)), ("time", (encoder.steps, 18))):
        fitted = tokenizer.Tokenizer.fit(arrays_of(windows), train, kind)
        z = fitted.fit_tokens(x, {"eeg": encoder}, train)[1]["eeg"]
        assert z.shape == (40, *shape)
        assert abs(float(z[train].mean())) < 1e-5


@pytest.mark.parametrize("kind", ["raw", "channel", "time", "spectrum"])
@pytest.mark.parametrize("reference", [None, np.arange(40) % 20 < 6])
def test_saved_and_restored_inputs_give_the_same_tokens(windows, kind, reference, tmp_path):
    encoders, train = {"eeg": Encoder(3, 128, width=4, features=18)}, np.arange(20)
    store = arrays_of(windows, reference=reference)
    fitted = tokenizer.Tokenizer.fit(store, train, kind)
    x = fitted.standardise({"eeg": windows}, CPU, store.read_against)
    fitted, tokens = fitted.fit_tokens(x, encoders, train, store.read_against)
    run = Run(tmp_path / "run", {}, {}, {})
    run.save_tensors(Path("inputs"), *fitted.state())
    again = tokenizer.Tokenizer.from_state(*run.load_tensors(Path("inputs")))
    assert again.modalities == fitted.modalities
    x = again.standardise({"eeg": windows}, CPU, store.read_against)
    z = again.features(x, encoders, store.read_against)
    assert torch.equal(again.arrange(z)["eeg"], tokens["eeg"])


@pytest.mark.parametrize(("length", "fs"), [(640, 128.0), (128, 128.0), (25, 25.0)])
def test_a_spectrum_token_tells_rhythm_and_amplitude_but_not_phase(length, fs):
    rng = np.random.default_rng(0)
    t = np.arange(length) / fs
    phase = rng.uniform(0, 2 * np.pi, (60, 1, 1))
    amplitude = np.where(np.arange(60) % 2, 4.0, 1.0)[:, None, None]
    x = amplitude * np.sin(2 * np.pi * 6 * t + phase)
    x = (x + 0.05 * rng.standard_normal((60, 2, length))).astype(np.float32)
    train = np.arange(40)
    fitted = tokenizer.Tokenizer.fit(arrays_of(x, fs), train, "spectrum")
    z = fitted.fit_tokens({"eeg": torch.from_numpy(x)}, {}, train)[1]["eeg"]
    assert z.shape[:2] == (60, 2)
    assert abs(float(z[train].mean())) < 1e-4
    loud, quiet = z[41::2].amax(-1), z[40::2].amax(-1)
    assert loud.min() > quiet.max() - 1.5
    bins = z[41::2].mean((0, 1)) - z[40::2].mean((0, 1))
    assert bins.max() > 1.5  # the 6 Hz bin separates them


@pytest.mark.parametrize("kind", ["raw", "spectrum", "channel"])
@pytest.mark.parametrize("by_reference", [False, True])
def test_a_missing_window_counts_in_no_statistic(windows, kind, by_reference):
    """Other windows are read as if it were not there; its own tokens are NaN."""
    lost = np.zeros(40, bool)
    lost[[1, 9, 27]] = True
    reference = np.arange(40) % 20 < 12 if by_reference else None
    encoders = {"eeg": Encoder(3, 128, width=8, features=6)}

    def tokens(keep):
        x = np.where(lost[:, None, None], np.float32(0), windows)
        store = arrays_of(x, reference=reference).rows(keep)
        rows = np.arange(len(keep))
        fitted = tokenizer.Tokenizer.fit(store, rows, kind)
        x = fitted.standardise(store.arrays, CPU, store.read_against)
        with torch.no_grad():
            return fitted.fit_tokens(x, encoders, rows, store.read_against)[1]["eeg"]

    everything, known = tokens(np.arange(40)), np.flatnonzero(~lost)
    assert everything[lost].isnan().all()
    assert torch.allclose(everything[known], tokens(known), atol=1e-4)
