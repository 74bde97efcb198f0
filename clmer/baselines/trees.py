"""Random forest and gradient boosting on the features of `clmer.features`, calibrated.

    l(x) = a log p(x) + b,  a >= 0,

with p the trees' probability, a and b fitted by class-balanced cross-entropy to answers for groups
(people) that were held out: trees put new people on the side of the more frequent class.

Source: Breiman 2001 (random forest); Friedman 2001 (gradient boosting), in scikit-learn's forms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from clmer.baselines.logistic import Features, mix, parts_of_groups

#: Names in results: which trees.
FOREST, BOOSTING = "forest", "boosting"
#: Smallest probability whose logarithm is taken: a forest of 300 gives 0 where no tree said so.
_LEAST = 1e-3


def _forest(seed: int) -> Any:
    trees = RandomForestClassifier(
        300,
        min_samples_leaf=3,
        class_weight="balanced_subsample",
        random_state=seed,
        n_jobs=-1,
    )
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), trees)


def _boosting(seed: int) -> Any:
    return HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=False,
        class_weight="balanced",
        random_state=seed,
    )


TREES: Mapping[str, Callable[[int], Any]] = {FOREST: _forest, BOOSTING: _boosting}


def fit_predict(
    name: str,
    features: Features,
    y: np.ndarray,
    rows: np.ndarray,
    groups: np.ndarray,
    test: np.ndarray,
    classes: int,
    seed: int = 0,
) -> np.ndarray:
    """Train trees on some rows, calibrate them, predict others.

    Args:
        name: `FOREST` or `BOOSTING`.
        features: [N, F] by modality, put side by side; NaN where unknown.
        y: [N] int class.
        rows: the training rows.
        groups: [len(rows)] what is held out together.
        test: the rows that are asked for.
        classes: K.
        seed: of the trees, and of the division of the groups.

    Returns:
        [len(test), K] logits.
    """
    x = np.hstack([*features.values()])
    own, labels = x[rows], y[rows]
    model = TREES[name](seed)
    held_out = np.zeros((len(rows), classes))
    for fitted, held in parts_of_groups(labels, groups, seed):
        part = clone(model).fit(own[fitted], labels[fitted])
        held_out[held] = _log_probability(part, own[held], classes)
    calibrated = mix([held_out], labels, classes)
    found = _log_probability(model.fit(own, labels), x[test], classes)
    return np.asarray(calibrated.shares[0] * found + calibrated.bias)


def _log_probability(model: Any, x: np.ndarray, classes: int) -> np.ndarray:
    probability = np.zeros((len(x), classes))
    if len(x):
        probability[:, model.classes_] = model.predict_proba(x)
    return np.log(np.maximum(probability, _LEAST))
