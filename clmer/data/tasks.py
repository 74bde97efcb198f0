"""Classification tasks: from ratings or named conditions to class indices.

Ratings run from 1 to 9. `valence`, `arousal`, `dominance` and `liking` split them at 5 (5 itself is
low); `va4` crosses valence and arousal so split; `va9` crosses them as low [1, 3], medium (3, 6]
and high (6, 9] (paper, IV-A1); `valence9` and the like are the nearest whole rating (a half goes
down). Any other name is a column of conditions ("rest", "arithmetic").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.recording import DataError

RATING_MIN, RATING_MAX = 1.0, 9.0
_HALVES = (5.0,)
_THIRDS = (3.0, 6.0)
_WHOLE = tuple(level + 0.5 for level in range(1, 9))
_DIMENSIONS = ("valence", "arousal", "dominance", "liking")

#: name -> (rating columns, upper edges of all but the last level, classes); the first column
#: varies slowest.
RATING_TASKS: dict[str, tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...]]] = {
    **{name: ((name,), _HALVES, ("low", "high")) for name in _DIMENSIONS},
    "va4": (("valence", "arousal"), _HALVES, ("LVLA", "LVHA", "HVLA", "HVHA")),
    "va9": (
        ("valence", "arousal"),
        _THIRDS,
        tuple(f"{v}V{a}A" for v in "LMH" for a in "LMH"),
    ),
    **{f"{name}9": ((name,), _WHOLE, tuple("123456789")) for name in _DIMENSIONS},
}


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Args:
        name: the task's name on the command line.
        classes: class names, indexed by what `of` returns.
        columns: the label columns it reads.
        edges: for ratings, level k holds edges[k-1] < rating <= edges[k]; empty for conditions.
    """

    name: str
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def of(self, labels: Mapping[str, float | str], source: Path | str) -> int:
        """The class index of one recording's labels.

        Args:
            labels: ratings (1-9) or conditions by column.
            source: where they came from, for messages.

        Raises:
            DataError: a column is absent, a rating is no number within 1-9, a condition is unknown.
        """
        for column in self.columns:
            if column not in labels:
                raise DataError(source, column, f"labels {sorted(labels)}", f"a column {column!r}")
        if not self.edges:
            return self._condition(labels[self.columns[0]], source)
        index = 0
        for column in self.columns:
            rating = _rating(labels[column], column, source)
            index = index * (len(self.edges) + 1) + sum(rating > edge for edge in self.edges)
        return index

    def encode(self, labels: Mapping[str, np.ndarray], source: Path | str) -> np.ndarray:
        """Class indices of many recordings or windows: columns [N] -> [N] int64."""
        for column in self.columns:
            if column not in labels:
                raise DataError(source, column, f"labels {sorted(labels)}", f"a column {column!r}")
        rows = zip(*(labels[column].tolist() for column in self.columns), strict=True)
        known: dict[tuple[float | str, ...], int] = {}
        indices = []
        for row in rows:
            if row not in known:
                known[row] = self.of(dict(zip(self.columns, row, strict=True)), source)
            indices.append(known[row])
        return np.array(indices, dtype=np.int64)

    def _condition(self, value: float | str, source: Path | str) -> int:
        name = condition_name(value)
        if name not in self.classes:
            raise DataError(source, self.name, repr(name), f"one of {list(self.classes)}")
        return self.classes.index(name)


def condition_name(value: float | str) -> str:
    """A condition as text: strings as they are, numbers without trailing zeros (1.0 -> "1")."""
    return value if isinstance(value, str) else f"{value:g}"


def task_for(dataset: str, name: str, classes: Sequence[float | str] | None = None) -> Task:
    """The task `name` on a data set.

    Args:
        dataset: its name, for messages.
        name: one of `RATING_TASKS`, or a column of conditions such as "label".
        classes: for a column of conditions, the values found in it (repetitions allowed); its
            classes are these, sorted.

    Raises:
        DataError: a column of conditions without values, or with a single one.
    """
    if name in RATING_TASKS:
        columns, edges, levels = RATING_TASKS[name]
        return Task(name, levels, columns, edges)
    if classes is None:
        raise DataError(
            dataset,
            f"--task {name}",
            "no such label",
            f"one of {sorted(RATING_TASKS)} or a column of the labels",
        )
    names = tuple(sorted({condition_name(value) for value in classes}))
    if len(names) < 2:
        raise DataError(
            dataset,
            f"--task {name}",
            f"{len(names)} class{'' if len(names) == 1 else 'es'} {list(names)}",
            "at least two",
            "A classifier needs recordings of two conditions or more.",
        )
    return Task(name, names, (name,))


def _rating(value: float | str, column: str, source: Path | str) -> float:
    expected = f"a number from {RATING_MIN:g} to {RATING_MAX:g}"
    if isinstance(value, str):
        raise DataError(source, column, repr(value), expected)
    if not (math.isfinite(value) and RATING_MIN <= value <= RATING_MAX):
        raise DataError(source, column, value, expected)
    return float(value)
