"""What was shown, and how far it tells the class."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clmer.data.splits import Split
from clmer.evaluation.stimuli import stimulus_line, told_by_stimulus


def study(labels: np.ndarray, stimuli: np.ndarray) -> tuple[Any, np.ndarray, list[Split]]:
    """8 people who saw 6 stimuli, two windows of each; everyone is tested once."""
    person, which = np.divmod(np.arange(48), 6)
    recording = np.repeat(np.arange(48), 2)
    windows = SimpleNamespace(
        recording=recording.astype(str),
        subject=person[recording],
        stimulus=stimuli[person, which][recording],
    )
    rows = np.arange(96)
    halves = [rows[rows < 48], rows[rows >= 48]]
    splits = [Split(f"{i}", halves[1 - i], rows[:0], halves[i], 0, "") for i in range(2)]
    return windows, labels[person, which][recording], splits


SHOWN = np.tile([f"video{i}" for i in range(6)], (8, 1))


def test_videos_that_everyone_rates_alike_tell_the_class() -> None:
    labels = np.tile([0, 1, 0, 1, 0, 1], (8, 1))
    labels[3, 1] = 0  # one person disagrees
    found = told_by_stimulus(*study(labels, SHOWN), "subject")
    assert found == {"told": 47, "recordings": 48}
    assert "47 of 48 recordings" in stimulus_line(found)[0]


@pytest.mark.parametrize(
    ("protocol", "labels", "stimuli"),
    [
        ("stimulus", np.tile([0, 1, 0, 1, 0, 1], (8, 1)), SHOWN),  # none is in two parts
        ("subject", np.random.default_rng(0).integers(0, 2, (8, 6)), SHOWN),  # people disagree
        # The stimulus is the class by another name, as rest and arithmetic are.
        ("subject", np.tile([0, 1] * 3, (8, 1)), np.tile(["rest", "task"] * 3, (8, 1))),
        # Everyone saw videos of their own.
        ("subject", np.tile([0, 1] * 3, (8, 1)), np.arange(48).reshape(8, 6).astype(str)),
    ],
)
def test_nothing_is_said_where_it_does_not_matter(
    protocol: str, labels: np.ndarray, stimuli: np.ndarray
) -> None:
    assert told_by_stimulus(*study(labels, stimuli), protocol) is None
    assert stimulus_line(None) == []
