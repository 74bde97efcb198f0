"""`clmer.CLMERClassifier`: encoders and fusion behind scikit-learn's estimator rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from clmer.integrations.estimator import WindowEstimator
from clmer.pipeline.targets import RowWeights


def _refused_weights(found: Any) -> str:
    return f'class_weight: found {found!r}, expected "balanced", None, or numbers by label'


class CLMERClassifier(ClassifierMixin, WindowEstimator):
    """CLMER as a classifier; its arguments are `WindowEstimator`'s, and one more.

    Args:
        class_weight: what windows count in the losses by their class, see `fit`. "balanced": n /
            (K n_k), so that rare classes count as much as frequent ones, as `clmer train` has it;
            None: every window 1; or numbers by label, 1 for those that are not named. Times
            `sample_weight`, by whose sums "balanced" counts. The epoch is chosen by the accuracy
            with the same weights.

    Attributes:
        classes_: [K] labels, sorted.
        n_features_in_: X.shape[1].
        model_: the fitted `clmer.pipeline.split.model.SplitModel`.
    """

    _TARGET = "class"

    def __init__(
        self,
        modalities: Mapping[str, tuple[int | Sequence[str], int]] | None = None,
        *,
        fs: float = 128.0,
        classifier: str = "corrected",
        tokens: str = "channel",
        contrastive: bool = True,
        width: int = 16,
        token_length: int = 20,
        dim: int = 32,
        heads: int = 4,
        cross_layers: int = 2,
        memory_layers: int = 1,
        single_layers: int = 3,
        embedding_dropout: float = 0.25,
        members: int = 1,
        batch: int = 64,
        epochs_contrastive: int = 15,
        epochs_fusion: int = 60,
        validation: float = 0.2,
        patience: int = 10,
        class_weight: Any = "balanced",
        init: Any = None,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            modalities,
            fs=fs,
            classifier=classifier,
            tokens=tokens,
            contrastive=contrastive,
            width=width,
            token_length=token_length,
            dim=dim,
            heads=heads,
            cross_layers=cross_layers,
            memory_layers=memory_layers,
            single_layers=single_layers,
            embedding_dropout=embedding_dropout,
            members=members,
            batch=batch,
            epochs_contrastive=epochs_contrastive,
            epochs_fusion=epochs_fusion,
            validation=validation,
            patience=patience,
            init=init,
            device=device,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def _encode(self, y: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        check_classification_targets(y)
        self.classes_ = np.unique(y[used])
        if len(self.classes_) < 2:
            raise ValueError(f"y: found one class, {self.classes_[0]}, expected at least two")
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        return np.where(used, labels, -1), tuple(map(str, self.classes_))

    def _weights(self, y: np.ndarray, weight: np.ndarray | None) -> RowWeights | None:
        given, rows = self.class_weight, np.ones(len(y)) if weight is None else weight
        if given is None or isinstance(given, str):
            if given not in (None, "balanced"):
                raise ValueError(_refused_weights(given))
            plain = given == "balanced" and weight is None
            return None if plain else RowWeights(rows, given == "balanced")
        if not isinstance(given, Mapping):
            raise ValueError(_refused_weights(given))
        labels = self.classes_.tolist()
        unknown = [label for label in given if label not in labels]
        if unknown:
            known = ", ".join(map(str, labels))
            raise ValueError(f"class_weight: found {unknown[0]!r}, expected labels of y: {known}")
        for label, value in given.items():
            if not isinstance(value, Real) or not 0 < float(value) < math.inf:
                raise ValueError(f"class_weight[{label!r}]: found {value!r}, expected above 0")
        by_row = np.ones(len(y))
        for label, value in given.items():
            by_row[y == label] = float(value)
        return RowWeights(rows * by_row, balanced=False)

    def _strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def predict_proba(self, X: Any, groups: Any = None, reference: Any = None) -> np.ndarray:
        """Probability of each class, [n_samples, K], in the order of `classes_`.

        Args:
            X: as in `fit`.
            groups: [n_samples] people, where `fit` had a reference; None for one person's.
            reference: what they are known by, where `fit` had a reference: [n_samples] bool; or
                windows [n, ...] shaped as X of the one person whose X is; "all" where fit had that.

        Raises:
            ValueError: a reference is missing, or not asked for; a person is not known by it.
        """
        return np.exp(self.predict_log_proba(X, groups, reference))

    def predict_log_proba(self, X: Any, groups: Any = None, reference: Any = None) -> np.ndarray:
        """Log of `predict_proba`, [n_samples, K]; finite where the probability is 0."""
        return self._predictions(X, groups, reference)

    def predict(self, X: Any, groups: Any = None, reference: Any = None) -> np.ndarray:
        """The most probable class of each sample, [n_samples]; arguments as in `predict_proba`."""
        best = self.predict_proba(X, groups, reference).argmax(1)
        return np.asarray(self.classes_[best])
