"""What a run leaves behind: what the files hold, that they are complete and repeatable."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.results_cases import CLASSES, results

from clmer.errors import DataError
from clmer.evaluation import results as reporting
from clmer.evaluation.metrics import Predictions
from clmer.storage import write_file


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


def test_a_run_s_folder_has_three_files(tmp_path: Path, models: list[Predictions]) -> None:
    reporting.write_results(tmp_path, results(models), models)
    names = ["confusion.png", "predictions.csv", "results.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / "confusion.png") as picture:
        picture.verify()


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


def test_build_results_refuses_confused_names(models: list[Predictions]) -> None:
    with pytest.raises(ValueError, match="build_results"):
        results([models[0], models[0]])
    with pytest.raises(ValueError, match="build_results"):
        results(models[1:])
