from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from clmer.data.task_choice import choose_task
from clmer.data.tasks import Task, condition_name, task_for
from clmer.errors import DataError


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


# --- whose scale, and where it is split ----------------------------------------------------------
def on_manifest(name: str, columns: dict[str, Any], **options: Any) -> Task:
    arrays = {column: np.array(values) for column, values in columns.items()}
    return choose_task("x", name, arrays, dataset="manifest", rated=None, **options)


@pytest.mark.parametrize(
    ("scale", "edge", "said"),
    [
        ((1.0, 7.0), 4.0, "scale 1-7, split at 4: low <= 4 < high"),
        ((1.0, 5.0), 3.0, "scale 1-5, split at 3: low <= 3 < high"),
        ((0.0, 100.0), 50.0, "scale 0-100, split at 50: low <= 50 < high"),
        ((-1.0, 1.0), 0.0, "scale -1 to 1, split at 0: low <= 0 < high"),
        ((0.0, 1.0), 0.5, "scale 0-1, split at 0.5: low <= 0.5 < high"),
        ((1.0, 9.0), 5.0, "scale 1-9, split at 5: low <= 5 < high"),
    ],
)
def test_a_scale_is_split_in_its_middle(scale: tuple[float, float], edge: float, said: str) -> None:
    for name in ("valence", "va4"):
        columns = {"valence": list(scale), "arousal": list(scale)}
        task = on_manifest(name, columns, scale=scale)
        assert task.edges == (edge,)
        assert task.describe() == said
    step = (scale[1] - scale[0]) / 100
    valence = on_manifest("valence", {"valence": list(scale)}, scale=scale)
    got = valence.encode({"valence": np.array([scale[0], edge, edge + step, scale[1]])}, "x")
    assert got.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match=r"`task=valence`: found .*`scale=|valence: found"):
        valence.of({"valence": scale[1] + step}, "x")


def test_other_scales_have_thirds_and_nine_levels() -> None:
    columns = {"valence": [1.0, 7.0], "arousal": [1.0, 7.0]}
    assert on_manifest("va9", columns, scale=(1.0, 7.0)).edges == (3.0, 5.0)
    levels = on_manifest("valence9", columns, scale=(0.0, 80.0))
    assert levels.edges == tuple(10.0 * k + 5 for k in range(8))
    assert on_manifest("va9", columns, scale=(1.0, 9.0)).edges == (3.0, 6.0)
    nine = on_manifest("valence9", columns, scale=(1.0, 9.0))
    assert nine.edges == task_for("deap", "valence9").edges


@pytest.mark.parametrize(
    ("values", "example"),
    [
        ([1, 2, 3, 5, 6, 7], "1,7"),
        ([1, 2, 4, 5], "1,5"),
        ([0, 1], "0,1"),
        ([1, 2], "1,2"),
        ([10, 30, 60, 90], "0,100"),
        ([-0.8, 0.3, 0.9], "-1,1"),
        ([0, 4, 9], "0,10"),
        ([2, 9, 10], "0,10"),
        ([5, 6, 7, 8, 999], "0,10"),
        ([-1, 2, 3, 5, 7], "1,7"),
        ([0, 1, 2, 8, 9], "0,10"),
        ([2, 3, 7, math.nan], "1,7"),
    ],
)
@pytest.mark.parametrize("name", ["valence", "valence9"])
def test_a_scale_that_the_values_do_not_show_is_asked_for(
    name: str, values: list[float], example: str
) -> None:
    message = rf"`task={name}`: found numbers from .* stated scale.*`scale={example}` .*`threshold"
    with pytest.raises(DataError, match=message):
        on_manifest(name, {"valence": [float(v) for v in values]}, remark="line 4 (NA)")


def test_nine_shows_itself_and_is_said() -> None:
    task = on_manifest("valence", {"valence": [2.0, 7.5, math.nan]})
    assert task.edges == (5.0,)
    assert task.describe().startswith("scale 1-9, split at 5: low <= 5 < high; ")
    assert "`scale`" in task.describe()
    crossed = on_manifest("va4", {"valence": [2.0, 3.0], "arousal": [1.0, 9.0]})
    assert crossed.edges == (5.0,)
    assert crossed.describe().endswith("; no valence above 5")


@pytest.mark.parametrize(
    ("values", "code"), [([1, 2, 5, -1], -1), ([2, 3, 4, 99], 99), ([0, 1, 8, 9], 0)]
)
def test_a_number_that_may_stand_for_no_answer(values: list[float], code: int) -> None:
    with pytest.raises(DataError, match=rf"If {code} stands for no answer, leave those cells"):
        on_manifest("valence", {"valence": [float(v) for v in values]})


@pytest.mark.parametrize(
    ("options", "split"),
    [
        ({"scale": (0.0, 100.0)}, "scale 0-100, split at 50"),
        ({"scale": (1.0, 9.0)}, "scale 1-9, split at 5"),
        ({"threshold": 50.0}, "split at 50"),
        ({"threshold": 0.5}, "split at 0.5"),
    ],
)
@pytest.mark.parametrize("name", ["valence", "sam"])
def test_ratings_all_on_one_side_are_refused_with_the_split(
    name: str, options: dict[str, Any], split: str
) -> None:
    message = f"`task={name}`: found numbers from 1 to 5 in {name}, all in one class.*{split}"
    with pytest.raises(DataError, match=message):
        on_manifest(name, {name: [1.0, 3.0, math.nan, 5.0]}, **options)


