"""Scores of a run: per window, per recording and per person, with intervals and tests over people.

What is averaged, exactly:

- A *score* is computed from one confusion matrix. Accuracy is the ordinary one (correct / all);
  Equation 9 of the paper, (TP + TN) / samples of a class, can exceed 1 as printed and is not used.
- `value` pools every test prediction of a model into one confusion matrix. Under a grouped protocol
  the splits rotate: one rotation tests every window exactly once, and `value` is the score of all
  people together, not a mean of per-split scores.
- `mean` and `sd` are over *repeats*: a repeat is one rotation (all its splits pooled), and under
  `shuffled` one split. The sd has n - 1 in the denominator; with a single repeat it is None.
- `split_mean` and `split_sd` are over the single splits, whose test parts hold different people.
- `low` and `high` are a 95 % interval over people, each with all their windows (of every repeat):
  Student's t on the logit scale, see `clmer.evaluation.intervals`.
- A recording's prediction is the mean log-probability of its windows, within one repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from clmer.data.splits import Split
from clmer.data.store.store import Windows
from clmer.data.tasks import is_known
from clmer.evaluation.calibration import probability_scores
from clmer.evaluation.intervals import person_intervals
from clmer.evaluation.rows import Rows, concat, parts_of, repeats, split_numbers

#: What `scores` and `confusion_scores` return, in this order.
SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")


@dataclass(frozen=True, eq=False)
class Predictions(Rows):
    """Predictions of one model for test windows, one row per window and split.

    Args:
        model, split, subject, recording, start_s: see `Rows`.
        y: [N] int, true class.
        logp: [N, K] log-probabilities (any finite scores whose largest entry is the prediction).
    """

    logp: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.y)
        columns = (self.split, self.subject, self.recording, self.start_s)
        if self.logp.ndim != 2 or any(len(column) != count for column in (*columns, self.logp)):
            lengths = [len(column) for column in columns]
            raise ValueError(
                f"Predictions of {self.model!r}: {count} labels need {count} rows everywhere, "
                f"found columns of {lengths} and log-probabilities {self.logp.shape}"
            )
        if not np.isfinite(self.logp).all():
            rows = int((~np.isfinite(self.logp)).any(axis=1).sum())
            raise ValueError(
                f"Predictions of {self.model!r}: {rows} of {count} rows hold log-probabilities "
                "that are NaN or infinite; expected finite ones (did training diverge?)"
            )
        if count and not (self.y.min() >= 0 and self.y.max() < self.logp.shape[1]):
            raise ValueError(
                f"Predictions of {self.model!r}: labels {self.y.min()}..{self.y.max()} do not fit "
                f"{self.logp.shape[1]} columns of log-probabilities"
            )

    @classmethod
    def of_split(
        cls, model: str, split: Split, windows: Windows, y: np.ndarray, logp: np.ndarray
    ) -> Predictions:
        """Predictions for a split's test part; y covers all windows, logp the test part only."""
        test = split.test
        return cls(
            model=model,
            split=np.full(len(test), split.name),
            subject=windows.subject[test],
            recording=windows.recording[test],
            start_s=windows.start_s[test],
            y=np.asarray(y)[test].astype(np.int64),
            logp=np.asarray(logp, dtype=np.float64),
        )

    @property
    def predicted(self) -> np.ndarray:
        """[N] the most probable class; of equal ones the first."""
        return np.asarray(self.logp.argmax(axis=1), dtype=np.int64)


def per_recording(predictions: Predictions) -> Predictions:
    """One row per recording, sorted: the mean log-probability of its windows.

    Give it one repeat at a time, or the windows of several models are averaged (`parts_of`).

    Raises:
        ValueError: the windows of one recording carry different labels.
    """
    _, first, inverse, count = np.unique(
        predictions.recording, return_index=True, return_inverse=True, return_counts=True
    )
    mixed = predictions.y != predictions.y[first][inverse]
    if mixed.any():
        name = predictions.recording[mixed.argmax()]
        raise ValueError(f"per_recording: windows of recording {name!r} carry different labels")
    total = np.zeros((len(first), predictions.logp.shape[1]))
    np.add.at(total, inverse, predictions.logp)
    return Predictions(
        model=predictions.model,
        split=predictions.split[first],
        subject=predictions.subject[first],
        recording=predictions.recording[first],
        start_s=predictions.start_s[first],
        y=predictions.y[first],
        logp=total / count[:, None],
    )


