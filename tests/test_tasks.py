from __future__ import annotations

import numpy as np
import pytest

from clmer.data.recording import DataError
from clmer.data.tasks import task_for


@pytest.mark.parametrize(
    ("name", "valence", "arousal", "expected"),
    [
        ("valence", 5.0, 9.0, "low"),
        ("valence", 5.01, 1.0, "high"),
        ("arousal", 9.0, 5.0, "low"),
        ("va4", 4.0, 6.0, "LVHA"),
        ("va4", 6.0, 4.0, "HVLA"),
        ("va9", 3.0, 3.01, "LVMA"),
        ("va9", 6.0, 6.01, "MVHA"),
        ("va9", 1.0, 9.0, "LVHA"),
        ("va9", 9.0, 1.0, "HVLA"),
    ],
)
def test_ratings_fall_into_the_papers_classes(
    name: str, valence: float, arousal: float, expected: str
) -> None:
    task = task_for("deap", name)
    assert task.classes[task.of({"valence": valence, "arousal": arousal}, "x")] == expected


def test_encode_agrees_with_of_row_by_row() -> None:
    task = task_for("deap", "va9")
    rng = np.random.default_rng(0)
    labels = {name: rng.uniform(1, 9, 50) for name in ("valence", "arousal")}
    expected = [task.of({k: v[i] for k, v in labels.items()}, "x") for i in range(50)]
    encoded = task.encode(labels, "x")
    assert encoded.dtype == np.int64
    assert encoded.tolist() == expected
    assert len(set(expected)) > 5


def test_conditions_are_sorted_and_indexed() -> None:
    task = task_for("eegmat", "label", ["rest", "arithmetic", "rest"])
    assert task.classes == ("arithmetic", "rest")
    assert task.of({"label": "rest"}, "x") == 1
    assert task.encode({"label": np.array(["rest", "arithmetic"])}, "x").tolist() == [1, 0]
    assert task_for("manifest", "label", [1.0, 0.0, 10.0]).classes == ("0", "1", "10")


@pytest.mark.parametrize("value", [float("nan"), 0.99, 9.01, "high"])
def test_a_rating_outside_one_to_nine_is_refused(value: float | str) -> None:
    with pytest.raises(DataError, match=r"valence.*from 1 to 9"):
        task_for("deap", "valence").of({"valence": value}, "s01.dat")


def test_missing_column_unknown_condition_and_single_class_are_named() -> None:
    with pytest.raises(DataError, match=r"s01\.dat: arousal"):
        task_for("deap", "va4").of({"valence": 5.0}, "s01.dat")
    with pytest.raises(DataError, match="'sleep'"):
        task_for("eegmat", "label", ["rest", "arithmetic"]).of({"label": "sleep"}, "x")
    with pytest.raises(DataError, match="at least two"):
        task_for("manifest", "label", ["rest", "rest"])
    with pytest.raises(DataError, match="no such label"):
        task_for("deap", "mood")
