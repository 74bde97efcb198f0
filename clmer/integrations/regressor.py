"""`clmer.CLMERRegressor`: ratings as numbers, behind scikit-learn's estimator rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from clmer.data.ratings import quarters
from clmer.evaluation.ratings import concordance
from clmer.integrations.estimator import WindowEstimator


class CLMERRegressor(RegressorMixin, WindowEstimator):
    """CLMER as a regressor: a rating, or any number, per window.

    Arguments are `WindowEstimator`'s. Trained are standardised ratings by their squared error; with
    `validation` the epoch is chosen by windows held back, quarters of the ratings in proportion.
    `score` is R^2, as of scikit-learn's regressors; `concordance` is what runs report.

    Attributes:
        n_features_in_: X.shape[1].
        model_: the fitted `clmer.pipeline.split.model.SplitModel`.
    """

    _TARGET = "rating"

    def _encode(self, y: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        return np.where(used, np.asarray(y, dtype=np.float64), np.nan), ()

    def _strata(self, labels: np.ndarray) -> np.ndarray:
        return quarters(labels)

    def predict(self, X: Any, groups: Any = None, reference: Any = None) -> np.ndarray:
        """The rating of each sample, [n_samples].

        Args:
            X: as in `fit`.
            groups: [n_samples] people, where `fit` had a reference; None for one person's.
            reference: what they are known by, see `CLMERClassifier.predict_proba`.

        Raises:
            ValueError: a reference is missing, or not asked for; a person is not known by it.
        """
        return self._predictions(X, groups, reference)

    def concordance(self, X: Any, y: Any) -> float:
        """The concordance correlation coefficient (CCC) of `predict` with y."""
        return concordance(np.asarray(y, dtype=np.float64), self.predict(X))