def test_a_threshold_needs_no_scale() -> None:
    task = on_manifest("valence", {"valence": [10.0, 90.0]}, threshold=40.0)
    assert task.describe() == "split at 40: low <= 40 < high"
    assert task.encode({"valence": np.array([10.0, 40.0, 41.0, math.nan])}, "x").tolist() == [
        0, 0, 1, -1,
    ]  # fmt: skip
    for options, message in (
        ({"threshold": 9.0, "scale": (1.0, 9.0)}, "`threshold`: found 9, expected within"),
        ({"threshold": 0.5, "scale": (1.0, 9.0)}, "`threshold`: found 0.5, expected within"),
    ):
        with pytest.raises(DataError, match=message):
            on_manifest("valence", {"valence": [1.0]}, **options)
    for name in ("va9", "valence9"):
        with pytest.raises(DataError, match=f"4 with `task={name}`, expected a task of two levels"):
            on_manifest(name, {"valence": [1.0], "arousal": [1.0]}, threshold=4.0)


def test_a_data_set_s_own_scale_is_not_replaced() -> None:
    columns = {"valence": np.array([1.0, 5.0, 9.0])}
    with pytest.raises(DataError, match="`scale`: found 1-7, expected none: .*deap run from 1-9"):
        choose_task("x", "valence", columns, dataset="deap", scale=(1.0, 7.0))
    task = choose_task("x", "valence", columns, dataset="deap", threshold=4.5)
    assert task.encode(columns, "x").tolist() == [0, 1, 1]
    assert choose_task("x", "valence", columns, dataset="deap").describe() == (
        "scale 1-9, split at 5: low <= 5 < high"
    )


@pytest.mark.parametrize("words", [["NEGATIVE", "POSITIVE"], ["low", "high"]])
def test_words_in_a_rating_s_column_are_classes(words: list[str]) -> None:
    task = on_manifest("valence", {"valence": [*words, ""], "arousal": [*words, ""]})
    assert task.classes == tuple(sorted(words))
    encoded = task.encode({"valence": np.array([*words, ""])}, "x")
    assert sorted(encoded.tolist()) == [-1, 0, 1]
    for name in ("valence9", "va4"):
        with pytest.raises(DataError, match=rf"`task={name}`: found words in valence .*{words[0]}"):
            on_manifest(name, {"valence": words, "arousal": words})
    with pytest.raises(DataError, match="`threshold` with `task=valence`: found a column of words"):
        on_manifest("valence", {"valence": words}, threshold=3.0)


def test_numbers_under_another_name_are_classes_while_few() -> None:
    task = on_manifest("sam", {"sam": [1.0, 2.0, 3.0, math.nan]})
    assert task.classes == ("1", "2", "3")
    assert "every number is a class of its own" in task.describe()
    with pytest.raises(DataError, match="11 different numbers, 0 to 10.*`threshold=X`.*`scale="):
        on_manifest("sam", {"sam": [float(k) for k in range(11)]})
    split = on_manifest("sam", {"sam": [1.0, 2.0, 7.0]}, scale=(1.0, 7.0))
    assert (split.name, split.columns, split.edges) == ("sam", ("sam",), (4.0,))
    assert split.encode({"sam": np.array([4.0, 5.0])}, "x").tolist() == [0, 1]
    assert on_manifest("sam", {"sam": [1.0, 2.0]}, threshold=1.0).classes == ("low", "high")


def test_a_missing_label_has_no_class() -> None:
    task = task_for("manifest", "label", ["calm", "angry", ""])
    assert task.classes == ("angry", "calm")
    assert task.encode({"label": np.array(["calm", "", "angry"])}, "x").tolist() == [1, -1, 0]
    columns = {"valence": np.array([2.0, math.nan, 8.0]), "arousal": np.array([8.0, 8.0, math.nan])}
    assert task_for("deap", "va4").encode(columns, "x").tolist() == [1, -1, -1]
    with pytest.raises(DataError, match="1 class"):
        task_for("manifest", "label", ["calm", "", "calm"])


def test_numbers_keep_their_digits_in_names() -> None:
    numbers = [1234567.0, 1234568.0, 0.1234567, 0.1234568, 1.0, -0.5, 1e20, 2.0**53]
    names = [condition_name(value) for value in numbers]
    assert names[:6] == ["1234567", "1234568", "0.1234567", "0.1234568", "1", "-0.5"]
    assert [float(name) for name in names] == numbers


def test_a_code_for_no_answer_is_no_rating_and_not_guessed() -> None:
    for code in (999.0, -99.0):
        with pytest.raises(DataError, match=f"If {code:g} stands for no answer, leave those cells"):
            on_manifest("valence", {"valence": [1.0, 8.0, code]})
        task = on_manifest("valence", {"valence": [1.0, 8.0, code]}, scale=(0.0, 10.0))
        with pytest.raises(DataError, match=f"found {code}.*If {code:g} stands for no answer"):
            task.encode({"valence": np.array([code])}, "x")
