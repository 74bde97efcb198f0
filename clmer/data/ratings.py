"""Ratings as they are: a column of numbers that is predicted as a number, not as classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.task_choice import is_code
from clmer.data.tasks import (
    RATING_SCALE,
    RATING_TASKS,
    Interval,
    Task,
    condition_name,
    is_unlabelled,
    rating_within,
    span_text,
)
from clmer.errors import DataError
from clmer.text import did_you_mean

#: Strata of ratings by which splits are balanced.
QUARTERS = 4
_ANY: Interval = (-math.inf, math.inf)


@dataclass(frozen=True)
class RatingTask:
    """A rating to predict; beside `clmer.data.tasks.Task`, with the same methods.

    Args:
        name: its column.
        scale: least and largest; infinite where none is known.
    """

    name: str
    scale: Interval = RATING_SCALE

    #: No classes, and no edges between any.
    classes = ()
    edges = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The label column that it reads."""
        return (self.name,)

    def encode(
        self,
        labels: Mapping[str, np.ndarray],
        source: Path | str,
        people: np.ndarray | None = None,
    ) -> np.ndarray:
        """Ratings of many recordings or windows: columns [N] -> [N] float64, NaN where missing.

        Raises:
            DataError: the column is absent, or a rating no number within the scale.
        """
        if self.name not in labels:
            raise DataError(
                source, self.name, f"labels {sorted(labels)}", f"a column {self.name!r}"
            )
        known: dict[float | str, float] = {}
        for value in dict.fromkeys(labels[self.name].tolist()):
            if not is_unlabelled(value):
                known[value] = rating_within(value, self.scale, self.name, source)
        ratings = [known.get(value, math.nan) for value in labels[self.name].tolist()]
        return np.array(ratings, dtype=np.float64)

    def strata(self, y: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """What splits are balanced for: quarters of the ratings, fewer where many are equal.

        Args:
            y: [N] ratings.

        Returns:
            [N] int64 quarter, -1 where there is no rating; names, "valence 1 to 3.5".
        """
        strata = quarters(y)
        spans = [
            (y[strata == k].min(), y[strata == k].max()) for k in range(strata.max(initial=-1) + 1)
        ]
        return strata, tuple(f"{self.name} {low:g} to {high:g}" for low, high in spans)

    def describe(self) -> str:
        """What to know about the ratings."""
        known = math.isfinite(self.scale[1])
        return f"ratings, scale {span_text(*self.scale)}" if known else "ratings"


def quarters(y: np.ndarray) -> np.ndarray:
    """The quarter [N] int64 of each rating [N], -1 for NaN; fewer where many are equal."""
    known = np.flatnonzero(~np.isnan(y))
    strata = np.full(len(y), -1, dtype=np.int64)
    if len(known):
        edges = np.quantile(y[known], np.arange(1, QUARTERS) / QUARTERS)
        _, strata[known] = np.unique(np.searchsorted(edges, y[known]), return_inverse=True)
    return strata


#: What is predicted: classes, or a rating.
AnyTask = Task | RatingTask


def choose_rating(
    source: Path | str,
    name: str,
    columns: Mapping[str, np.ndarray],
    *,
    dataset: str,
    rated: Interval | None = RATING_SCALE,
    scale: Interval | None = None,
) -> RatingTask:
    """The ratings `name` among these labels.

    Args:
        source: the data, for messages.
        name: a column of numbers.
        columns: [N] float64 ratings or str conditions by column, nan and "" where missing.
        dataset: its name.
        rated: the scale of the data set's ratings; None where each study has its own.
        scale: what the user says that it is.

    Raises:
        DataError: there is no such column of numbers, it holds fewer than two values, or the scale
            is not the data set's.
    """
    field = f"`task={name}` with `target=rating`"
    if scale is not None and rated not in (None, scale):
        expected = f"none: ratings of {dataset} run from {span_text(*(rated or scale))}"
        raise DataError(source, "`scale`", span_text(*scale), expected)
    numeric = [each for each, values in columns.items() if values.dtype.kind == "f"]
    if name not in numeric:
        found, hint = "no such column", did_you_mean(name, numeric)
        if name in columns:
            words = sorted({str(value) for value in columns[name].tolist()} - {""})
            found = f"a column of words ({', '.join(words[:3])})"
            hint = "Words are classes: leave `target` out."
        elif name in RATING_TASKS:
            found = f"classes made of {' and '.join(RATING_TASKS[name][0])}"
        expected = f"a column of numbers: {', '.join(numeric) or 'there is none'}"
        raise DataError(source, field, found, expected, hint)
    values = np.unique(columns[name][np.isfinite(columns[name])])
    if len(values) < 2:
        found = f"{' '.join(map(condition_name, values.tolist())) or 'nothing'} in every recording"
        raise DataError(source, field, found, "two different ratings or more")
    codes = [value for value in values if is_code(value, columns[name])]
    if codes and not (scale or rated):
        found = f"{condition_name(float(codes[0]))} among ratings from {values[0]:g} on"
        hint = "If it stands for no answer, leave those cells empty; if not, give the scale."
        raise DataError(source, field, found, "`scale=LOW,HIGH`", hint)
    return RatingTask(name, scale or rated or _ANY)
