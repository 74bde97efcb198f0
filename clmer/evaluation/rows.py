"""Rows of predictions, of classes or of ratings: joined, and taken apart by split and repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np


@dataclass(frozen=True, eq=False)
class Rows:
    """What predictions of classes and of ratings share, one row per window and split.

    Args:
        model: name of the model, as the tables print it.
        split: [N] name of the split whose test part the row belongs to.
        subject: [N] person.
        recording: [N] recording, unique in the data set.
        start_s: [N] start of the window in the recording, seconds.
        y: [N] what is true.
    """

    model: str
    split: np.ndarray
    subject: np.ndarray
    recording: np.ndarray
    start_s: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


R = TypeVar("R", bound=Rows)


def columns_of(predictions: Rows) -> dict[str, np.ndarray]:
    """The columns of predictions by name: all fields but the model."""
    return {name: column for name, column in vars(predictions).items() if name != "model"}


def concat(parts: Sequence[R]) -> R:
    """One model's predictions over several splits, in the order given."""
    names = sorted({part.model for part in parts})
    if len(names) != 1:
        raise ValueError(f"concat: predictions of one model expected, found {names}")
    joined = {c: np.concatenate([getattr(p, c) for p in parts]) for c in columns_of(parts[0])}
    return type(parts[0])(model=names[0], **joined)


def split_numbers(predictions: Rows) -> np.ndarray:
    """[N] the number of the split that each row belongs to, from 0 in order of appearance."""
    _, first, inverse = np.unique(predictions.split, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[inverse], dtype=np.int64)


def repeats(predictions: Rows, protocol: str) -> np.ndarray:
    """[N] the repeat that each row belongs to, from 0.

    Under `shuffled` a repeat is a split. Elsewhere a rotation of the splits tests a window once: a
    repeat ends before the first split that tests a window again.
    """
    split = split_numbers(predictions)
    if protocol == "shuffled" or len(split) == 0:
        return split
    windows = list(zip(predictions.recording.tolist(), predictions.start_s.tolist(), strict=True))
    repeat_of_split = np.zeros(split.max() + 1, dtype=np.int64)
    tested: set[tuple[str, float]] = set()
    repeat = 0
    for number in range(len(repeat_of_split)):
        rows = {windows[row] for row in np.flatnonzero(split == number)}
        if tested & rows:
            tested, repeat = set(), repeat + 1
        tested |= rows
        repeat_of_split[number] = repeat
    return np.asarray(repeat_of_split[split])


def parts_of(predictions: R, unit: np.ndarray) -> list[R]:
    """The rows of each unit (a repeat, a split), in ascending order of the unit."""
    columns = columns_of(predictions)
    return [
        type(predictions)(
            model=predictions.model, **{c: column[unit == u] for c, column in columns.items()}
        )
        for u in np.unique(unit)
    ]
