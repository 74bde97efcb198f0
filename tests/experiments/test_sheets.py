"""Sheets of finished runs."""

from __future__ import annotations

import csv
import shutil

import pytest
from support.experiment_cases import generated, show, small, well_formed

from clmer.experiments import paper
from clmer.experiments.cells import plan
from clmer.experiments.runner import FAILED, MISSING
from clmer.experiments.scores import SHOWN, collect
from clmer.experiments.sheets import VIEWS, two_classes
from clmer.experiments.specs import EXPERIMENTS


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    return generated(tmp_path_factory)


ABLATION = ("physio", "au", "physio+au", "physio+au with CL", "power", "majority")


@pytest.mark.slow
def test_the_ablation_as_a_table(deap, tmp_path):
    sheet, files = show(deap, "table4", ABLATION, tmp_path)
    rows = list(csv.DictReader(files[".csv"].open()))
    assert [row["method"] for row in rows] == [
        "single", "single", "fusion without CL", "fusion with CL", "band power + LR",
        "majority class",
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"done"}
    assert rows[0]["model"] == "physio"
    assert rows[4]["model"] == "band power + LR: physio+au"
    for row in rows:
        assert float(row["accuracy_low"]) <= float(row["accuracy_pooled"])
        assert float(row["accuracy_pooled"]) <= float(row["accuracy_high"])
        assert (row["people"], row["splits"], row["protocol"]) == ("3", "2", "trial")
        assert row["generated"] == "True"
    text = well_formed(files[".html"])
    assert "protocol trial" in text
    assert "Generated recordings" in text
    assert "3 / 48" in text
    markdown = files[".md"].read_text()
    assert "| fusion with CL | physio+au | valence |" in markdown
    accuracy = 100 * float(rows[3]["accuracy_mean"])
    assert f"{accuracy:.1f} ± " in markdown
    assert sheet.figure is None


def test_a_confusion_matrix(deap, tmp_path):
    sheet, files = show(deap, "fig4", ABLATION, tmp_path)
    assert files[".png"].read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in files[".svg"].read_text()
    assert sheet.alt == "Confusion matrix of physio+au over low, high"
    assert 'alt="Confusion matrix' in well_formed(files[".html"])


@pytest.mark.slow
def test_the_length_is_chosen_on_the_validation_part(deap, tmp_path):
    sheet, files = show(deap, "fig9", ("5", "20"), tmp_path)
    rows = list(csv.DictReader(files[".csv"].open()))
    score = {row["method"]: float(row["validation_balanced_accuracy"]) for row in rows}
    chosen = [row["method"] for row in rows if row["chosen"] == "True"]
    assert chosen == [max(score, key=score.get)]
    assert files[".png"].exists()
    assert any("the test part chooses nothing" in note for note in sheet.notes)
    table, _ = show(deap, "table11", ("5", "20"), tmp_path)
    assert [row["cell"] for row in table.records] == [row["cell"] for row in rows]


@pytest.mark.parametrize(
    ("name", "key", "file", "content"),
    [
        ("fig9", "5", "{run}/metrics.jsonl", "nonsense\n"),
        ("fig4", "physio+au with CL", "{run}/predictions.csv", "subject,recording\n"),
        ("table10", "physio+au", "{run}.usage.json", '{"seconds": "long"}'),
    ],
)
def test_a_damaged_file_is_its_runs_failure(deap, name, key, file, content, tmp_path):
    show(deap, "fig9", ("5", "20"), tmp_path)
    show(deap, "table4", ("physio+au", "physio+au with CL"), tmp_path)
    each = plan(EXPERIMENTS[name], "deap", small(deap), ("",))
    cells = tmp_path / "cells"
    for run in each.cells:
        if (deap / "cells" / run).exists():
            shutil.copytree(deap / "cells" / run, cells / run)
    damaged = next(line.cell.name for line in each.lines if line.row.key == key)
    (cells / file.format(run=damaged)).write_text(content)
    found = collect(each, cells, {})
    assert {run for run, cell in found.items() if cell.outcome.status == FAILED} == {damaged}
    sheet = VIEWS[each.experiment.view](each, found)
    said = [note for note in sheet.notes if "failed: " in note]
    assert len(said) == 1
    assert file.format(run=damaged) in said[0]


def test_the_mean_of_valence_and_arousal_is_a_line_of_its_own():
    same = {"method": "CLMER", "status": "done"}
    rows = [
        {**same, "task": task, **{f"{score}_mean": value for score in SHOWN}}
        for task, value in (("valence", 0.6), ("arousal", 0.9), ("va4", 0.1))
    ]
    [mean] = two_classes([*rows, {**rows[0], "method": "majority class"}], "I")
    assert (mean["task"], mean["accuracy_mean"]) == (paper.TWO, 0.75)
    assert mean["paper_accuracy"] == "97.65±0.71"
    assert "paper_accuracy" not in two_classes(rows, "")[0]
    assert two_classes([rows[0], {**rows[1], "status": "failed"}], "I") == []


def test_what_is_not_there_is_said_and_the_rest_is_shown(deap, tmp_path):
    sheet, files = show(deap, "table8", ("physio+au",), tmp_path)
    by_method = {row["method"]: row["status"] for row in sheet.records}
    assert by_method["serialization"] == "done"
    assert by_method["MobileViT-S features"] == MISSING
    assert "Not run yet: 3 of 4 runs." in files[".md"].read_text()
    costs, _ = show(deap, "fig7", ("physio+au",), tmp_path)
    assert costs.figure is None
    assert any("No chart" in note for note in costs.notes)
