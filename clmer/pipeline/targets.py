"""What a model predicts, classes or a rating: its outputs, the loss, the validation score.

`ModelConfig.target` names one, and everything else of training is the same for both. What a network
gives for a window, [outputs], is added to what its linear floor gives, where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from torch.nn import functional

from clmer.baselines import logistic, ridge
from clmer.baselines.logistic import Features, Fitted
from clmer.evaluation.ratings import concordance

#: Losses of a batch: rows [B] -> {"loss": differentiable scalar, other names: for the log}.
Losses = Callable[[Tensor, torch.Generator], Mapping[str, Tensor]]
#: (outputs [B, K], rows [B]) -> a differentiable scalar.
Loss = Callable[[Tensor, Tensor], Tensor]

#: A spread of ratings that is none: the model then learns their mean.
_NO_SPREAD = 1e-12


class Target(Protocol):
    """What stage 2 and a trained model ask of what is predicted."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none of a rating."""

    @property
    def outputs(self) -> int:
        """Numbers that a model gives for a window."""

    def loss(self, y: np.ndarray, train: np.ndarray, device: torch.device) -> Loss:
        """What a step minimises.

        Args:
            y: [N] labels.
            train: rows whose labels count.
            device: of the outputs.
        """

    def validate(
        self, outputs: np.ndarray, y: np.ndarray, train: np.ndarray, val: np.ndarray
    ) -> tuple[float, float]:
        """(score to maximise, loss) of outputs [n, K] on the rows `val` [n]."""

    def row_losses(
        self, outputs: np.ndarray, y: np.ndarray, train: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """The loss of each row [n], for outputs [n, K] on these rows."""

    def floor(
        self,
        features: Features,
        y: np.ndarray,
        groups: np.ndarray,
        seed: int,
        rows: np.ndarray | None = None,
    ) -> Fitted:
        """A linear model of rows' features that gives outputs, see `clmer.baselines.logistic`.

        `rows` are the places of these among all that have weights; None for the first ones.
        """

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """What outputs [n, K] say: log-probabilities [n, K], or ratings [n]; float64."""

    def mean(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """What several models say together."""

    def notes(self) -> dict[str, Any]:
        """All that `read_target` needs, as JSON."""

    def unweighted(self) -> Target:
        """The same without the weights of windows, which serve training alone."""


@dataclass(frozen=True, eq=False)
class RowWeights:
    """What each window counts in the losses of the floor and of stage 2.

        loss = sum_i w_i l_i / sum_i w_i,  w_i = rows_i * balance of y_i

    Args:
        rows: [N] above 0, of windows that are trained on or validated by.
        balanced: whether classes are balanced on top: n / (K n_k), n in weights and not in windows.
    """

    rows: np.ndarray
    balanced: bool

    def of(self, y: np.ndarray, rows: np.ndarray, classes: int) -> np.ndarray:
        """Weights [n] of the rows with classes y [n], float64; their sum is that of `self.rows`."""
        own = np.asarray(self.rows[rows], dtype=np.float64)
        if not self.balanced:
            return own
        counts = np.bincount(y, own, classes)
        return np.asarray(own * own.sum() / ((counts > 0).sum() * counts[y]))


@dataclass(frozen=True)
class ClassTarget:
    """Classes: weighted cross-entropy, validated by balanced accuracy.

    Args:
        classes: names, in the order of the labels' numbers.
        weights: of the windows; None for balanced classes. They serve training alone.
    """

    classes: tuple[str, ...]
    weights: RowWeights | None = field(default=None, compare=False, repr=False)

    @property
    def outputs(self) -> int:
        """A logit per class."""
        return len(self.classes)

    def _weight(self, y: Tensor, train: np.ndarray) -> Tensor:
        """Weights of the classes, inverse to their frequency in training."""
        counts = torch.bincount(y[train], minlength=self.outputs).clamp(min=1)
        return (len(train) / (self.outputs * counts)).float()

    def loss(self, y: np.ndarray, train: np.ndarray, device: torch.device) -> Loss:
        """Cross-entropy, classes weighted."""
        labels = torch.from_numpy(y).to(device)
        if self.weights is None:
            return cross_entropy(labels, self._weight(labels, train))
        weight = np.zeros(len(y), dtype=np.float32)
        weight[train] = self.weights.of(y[train], train, self.outputs)
        return weighted_cross_entropy(labels, torch.from_numpy(weight).to(device))

    def validate(
        self, outputs: np.ndarray, y: np.ndarray, train: np.ndarray, val: np.ndarray
    ) -> tuple[float, float]:
        """Balanced accuracy and weighted cross-entropy."""
        logp = torch.from_numpy(self.decode(outputs))
        if self.weights is not None:
            own = self.weights.of(y[val], val, self.outputs)
            hits = logp.argmax(1).numpy() == y[val]
            losses = -logp.numpy()[np.arange(len(val)), y[val]]
            return float(np.average(hits, weights=own)), float(np.average(losses, weights=own))
        weight = self._weight(torch.from_numpy(y), train).double()
        score = balanced_accuracy_score(y[val], logp.argmax(1).numpy())
        loss = functional.nll_loss(logp, torch.from_numpy(y[val]), weight)
        return float(score), float(loss)

    def row_losses(
        self, outputs: np.ndarray, y: np.ndarray, train: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Weighted cross-entropy."""
        logp = torch.from_numpy(self.decode(outputs))
        if self.weights is not None:
            own = self.weights.of(y[rows], rows, self.outputs)
            return np.asarray(-logp.numpy()[np.arange(len(rows)), y[rows]] * own / own.mean())
        weight = self._weight(torch.from_numpy(y), train).double()
        known = torch.from_numpy(y[rows])
        return functional.nll_loss(logp, known, weight, reduction="none").numpy()

    def floor(
        self,
        features: Features,
        y: np.ndarray,
        groups: np.ndarray,
        seed: int,
        rows: np.ndarray | None = None,
    ) -> Fitted:
        """Logistic regression."""
        at = np.arange(len(y)) if rows is None else rows
        own = None if self.weights is None else self.weights.of(y, at, self.outputs)
        return logistic.fit(features, y, groups, self.outputs, seed, own)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Log-probabilities of logits."""
        return np.asarray(log_softmax(outputs, axis=1))

    def mean(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Log of the mean probability."""
        return np.asarray(np.logaddexp.reduce(parts) - np.log(len(parts)))

    def unweighted(self) -> ClassTarget:
        """The same without weights."""
        return replace(self, weights=None)

    def notes(self) -> dict[str, Any]:
        """The names of the classes."""
        return {"classes": list(self.classes), "rating": []}


def cross_entropy(y: Tensor, weight: Tensor) -> Loss:
    """Cross-entropy of labels [N], classes weighted [K]."""

    def loss(outputs: Tensor, rows: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, y[rows], weight)

    return loss


def weighted_cross_entropy(y: Tensor, weight: Tensor) -> Loss:
    """Cross-entropy of labels [N], rows weighted [N]: sum_i w_i l_i / sum_i w_i over a batch."""

    def loss(outputs: Tensor, rows: Tensor) -> Tensor:
        own = weight[rows]
        each = functional.cross_entropy(outputs, y[rows], reduction="none")
        return (own * each).sum() / own.sum()

    return loss


@dataclass(frozen=True)
class RatingTarget:
    """A rating r: squared error of (r - center) / spread, validated by the concordance (CCC).

    Args:
        center: mean of the training part's ratings.
        spread: their standard deviation; 1 where they do not vary.
        weights: of the windows; None for 1. They serve training alone.
    """

    center: float
    spread: float
    weights: RowWeights | None = field(default=None, compare=False, repr=False)

    #: No classes, and one number per window.
    classes = ()
    outputs = 1

    @classmethod
    def fit(cls, ratings: np.ndarray) -> RatingTarget:
        """The target of a training part's ratings [n]."""
        spread = float(ratings.std())
        return cls(float(ratings.mean()), spread if spread > _NO_SPREAD else 1.0)

    def _scaled(self, y: np.ndarray) -> np.ndarray:
        return np.asarray((y - self.center) / self.spread)

    def loss(self, y: np.ndarray, train: np.ndarray, device: torch.device) -> Loss:
        """Mean squared error of standardised ratings."""
        scaled = torch.from_numpy(self._scaled(y)).float().to(device)
        if self.weights is None:

            def loss(outputs: Tensor, rows: Tensor) -> Tensor:
                return functional.mse_loss(outputs[:, 0].float(), scaled[rows])

            return loss
        weight = torch.from_numpy(self.weights.rows).float().to(device)

        def weighted_loss(outputs: Tensor, rows: Tensor) -> Tensor:
            own = weight[rows]
            return (own * (outputs[:, 0].float() - scaled[rows]).square()).sum() / own.sum()

        return weighted_loss

    def validate(
        self, outputs: np.ndarray, y: np.ndarray, train: np.ndarray, val: np.ndarray
    ) -> tuple[float, float]:
        """Concordance, and the mean squared error of standardised ratings."""
        own = None if self.weights is None else self.weights.rows[val]
        loss = np.average((outputs[:, 0] - self._scaled(y[val])) ** 2, weights=own)
        return concordance(y[val], self.decode(outputs)), float(loss)

    def row_losses(
        self, outputs: np.ndarray, y: np.ndarray, train: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Squared error of standardised ratings."""
        errors = np.asarray((outputs[:, 0] - self._scaled(y[rows])) ** 2)
        if self.weights is None:
            return errors
        own = self.weights.rows[rows]
        return np.asarray(errors * own / own.mean())

    def floor(
        self,
        features: Features,
        y: np.ndarray,
        groups: np.ndarray,
        seed: int,
        rows: np.ndarray | None = None,
    ) -> Fitted:
        """Ridge regression of standardised ratings."""
        at = np.arange(len(y)) if rows is None else rows
        own = None if self.weights is None else self.weights.rows[at]
        return ridge.fit(features, self._scaled(y), groups, seed, own)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Ratings [n] on their own scale."""
        return np.asarray(self.center + self.spread * outputs[:, 0])

    def mean(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The mean rating."""
        return np.asarray(np.mean(parts, axis=0))

    def unweighted(self) -> RatingTarget:
        """The same without weights."""
        return replace(self, weights=None)

    def notes(self) -> dict[str, Any]:
        """Center and spread."""
        return {"classes": [], "rating": [self.center, self.spread]}


def fit_target(
    kind: str,
    classes: Sequence[str],
    y: np.ndarray,
    train: np.ndarray,
    weights: RowWeights | None = None,
) -> Target:
    """The target of a training part.

    Args:
        kind: "class" or "rating", as `ModelConfig.target`.
        classes: names; none of a rating.
        y: [N] int classes, or float64 ratings.
        train: rows to train on.
        weights: what windows count in the losses; None for balanced classes, or 1 of a rating.
    """
    if kind == "class":
        return ClassTarget(tuple(classes), weights)
    return replace(RatingTarget.fit(y[train]), weights=weights)


def read_target(kind: str, notes: Mapping[str, Any]) -> Target:
    """Undo `Target.notes`.

    Raises:
        ValueError: they are not of this kind.
    """
    classes, rating = notes["classes"], notes["rating"]
    if kind == "class" and len(classes) >= 2 and not rating:
        return ClassTarget(tuple(classes))
    if kind == "rating" and not classes and len(rating) == 2 and rating[1] > 0:
        return RatingTarget(float(rating[0]), float(rating[1]))
    raise ValueError(f"target {kind}, {len(classes)} classes and a rating {rating}")


def check_has_classes(target: Target) -> None:
    """Refuse to give probabilities of a rating.

    Raises:
        TypeError: the target has no classes.
    """
    if not target.classes:
        raise TypeError(
            "predict_proba: found a model of ratings (`target=rating`), expected one of classes: "
            "a rating has no probability; predict gives it"
        )
