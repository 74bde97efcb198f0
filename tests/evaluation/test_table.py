"""The printed table: aligned, and it says what its numbers mean."""

from __future__ import annotations

import json
import re

import pytest
from support.results_cases import predictions, results

from clmer.evaluation.intervals import METHOD
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.results import results_json
from clmer.evaluation.significance import compare
from clmer.evaluation.table import comparison_caption, table

PAIR = {"a": "a", "b": "b", "people": 8, "difference": 0.1, "p": 0.02, "p_holm": 0.1, "reason": ""}


def test_table_is_aligned_and_says_what_it_means(models: list[Predictions]) -> None:
    text = table(results(models))
    lines = text.splitlines()
    assert lines[0] == "demo, label (calm, or so / tense), protocol subject, reference none"
    assert lines[1] == "Tested: 8 people, 16 recordings, 80 windows in 2 splits."
    rows = [line for line in lines if line.startswith(("eeg  ", "ecg  ", "band power  "))]
    assert len(rows) == 6
    for level in (rows[:3], rows[3:]):  # per window, per recording
        starts = {tuple(i for i, c in enumerate(row) if c == "[") for row in level}
        assert len(starts) == 1  # the brackets of all rows stand below each other
    assert "shared between training, validation and test: 0." in text
    assert "No person twice." in text
    assert "transductive" in text
    assert "WARNING" not in text
    assert "mean ± sd" not in text
    assert max(map(len, lines)) <= 80


def test_shuffled_warns_and_shows_the_spread(models: list[Predictions]) -> None:
    text = table(results(models, "shuffled", shared=16))
    assert "WARNING: these scores are inflated" in text
    assert "shared between training, validation and test: 16." in text
    rows = [line for line in text.splitlines() if line.startswith("eeg  ")]
    assert [row.count("±") for row in rows] == [1, 1]


@pytest.mark.parametrize("protocol", ["subject", "shuffled"])  # with a column of mean ± sd
def test_long_names_of_models_keep_the_table_to_80_columns(protocol: str) -> None:
    whole = "eeg+ppg+gsr+temp+landmarks+au"
    made = [predictions("eeg", 0.9), predictions("ecg", 0.8, seed=1)]
    made += [
        predictions(f"{kind} + LR: {whole}", 0.7, seed=2) for kind in ("band power", "features")
    ]
    text = table(results(made, protocol))
    assert max(map(len, text.splitlines())) <= 80
    block = text[text.index("per window ") : text.index("\n\nper recording")]
    names = [re.split(r" {2,}[01]\.", line)[0].strip() for line in block.splitlines()]
    joined = " ".join(names).replace("+ ", "+").replace("+LR", "+ LR")
    assert f"band power + LR: {whole} features + LR: {whole}" in joined


def test_controls_below_chance_are_explained(models: list[Predictions]) -> None:
    said = "below chance: what a test part has more of, its training part has less of"
    made = [*models[:2], predictions("majority", 0.6)]
    assert said not in " ".join(table(results(made)).split())
    made[-1:] = [predictions("majority", 0.3), predictions("permuted labels", 0.4)]
    text = " ".join(table(results(made)).split())
    assert f"majority and permuted labels {said}" in text
    made[-2:] = [predictions("majority", 0.6), predictions("permuted labels", 0.4)]
    assert f" permuted labels {said}" in " ".join(table(results(made)).split())


def test_table_of_one_person_says_what_cannot_be_computed() -> None:
    few = [predictions("eeg", 0.9, people=1), predictions("ecg", 0.6, people=1, seed=2)]
    text = table(results(few))
    assert "[not computable]" in text
    assert "not computable: 1 of 1 people differ" in text
    assert "nan" not in text.lower()


def test_too_few_people_for_any_test_are_told_so() -> None:
    def line(people: int, count: int) -> str:
        rows = [
            predictions(name, 0.6, people=people, seed=i) for i, name in enumerate("abcd"[:count])
        ]
        return comparison_caption(compare(rows))

    assert line(4, 2) == (
        "Differences over people, balanced accuracy per window "
        "(4 people cannot reach p < 0.05; that takes 6 or more)"
    )
    assert "correction over 6 tests" in comparison_caption([PAIR] * 6)
    assert "Holm" not in comparison_caption([PAIR])
    # Six people can in one test, and not among six tests.
    assert "that takes 8 or more)" in comparison_caption([PAIR | {"people": 7}] * 6)
    assert "cannot" not in comparison_caption([PAIR | {"people": 8}] * 6)
    assert "cannot" not in line(20, 2)


def test_the_method_of_the_interval_is_named_and_not_taken_for_another(
    models: list[Predictions],
) -> None:
    made = results(models)
    text = " ".join(table(made).split())
    assert METHOD in text
    assert "8 people with all their windows" in text
    assert json.loads(results_json(made))["interval"] == METHOD
    del made["interval"]  # as an earlier version wrote it
    text = " ".join(table(made).split())
    assert METHOD not in text
    assert "bootstrap" in text
