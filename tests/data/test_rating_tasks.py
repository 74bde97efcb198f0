"""Ratings as a task: which columns they may be, their strata, and refusals that say why."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.data.ratings import RatingTask, choose_rating, quarters
from clmer.data.splits import make_splits
from clmer.data.store.store import Windows
from clmer.errors import DataError

NINE = np.array([1.0, 2.5, 5.0, 8.0, np.nan, 9.0])
COLUMNS = {"valence": NINE, "mood": 10 * NINE, "label": np.array(["a", "b", "", "a", "b", "a"])}


def test_a_column_of_numbers_is_what_it_holds() -> None:
    task = choose_rating("here", "valence", COLUMNS, dataset="deap")
    assert (task.classes, task.columns, task.scale) == ((), ("valence",), (1.0, 9.0))
    np.testing.assert_array_equal(task.encode(COLUMNS, "here"), NINE)
    own = choose_rating("here", "mood", COLUMNS, dataset="manifest", rated=None)
    np.testing.assert_array_equal(own.encode(COLUMNS, "here"), 10 * NINE)
    assert own.describe() == "ratings"
    stated = choose_rating("here", "mood", COLUMNS, dataset="manifest", rated=None, scale=(0, 100))
    assert stated.describe() == "ratings, scale 0-100"


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("label", {}, r"a column of words \(a, b\).*leave `target` out"),
        ("va4", {}, "classes made of valence and arousal, expected a column of numbers: valence"),
        ("valance", {}, "no such column.*Did you mean valence"),
        ("valence", {"scale": (1.0, 7.0)}, "`scale`: found 1-7, expected none"),
    ],
)
def test_what_is_no_rating_is_refused(name: str, more: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_rating("here", name, COLUMNS, dataset="deap", **more)


def test_one_value_and_codes_are_refused() -> None:
    same = {"mood": np.full(6, 4.0)}
    with pytest.raises(DataError, match="4 in every recording, expected two different ratings"):
        choose_rating("here", "mood", same, dataset="manifest", rated=None)
    coded = {"mood": np.array([1.0, 2.0, 3.0, 99.0])}
    with pytest.raises(DataError, match="99 among ratings from 1 on"):
        choose_rating("here", "mood", coded, dataset="manifest", rated=None)
    task = choose_rating("here", "mood", coded, dataset="manifest", rated=None, scale=(1.0, 9.0))
    with pytest.raises(DataError, match="found 99.0, expected a number from 1 to 9"):
        task.encode(coded, "here")


def test_quarters_are_even_and_fewer_where_ratings_are_equal() -> None:
    y = np.arange(100.0)
    assert np.bincount(quarters(y)).tolist() == [25, 25, 25, 25]
    assert quarters(np.array([1.0, 1.0, 9.0, np.nan])).tolist() == [0, 0, 1, -1]
    assert quarters(np.full(3, np.nan)).tolist() == [-1, -1, -1]
    strata, names = RatingTask("mood").strata(y)
    assert names == ("mood 0 to 24", "mood 25 to 49", "mood 50 to 74", "mood 75 to 99")
    assert len(names) == strata.max() + 1


def test_splits_are_balanced_for_quarters() -> None:
    people, trials = 12, 8
    subject = np.repeat([f"s{i:02d}" for i in range(people)], trials)
    trial = np.tile([f"t{i}" for i in range(trials)], people)
    recording = np.char.add(np.char.add(subject, "/"), trial)
    count = len(subject)
    windows = Windows(subject, subject, recording, trial, np.zeros(count), {}, 1.0)
    y = np.random.default_rng(0).uniform(1, 9, count)
    strata, names = RatingTask("mood").strata(y)
    for split in make_splits(windows, strata, "subject", classes=names):
        assert set(strata[split.test]) == {0, 1, 2, 3}
        assert abs(np.median(y[split.train]) - np.median(y)) < 1
