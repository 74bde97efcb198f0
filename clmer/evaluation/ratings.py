"""Scores of predicted ratings: per window, per recording, per person, with intervals over people.

With y the ratings, v what a model says, and all windows pooled:

    CCC = 2 s_yv / (s_yy + s_vv + (mean y - mean v)^2)    (Lin 1989; 1: equal, 0: unrelated)
    r   = s_yv / sqrt(s_yy s_vv)                          (Pearson)
    RMSE = sqrt(mean (y - v)^2)                           (in the rating's own unit)

A model that always says the same has CCC 0, and no r. *Across* people these pool everybody, so that
knowing who rates high in general counts. *Within* people (`within_ccc`, `within_pearson`) is the
mean over people of each one's own score: what a model knows of a person's better and worse moments.
A person whose ratings do not vary has none. `value`, `mean`, `sd`, `split_mean` and `split_sd` are
what they are of classes (`clmer.evaluation.metrics`).

Intervals are over people, Student's t: a person is one observation. Of a pooled score the standard
error is the jackknife's, from the scores without each person in turn, on the scale of Fisher's z
(atanh) for CCC and r, of the logarithm for RMSE, with the degrees of freedom of
`clmer.evaluation.intervals`. Of the scores within people it is that of a mean over people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from clmer.data.splits import Split
from clmer.data.store.store import Windows
from clmer.evaluation.intervals import degrees_of_freedom
from clmer.evaluation.metrics import score_spread
from clmer.evaluation.rows import Rows, concat, parts_of, repeats, split_numbers

#: What `rating_scores` returns, in this order.
RATING_SCORES = ("ccc", "rmse", "pearson", "within_ccc", "within_pearson")
#: What tables, pages and results.json call the intervals.
RATING_METHOD = "95 % interval over people (Student's t on the scale of Fisher's z)"

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class RatingPredictions(Rows):
    """Predictions of one model for test windows, one row per window and split.

    Args:
        model, split, subject, recording, start_s: see `Rows`.
        y: [N] float, true rating.
        value: [N] float, predicted rating.
    """

    value: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.y)
        columns = (self.split, self.subject, self.recording, self.start_s, self.value)
        if any(column.shape != (count,) for column in columns):
            shapes = [column.shape for column in columns]
            raise ValueError(
                f"RatingPredictions of {self.model!r}: {count} ratings need as many rows "
                f"everywhere, found {shapes}"
            )
        if not (np.isfinite(self.value).all() and np.isfinite(self.y).all()):
            raise ValueError(
                f"RatingPredictions of {self.model!r}: found ratings that are NaN or infinite, "
                "expected finite ones (did training diverge?)"
            )

    @classmethod
    def of_split(
        cls, model: str, split: Split, windows: Windows, y: np.ndarray, value: np.ndarray
    ) -> RatingPredictions:
        """Predictions for a split's test part; y covers all windows, value the test part only."""
        test = split.test
        return cls(
            model=model,
            split=np.full(len(test), split.name),
            subject=windows.subject[test],
            recording=windows.recording[test],
            start_s=windows.start_s[test],
            y=np.asarray(y, dtype=np.float64)[test],
            value=np.asarray(value, dtype=np.float64),
        )


def concordance(y: np.ndarray, value: np.ndarray) -> float:
    """The concordance correlation coefficient (CCC) of ratings [N] and predictions [N].

    0 where neither varies nor differs from the other.
    """
    center = np.mean(y)
    return float(_scores(_moments(y - center, value - center).sum(0))["ccc"])


