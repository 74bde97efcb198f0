from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clmer import inputs
from clmer.data.cache import Modality
from clmer.nn import Encoder


def store_of(x, fs=128.0, tokens=None):
    """What `inputs` asks of a store, over arrays in memory."""
    count = x.shape[1]
    channels = tuple(f"c{i}" for i in range(count))
    people = np.repeat(["a", "b"], -(-len(x) // 2))[: len(x)]
    return SimpleNamespace(
        array=lambda name: x,
        modalities={"eeg": Modality("eeg", tokens or count, fs, channels)},
        windows=SimpleNamespace(subject=people),
    )


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3, 128)).astype(np.float32)
    x[:, 1] = 5 + 10 * x[:, 1]
    x[:, 2] = 7  # a dead channel
    x[20:] *= 4  # the second person's amplifier
    return x


def test_statistics_are_the_training_parts(windows):
    train = np.arange(20)
    x = inputs.standardise(store_of(windows), "eeg", train, "train", torch.device("cpu"))
    assert x[train, :2].mean((0, 2)).abs().max() < 1e-5
    assert (x[train, :2].std((0, 2)) - 1).abs().max() < 1e-3
    assert x[20:, 0].std() > 3
    assert (x[train, 2] == 0).all()


def test_subject_statistics_remove_what_a_persons_amplifier_adds(windows):
    x = inputs.standardise(store_of(windows), "eeg", np.arange(20), "subject", torch.device("cpu"))
    for rows in (slice(0, 20), slice(20, 40)):
        assert x[rows, :2].mean((0, 2)).abs().max() < 1e-5
        assert (x[rows, :2].std((0, 2)) - 1).abs().max() < 1e-3


def test_raw_tokens_are_axis_major_rows():
    x = torch.arange(2 * 6 * 4.0).reshape(2, 6, 4)
    tokens = inputs.raw_tokens(store_of(x.numpy(), tokens=3), {"eeg": x})["eeg"]
    assert tokens.shape == (2, 3, 8)
    assert torch.equal(tokens[:, 1], x[:, 2:4].flatten(1))


def test_contrastive_tokens_are_standardised_on_training_windows(windows):
    encoder = Encoder(3, 128, width=4, features=18)
    store, train = store_of(windows), np.arange(20)
    x = {"eeg": torch.from_numpy(windows)}
    for tokens, shape in (("channel", (3, 6 * encoder.steps)), ("time", (encoder.steps, 18))):
        z = inputs.contrastive_tokens(store, x, {"eeg": encoder}, tokens, train)["eeg"]
        assert z.shape == (40, *shape)
        assert abs(float(z[train].mean())) < 1e-5


@pytest.mark.parametrize(("length", "fs"), [(640, 128.0), (128, 128.0), (25, 25.0)])
def test_a_spectrum_token_tells_rhythm_and_amplitude_but_not_phase(length, fs):
    rng = np.random.default_rng(0)
    t = np.arange(length) / fs
    phase = rng.uniform(0, 2 * np.pi, (60, 1, 1))
    amplitude = np.where(np.arange(60) % 2, 4.0, 1.0)[:, None, None]
    x = amplitude * np.sin(2 * np.pi * 6 * t + phase)
    x = (x + 0.05 * rng.standard_normal((60, 2, length))).astype(np.float32)
    train = np.arange(40)
    store = store_of(x, fs)
    z = inputs.spectrum_tokens(store, {"eeg": torch.from_numpy(x)}, train)["eeg"]
    assert z.shape[:2] == (60, 2)
    assert abs(float(z[train].mean())) < 1e-4
    loud, quiet = z[41::2].amax(-1), z[40::2].amax(-1)
    assert loud.min() > quiet.max() - 1.5
    bins = z[41::2].mean((0, 1)) - z[40::2].mean((0, 1))
    assert bins.max() > 1.5  # the 6 Hz bin separates them
