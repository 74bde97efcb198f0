"""Training on one's own labels: what is left out, where ratings are split; one root's names."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import clmer.data
from clmer.cli import main
from clmer.data.splits import make_splits
from clmer.errors import DataError
from clmer.pipeline.run.folder import read_config
from clmer.report.command import command
from clmer.report.inspection import inspect

TINY = (
    "--threads 1 --no-contrastive --dim 8 --heads 2 --token-length 5 --cross-layers 1 "
    "--memory-layers 1 --epochs-fusion 1 --repeats 1 --folds 3 --ablation none"
).split()
PEOPLE = 6


def study(root: Path, values: Sequence[object], column: str = "label") -> Path:
    """A trial of 4 s a value for each of six people; the values are a cell each."""
    root.mkdir(exist_ok=True)
    lines = [f"subject,trial,{column},modality,path,rate"]
    for person in range(PEOPLE):
        for trial, value in enumerate(values):
            name = f"{person}-{trial}.npy"
            rng = np.random.default_rng([person, trial])
            np.save(root / name, rng.standard_normal((2, 4 * 128)))
            lines.append(f"p{person},{trial},{value},eeg,{name},128")
    (root / "manifest.csv").write_text("\n".join([*lines, ""]))
    return root


def train(root: Path, *options: str, out: str = "run") -> int:
    given = ["train", "manifest", "--root", str(root), "--cache", str(root.parent / "cache")]
    return main([*given, "--out", str(root.parent / out), *TINY, *options])


def test_trials_without_a_label_are_in_no_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study(tmp_path / "study", ["calm", "angry", "n/a"])
    assert train(root) == 0
    said = capsys.readouterr().out
    said = " ".join(said.split())
    assert "6 people, 12 recordings windows 48 of 1 s" in said
    assert "label: angry 24, calm 24" in said
    assert "left out 24 windows of 6 recordings, no value in label" in said
    assert "6 trials without a value are left out of its task: line 4 (n/a), line 7 (n/a)" in said
    predictions = (tmp_path / "run" / "predictions.csv").read_text()
    tested = {row["recording"] for row in csv.DictReader(predictions.splitlines())}
    assert tested
    assert not any(recording.endswith("/2") for recording in tested)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["classes"] == ["angry", "calm"]
    assert "permuted labels" in {model["name"] for model in results["models"]}


def test_another_column_of_the_same_store_keeps_the_trial(tmp_path: Path) -> None:
    root = study(tmp_path / "study", ["calm,2", "n/a,8", "angry,?"], "label,valence")
    load = {"root": root, "cache": tmp_path / "cache"}
    label = clmer.data.load("manifest", task="label", **load)
    valence = clmer.data.load("manifest", task="valence", **load)
    every = clmer.data.load("manifest", task="", **load)
    assert label.store.path == valence.store.path == every.store.path
    assert (len(label), len(valence), len(every)) == (48, 48, 72)
    assert {int(label[i]["y"]) for i in range(48)} == {0, 1}
    assert sorted(np.bincount(valence[:]["y"])) == [24, 24]
    chosen = clmer.data.load("manifest", task="label", rows=np.arange(12), **load)
    assert chosen.rows is not None
    assert chosen.rows.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


@pytest.mark.parametrize("protocol", ["subject", "loso", "trial", "block", "shuffled"])
def test_no_protocol_uses_windows_without_a_class(tmp_path: Path, protocol: str) -> None:
    root = study(tmp_path / "study", ["calm", "n/a", "angry", "calm", "angry"])
    dataset = clmer.data.load("manifest", root, task="label", cache=tmp_path / "cache")
    assert dataset.y is not None
    windows, y = dataset.store.windows, dataset.y.numpy()
    splits = make_splits(windows, y, protocol, folds=3)
    known = np.flatnonzero(y >= 0)
    for split in splits:
        rows = np.concatenate([split.train, split.val, split.test])
        assert (y[rows] >= 0).all()
        assert len(set(rows)) == len(rows) <= len(known)
        assert split.shared_groups == 0 or protocol == "shuffled"
    if protocol != "block":
        assert set(np.concatenate([split.test for split in splits])) <= set(known)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (
            [1, 2, 6, 7],
            ["--scale", "1,7"],
            "low 48, high 48 (scale 1-7, split at 4: low <= 4 < high)",
        ),
        ([-0.8, -0.2, 0.3], ["--scale", "-1,1"], "low 48, high 24 (scale -1 to 1, split at 0: "),
        ([10, 30, 90], ["--threshold", "20"], "low 24, high 48 (split at 20: low <= 20 < high)"),
        ([2, 3, 8], [], "low 48, high 24 (scale 1-9, split at 5: low <= 5 < high; scale taken"),
        (["NEGATIVE", "POSITIVE"], [], "NEGATIVE 24, POSITIVE 24 eeg 2 channels"),
    ],
)
def test_the_output_says_where_ratings_are_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[object], options: list[str],
    said: str,
) -> None:  # fmt: skip
    root = study(tmp_path / "study", values, "valence")
    assert train(root, "--no-permuted", *options) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"valence: {said}" in shown
    config = read_config(tmp_path / "run")
    assert (config.scale is None) == ("--scale" not in options)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    shown = command(saved)
    for option, value in zip(options[::2], options[1::2], strict=True):
        assert option in shown
        assert [float(each) for each in value.split(",")] == [
            float(each) for each in shown.split(option)[1].split()[0].split(",")
        ]
    assert train(root, "--no-permuted", "--resume", *options) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "found numbers from 1 to 7 in valence, expected a stated scale"),
        (["--scale", "7,1"], "--scale: found 7,1, expected LOW,HIGH"),
        (
            ["--scale", "2,7"],
            "line 2, valence: found 1, expected a number from 2 to 7",
        ),
        (["--scale", "1,7", "--threshold", "8"], "--threshold: found 8, expected one within"),
        (["--threshold", "nan"], "--threshold: found nan"),
        (["--task", "valnce"], "no such label.*Did you mean valence"),
        (["--scale", "1,7", "--modalities", "ege"], "no modality ege.*Did you mean eeg"),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    root = study(tmp_path / "study", [1, 2, 7], "valence")
    assert train(root, *options) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    if not options:
        assert not (tmp_path / "cache").exists()  # said before anything is prepared


def test_a_scale_is_two_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("1", "1;7", "low,high", "1,7,9"):
        with pytest.raises(SystemExit):
            train(tmp_path, "--scale", wrong)
        assert "expected two numbers, LOW,HIGH" in " ".join(capsys.readouterr().err.split())


def test_too_few_classes_for_recordings_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study(tmp_path / "study", ["calm", "angry"])
    table = root / "manifest.csv"
    head, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, first, *(line.replace("eeg", "ege") for line in rest), ""]))
    assert train(root, "--modalities", "eeg") == 2
    error = capsys.readouterr().err
    assert "1 class ['calm']" in error
    assert "Left out were 11 of 12 recordings, no eeg, only ege" in error
    with pytest.raises(DataError, match="1 class.*Left out were 11 of 12 recordings, no eeg"):
        clmer.data.load("manifest", root, task="label", modalities=("eeg",), cache=tmp_path / "c")


def test_one_root_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study(tmp_path / "study", ["calm", "angry"])
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (root / "0-0.npy").rename(outside / "0-0.npy")
    table = root / "manifest.csv"
    table.write_text(table.read_text().replace("0-0.npy", f"{outside}/0-0.npy"))
    (tmp_path / "far" / "away").mkdir(parents=True)
    os.symlink(root, tmp_path / "far" / "away" / "link")
    monkeypatch.chdir(tmp_path)
    own = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run"), *TINY]
    command = ["train", "manifest", *own, "--no-permuted", "--root"]
    assert main([*command, "study"]) == 0
    for spelling in ("./study", "study/", str(root), "far/away/link", "far/../study"):
        assert main([*command, spelling, "--resume"]) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "cache").glob("manifest-*"))) == 1
    study(tmp_path / "other", ["calm", "angry"])
    assert main([*command, "other", "--resume"]) == 2
    assert "root: this folder has 'study', now 'other'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_of_a_data_set_says_the_same(tmp_path: Path) -> None:
    root = study(tmp_path / "study", [10, 40, 90, "n/a"], "valence")
    page = inspect("manifest", root, task="valence", scale=(0.0, 100.0), cache=tmp_path / "cache")
    assert "scale 0-100, split at 50" in page
    assert "6 trials without a value are left out" in page
    assert "windows: no value in valence" in page
    out = tmp_path / "page.html"
    given = [
        "manifest",
        "--root",
        str(root),
        "--task",
        "valence",
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert main(["inspect", *given, "--threshold", "20", "--out", str(out)]) == 0
    assert "split at 20" in out.read_text()
    assert main(["inspect", *given, "--scale", "-5,100", "--out", str(out)]) == 0
    assert "scale -5 to 100, split at 47.5" in out.read_text()
