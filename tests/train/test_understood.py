"""What `clmer train` prints before it trains, and that --dry-run ends there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.edf_files import noise, write_edf
from support.places import ROOT
from support.train_cases import SMALL

from clmer.cli import main
from clmer.train import understood


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people in two states: EEG with a flat channel, and skin conductance."""
    root = tmp_path_factory.mktemp("study")
    lines = ["subject,trial,label,modality,path,rate,unit"]
    rng = np.random.default_rng(0)
    for person in range(4):
        for label in ("calm", "tense"):
            name = f"p{person}_{label}"
            data = [*noise(3, 12, 256, seed=person), np.zeros(12 * 256)]
            write_edf(root / f"{name}.edf", ["Fz", "Cz", "Pz", "Oz"], data, 256.0)
            np.save(root / f"{name}.npy", 5 + 0.1 * rng.normal(size=(1, 32 * 12)).cumsum(1))
            lines.append(f"p{person},{label},{label},eeg,{name}.edf,,")
            lines.append(f"p{person},{label},{label},gsr,{name}.npy,32,uS")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def words(study: Path, out: str, *more: str) -> list[str]:
    line = ["train", "manifest", "--root", str(study), "--cache", str(study / "cache")]
    return [*line, "--out", str(study / out), "--task", "label", *SMALL, "--folds", "4", *more]


def test_a_dry_run_says_everything_and_writes_nothing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(study, "dry", "--repeats", "4", "--dry-run")) == 0
    said = capsys.readouterr()
    assert not (study / "dry").exists()
    lines = said.out.splitlines()
    assert max(len(line) for line in lines if str(study) not in line) <= 80
    text = " ".join(said.out.split())
    for part in (
        "people 4 people, 8 recordings",
        "windows 96 of 1 s, each with eeg and gsr",
        "label: calm 48, tense 48",
        "eeg 4 channels (eeg) Fz Cz Pz Oz; uV, median amplitude",
        "256 Hz; 8 recordings of 12 s",
        "gsr 1 channel (gsr)",
        "filter eeg 4-45 Hz; gsr",
        "protocol subject: tests on people it never saw in training",
        "4, each with 48 windows to train on, 24 to choose the epoch by, 24 to test on",
        "reference none: everyone has 12 s of calm or more",
        "look at eeg: Oz flat (constant) (in all 8 recordings)",
        "expected training time: ",
    ):
        assert part in text, part
    assert "Verdict" not in text


def test_a_run_begins_with_the_same_and_ends_with_what_to_type(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(study, "run", "--no-contrastive")) == 0
    said = capsys.readouterr().out
    assert said.index("What was understood") < said.index("Verdict") < said.index("In numbers")
    assert f"clmer report {study / 'run'}" in said
    typed = " ".join(said.replace("\\\n", " ").split())
    assert f"clmer predict {study / 'run'} eeg=FILE gsr=FILE --out said.csv" in typed
    assert said.count("On people it never saw in training, eeg+gsr gets a balanced accuracy") == 1


def test_a_file_has_no_carriage_return_and_an_ascii_terminal_every_word(study: Path) -> None:
    line = [sys.executable, "-m", "clmer", *words(study, "ascii", "--no-contrastive")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, env=environment, capture_output=True, check=True)
    assert b"\r" not in done.stdout + done.stderr
    assert b"split 1 of 1 trained: 0:0" in done.stderr
    assert b"Verdict" in done.stdout


def test_an_interrupt_says_the_exact_command(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    typed = words(study, "stopped", "--no-contrastive")
    monkeypatch.setattr("clmer.train.job.train_split", interrupted)
    assert main(typed) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert shlex.split(last) == ["clmer", *typed, "--resume"]
    monkeypatch.undo()
    assert main(shlex.split(last)[1:]) == 0


def test_a_screen_has_room_for_some_notes() -> None:
    shown = understood._notes({"notes": [f"note {i}" for i in range(20)]})
    assert shown[:12] == [f"note {i}" for i in range(12)]
    assert shown[12:] == ["8 more: `clmer inspect` has all"]
    assert understood._notes({"notes": ["one"]}) == ["one"]


def test_a_class_that_not_everyone_has_is_said(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (study / "manifest.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("p3,tense")]
    moved = [kept[0], *(line.replace(",p", f",{study}/p") for line in kept[1:])]
    (tmp_path / "manifest.csv").write_text("\n".join(moved) + "\n")
    assert main([*words(tmp_path, "run", "--protocol", "shuffled"), "--dry-run"]) == 0
    assert "not everyone has each: tense in 3 of 4 people" in capsys.readouterr().out
