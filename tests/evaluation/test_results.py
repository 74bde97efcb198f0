"""report: what the files hold, that they are whole and repeatable, what the table says."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clmer.data.splits import Split
from clmer.errors import DataError
from clmer.evaluation import results as reporting
from clmer.evaluation.confusion_figure import confusion_png
from clmer.evaluation.intervals import METHOD
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.significance import compare
from clmer.evaluation.table import comparison_caption, table
from clmer.storage import write_file

PAIR = {"a": "a", "b": "b", "people": 8, "difference": 0.1, "p": 0.02, "p_holm": 0.1, "reason": ""}
CLASSES = ("calm, or so", "tense")


def model(name: str, right: float, *, people: int = 8, seed: int = 0) -> Predictions:
    """`right` of the windows correctly said; two recordings a person, 5 windows each."""
    rng = np.random.default_rng(seed)
    subject = np.repeat([f"s{i}" for i in range(people)], 10)
    recording = np.array([f"{s}/t{i % 10 // 5}" for i, s in enumerate(subject)])
    y = np.arange(len(subject)) % 10 // 5
    said = np.where(rng.random(len(y)) < right, y, 1 - y)
    logp = np.log(np.where(np.arange(2) == said[:, None], 0.8, 0.2))
    split = np.array([f"subject {int(s[1:]) % 2 + 1}/2" for s in subject])
    return Predictions(name, split, subject, recording, np.arange(len(y)) % 5 * 1.5, y, logp)


def results(models: list[Predictions], protocol: str = "subject", shared: int = 0) -> dict:
    rows = np.arange(2)
    splits = [Split(f"subject {i}/2", rows, rows, rows, shared, "No person twice.") for i in (1, 2)]
    return reporting.build_results(
        models,
        dataset="demo",
        task="label",
        protocol=protocol,
        classes=CLASSES,
        splits=splits,
        main=["eeg", "ecg"],
        notes=["subject normalisation: transductive."],
    )


@pytest.fixture
def models() -> list[Predictions]:
    return [
        model("eeg", 0.9, seed=1),
        model("ecg", 0.6, seed=2),
        model("majority", 0.5, seed=3),
        model("band power", 0.7, seed=4),
    ]


def test_results_json_is_repeatable_and_rounded(tmp_path: Path, models: list[Predictions]) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        reporting.write_results(tmp_path / name, results(models), models)
    first, second = ((tmp_path / name / "results.json").read_bytes() for name in "ab")
    assert first == second
    found = json.loads(first)
    assert (found["people"], found["recordings"], found["windows"]) == (8, 16, 80)
    accuracy = found["models"][0]["windows"]["accuracy"]["value"]
    assert accuracy == pytest.approx((models[0].predicted == models[0].y).mean(), abs=1e-6)

    def floats(value: object) -> list[float]:
        if isinstance(value, dict):
            return [f for item in value.values() for f in floats(item)]
        if isinstance(value, list):
            return [f for item in value for f in floats(item)]
        return [value] if isinstance(value, float) else []

    assert len(floats(found)) > 100
    assert all(f == round(f, 6) for f in floats(found))


def test_controls_are_not_tested_against(models: list[Predictions]) -> None:
    pairs = [(row["a"], row["b"]) for row in results(models)["comparisons"]]
    assert pairs == [("eeg", "ecg"), ("eeg", "band power"), ("ecg", "band power")]


def test_json_turns_numpy_and_non_numbers_into_json() -> None:
    odd = {"b": np.float32(0.5), "a": [np.int64(3), float("nan"), -1e-9], "c": np.array([1, 2])}
    assert json.loads(reporting.results_json(odd)) == {"a": [3, None, 0.0], "b": 0.5, "c": [1, 2]}
    assert reporting.results_json(odd).index(b'"a"') < reporting.results_json(odd).index(b'"b"')
    assert b"-0.0" not in reporting.results_json(odd)


def test_predictions_csv_has_every_row_by_name(models: list[Predictions]) -> None:
    text = reporting.predictions_csv(models, CLASSES).decode()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 4 * 80
    head = ["subject", "recording", "start_s", "split", "model", "true", "predicted"]
    assert list(rows[0]) == [*head, "logp_calm, or so", "logp_tense"]
    row, m = rows[80 + 7], models[1]
    assert (row["subject"], row["recording"], row["start_s"]) == ("s0", "s0/t1", "3.0")
    assert (row["model"], row["split"]) == ("ecg", "subject 1/2")
    assert row["true"] == CLASSES[m.y[7]]
    assert row["predicted"] == CLASSES[m.predicted[7]]
    assert float(row["logp_tense"]) == pytest.approx(m.logp[7, 1], abs=1e-6)


def test_confusion_png_is_a_picture(tmp_path: Path, models: list[Predictions]) -> None:
    reporting.write_results(tmp_path, results(models), models)
    with Image.open(tmp_path / "confusion.png") as picture:
        two = picture.size
        assert np.asarray(picture.convert("L")).std() > 10
    with Image.open(tmp_path / "confusion.png") as picture:
        picture.verify()
    (tmp_path / "one.png").write_bytes(confusion_png(models[:1], CLASSES))
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size[0] < two[0]  # one panel is narrower than two


def test_files_are_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"results\.json.*No space left"):
        write_file(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_table_is_aligned_and_says_what_it_means(models: list[Predictions]) -> None:
    text = table(results(models))
    lines = text.splitlines()
    assert lines[0] == "demo, label (calm, or so / tense), protocol subject"
    assert lines[1] == "Tested: 8 people, 16 recordings, 80 windows in 2 splits."
    rows = [line for line in lines if line.startswith(("eeg  ", "ecg  ", "band power  "))]
    assert len(rows) == 3
    starts = {tuple(i for i, c in enumerate(row) if c == "[") for row in rows}
    assert len(starts) == 1  # the brackets of all rows stand below each other
    assert "shared between training, validation and test: 0." in text
    assert "No person twice." in text
    assert "transductive" in text
    assert "WARNING" not in text
    assert "mean ± sd" not in text
    assert max(map(len, lines)) <= 132


def test_shuffled_warns_and_shows_the_spread(models: list[Predictions]) -> None:
    text = table(results(models, "shuffled", shared=16))
    assert "WARNING: these scores are inflated" in text
    assert "shared between training, validation and test: 16." in text
    row = next(line for line in text.splitlines() if line.startswith("eeg "))
    assert row.count("±") == 2


def test_table_of_one_person_says_what_cannot_be_computed() -> None:
    few = [model("eeg", 0.9, people=1), model("ecg", 0.6, people=1, seed=2)]
    text = table(results(few))
    assert "[not computable]" in text
    assert "not computable: 1 of 1 people differ" in text
    assert "nan" not in text.lower()


def test_too_few_people_for_any_test_are_told_so() -> None:
    def line(people: int, count: int) -> str:
        rows = [model(name, 0.6, people=people, seed=i) for i, name in enumerate("abcd"[:count])]
        return comparison_caption(compare(rows))

    assert "(4 people cannot reach p < 0.05 after it; that takes 6 or more)" in line(4, 2)
    # Six people can in one test, and not among six tests.
    assert "that takes 8 or more)" in comparison_caption([PAIR | {"people": 7}] * 6)
    assert "cannot" not in comparison_caption([PAIR | {"people": 8}] * 6)
    assert "cannot" not in line(20, 2)


def test_the_method_of_the_interval_is_named_and_not_taken_for_another(
    models: list[Predictions],
) -> None:
    made = results(models)
    assert METHOD in table(made)
    assert "8 people with all their windows" in table(made)
    assert json.loads(reporting.results_json(made))["interval"] == METHOD
    del made["interval"]  # as an earlier version wrote it
    assert METHOD not in table(made)
    assert "bootstrap" in table(made)


def test_build_results_refuses_confused_names(models: list[Predictions]) -> None:
    with pytest.raises(ValueError, match="build_results"):
        results([models[0], models[0]])
    with pytest.raises(ValueError, match="build_results"):
        results(models[1:])
