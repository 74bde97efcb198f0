"""The linear probe: it finds what features hold, from few labels, the same way each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clmer.data.splits import Split
from clmer.evaluation.probe import linear_probe, mean_probe, settle_batch_norm
from clmer.nn import Encoder


def windows(strength: float) -> tuple[torch.Tensor, np.ndarray, Split]:
    """Two channels of noise; class 1 has more of it by a factor."""
    torch.manual_seed(0)
    y = np.arange(400) % 2
    x = torch.randn(400, 2, 64) * torch.from_numpy(1.0 + strength * y)[:, None, None]
    rows = np.random.default_rng(0).permutation(400)
    return x.float(), y, Split("split1", rows[:300], rows[300:320], rows[320:], 0, "")


@pytest.mark.parametrize(("strength", "low", "high"), [(2.0, 0.9, 1.0), (0.0, 0.3, 0.7)])
def test_it_finds_what_the_features_hold_and_nothing_else(
    strength: float, low: float, high: float
) -> None:
    x, y, split = windows(strength)
    encoder = settle_batch_norm(Encoder(2, 64, width=8), x[split.train])
    score = linear_probe(encoder, x, y, split, seed=0)
    assert low <= score <= high
    assert score == linear_probe(encoder, x, y, split, seed=0)


def test_a_random_encoder_is_settled_on_the_training_windows() -> None:
    x, _, split = windows(2.0)
    encoder = settle_batch_norm(Encoder(2, 64, width=8), 5 + x[split.train])
    assert not encoder.training
    with torch.no_grad():
        first = encoder.blocks[0]
        after = first[1](first[0](5 + x[split.train]))  # type: ignore[index]
    assert after.mean().item() == pytest.approx(0, abs=0.05)
    assert after.std().item() == pytest.approx(1, abs=0.05)


def test_means_are_per_modality_over_splits() -> None:
    rows = [
        {"modality": "eeg", "trained": 0.6, "random": 0.5},
        {"modality": "eeg", "trained": 0.8, "random": 0.5},
        {"modality": "au", "trained": 0.5, "random": 0.7},
    ]
    means = mean_probe(rows)
    assert list(means) == ["eeg", "au"]
    assert means["eeg"] == pytest.approx({"trained": 0.7, "random": 0.5, "difference": 0.2})
    assert means["au"]["difference"] == pytest.approx(-0.2)
