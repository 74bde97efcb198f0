"""numbers: a score is rounded one way on every page, whatever prints it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from clmer import text as numbers
from clmer.evaluation import probe
from clmer.evaluation import results as reporting
from clmer.evaluation.results import interval, spread
from clmer.experiments import scores as cells
from clmer.report import figures, tables
from clmer.report.pages import Html

#: Halves, and what binary floats make of them, and numbers that are halves only at six digits.
SCORES = {
    0.8125: "0.813",
    0.0005: "0.001",
    0.9995: "1.000",
    0.4995: "0.500",
    0.5625: "0.563",
    0.0625: "0.063",
    0.1445: "0.145",
    2.5 / 1000: "0.003",
    0.81249999: "0.813",  # 0.8125 in results.json
    0.8124994: "0.812",
    1 / 3: "0.333",
    0.0: "0.000",
    1.0: "1.000",
}


@pytest.mark.parametrize(("value", "expected"), SCORES.items())
def test_a_half_goes_up_and_percents_have_the_same_digits(value: float, expected: str) -> None:
    assert numbers.score_text(value) == expected
    assert numbers.score_text(np.float64(value)) == expected
    assert numbers.score_text(numbers.stored(value)) == expected
    assert numbers.percent(value) == f"{100 * float(expected):.1f}"
    minus = "+" if float(expected) == 0 else "-"
    assert numbers.signed(value) == f"+{expected}"
    assert numbers.signed(-value) == f"{minus}{expected}"
    assert numbers.signed_percent(-value) == f"{minus}{100 * float(expected):.1f}"


def test_what_is_no_number_is_a_dash() -> None:
    for value in (None, math.nan, math.inf):
        assert numbers.score_text(value) == numbers.signed(value) == numbers.p_value(value) == "-"
    assert numbers.score_text(1e300).startswith("1000")
    assert numbers.score_text(-0.0001) == "0.000"


def test_p_values_are_never_zero() -> None:
    assert numbers.p_value(0.03125) == "0.0313"
    assert numbers.p_value(0.00004) == "<0.0001"
    assert numbers.p_value(1.0) == "1.0000"


def test_rounding_keeps_the_order() -> None:
    values = np.sort(np.random.default_rng(0).random(2000))
    shown = [float(numbers.score_text(value)) for value in values]
    assert shown == sorted(shown)


def score(value: float) -> dict[str, float]:
    """One score that every figure of is the same number."""
    names = ("value", "low", "high", "mean", "sd", "split_mean", "split_sd")
    return dict.fromkeys(names, value)


@pytest.mark.parametrize(("value", "expected"), SCORES.items())
def test_every_page_shows_the_same_digits(value: float, expected: str) -> None:
    level = {name: score(value) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    level |= {"weighted_f1": score(value)}
    person = {"subject": "p", "windows": 4, "recordings": 1}
    person |= {name: value for name in ("balanced_accuracy", "recording_balanced_accuracy")}
    pair = {"a": "m", "b": "n", "people": 9, "difference": value, "p": 0.5, "p_holm": 0.5}
    made = {
        **{"dataset": "d", "task": "t", "protocol": "subject", "protocol_note": ""},
        **{"classes": ["x", "y"], "people": 3, "recordings": 3, "windows": 9, "splits": [1]},
        **{"shared_groups": 0, "main": ["m"], "notes": [], "comparisons": [pair | {"reason": ""}]},
        "models": [{"name": "m", "windows": level, "recordings": level, "repeats": 2}],
    }
    made["models"][0]["people"] = [person]
    # Printed from memory, and read again out of results.json.
    read = json.loads(reporting.results_json(made))
    for results in (made, read):
        page = tables.scores(results, "windows", "") + tables.people(results)
        for text in (reporting.table(results), page, interval(results["models"][0]["windows"])):
            found = re.findall(r"(?<![\d.#+-])[01]\.\d+(?![\d.%])", cells_only(text))
            assert len(found) >= 3
            assert set(found) - {"0.500", "0.5000"} <= {expected}, text
        assert spread(results["models"][0]["windows"]) == f"{expected} ± {expected}"
        row = tables.comparisons(results["comparisons"])
        assert f"+{expected}" in row
        assert f"+{expected}" in reporting.table(results)
    parts = {f"balanced_accuracy_{part}": value for part in ("mean", "sd", "low", "high")}
    shown = f"{100 * float(expected):.1f}"
    assert cells.text(parts, "balanced_accuracy") == f"{shown} ± {shown} [{shown}, {shown}]"
    means = {"eeg": {"trained": value, "random": value, "difference": value}}
    (line,) = probe.probe_lines(means)
    assert re.findall(r"\d\.\d+", line) == [expected] * 3
    assert re.findall(r">\+?(\d\.\d+)<", tables.probes({"probe": means})) == [expected] * 3


def cells_only(text: str) -> str:
    """Without drawings, whose coordinates are no scores."""
    return re.sub(r"<svg.*?</svg>", "", text) if isinstance(text, Html) else text


def test_shares_of_a_confusion_matrix_agree() -> None:
    drawn = figures.confusion([[1, 7], [3, 5]], ["x", "y"], "")
    assert re.findall(r">(0\.\d+)<small>", drawn) == ["0.13", "0.88", "0.38", "0.63"]


def test_no_page_rounds_scores_on_its_own() -> None:
    # What is no score: the shade of a cell, the share of what can be known, that of the labels.
    allowed = {"report/figures.py": 1, "train.py": 1, "probe.py": 1}
    package = Path(reporting.__file__).parents[1]
    files = [*package.glob("*.py"), *package.glob("report/*.py"), *package.glob("experiments/*.py")]
    assert len(files) > 30
    for path in files:
        name = path.relative_to(package).as_posix()
        if name != "numbers.py":
            text = path.read_text(encoding="utf-8")
            found = re.findall(r":[+]?\.3f\}|\{100 \* [^}]*:", text)
            assert len(found) <= allowed.get(name, 0), (name, found)
