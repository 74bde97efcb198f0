"""The example of a loop of one's own says what `clmer predict` says."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest
from support.edf_files import write_edf
from support.live_cases import ECG, EEG, FS, signals, train, write_study
from support.places import ROOT

from clmer.cli import main

EXAMPLE = ROOT / "examples" / "live_loop.py"


def test_the_example_says_what_predict_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(write_study(tmp_path, face=False))
    typed = " ".join(capsys.readouterr().out.replace("\\\n", " ").split())
    assert f"clmer live {run} --stream NAME" in typed
    recording = tmp_path / "new.edf"
    write_edf(recording, EEG + ECG, signals(0), FS, limits=(-32768.0, 32767.0))
    out = tmp_path / "said.csv"
    line = ["predict", str(run), str(recording), "--model", "eeg+ecg"]  # as `clmer.load` does
    assert main([*line, "--out", str(out)]) == 0
    with out.open(newline="") as file:
        want = [float(row["p_calm"]) for row in csv.DictReader(file)]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(run), str(recording)])
    capsys.readouterr()
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    head, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head[1:] == ["angry", "calm"]
    said = [float(row[2]) for row in rows if row[-1] == "ok"]
    assert said == pytest.approx(want, abs=0.0051)


def test_the_example_is_short() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 30
