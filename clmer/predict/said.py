"""What a trained run said of recordings: as tables, and in a line each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clmer.text import cell, percent, score_text

#: Digits after the point of times, probabilities and ratings.
DIGITS = 6


class Said(NamedTuple):
    """What was said of one recording.

    Args:
        name: of the recording: its file.
        start_s: [N] start of each window, seconds.
        step_s: seconds from window to window, or their length where that is less.
        values: [N, classes] probabilities, or [N] ratings.
        classes: names; none of a rating.
    """

    name: str
    start_s: np.ndarray
    step_s: float
    values: np.ndarray
    classes: tuple[str, ...]

    @property
    def mean(self) -> np.ndarray:
        """[classes] mean probability over the windows, or [1] their mean rating."""
        return np.atleast_1d(self.values.mean(0))

    @property
    def best(self) -> int:
        """The class of the largest mean probability."""
        return int(self.mean.argmax())

    @property
    def windows_of_best(self) -> int:
        """Windows whose own most probable class is that of the recording."""
        return int((self.values.argmax(1) == self.best).sum())


def windows_csv(said: Sequence[Said]) -> str:
    """One row per window: its start, and its probabilities or rating.

    Several recordings have their names in a first column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named = len(said) > 1
    classes = said[0].classes
    head = ["class", *(f"p_{name}" for name in classes)] if classes else ["value"]
    writer.writerow([*(["recording"] if named else []), "time_s", *head])
    for each in said:
        first = [cell(each.name)] if named else []
        for start, row in zip(each.start_s.tolist(), each.values, strict=True):
            values = [f"{value:.{DIGITS}f}" for value in np.atleast_1d(row)]
            best = [cell(classes[int(row.argmax())])] if classes else []
            writer.writerow([*first, round(start, DIGITS), *best, *values])
    return text.getvalue()


def recordings_csv(said: Sequence[Said]) -> str:
    """One row per recording: its class by mean probability, and the share of its windows.

    Of ratings: their mean, and their standard deviation over the windows (0 of one).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = said[0].classes
    head = ["class", "windows_of_class", *(f"p_{name}" for name in classes)]
    writer.writerow(["recording", "windows", *(head if classes else ["value", "sd"])])
    for each in said:
        row = [cell(each.name), len(each.start_s)]
        if classes:
            row += [cell(classes[each.best]), each.windows_of_best]
            row += [f"{value:.{DIGITS}f}" for value in each.mean]
        else:
            row += [f"{value:.{DIGITS}f}" for value in (each.mean[0], each.values.std())]
        writer.writerow(row)
    return text.getvalue()


def in_a_line(said: Said) -> str:
    """What a recording comes to."""
    count = len(said.start_s)
    if not said.classes:
        return f"{said.name}: {score_text(float(said.mean[0]))}, the mean of {count} windows"
    own, probability = said.windows_of_best, score_text(float(said.mean[said.best]))
    return (
        f"{said.name}: {said.classes[said.best]}, with a mean probability of {probability}; "
        f"in {own} of {count} windows ({percent(own / count)} %)"
    )