def _moments(y: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(1, y, v, yy, vv, yv) of each row, [N, 6]."""
    return np.stack([np.ones(len(y)), y, value, y * y, value * value, y * value], axis=1)


def _scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    """CCC, RMSE and r from sums of moments [..., 6]; r is NaN where one side does not vary."""
    count = np.maximum(sums[..., 0], 1.0)
    y, v, yy, vv, yv = (sums[..., k] / count for k in range(1, 6))
    # What rounding leaves of a constant is no variance.
    s_yy, s_vv = (
        np.where(s <= _ROUNDING * square, 0.0, s)
        for s, square in ((yy - y * y, yy), (vv - v * v, vv))
    )
    s_yv = np.where((s_yy > 0) & (s_vv > 0), yv - y * v, 0.0)
    apart = s_yy + s_vv + (y - v) ** 2
    product = np.sqrt(s_yy * s_vv)
    return {
        "ccc": 2 * s_yv / np.where(apart > 0, apart, 1.0),
        "rmse": np.sqrt(np.maximum(yy + vv - 2 * yv, 0.0)),
        "pearson": np.where(product > 0, s_yv / np.where(product > 0, product, 1.0), np.nan),
    }


def person_scores(predictions: RatingPredictions) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """People [P], sorted, and each one's own CCC, RMSE and r [P].

    CCC and r are NaN where a person's ratings do not vary.
    """
    people, person = np.unique(predictions.subject, return_inverse=True)
    own = _scores(_by_person(predictions, person, len(people)))
    for k in range(len(people)):
        if np.ptp(predictions.y[person == k]) == 0:
            own["ccc"][k] = own["pearson"][k] = np.nan
    return people, own


def _by_person(predictions: RatingPredictions, person: np.ndarray, people: int) -> np.ndarray:
    sums = np.zeros((people, 6))
    # Around the ratings' mean: squares of large numbers would leave no digits for a small spread.
    center = predictions.y.mean()
    np.add.at(sums, person, _moments(predictions.y - center, predictions.value - center))
    return sums


def rating_scores(predictions: RatingPredictions) -> dict[str, float]:
    """Every score in `RATING_SCORES`; NaN where there is none."""
    people, person = np.unique(predictions.subject, return_inverse=True)
    pooled = _scores(_by_person(predictions, person, len(people)).sum(0))
    _, own = person_scores(predictions)
    within = {f"within_{name}": _mean(own[name]) for name in ("ccc", "pearson")}
    return {name: float(value) for name, value in (pooled | within).items()}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def rating_intervals(
    predictions: RatingPredictions, *, level: float = 0.95
) -> dict[str, tuple[float, float] | None]:
    """Intervals of every score over people; None where nothing can be computed: one person."""
    people, person = np.unique(predictions.subject, return_inverse=True)
    sums = _by_person(predictions, person, len(people))
    pooled, without = _scores(sums.sum(0)), _scores(sums.sum(0) - sums)
    degrees, _ = degrees_of_freedom(sums[:, :1] / sums[:, 0].sum())
    t = float(stats.t.ppf((1 + level) / 2, degrees))
    found = {name: _around(float(pooled[name]), without[name], t, name) for name in pooled}
    _, own = person_scores(predictions)
    for name in ("ccc", "pearson"):
        known = own[name][~np.isnan(own[name])]
        if len(known) < 2:
            found[f"within_{name}"] = None
            continue
        reach = float(stats.t.ppf((1 + level) / 2, len(known) - 1) * stats.sem(known))
        mean = float(known.mean())
        found[f"within_{name}"] = max(mean - reach, -1.0), min(mean + reach, 1.0)
    return found


def _around(value: float, without: np.ndarray, t: float, name: str) -> tuple[float, float] | None:
    """The interval of a pooled score, from the scores without each person [P]."""
    if not (np.isfinite(value) and np.isfinite(t) and np.isfinite(without).all()):
        return None
    there, back = (np.log, np.exp) if name == "rmse" else (np.arctanh, np.tanh)
    with np.errstate(divide="ignore"):
        middle, others = there(value), there(without)
    if not (np.isfinite(middle) and np.isfinite(others).all()):
        return value, value  # no error, whoever is left out
    count = len(others)
    reach = t * np.sqrt((count - 1) / count * ((others - others.mean()) ** 2).sum())
    return float(back(middle - reach)), float(back(middle + reach))


def recording_ratings(predictions: RatingPredictions) -> RatingPredictions:
    """One row per recording, sorted: the mean prediction of its windows, within one repeat.

    Raises:
        ValueError: the windows of one recording carry different ratings.
    """
    _, first, inverse, count = np.unique(
        predictions.recording, return_index=True, return_inverse=True, return_counts=True
    )
    mixed = predictions.y != predictions.y[first][inverse]
    if mixed.any():
        name = predictions.recording[mixed.argmax()]
        raise ValueError(f"recording_ratings: windows of {name!r} carry different ratings")
    total = np.zeros(len(first))
    np.add.at(total, inverse, predictions.value)
    columns = ("split", "subject", "recording", "start_s", "y")
    kept = {name: getattr(predictions, name)[first] for name in columns}
    return RatingPredictions(predictions.model, value=total / count, **kept)


def _level(
    by_repeat: Sequence[RatingPredictions], by_split: Sequence[RatingPredictions]
) -> dict[str, Any]:
    """Every score of one level (windows or recordings), as `evaluate_ratings` nests them."""
    rows = concat(by_repeat)
    pooled, interval = rating_scores(rows), rating_intervals(rows)
    of_repeats, of_splits = ([rating_scores(p) for p in parts] for parts in (by_repeat, by_split))
    out: dict[str, Any] = {"n": len(rows)}
    for name in RATING_SCORES:
        mean, sd = score_spread(of_repeats, name)
        split_mean, split_sd = score_spread(of_splits, name)
        low, high = interval[name] or (None, None)
        out[name] = {"value": pooled[name], "low": low, "high": high, "mean": mean, "sd": sd}
        out[name] |= {"split_mean": split_mean, "split_sd": split_sd}
    return out


def evaluate_ratings(predictions: RatingPredictions, protocol: str) -> dict[str, Any]:
    """Everything reported about one model, as plain numbers, lists and dicts.

    Args:
        predictions: over all splits of the run.
        protocol: decides what a repeat is, see `clmer.evaluation.metrics.repeats`.

    Returns:
        {"windows", "recordings"}: each {"n", and per name in `RATING_SCORES` a dict of value, low,
        high, mean, sd, split_mean, split_sd}; "people": a row each; "repeats", "splits": how many.
    """
    by_repeat = parts_of(predictions, repeats(predictions, protocol))
    by_split = parts_of(predictions, split_numbers(predictions))
    recordings_by_repeat = [recording_ratings(part) for part in by_repeat]
    recordings_by_split = [recording_ratings(part) for part in by_split]
    return {
        "windows": _level(by_repeat, by_split),
        "recordings": _level(recordings_by_repeat, recordings_by_split),
        "people": _person_rows(concat(by_repeat), concat(recordings_by_repeat)),
        "repeats": len(by_repeat),
        "splits": len(by_split),
    }


def _person_rows(windows: RatingPredictions, recordings: RatingPredictions) -> list[dict[str, Any]]:
    """One row per person: counts and scores per window and per recording, over all repeats."""
    people, by_window = person_scores(windows)
    _, by_recording = person_scores(recordings)
    return [
        {
            "subject": str(person),
            "windows": int((windows.subject == person).sum()),
            "recordings": int((recordings.subject == person).sum()),
            **{name: float(values[i]) for name, values in by_window.items()},
            **{f"recording_{name}": float(values[i]) for name, values in by_recording.items()},
        }
        for i, person in enumerate(people)
    ]


def compare_errors(models: Sequence[RatingPredictions]) -> Mapping[str, Mapping[str, float]]:
    """Each person's RMSE per window under every model: what models are tested by."""
    by_model = {}
    for model in models:
        people, own = person_scores(model)
        by_model[model.model] = dict(zip(people.tolist(), own["rmse"].tolist(), strict=True))
    return by_model
