"""The task that a user names, on the labels that there are: with the scale stated, known or seen.

The scale of a data set's ratings is known; of a manifest's it is stated, or 1-9 where the values
show that. Codes such as 99 for "no answer" are named where they are probably among the ratings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clmer.data.tasks import (
    DIMENSIONS,
    RATING_MAX,
    RATING_MIN,
    RATING_SCALE,
    RATING_TASKS,
    Interval,
    Task,
    condition_task,
    span_text,
    task_for,
)
from clmer.errors import DataError

#: What is certainly on a scale of 1-9: the largest value is above this, that of 1-7.
_SEVEN = 7.0
#: A column of numbers with more of them than this is no column of classes.
_MOST_CLASSES = 10


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
        expected = f"none: ratings of {dataset} run from {span_text(*(rated or scale))}"
        raise DataError(source, "`scale`", span_text(*scale), expected)
    ratings = RATING_TASKS[name][0] if name in RATING_TASKS else ()
    numeric = [each for each in ratings if each in columns and columns[each].dtype.kind == "f"]
    if ratings and len(numeric) == len(ratings):
        return _of_ratings(source, name, columns, scale or rated, threshold, remark)
    if name not in columns:
        words = [each for each in ratings if each in columns and each not in numeric]
        if words:
            found = f"words in {words[0]} ({_some_words(columns[words[0]])})"
            hint = f"Words are classes: `task={words[0]}`."
            raise DataError(source, f"`task={name}`", found, "ratings", hint)
        return task_for(str(source), name)
    values = columns[name]
    if values.dtype.kind == "f":
        return _of_numbers(source, name, values, scale, threshold)
    if threshold is not None or scale is not None:
        argument = "`threshold`" if threshold is not None else "`scale`"
        raise DataError(
            source,
            f"{argument} with `task={name}`",
            f"a column of words ({_some_words(values)})",
            "a column of numbers",
            "Leave the cells empty where there is no rating.",
        )
    return condition_task(str(source), name, values.tolist())


def _of_ratings(
    source: Path | str,
    name: str,
    columns: Mapping[str, np.ndarray],
    scale: Interval | None,
    threshold: float | None,
    remark: str,
) -> Task:
    """A rating task; its scale is taken from the values where neither it nor a threshold is known.

    Raises:
        DataError: the scale cannot be told; ratings of one class alone.
    """
    ratings, note = RATING_TASKS[name][0], ""
    if scale is None and threshold is None:
        scale = _seen_scale(source, name, ratings, columns, remark)
        note = "scale taken from the values found, see `scale`"
        middle = sum(scale) / 2
        for each in ratings:
            if len(ratings) > 1 and np.nanmax(columns[each], initial=0.0) <= middle:
                note += f"; no {each} above {middle:g}"
    known = scale or (-math.inf, math.inf)
    task = task_for(str(source), name, scale=known, threshold=threshold)
    _check_levels(source, task, columns, remark)
    return replace(task, note=note)


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
            f"`task={name}`",
            f"{len(found)} different numbers, {found[0]:g} to {found[-1]:g}",
            f"at most {_MOST_CLASSES} classes",
            "If they are ratings, say where low ends (`threshold=X`), or their scale "
            "(`scale=LOW,HIGH`), which is split in the middle.",
        )
    task = condition_task(str(source), name, values.tolist())
    return replace(
        task,
        note="every number is a class of its own; `threshold` or `scale` makes two, low and high, "
        "of ratings",
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
        f"`task={task.name}`",
        f"numbers from {low:g} to {high:g} in {name}, all in one class",
        f"ratings on both sides of {edge:g}" if len(task.edges) == 1 else "ratings of two classes",
        f"{task.describe()}. Give the true scale (`scale=LOW,HIGH`), or say where low ends: "
        f"`threshold=X`. {remark}".strip(),
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
        raise DataError(source, f"`task={name}`", "no value in any recording", "ratings", remark)
    low, high = float(found.min()), float(found.max())
    if low >= RATING_MIN and _SEVEN < high <= RATING_MAX:
        return RATING_SCALE
    codes = [v for v in np.unique(found) if is_code(v, found)]
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
        f"`task={name}`",
        f"numbers from {' and '.join(spans.values())}",
        "a stated scale: only 1 to 9 with values above 7 is known without",
        f"Give the scale's ends, such as `scale={example}` if that is what was asked: it is split "
        "in the middle; or say where low ends (`threshold=X`), or cut at people's own answers "
        f"(`levels=median`).{' ' + remark if remark else ''}",
    )


def is_code(value: float, found: np.ndarray) -> bool:
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
