"""Support vector machine on the features of `clmer.features.classic`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import softmax
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from clmer.baselines.logistic import balanced_cross_entropy
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
    # Medians come from the training part; a column without any value becomes 0.
    return [
        make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            MarginSVC(C=penalty, gamma="scale", class_weight="balanced", random_state=seed),
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
    """Train on `thinned` rows, choose the penalty on the validation part, predict the test part.

    The chosen one has the lowest class-balanced cross-entropy on the validation part: balanced
    accuracy there jumps with single windows.

    Args:
        by_modality: [N, F] `classic_features` of all windows, by modality; put side by side.
        y: [N] int, class of each window.
        split: row numbers of the three parts.
        seed: of the solver.
        classes: K; None: the largest label + 1.

    Returns:
        [len(test), K] log-probabilities; classes without training rows get log 1e-12.

    Raises:
        ValueError: no modality, features that do not fit y, or a training part with one class.
    """
    if not by_modality or any(len(f) != len(y) for f in by_modality.values()):
        shapes = {name: f.shape for name, f in by_modality.items()}
        raise ValueError(f"fit_predict: expected features of {len(y)} windows, found {shapes}")
    y = np.asarray(y)
    train = thinned(split.train, y)
    if len(np.unique(y[train])) < 2:
        raise ValueError("fit_predict: the training part holds a single class")
    x = np.hstack(list(by_modality.values()))
    width = int(y.max()) + 1 if classes is None else classes
    fitted = [model.fit(x[train], y[train]) for model in machines(seed)]
    losses = [
        balanced_cross_entropy(_log_probability(model, x[split.val], width), y[split.val])
        for model in fitted
    ]
    return _log_probability(fitted[int(np.argmin(losses))], x[split.test], width)


def _log_probability(model: Pipeline, x: np.ndarray, width: int) -> np.ndarray:
    probability = np.zeros((len(x), width))
    if len(x):
        probability[:, model.classes_] = model.predict_proba(x)
    return np.log(np.maximum(probability, 1e-12))
