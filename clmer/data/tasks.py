"""Classification tasks: from ratings or named conditions to class indices.

DEAP's and AMIGOS' ratings run from 1 to 9; of a manifest's the scale is stated or asked for.
`valence`, `arousal`, `dominance` and `liking` split it in the middle, or at a threshold (what lies
on it is low); `va4` crosses valence and arousal so split; `va9` crosses them as low [1, 3], medium
(3, 6] and high (6, 9] (paper, IV-A1), thirds of any other scale; `valence9` and the like are nine
levels, on 1-9 the nearest whole rating (a half goes down). Any other name is a column of conditions
("rest", "arithmetic"), and so is a rating's column that holds words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.errors import DataError
from clmer.text import did_you_mean

Interval = tuple[float, float]

RATING_MIN, RATING_MAX = 1.0, 9.0
RATING_SCALE: Interval = (RATING_MIN, RATING_MAX)
DIMENSIONS = ("valence", "arousal", "dominance", "liking")
_HALVES = (5.0,)
_THIRDS = (3.0, 6.0)
_WHOLE = tuple(level + 0.5 for level in range(1, 9))

#: name -> (rating columns, upper edges of all but the last level, classes); the first column
#: varies slowest.
RATING_TASKS: dict[str, tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...]]] = {
    **{name: ((name,), _HALVES, ("low", "high")) for name in DIMENSIONS},
    "va4": (("valence", "arousal"), _HALVES, ("LVLA", "LVHA", "HVLA", "HVHA")),
    "va9": (
        ("valence", "arousal"),
        _THIRDS,
        tuple(f"{v}V{a}A" for v in "LMH" for a in "LMH"),
    ),
    **{f"{name}9": ((name,), _WHOLE, tuple("123456789")) for name in DIMENSIONS},
}


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Args:
        name: the task's name on the command line.
        classes: class names, indexed by what `of` returns.
        columns: the label columns it reads.
        edges: for ratings, level k holds edges[k-1] < rating <= edges[k]; empty for conditions.
        scale: for ratings, the least and the largest; infinite where a threshold alone is known.
        note: what to say of its classes; "" for nothing.
    """

    name: str
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    edges: tuple[float, ...] = ()
    scale: Interval = RATING_SCALE
    note: str = ""

    def of(self, labels: Mapping[str, float | str], source: Path | str) -> int:
        """The class index of one recording's labels.

        Args:
            labels: ratings or conditions by column.
            source: where they came from, for messages.

        Raises:
            DataError: a column is absent, a rating is no number within the scale, a condition is
                unknown.
        """
        for column in self.columns:
            if column not in labels:
                raise DataError(source, column, f"labels {sorted(labels)}", f"a column {column!r}")
        if not self.edges:
            return self._condition(labels[self.columns[0]], source)
        index = 0
        for column in self.columns:
            rating = self._rating(labels[column], column, source)
            index = index * (len(self.edges) + 1) + sum(rating > edge for edge in self.edges)
        return index

    def encode(
        self,
        labels: Mapping[str, np.ndarray],
        source: Path | str,
        people: np.ndarray | None = None,
    ) -> np.ndarray:
        """Class indices of many recordings or windows: columns [N] -> [N] int64.

        `people` [N] are whose they are, for tasks that ask. Where a label is missing
        (`is_unlabelled`) the index is -1.
        """
        for column in self.columns:
            if column not in labels:
                raise DataError(source, column, f"labels {sorted(labels)}", f"a column {column!r}")
        rows = zip(*(labels[column].tolist() for column in self.columns), strict=True)
        known: dict[tuple[float | str, ...], int] = {}
        indices = []
        for row in rows:
            if any(map(is_unlabelled, row)):
                indices.append(-1)
                continue
            if row not in known:
                known[row] = self.of(dict(zip(self.columns, row, strict=True)), source)
            indices.append(known[row])
        return np.array(indices, dtype=np.int64)

    def strata(self, y: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """What splits are balanced for: the classes [N], and their names."""
        return y, self.classes

    def describe(self) -> str:
        """Where ratings are split into classes, or what else to know about these; "" for nothing.

        "scale 1-9, split at 5: low <= 5 < high".
        """
        if not self.edges:
            return self.note
        low, high = self.scale
        scale = f"scale {span_text(low, high)}, " if math.isfinite(high) else ""
        edges = [condition_name(edge) for edge in self.edges]
        if len(edges) == 1:
            text = f"{scale}split at {edges[0]}: low <= {edges[0]} < high"
        else:
            text = f"{scale}split at {', '.join(edges)}, each in the lower class"
        return f"{text}; {self.note}" if self.note else text

    def _condition(self, value: float | str, source: Path | str) -> int:
        name = condition_name(value)
        if name not in self.classes:
            raise DataError(source, self.name, repr(name), f"one of {list(self.classes)}")
        return self.classes.index(name)

    def _rating(self, value: float | str, column: str, source: Path | str) -> float:
        return rating_within(value, self.scale, column, source)


def rating_within(value: float | str, scale: Interval, column: str, source: Path | str) -> float:
    """A rating of a scale.

    Raises:
        DataError: it is no number, or outside the scale.
    """
    low, high = scale
    expected = f"a number from {condition_name(low)} to {condition_name(high)}"
    if not math.isfinite(high):
        expected = "a number"
    if isinstance(value, str):
        raise DataError(source, column, repr(value), expected)
    if not (math.isfinite(value) and low <= value <= high):
        raise DataError(source, column, value, expected, outside(value, scale))
    return float(value)


def outside(value: float, scale: Interval) -> str:
    """What to say of a rating outside a scale."""
    hint = "" if scale == RATING_SCALE else "The scale is what `scale` says. "
    return f"{hint}If {value:g} stands for no answer, leave those cells empty."


def is_known(y: np.ndarray) -> np.ndarray:
    """[N] bool: which labels are there; -1 is no class, NaN no rating."""
    return ~np.isnan(y) if y.dtype.kind == "f" else y >= 0


def is_unlabelled(value: float | str) -> bool:
    """Whether a label says that there is none: nan among ratings, "" among conditions."""
    return value == "" if isinstance(value, str) else math.isnan(value)


def condition_name(value: float | str) -> str:
    """A condition as text: strings as they are, numbers without trailing zeros (1.0 -> "1").

    No two numbers get one name.
    """
    if isinstance(value, str):
        return value
    whole = math.isfinite(value) and value == int(value) and abs(value) < 2**53
    return str(int(value)) if whole else repr(float(value))


def span_text(low: float, high: float) -> str:
    """A scale as text: "1-9", "-1 to 1", "of all numbers"."""
    if not math.isfinite(high):
        return "of all numbers"
    joint = " to " if low < 0 else "-"
    return f"{condition_name(low)}{joint}{condition_name(high)}"


def task_for(
    dataset: str,
    name: str,
    classes: Sequence[float | str] | None = None,
    *,
    scale: Interval = RATING_SCALE,
    threshold: float | None = None,
) -> Task:
    """The task `name` on a data set.

    Args:
        dataset: its name, for messages.
        name: one of `RATING_TASKS`, or a column of conditions such as "label".
        classes: for a column of conditions, the values found in it (repetitions allowed, missing
            ones passed by); its classes are these, sorted.
        scale: least and largest rating.
        threshold: where the tasks of two levels split, the largest rating that is low; None for the
            scale's middle.

    Raises:
        DataError: a column of conditions without values, or with a single one; a threshold outside
            the scale, or for a task of more levels.
    """
    if name in RATING_TASKS:
        columns, edges, levels = RATING_TASKS[name]
        edges = _edges(dataset, name, edges, scale, threshold)
        return Task(name, levels, columns, edges, scale)
    if classes is None:
        raise DataError(
            dataset,
            f"`task={name}`",
            "no such label",
            f"one of {sorted(RATING_TASKS)} or a column of the labels",
            did_you_mean(name, RATING_TASKS),
        )
    return condition_task(dataset, name, classes)


def condition_task(dataset: str, name: str, values: Sequence[float | str]) -> Task:
    """The task of a column of conditions: its classes are the values found, sorted.

    Raises:
        DataError: there are fewer than two.
    """
    names = tuple(sorted({condition_name(value) for value in values if not is_unlabelled(value)}))
    if len(names) < 2:
        raise DataError(
            dataset,
            f"`task={name}`",
            f"{len(names)} class{'' if len(names) == 1 else 'es'} {list(names)}",
            "at least two",
            "A classifier needs recordings of two conditions or more.",
        )
    return Task(name, names, (name,))


def _edges(
    dataset: str, name: str, edges: tuple[float, ...], scale: Interval, threshold: float | None
) -> tuple[float, ...]:
    """The levels' edges on a scale, out of those on 1-9."""
    low, high = scale
    if threshold is not None:
        if edges != _HALVES:
            two = ", ".join(each for each, (_, e, _) in RATING_TASKS.items() if e == _HALVES)
            raise DataError(
                dataset,
                "`threshold`",
                f"{threshold:g} with `task={name}`",
                f"a task of two levels: {two}",
                "Levels of other tasks follow from `scale`.",
            )
        if not low <= threshold < high:
            raise DataError(
                dataset, "`threshold`", f"{threshold:g}", f"within the scale {span_text(low, high)}"
            )
        return (threshold,)
    if scale == RATING_SCALE:
        return edges
    if edges == _THIRDS:
        return tuple(low + (high - low) * k / 3 for k in (1, 2))
    return tuple(low + (edge - RATING_MIN) * (high - low) / 8 for edge in edges)
