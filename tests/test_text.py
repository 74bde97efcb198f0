"""clmer.text: one rounding of scores on every page, and names in tables that spreadsheets open."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clmer
from clmer.evaluation import results
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.table import interval, spread, table
from clmer.experiments import output
from clmer.experiments import scores as experiment_scores
from clmer.experiments.sheets import Sheet
from clmer.predict.said import Said, windows_csv
from clmer.report import tables
from clmer.report.reading import read_predictions
from clmer.text import (
    cell,
    from_cell,
    p_value,
    percent,
    score_text,
    signed,
    signed_percent,
    stored,
)

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
    assert score_text(value) == expected
    assert score_text(np.float64(value)) == expected
    assert score_text(stored(value)) == expected
    assert percent(value) == f"{100 * float(expected):.1f}"
    minus = "+" if float(expected) == 0 else "-"
    assert signed(value) == f"+{expected}"
    assert signed(-value) == f"{minus}{expected}"
    assert signed_percent(-value) == f"{minus}{100 * float(expected):.1f}"


def test_what_is_no_number_is_a_dash() -> None:
    for value in (None, math.nan, math.inf):
        assert score_text(value) == signed(value) == p_value(value) == "-"
    assert score_text(1e300).startswith("1000")
    assert score_text(-0.0001) == "0.000"


def test_p_values_are_never_zero() -> None:
    assert p_value(0.03125) == "0.0313"
    assert p_value(0.00004) == "<0.0001"
    assert p_value(1.0) == "1.0000"


def test_rounding_keeps_the_order() -> None:
    values = np.sort(np.random.default_rng(0).random(2000))
    shown = [float(score_text(value)) for value in values]
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
    read = json.loads(results.results_json(made))
    for shown in (made, read):
        first = shown["models"][0]["windows"]
        page = tables.scores(shown, "windows", "") + tables.people(shown)
        for text in (table(shown), page, interval(first)):
            found = re.findall(r"(?<![\d.#+-])[01]\.\d+(?![\d.%])", cells_only(text))
            assert len(found) >= 3
            assert set(found) - {"0.500", "0.5000"} <= {expected}, text
        assert spread(first) == f"{expected} ± {expected}"
        assert f"+{expected}" in tables.comparisons(shown["comparisons"])
        assert f"+{expected}" in table(shown)
    parts = {f"balanced_accuracy_{part}": value for part in ("mean", "sd", "low", "high")}
    points = f"{100 * float(expected):.1f}"
    made_of = f"{points} ± {points} [{points}, {points}]"
    assert experiment_scores.text(parts, "balanced_accuracy") == made_of


def cells_only(text: str) -> str:
    """Without drawings, whose coordinates are no scores."""
    return re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)


def test_shares_of_a_confusion_matrix_agree() -> None:
    drawn = tables.confusion_table([[1, 7], [3, 5]], ["x", "y"], "")
    assert re.findall(r">(0\.\d+)<small>", drawn) == ["0.13", "0.88", "0.38", "0.63"]


def test_no_page_rounds_scores_on_its_own() -> None:
    # What is no score: the shade of a cell, the share of what can be known, that of windows.
    allowed = {"report/tables.py": 1, "train/messages.py": 1, "train/reference_notes.py": 1}
    package = Path(clmer.__file__).parent
    folders = ("evaluation", "experiments", "report", "train")
    files = [path for folder in folders for path in (package / folder).rglob("*.py")]
    assert len(files) > 30
    for path in files:
        name = path.relative_to(package).as_posix()
        text = path.read_text(encoding="utf-8")
        found = re.findall(r":[+]?\.3f\}|\{100 \* [^}]*:", text)
        assert len(found) <= allowed.get(name, 0), (name, found)


FORMULAS = [
    "=1+1",
    "+SUM(A1)",
    "-2+3",
    "@x",
    "\t=1",
    "\r=1",
    "=cmd|' /C calc'!A0",
    "-",
    "+a",
    "-x5",
]
PLAIN = ["low", "-0.5", "+3", "-1e-3", "-.5", "1-2", "a=b", "", "'quoted'", "p01/trial-1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert from_cell(cell(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_names_and_numbers_stay_as_they_are(text: str) -> None:
    assert cell(text) == text
    assert from_cell(text) == text


@given(st.text(alphabet="'=+-@a1.\t", max_size=6))
def test_names_come_back(text: str) -> None:
    written = cell(text)
    assert from_cell(written) == text
    assert written[:1] not in "=@\t" or not written


def test_predictions_are_read_back_by_their_own_names(tmp_path: Path) -> None:
    part = Predictions(
        model="-model",
        split=np.array(["=split", "=split"]),
        subject=np.array(["@one", "-7"]),
        recording=np.array(["@one/+a", "-7/-1"]),
        start_s=np.array([0.0, -1.5]),
        y=np.array([0, 1]),
        logp=np.log(np.array([[0.75, 0.25], [0.5, 0.5]])),
    )
    classes = ["=low", "-high"]
    path = tmp_path / "predictions.csv"
    path.write_bytes(results.predictions_csv([part], classes))
    rows = list(csv.reader(io.StringIO(path.read_text())))
    assert rows[1][:7] == ["'@one", "'@one/+a", "0.0", "'=split", "'-model", "'=low", "'=low"]
    assert rows[2][:3] == ["-7", "'-7/-1", "-1.5"]
    (read,) = read_predictions(path, classes)
    assert read.model == part.model
    for field in ("split", "subject", "recording", "start_s", "y"):
        assert getattr(read, field).tolist() == getattr(part, field).tolist()


def test_a_recording_s_table_and_a_sheet(tmp_path: Path) -> None:
    table = windows_csv([Said("a", np.array([-0.5]), 1.0, np.array([[0.75, 0.25]]), ("=a", "b"))])
    assert table.splitlines()[1].startswith("-0.5,'=a,0.75")
    sheet = Sheet(
        "s", "t", [], [{"model": "=x", "a - b": -0.25, "n": -3, "why": "-"}], [], None, ""
    )
    written = output._csv(sheet).decode().splitlines()
    assert written == ["model,a - b,n,why", "'=x,-0.250000,-3,'-"]