def scores(y: np.ndarray, logp: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1 and weighted F1 of one set of predictions.

    Balanced accuracy is the mean recall over the classes that y holds; macro F1 the mean F1 over
    the classes that occur in y or among the predictions; weighted F1 weighs each class by its count
    in y (Equation 13).

    Args:
        y: [N] int, true class.
        logp: [N, K] log-probabilities.
        classes: K names.

    Raises:
        ValueError: no rows, or K differs from logp's width.
    """
    if len(y) == 0 or logp.shape != (len(y), len(classes)):
        raise ValueError(
            f"scores: expected [N, {len(classes)}] log-probabilities for N > 0 labels, "
            f"found {logp.shape} for {len(y)}"
        )
    predicted = logp.argmax(axis=1)
    recall = recall_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0.0)
    return {
        "accuracy": float(accuracy_score(y_true=y, y_pred=predicted)),
        "balanced_accuracy": float(recall),
        "macro_f1": float(f1_score(y_true=y, y_pred=predicted, average="macro")),
        "weighted_f1": float(f1_score(y_true=y, y_pred=predicted, average="weighted")),
    }


def confusion(predictions: Predictions) -> np.ndarray:
    """[K, K] counts, true class by row, predicted class by column."""
    labels = np.arange(predictions.logp.shape[1])
    return np.asarray(confusion_matrix(predictions.y, predictions.predicted, labels=labels))


def confusion_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of `scores`, from any number of confusion matrices at once.

    Args:
        counts: [..., K, K], true class by row.

    Returns:
        An array [...] for each name in `SCORES`.
    """
    counts = np.asarray(counts, dtype=np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)  # [..., K]
    true, predicted = counts.sum(-1), counts.sum(-2)
    total = np.maximum(true.sum(-1), 1.0)
    recall = hit / np.maximum(true, 1.0)
    f1 = 2.0 * hit / np.maximum(true + predicted, 1.0)
    return {
        "accuracy": hit.sum(-1) / total,
        "balanced_accuracy": recall.sum(-1) / np.maximum((true > 0).sum(-1), 1),
        "macro_f1": f1.sum(-1) / np.maximum((true + predicted > 0).sum(-1), 1),
        "weighted_f1": (f1 * true).sum(-1) / total,
    }


def person_confusions(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """People [P], sorted, and their confusion matrices [P, K, K]."""
    people, person = np.unique(predictions.subject, return_inverse=True)
    width = predictions.logp.shape[1]
    cell = (person * width + predictions.y) * width + predictions.predicted
    counts = np.bincount(cell, minlength=len(people) * width * width)
    return people, counts.reshape(len(people), width, width)


def intervals(predictions: Predictions) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of every score over people (`clmer.evaluation.intervals`).

    None where nothing can be computed: one person, or no class in two people.

    Args:
        predictions: rows of windows or of recordings.
    """
    _, counts = person_confusions(predictions)
    found = person_intervals(counts)
    return {
        name: None if np.isnan(low) else (float(low), float(high))
        for name, (low, high) in found.items()
    }


def score_spread(rows: Sequence[Mapping[str, float]], name: str) -> tuple[float, float | None]:
    """Mean and standard deviation of a score over repeats or splits; no sd of a single one."""
    values = np.array([row[name] for row in rows])
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def _level(
    by_repeat: Sequence[Predictions],
    by_split: Sequence[Predictions],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Every score of one level (windows or recordings), as `evaluate` nests them."""
    rows = concat(by_repeat)
    pooled = scores(rows.y, rows.logp, classes)
    repeat_scores = [scores(part.y, part.logp, classes) for part in by_repeat]
    split_scores = [scores(part.y, part.logp, classes) for part in by_split]
    interval = intervals(rows)
    out: dict[str, Any] = {"n": len(rows), "confusion": confusion(rows).tolist()}
    for name in SCORES:
        mean, sd = score_spread(repeat_scores, name)
        split_mean, split_sd = score_spread(split_scores, name)
        low, high = interval[name] or (None, None)
        out[name] = {
            "value": pooled[name],
            "low": low,
            "high": high,
            "mean": mean,
            "sd": sd,
            "split_mean": split_mean,
            "split_sd": split_sd,
        }
    return out


def person_rows(windows: Predictions, recordings: Predictions) -> list[dict[str, Any]]:
    """One row per person: counts and scores per window and per recording, over all repeats.

    A person's balanced accuracy is the mean recall over the classes that this person has.
    """
    people, counts = person_confusions(windows)
    _, recording_counts = person_confusions(recordings)
    by_window, by_recording = confusion_scores(counts), confusion_scores(recording_counts)
    return [
        {
            "subject": str(person),
            "windows": int(counts[i].sum()),
            "recordings": int(recording_counts[i].sum()),
            **{name: float(by_window[name][i]) for name in SCORES},
            **{f"recording_{name}": float(by_recording[name][i]) for name in SCORES[:2]},
        }
        for i, person in enumerate(people)
    ]


def evaluate(predictions: Predictions, classes: Sequence[str], protocol: str) -> dict[str, Any]:
    """Everything reported about one model, as plain numbers, lists and dicts.

    Args:
        predictions: over all splits of the run (`concat`).
        classes: class names, in the order of the log-probability columns.
        protocol: decides what a repeat is (see the module's text).

    Returns:
        {"windows", "recordings"}: each {"n", "confusion", and per name in `SCORES` a dict of value,
        low, high, mean, sd, split_mean, split_sd}; "probabilities": `probability_scores` per
        window; "people": `person_rows`; "repeats" and "splits": how many.
    """
    by_repeat = parts_of(predictions, repeats(predictions, protocol))
    by_split = parts_of(predictions, split_numbers(predictions))
    recordings_by_repeat = [per_recording(part) for part in by_repeat]
    recordings_by_split = [per_recording(part) for part in by_split]
    rows = concat(by_repeat)
    return {
        "windows": _level(by_repeat, by_split, classes),
        "probabilities": probability_scores(rows.y, rows.logp, rows.subject),
        "recordings": _level(recordings_by_repeat, recordings_by_split, classes),
        "people": person_rows(rows, concat(recordings_by_repeat)),
        "repeats": len(by_repeat),
        "splits": len(by_split),
    }


def permute_labels(
    y: np.ndarray, recording: np.ndarray, subject: np.ndarray, seed: int
) -> np.ndarray:
    """Labels permuted over the recordings of each person, all windows of a recording together.

    The result depends on the names and the seed, not on the order of the rows. A model trained on
    and scored against it shows what is left when labels say nothing.

    Args:
        y: [N] int class or float rating of each window; -1 or NaN, which stays where it is, for
            none.
        recording: [N] recording, unique in the data set.
        subject: [N] person.
        seed: of the permutation.

    Raises:
        ValueError: the windows of one recording carry different labels.
    """
    recording, subject, y = np.asarray(recording), np.asarray(subject), np.asarray(y)
    rng = np.random.default_rng(seed)
    _, first, inverse = np.unique(recording, return_index=True, return_inverse=True)
    label, owner = y[first], subject[first]
    known = is_known(label)
    mixed = (is_known(y) != known[inverse]) | (known[inverse] & (y != label[inverse]))
    mixed |= subject != owner[inverse]
    if mixed.any():
        name = recording[mixed.argmax()]
        raise ValueError(f"permute_labels: recording {name!r} has more than one label or person")
    moved = label.copy()
    for person in np.unique(owner):
        rows = np.flatnonzero((owner == person) & known)
        moved[rows] = label[rng.permutation(rows)]
    return np.asarray(moved[inverse])


def majority(y_train: np.ndarray, count: int, classes: Sequence[str]) -> np.ndarray:
    """Log-probabilities [count, K] of the model that knows the training part's class counts only.

    Its prediction is the most frequent training class (of equal ones the first); counts are raised
    by one so that a class without training rows keeps a finite log-probability.
    """
    frequency = np.bincount(np.asarray(y_train), minlength=len(classes)) + 1.0
    return np.tile(np.log(frequency / frequency.sum()), (count, 1))
