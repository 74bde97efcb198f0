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
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline

from clmer.baselines.logistic import Features, mix, parts_of_groups

#: Smallest probability whose logarithm is taken: a forest of 300 gives 0 where no tree said so.
_LEAST = 1e-3


#: Options of both kinds of forest, and of boosting.
_FOREST: Mapping[str, Any] = {"n_estimators": 300, "min_samples_leaf": 3, "n_jobs": -1}
_BOOSTING: Mapping[str, Any] = {
    "max_iter": 100,
    "learning_rate": 0.08,
    "max_leaf_nodes": 15,
    "l2_regularization": 1.0,
    "max_features": 0.3,
    "early_stopping": False,
}


def _imputed(trees: Any) -> Pipeline:
    # Boosting takes NaN, but no column of nothing else.
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), trees)


def _forest(seed: int) -> Any:
    weight = "balanced_subsample"
    return _imputed(RandomForestClassifier(**_FOREST, class_weight=weight, random_state=seed))


def _boosting(seed: int) -> Any:
    weight = "balanced"
    return _imputed(
        HistGradientBoostingClassifier(**_BOOSTING, class_weight=weight, random_state=seed)
    )


#: By name: for classes, and for ratings; the argument is the seed.
TREES: Mapping[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
    "forest": (_forest, lambda seed: _imputed(RandomForestRegressor(**_FOREST, random_state=seed))),
    "boosting": (
        _boosting,
        lambda seed: _imputed(HistGradientBoostingRegressor(**_BOOSTING, random_state=seed)),
    ),
}


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
        name: out of `TREES`.
        features: [N, F] by modality, put side by side; NaN where unknown.
        y: [N] int class.
        rows: the training rows.
        groups: [len(rows)] what is held out together.
        test: the rows that are asked for.
        classes: K.
        seed: of the trees, and of the division of the groups.

    Returns:
        [len(test), K] log-probabilities.
    """
    x = np.hstack([*features.values()])
    own, labels = x[rows], y[rows]
    model = TREES[name][0](seed)
    held_out = np.zeros((len(rows), classes))
    for fitted, held in parts_of_groups(labels, groups, seed):
        part = _fit(clone(model), own[fitted], labels[fitted])
        held_out[held] = _log_probability(part, own[held], classes)
    calibrated = mix([held_out], labels, classes)
    found = _log_probability(_fit(model, own, labels), x[test], classes)
    return np.asarray(log_softmax(calibrated.shares[0] * found + calibrated.bias, axis=1))


def fit_predict_ratings(
    name: str, features: Features, y: np.ndarray, rows: np.ndarray, test: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Ratings [len(test)] by trees fitted to ratings y [N] of some rows; see `fit_predict`."""
    x = np.hstack([*features.values()])
    return np.asarray(_fit(TREES[name][1](seed), x[rows], y[rows]).predict(x[test]))


def _log_probability(model: Any, x: np.ndarray, classes: int) -> np.ndarray:
    probability = np.zeros((len(x), classes))
    if len(x):
        probability[:, model.classes_] = model.predict_proba(x)
    return np.log(np.maximum(probability, _LEAST))


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Fit on all cores; asked on one, since threads add up the trees' votes in any order."""
    model.fit(x, y)
    if isinstance(model[-1], (RandomForestClassifier, RandomForestRegressor)):
        model[-1].set_params(n_jobs=1)
    return model
