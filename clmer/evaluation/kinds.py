"""What is scored, and how it is shown: classes by confusion matrices, ratings by their error.

Everything that writes or shows results asks one of the two `KINDS`, the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from clmer.data.splits import Split
from clmer.data.store.store import Windows
from clmer.evaluation import intervals
from clmer.evaluation.metrics import SCORES, Predictions, evaluate, majority
from clmer.evaluation.ratings import (
    RATING_METHOD,
    RATING_SCORES,
    RatingPredictions,
    compare_errors,
    evaluate_ratings,
)
from clmer.evaluation.rows import Rows
from clmer.evaluation.significance import compare, compare_people
from clmer.text import STORED, cell, score_text

#: A score's name in results.json, and how columns call it.
Column = tuple[str, str]


class Kind(Protocol):
    """What is asked of classes and of ratings.

    Args:
        target: its name, as `ModelConfig.target`.
        scores: names of the scores of a level in results.json.
        main: the score to read, first in every table; `title` and `short` are what it is called.
        windows: further columns of a table per window; `recordings` of one per recording.
        lowest: least value of the main score.
        tested: what models are tested by, in words; `by_person` is its name in a person's row,
            `tested_of` what a person's is called, `better` 1 where more of it is better, else -1.
        method: how intervals are computed.
        joined: what a recording's prediction is of its windows.
        figure: name of the file in a run's folder.
        guess: name of the baseline that knows the training labels alone.
    """

    target: ClassVar[str]
    scores: ClassVar[tuple[str, ...]]
    main: ClassVar[str]
    title: ClassVar[str]
    short: ClassVar[str]
    windows: ClassVar[tuple[Column, ...]]
    recordings: ClassVar[tuple[Column, ...]]
    lowest: ClassVar[float]
    tested: ClassVar[str]
    by_person: ClassVar[str]
    tested_of: ClassVar[str]
    better: ClassVar[int]
    method: ClassVar[str]
    figure: ClassVar[str]
    joined: ClassVar[str]
    guess: ClassVar[str]

    def of_split(
        self, model: str, split: Split, windows: Windows, y: np.ndarray, said: np.ndarray
    ) -> Rows:
        """Predictions for a split's test part."""

    def guessed(self, y: np.ndarray, count: int, classes: Sequence[str]) -> np.ndarray:
        """What the baseline `guess` says `count` times, from training labels y."""

    def evaluate(self, model: Rows, classes: Sequence[str], protocol: str) -> dict[str, Any]:
        """Everything reported about a model."""

    def compare(self, models: Sequence[Rows]) -> list[dict[str, Any]]:
        """Tests over people between every pair of models."""

    def png(self, models: Sequence[Rows], classes: Sequence[str]) -> bytes:
        """The figure."""

    def columns(self, classes: Sequence[str]) -> list[str]:
        """Columns of predictions.csv that say what is true and what was said."""

    def cells(self, model: Rows, classes: Sequence[str]) -> list[list[str]]:
        """Their cells, a row per window."""

    def chance(self, results: Mapping[str, Any]) -> float:
        """The main score of a model that knows nothing."""

    def explain(self, results: Mapping[str, Any]) -> str:
        """What the main score means, as a sentence."""


