"""Names in tables that spreadsheets open, and in streams that are ASCII."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clmer.errors import DataError
from clmer.evaluation import results
from clmer.evaluation.metrics import Predictions
from clmer.experiments import output
from clmer.experiments.sheets import Sheet
from clmer.predict import _check_encoding, predictions_csv
from clmer.report.reading import read_predictions
from clmer.streams import for_streams
from clmer.text import cell, from_cell

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
    table = predictions_csv(np.array([-0.5]), np.array([[0.75, 0.25]]), ["=a", "b"])
    assert table.splitlines()[1].startswith("-0.5,'=a,0.75")
    sheet = Sheet(
        "s", "t", [], [{"model": "=x", "a - b": -0.25, "n": -3, "why": "-"}], [], None, ""
    )
    written = output._csv(sheet).decode().splitlines()
    assert written == ["model,a - b,n,why", "'=x,-0.250000,-3,'-"]


def _stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_messages_reach_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @for_streams
    def say(argv: object = None) -> int:
        print("0.81 ± 0.02, André 東 \udcff")
        return 0

    out = _stream(encoding)
    monkeypatch.setattr("sys.stdout", out)
    assert say() == 0
    assert out.errors == "strict"
    said = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    wanted = {"ascii": "+- 0.02, Andr\\xe9 \\u6771", "latin-1": "± 0.02, André \\u6771"}
    assert said == f"0.81 {wanted.get(encoding, '± 0.02, André 東')} \\udcff\n"


def test_a_table_is_never_written_in_other_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", _stream("ascii"))
    _check_encoding("time_s,class\n0,low\n")
    with pytest.raises(DataError, match=r"--out: found a standard output of ascii.*Name a file"):
        _check_encoding("time_s,class\n0,gelöst\n")
