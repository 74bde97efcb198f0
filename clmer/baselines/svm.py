"""Support vector machine on the features of `clmer.baselines.bandpower`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.special import softmax
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from clmer.baselines import bandpower
from clmer.data.splits import Split

#: Penalties tried on the validation part, smoothest boundary first.
PENALTIES = (0.1, 1.0, 10.0, 100.0)
#: Training windows at most: the time to fit grows with their square.
MOST = 10_000


class MarginSVC(SVC):
    """`SVC` whose probabilities are the softmax of its decision values.

    Platt's sigmoid would be fitted on cross-validated training windows, and pulls the classes back
    to their frequencies, which `class_weight` has just undone. Two classes: p_1 = sigmoid(f(x)).
    """

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Pseudo-probabilities [N, K] of X [N, F]."""
        values = self.decision_function(X)
        if values.ndim == 1:
            values = np.stack([np.zeros_like(values), values], axis=1)
        return np.asarray(softmax(values, axis=1))


def machines(seed: int) -> list[Pipeline]:
    """Class-weighted machines with a Gaussian kernel of width 1 / features, by penalty."""
    return [
        bandpower.on_features(
            MarginSVC(C=penalty, gamma="scale", class_weight="balanced", random_state=seed)
        )
        for penalty in PENALTIES
    ]


def thinned(train: np.ndarray, y: np.ndarray, most: int = MOST) -> np.ndarray:
    """Every n-th training row of each class, in order, so that about `most` are left.

    Args:
        train: rows, ascending: windows of one recording follow each other, and resemble each other.
        y: [N] class of every window.
        most: rows; a class keeps one at least.
    """
    step = -(-len(train) // most)
    return np.sort(np.concatenate([train[y[train] == k][::step] for k in np.unique(y[train])]))


def fit_predict(
    by_modality: Mapping[str, np.ndarray],
    y: np.ndarray,
    split: Split,
    seed: int = 0,
    *,
    classes: int | None = None,
) -> np.ndarray:
    """Like `bandpower.fit_predict`, with `machines` and `thinned` training rows."""
    few = replace(split, train=thinned(split.train, y))
    return bandpower.fit_predict(by_modality, y, few, seed, classes=classes, candidates=machines)