class ClassKind(Kind):
    """Classes: balanced accuracy, confusion matrices, log-probabilities."""

    target = "class"
    scores = SCORES
    main, title, short = "balanced_accuracy", "balanced accuracy", "balanced acc"
    windows = (("accuracy", "acc"), ("macro_f1", "macro F1"))
    recordings = (("accuracy", "acc"),)
    lowest = 0.0
    tested, by_person = "balanced accuracy per window", "balanced_accuracy"
    tested_of, better = "balanced accuracy", 1
    method = intervals.METHOD
    figure, joined = "confusion.png", "mean log-probability"
    guess = "majority"

    def of_split(
        self, model: str, split: Split, windows: Windows, y: np.ndarray, said: np.ndarray
    ) -> Rows:
        """Log-probabilities [n, classes] of the test part."""
        return Predictions.of_split(model, split, windows, y, said)

    def guessed(self, y: np.ndarray, count: int, classes: Sequence[str]) -> np.ndarray:
        """The frequencies of the training part."""
        return majority(y, count, classes)

    def evaluate(self, model: Rows, classes: Sequence[str], protocol: str) -> dict[str, Any]:
        """`clmer.evaluation.metrics.evaluate`."""
        return evaluate(cast(Predictions, model), classes, protocol)

    def compare(self, models: Sequence[Rows]) -> list[dict[str, Any]]:
        """By each person's balanced accuracy."""
        return compare(cast(Sequence[Predictions], models))

    def png(self, models: Sequence[Rows], classes: Sequence[str]) -> bytes:
        """Confusion matrices."""
        from clmer.evaluation.confusion_figure import confusion_png  # matplotlib

        return confusion_png(cast(Sequence[Predictions], models), classes)

    def columns(self, classes: Sequence[str]) -> list[str]:
        """The true and the most probable class, and every class's log-probability."""
        return ["true", "predicted", *(f"logp_{name}" for name in classes)]

    def cells(self, model: Rows, classes: Sequence[str]) -> list[list[str]]:
        """Names of classes, and log-probabilities."""
        rows = cast(Predictions, model)
        said = zip(rows.y, rows.predicted, rows.logp, strict=True)
        return [
            [cell(classes[true]), cell(classes[best]), *(f"{value:.{STORED}f}" for value in logp)]
            for true, best, logp in said
        ]

    def chance(self, results: Mapping[str, Any]) -> float:
        """1 / classes."""
        return 1 / len(results["classes"])

    def explain(self, results: Mapping[str, Any]) -> str:
        """What chance is."""
        return f"Chance is {score_text(self.chance(results))} balanced."


class RatingKind(Kind):
    """Ratings: concordance, error, correlation, and the ratings themselves."""

    target = "rating"
    scores = RATING_SCORES
    main, title, short = "ccc", "CCC", "CCC"
    windows = (("rmse", "RMSE"), ("pearson", "r"), ("within_ccc", "CCC within people"))
    recordings = (("rmse", "RMSE"), ("within_ccc", "CCC within people"))
    lowest = -1.0
    tested, by_person = "RMSE per window (lower is better)", "rmse"
    tested_of, better = "error (RMSE)", -1
    method = RATING_METHOD
    figure, joined = "ratings.png", "mean rating"
    guess = "training mean"

    def of_split(
        self, model: str, split: Split, windows: Windows, y: np.ndarray, said: np.ndarray
    ) -> Rows:
        """Ratings [n] of the test part."""
        return RatingPredictions.of_split(model, split, windows, y, said)

    def guessed(self, y: np.ndarray, count: int, classes: Sequence[str]) -> np.ndarray:
        """The mean rating of the training part."""
        return np.full(count, float(y.mean()))

    def evaluate(self, model: Rows, classes: Sequence[str], protocol: str) -> dict[str, Any]:
        """`clmer.evaluation.ratings.evaluate_ratings`."""
        return evaluate_ratings(cast(RatingPredictions, model), protocol)

    def compare(self, models: Sequence[Rows]) -> list[dict[str, Any]]:
        """By each person's RMSE, which a person of one rating has too."""
        return compare_people(compare_errors(cast(Sequence[RatingPredictions], models)))

    def png(self, models: Sequence[Rows], classes: Sequence[str]) -> bytes:
        """Predicted against true ratings."""
        from clmer.evaluation.rating_figure import rating_png  # matplotlib

        return rating_png(cast(Sequence[RatingPredictions], models))

    def columns(self, classes: Sequence[str]) -> list[str]:
        """The true and the predicted rating."""
        return ["true", "predicted"]

    def cells(self, model: Rows, classes: Sequence[str]) -> list[list[str]]:
        """Both as numbers."""
        rows = cast(RatingPredictions, model)
        pairs = zip(rows.y, rows.value, strict=True)
        return [[f"{value:.{STORED}f}" for value in pair] for pair in pairs]

    def chance(self, results: Mapping[str, Any]) -> float:
        """0: of any prediction that has nothing to do with the ratings."""
        return 0.0

    def explain(self, results: Mapping[str, Any]) -> str:
        """What the scores are, in a line."""
        return (
            "CCC (concordance): 1 where predictions equal the ratings, 0 where they have nothing "
            "to do with them; RMSE is in the rating's own unit. All people are pooled; within "
            "people is the mean of each one's own CCC, of people whose ratings vary."
        )


#: By the name of the target.
KINDS: dict[str, Kind] = {ClassKind.target: ClassKind(), RatingKind.target: RatingKind()}


def kind_of(results: Mapping[str, Any]) -> Kind:
    """The kind of a run's results.json; one of an earlier version is of classes."""
    return KINDS[results.get("target", ClassKind.target)]
