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
from dataclasses import dataclass, replace
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
#: What is certainly on a scale of 1-9: the largest value is above this, that of 1-7.
_SEVEN = 7.0
#: A column of numbers with more of them than this is no column of classes.
_MOST_CLASSES = 10

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

    def encode(self, labels: Mapping[str, np.ndarray], source: Path | str) -> np.ndarray:
        """Class indices of many recordings or windows: columns [N] -> [N] int64.

        Where a label is missing (`is_unlabelled`) the index is -1.
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

    def describe(self) -> str:
        """Where ratings are split into classes, or what else to know about these; "" for nothing.

        "scale 1-9, split at 5: low <= 5 < high".
        """
        if not self.edges:
            return self.note
        low, high = self.scale
        scale = f"scale {_span(low, high)}, " if math.isfinite(high) else ""
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
        low, high = self.scale
        expected = f"a number from {condition_name(low)} to {condition_name(high)}"
        if not math.isfinite(high):
            expected = "a number"
        if isinstance(value, str):
            raise DataError(source, column, repr(value), expected)
        if not (math.isfinite(value) and low <= value <= high):
            raise DataError(source, column, value, expected, self.outside(value))
        return float(value)

    def outside(self, value: float) -> str:
        """What to say of a rating outside the scale."""
        hint = "" if self.scale == RATING_SCALE else "The scale is what --scale says. "
        return f"{hint}If {value:g} stands for no answer, leave those cells empty."


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
            f"--task {name}",
            "no such label",
            f"one of {sorted(RATING_TASKS)} or a column of the labels",
            did_you_mean(name, RATING_TASKS),
        )
    return _conditions(dataset, name, classes)


def _conditions(dataset: str, name: str, values: Sequence[float | str]) -> Task:
    names = tuple(sorted({condition_name(value) for value in values if not is_unlabelled(value)}))
    if len(names) < 2:
        raise DataError(
            dataset,
            f"--task {name}",
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
                "--threshold",
                f"{threshold:g} with --task {name}",
                f"a task of two levels: {two}",
                "Levels of other tasks follow from --scale.",
            )
        if not low <= threshold < high:
            raise DataError(
                dataset, "--threshold", f"{threshold:g}", f"within the scale {_span(low, high)}"
            )
        return (threshold,)
    if scale == RATING_SCALE:
        return edges
    if edges == _THIRDS:
        return tuple(low + (high - low) * k / 3 for k in (1, 2))
    return tuple(low + (edge - RATING_MIN) * (high - low) / 8 for edge in edges)


def choose_task(
    source: Path | str,
    name: str,
    columns: Mapping[str, np.ndarray],
    *,
    dataset: str,
    rated: Interval | None = RATING_SCALE,
    scale: Interval | None = None,
    threshold: float | None = None,
    remark: str = "",
) -> Task:
    """The task `name` on these labels, with the scale stated, known or seen.

    Args:
        source: the data, for messages.
        name: a rating task or a column.
        columns: [N] float64 ratings or str conditions by column, nan and "" where missing.
        dataset: its name.
        rated: the scale of the data set's ratings; None where each study has its own.
        scale: what the user says that it is.
        threshold: where the user splits two levels.
        remark: put at the end of errors.

    Raises:
        DataError: there is no such task here; the scale cannot be told; scale or threshold do not
            fit the task or the data set.
    """
    if scale is not None and rated not in (None, scale):
        raise DataError(source, "--scale", _span(*scale), f"none: ratings of {dataset} run from "
                        f"{_span(*(rated or scale))}")  # fmt: skip
    ratings = RATING_TASKS[name][0] if name in RATING_TASKS else ()
    numeric = [each for each in ratings if each in columns and columns[each].dtype.kind == "f"]
    if ratings and len(numeric) == len(ratings):
        scale = scale or rated
        note = ""
        if scale is None and threshold is None:
            scale = _seen_scale(source, name, ratings, columns, remark)
            note = "scale taken from the values found, see --scale"
            middle = sum(scale) / 2
            for each in ratings:
                if len(ratings) > 1 and np.nanmax(columns[each], initial=0.0) <= middle:
                    note += f"; no {each} above {middle:g}"
        known = scale or (-math.inf, math.inf)
        task = task_for(str(source), name, scale=known, threshold=threshold)
        _check_levels(source, task, columns, remark)
        return replace(task, note=note)
    if name not in columns:
        words = [each for each in ratings if each in columns and each not in numeric]
        if words:
            found = f"words in {words[0]} ({_some_words(columns[words[0]])})"
            hint = f"Words are classes: --task {words[0]}."
            raise DataError(source, f"--task {name}", found, "ratings", hint)
        return task_for(str(source), name)
    values = columns[name]
    if values.dtype.kind != "f":
        if threshold is not None or scale is not None:
            option = "--threshold" if threshold is not None else "--scale"
            raise DataError(
                source,
                f"{option} with --task {name}",
                f"a column of words ({_some_words(values)})",
                "a column of numbers",
                "Leave the cells empty where there is no rating.",
            )
        return _conditions(str(source), name, values.tolist())
    return _of_numbers(source, name, values, scale, threshold)


def _of_numbers(
    source: Path | str,
    name: str,
    values: np.ndarray,
    scale: Interval | None,
    threshold: float | None,
) -> Task:
    """The task of a column of numbers that is not named as a rating."""
    if threshold is not None or scale is not None:
        known = scale or (-math.inf, math.inf)
        task = task_for(str(source), DIMENSIONS[0], scale=known, threshold=threshold)
        task = replace(task, name=name, columns=(name,))
        _check_levels(source, task, {name: values}, "")
        return task
    found = np.unique(values[np.isfinite(values)])
    if len(found) > _MOST_CLASSES:
        raise DataError(
            source,
            f"--task {name}",
            f"{len(found)} different numbers, {found[0]:g} to {found[-1]:g}",
            f"at most {_MOST_CLASSES} classes",
            "If they are ratings, say where low ends (--threshold X), or their scale (--scale "
            "LOW,HIGH), which is split in the middle.",
        )
    task = _conditions(str(source), name, values.tolist())
    return replace(
        task,
        note="every number is a class of its own; --threshold X or --scale LOW,HIGH makes two, low "
        "and high, of ratings",
    )


def _some_words(values: np.ndarray) -> str:
    """Up to three words of a column, those that are no numbers first."""
    found = {str(value) for value in values.tolist()} - {""}
    words = sorted(found, key=lambda word: (word[0].isdigit(), word))
    return ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")


def _check_levels(
    source: Path | str, task: Task, columns: Mapping[str, np.ndarray], remark: str
) -> None:
    """Refuse ratings that all lie on one side of the task's only edge.

    Raises:
        DataError: they do, in every column.
    """
    found = {name: columns[name][np.isfinite(columns[name])] for name in task.columns}
    levels = {n: np.unique(np.searchsorted(task.edges, v)) for n, v in found.items() if v.size}
    if not levels or any(len(each) > 1 for each in levels.values()):
        return
    name = task.columns[0]
    low, high = found[name].min(), found[name].max()
    edge = task.edges[0]
    raise DataError(
        source,
        f"--task {task.name}",
        f"numbers from {low:g} to {high:g} in {name}, all in one class",
        f"ratings on both sides of {edge:g}" if len(task.edges) == 1 else "ratings of two classes",
        f"{task.describe()}. Give the true scale (--scale LOW,HIGH), or say where low ends: "
        f"--threshold X. {remark}".strip(),
    )


def _seen_scale(
    source: Path | str,
    name: str,
    ratings: Sequence[str],
    columns: Mapping[str, np.ndarray],
    remark: str,
) -> Interval:
    """1-9, where the values show that it is."""
    by_column = {column: columns[column][np.isfinite(columns[column])] for column in ratings}
    found = np.concatenate(list(by_column.values()))
    if not found.size:
        raise DataError(source, f"--task {name}", "no value in any recording", "ratings", remark)
    low, high = float(found.min()), float(found.max())
    if low >= RATING_MIN and _SEVEN < high <= RATING_MAX:
        return RATING_SCALE
    codes = [v for v in np.unique(found) if _is_code(v, found)]
    said = [f"If {v:g} stands for no answer, leave those cells empty." for v in codes]
    remark = " ".join(filter(None, [*said, remark]))
    rest = found[~np.isin(found, codes)]
    if len(np.unique(rest)) > 2:  # enough to tell a scale
        low, high = float(rest.min()), float(rest.max())
    spans = {c: f"{v.min():g} to {v.max():g} in {c}" for c, v in by_column.items() if v.size}
    steps = next((top for top in (5, 7) if low >= 1 and high <= top and high > top - 2), None)
    example = _example(low, high) if steps is None else f"1,{steps}"
    raise DataError(
        source,
        f"--task {name}",
        f"numbers from {' and '.join(spans.values())}",
        "a stated scale: only 1 to 9 with values above 7 is known without",
        f"Give the scale's ends, such as --scale {example} if that is what was asked: it is split "
        f"in the middle; or say where low ends: --threshold X.{' ' + remark if remark else ''}",
    )


def _is_code(value: float, found: np.ndarray) -> bool:
    """Whether a number probably stands for no answer: one alone, far from or below the others."""
    others = found[found != value]
    if not others.size or others.min() < 0:
        return False
    if abs(value) in (77, 88, 99, 777, 888, 999, 9999):
        return bool(others.max() < 0.9 * abs(value))
    return value in (-1, -9) or (value == 0 and others.min() >= 1 and others.max() > _SEVEN)


def _example(low: float, high: float) -> str:
    """The usual scale that holds these values."""
    usual = ((0, 1), (1, 2), (-1, 1), (0, 10), (1, 10), (-4, 4), (-5, 5), (0, 100), (-100, 100))
    for least, most in usual:
        if least <= low and high <= most:
            return f"{least},{most}"
    return f"{low:g},{high:g}"


def _span(low: float, high: float) -> str:
    if not math.isfinite(high):
        return "of all numbers"
    joint = " to " if low < 0 else "-"
    return f"{condition_name(low)}{joint}{condition_name(high)}"
