"""Run folders: damage is named with file and field, runs of one name are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.report_cases import results_of

from clmer.errors import DataError
from clmer.report.reading import find_runs, read_predictions, read_run


@pytest.mark.parametrize(
    ("place_in_file", "value", "said"),
    [
        (("models", 0, "windows", "accuracy", "value"), "high", r"models\[0\]\.windows\.accuracy"),
        (("models", 1, "windows", "confusion"), [[1]], r"models\[1\]\.windows\.confusion"),
        (("models", 0, "people", 1, "subject"), 7, r"people\[1\]\.subject: found 7, expected text"),
        (("classes",), None, "classes: found null, expected a list"),
        (("shared_groups",), True, "shared_groups: found true, expected a whole number"),
    ],
)
def test_a_damaged_results_json_is_named_with_the_field(
    place: Path, tmp_path: Path, place_in_file: tuple, value: object, said: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(place / "runs" / "trial", copy)
    results = results_of(place, "trial")
    inner = results
    for key in place_in_file[:-1]:
        inner = inner[key]
    inner[place_in_file[-1]] = value
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"results\.json: .*" + said):
        read_run(copy)


def test_missing_fields_lines_and_columns_are_named(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(place / "runs" / "trial", copy)
    results = results_of(place, "trial")
    (copy / "results.json").write_text(json.dumps(results)[:100])
    with pytest.raises(DataError, match=r"results\.json: JSON"):
        read_run(copy)
    del results["models"][0]["people"]
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(DataError, match=r"models\[0\]\.people: found nothing"):
        read_run(copy)
    shutil.copy(place / "runs" / "trial" / "results.json", copy)
    (copy / "metrics.jsonl").write_text('{"stage": "a", "epoch": 0, "loss": 1}\nnonsense\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2"):
        read_run(copy)
    (copy / "predictions.csv").write_text("subject,recording\n")
    with pytest.raises(DataError, match=r"predictions\.csv: columns: found no start_s, split"):
        read_predictions(copy / "predictions.csv", results["classes"])


def test_runs_of_one_name_are_told_apart(place: Path, tmp_path: Path) -> None:
    for parent in ("one", "two"):
        shutil.copytree(place / "runs" / "trial-eeg", tmp_path / parent / "run")
    (tmp_path / "mobilevit").mkdir()
    (tmp_path / "mobilevit" / "config.json").write_text("{}")  # of a model, no run
    runs = find_runs([tmp_path, tmp_path / "one" / "run"])
    assert [run.name for run in runs] == ["one/run", "two/run"]
