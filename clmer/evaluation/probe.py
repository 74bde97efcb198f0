"""How much a linear model learns from encoder features: trained encoder against random one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from clmer.data.splits import Split
from clmer.nn import Encoder
from clmer.nn.encoder import encode
from clmer.text import score_text, signed

#: Share of the training windows whose labels the probe is given.
SHARE = 0.1


def linear_probe(encoder: Encoder, x: Tensor, y: np.ndarray, split: Split, seed: int) -> float:
    """Balanced test accuracy of a logistic regression on time-averaged features.

    It is fitted on `SHARE` of the training windows (every class in proportion, two at least).

    Args:
        encoder: its features are averaged over time, [N, F].
        x: [N, C, T] standardised windows.
        y: [N] classes.
        split: fitted on train, scored on test.
        seed: of the choice of labelled windows.
    """
    features = encode(encoder, x).mean(2).cpu().numpy()
    counts = np.bincount(y[split.train])
    size = max(round(SHARE * len(split.train)), 2 * int((counts > 0).sum()))
    stratify = y[split.train] if counts[counts > 0].min() >= 2 else None
    labelled, _ = train_test_split(
        split.train, train_size=size, random_state=seed, stratify=stratify
    )
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)
    )
    model.fit(features[labelled], y[labelled])
    return float(balanced_accuracy_score(y[split.test], model.predict(features[split.test])))


@torch.no_grad()
def settle_batch_norm(encoder: Encoder, x: Tensor) -> Encoder:
    """Fit the batch norms of a random encoder to the training windows, for a fair comparison.

    Args:
        encoder: its running statistics become plain averages over `x`.
        x: [N, C, T] standardised training windows.

    Returns:
        The same encoder, in evaluation mode.
    """
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    encoder.train()
    for part in x.split(256):
        if len(part) > 1:
            encoder(part)
    return encoder.eval()


def mean_probe(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over splits by modality: {"eeg": {"trained": ., "random": ., "difference": .}}.

    Args:
        rows: one per split and modality, with "modality", "trained" and "random".
    """
    means: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(row["modality"] for row in rows):
        own = [row for row in rows if row["modality"] == name]
        trained, random = (
            float(np.mean([row[key] for row in own])) for key in ("trained", "random")
        )
        means[name] = {"trained": trained, "random": random, "difference": trained - random}
    return means


def probe_lines(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """`mean_probe` in words, one line per modality."""
    return [
        f"Linear probe of {name} at {100 * SHARE:.0f} % of the labels, balanced accuracy: trained "
        f"encoder {score_text(mean['trained'])}, random encoder {score_text(mean['random'])} "
        f"({signed(mean['difference'])})."
        for name, mean in means.items()
    ]
