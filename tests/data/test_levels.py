"""Ratings cut at the median or at terciles, of all recordings or of each person's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import clmer.data
from clmer.cli import main
from clmer.data.choices import LEVELS
from clmer.data.levels import choose_levels
from clmer.data.registry import DATASETS
from clmer.data.store.dataset import task_of
from clmer.errors import DataError

PEOPLE = np.repeat(["a", "b"], 4)
RATINGS = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize(
    ("levels", "classes"),
    [
        ("median", [0, 0, 0, 0, 1, 1, 1, 1]),
        ("tercile", [0, 0, 0, 1, 1, 2, 2, 2]),
        ("person-median", [0, 0, 1, 1] * 2),
        ("person-tercile", [0, 0, 1, 2] * 2),
    ],
)
def test_levels(levels: str, classes: list[int]) -> None:
    task = choose_levels("here", "fun", levels, {"fun": RATINGS}, PEOPLE)
    again = np.repeat(np.arange(8), 3)  # windows of the recordings
    y = task.encode({"fun": RATINGS[again]}, "here", PEOPLE[again])
    np.testing.assert_array_equal(y, np.array(classes)[again])
    assert task.classes == (("low", "middle", "high") if "tercile" in levels else ("low", "high"))


@pytest.mark.parametrize(
    ("ratings", "classes"),
    [([1, 5, 5, 5], [0, 1, 1, 1]), ([1, 1, 1, 5], [0, 0, 0, 1]), ([1, 2, 2, 3], [0, 0, 0, 1])],
)
def test_equal_ratings_at_the_median(ratings: list[float], classes: list[int]) -> None:
    found = {"fun": np.array(ratings, float)}
    task = choose_levels("here", "fun", "median", found, PEOPLE[:4])
    assert task.encode(found, "here").tolist() == classes


def test_people_and_trials_without_a_rating() -> None:
    ratings = {"fun": np.array([1, 2, np.nan, 4, 3, 3, 3, 3])}
    task = choose_levels("here", "fun", "person-median", ratings, PEOPLE)
    assert task.encode(ratings, "here", PEOPLE).tolist() == [0, 0, -1, 1, 0, 0, 0, 0]
    assert "1 of 2 people lack a level" in task.describe()


def study(root: Path) -> None:
    lines = ["subject,trial,fun,mood,modality,path,rate"]
    for p in range(6):
        for t in range(4):
            np.save(root / f"{p}{t}.npy", np.random.default_rng(4 * p + t).normal(0, 9, (2, 640)))
            lines += [f"p{p},{t},{p + t},{'xy'[t % 2]},{m},{p}{t}.npy,128" for m in ("eeg", "ecg")]
    (root / "manifest.csv").write_text("\n".join(lines))


def test_a_manifest_s_trials_count_once(tmp_path: Path) -> None:
    study(tmp_path)
    for levels, highs in (("median", 10), ("person-median", 12)):
        data = clmer.data.load("manifest", tmp_path, task="fun", levels=levels, cache=tmp_path)
        assert data.y is not None
        assert int(data.y.sum()) == 5 * highs  # windows of a second
    task = task_of(DATASETS["manifest"], tmp_path, "fun", levels="median")
    assert task.describe() == (
        "split at 4: low <= 4 < high; the median of all 24 recordings, those of test people too"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("mood", "a column of words"), ("fum", "Did you mean fun?")],
)
def test_what_has_no_levels(tmp_path: Path, name: str, message: str) -> None:
    study(tmp_path)
    with pytest.raises(DataError, match=message):
        task_of(DATASETS["manifest"], tmp_path, name, levels="median")


def test_one_rating_has_no_levels() -> None:
    with pytest.raises(DataError, match="1 different numbers in 8 recordings"):
        choose_levels("here", "fun", "median", {"fun": np.full(8, 3.0)}, PEOPLE)


@pytest.mark.parametrize("more", [("--threshold", "3"), ("--scale", "1,7"), ("--target", "rating")])
def test_levels_beside_another_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    study(tmp_path)
    words = ["train", "manifest", "--root", str(tmp_path), "--task", "fun", "--levels", LEVELS[1]]
    assert main([*words, *more]) == 2
    assert "--levels median with" in capsys.readouterr().err


def test_levels_of_a_data_set_with_a_scale(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ratings of deap are split on their scale"):
        task_of(DATASETS["deap"], tmp_path, "valence", {}, levels="median")
