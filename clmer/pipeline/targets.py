"""What a model predicts, classes or a rating: its outputs, the loss, the validation score.

`ModelConfig.target` names one, and everything else of training is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from clmer.data.tasks import is_known
from clmer.evaluation.ratings import concordance
from clmer.pipeline.models import Tokens, log_probabilities, mean_probability, outputs_of

#: Losses of a batch: rows [B] -> {"loss": differentiable scalar, other names: for the log}.
Losses = Callable[[Tensor, torch.Generator], Mapping[str, Tensor]]

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

    def losses(self, model: nn.Module, tokens: Tokens, y: np.ndarray, train: np.ndarray) -> Losses:
        """What a step minimises: rows [B] -> "loss".

        Args:
            model: gives [B, outputs].
            tokens: [N, tokens, features] by modality.
            y: [N] labels.
            train: rows whose labels count.
        """

    def validate(
        self, model: nn.Module, tokens: Tokens, y: np.ndarray, train: np.ndarray, val: np.ndarray
    ) -> tuple[float, float]:
        """(score to maximise, loss) on the rows `val`."""

    def predict(self, model: nn.Module, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
        """What a model says of rows: log-probabilities [n, classes], or ratings [n]; float64."""

    def mean(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """What several models say together."""

    def notes(self) -> dict[str, Any]:
        """All that `read_target` needs, as JSON."""


@dataclass(frozen=True)
class ClassTarget:
    """Classes: weighted cross-entropy, validated by balanced accuracy.

    Args:
        classes: names, in the order of the labels' numbers.
    """

    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """A logit per class."""
        return len(self.classes)

    def _weight(self, y: Tensor, train: np.ndarray) -> Tensor:
        """Weights of the classes, inverse to their frequency in training."""
        counts = torch.bincount(y[train], minlength=self.outputs).clamp(min=1)
        return (len(train) / (self.outputs * counts)).float()

    def losses(self, model: nn.Module, tokens: Tokens, y: np.ndarray, train: np.ndarray) -> Losses:
        """Cross-entropy, classes weighted."""
        labels = torch.from_numpy(y).to(next(model.parameters()).device)
        return fusion_losses(model, tokens, labels, self._weight(labels, train))

    def validate(
        self, model: nn.Module, tokens: Tokens, y: np.ndarray, train: np.ndarray, val: np.ndarray
    ) -> tuple[float, float]:
        """Balanced accuracy and weighted cross-entropy."""
        logp = torch.from_numpy(self.predict(model, tokens, val))
        weight = self._weight(torch.from_numpy(y), train).double()
        score = balanced_accuracy_score(y[val], logp.argmax(1).numpy())
        loss = nn.functional.nll_loss(logp, torch.from_numpy(y[val]), weight)
        return float(score), float(loss)

    def predict(self, model: nn.Module, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities [n, classes]."""
        return log_probabilities(model, tokens, rows)

    def mean(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Log of the mean probability."""
        return mean_probability(parts)

    def notes(self) -> dict[str, Any]:
        """The names of the classes."""
        return {"classes": list(self.classes), "rating": []}


def fusion_losses(model: nn.Module, tokens: Tokens, y: Tensor, weight: Tensor) -> Losses:
    """Cross-entropy, classes weighted."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in tokens.items()})
        return {"loss": nn.functional.cross_entropy(logits, y[rows], weight)}

    return losses


@dataclass(frozen=True)
class RatingTarget:
    """A rating r: squared error of (r - center) / spread, validated by the concordance (CCC).

    Args:
        center: mean of the training part's ratings.
        spread: their standard deviation; 1 where they do not vary.
    """

    center: float
    spread: float

    #: No classes, and one number per window.
    classes = ()
    outputs = 1

    @classmethod
    def fit(cls, ratings: np.ndarray) -> RatingTarget:
        """The target of a training part's ratings [n]."""
        spread = float(ratings.std())
        return cls(float(ratings.mean()), spread if spread > _NO_SPREAD else 1.0)

    def losses(self, model: nn.Module, tokens: Tokens, y: np.ndarray, train: np.ndarray) -> Losses:
        """Mean squared error of standardised ratings."""
        scaled = torch.from_numpy((y - self.center) / self.spread).float()
        scaled = scaled.to(next(model.parameters()).device)

        def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            said = model({name: part[rows] for name, part in tokens.items()})[:, 0]
            return {"loss": nn.functional.mse_loss(said.float(), scaled[rows])}

        return losses

    def validate(
        self, model: nn.Module, tokens: Tokens, y: np.ndarray, train: np.ndarray, val: np.ndarray
    ) -> tuple[float, float]:
        """Concordance, and the mean squared error of standardised ratings."""
        said = self.predict(model, tokens, val)
        loss = np.mean(((said - y[val]) / self.spread) ** 2)
        return float(concordance(y[val], said)), float(loss)

    def predict(self, model: nn.Module, tokens: Tokens, rows: np.ndarray) -> np.ndarray:
        """Ratings [n]."""
        said = outputs_of(model, tokens, rows)[:, 0].double().cpu().numpy()
        return np.asarray(self.center + self.spread * said)

    def mean(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The mean rating."""
        return np.asarray(np.mean(parts, axis=0))

    def notes(self) -> dict[str, Any]:
        """Center and spread."""
        return {"classes": [], "rating": [self.center, self.spread]}


def fit_target(kind: str, classes: Sequence[str], y: np.ndarray, train: np.ndarray) -> Target:
    """The target of a training part.

    Args:
        kind: "class" or "rating", as `ModelConfig.target`.
        classes: names; none of a rating.
        y: [N] int classes, or float64 ratings.
        train: rows to train on.
    """
    if kind == "class":
        return ClassTarget(tuple(classes))
    known = y[train]
    return RatingTarget.fit(known[is_known(known)])


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
