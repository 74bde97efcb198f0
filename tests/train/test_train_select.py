"""`--select inner` from the command line: said before, kept in the results, loaded, continued."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clmer
from clmer import cli
from clmer.data.synthetic import write_deap
from clmer.pipeline.stages.select import CANDIDATES

SMALL = "--repeats 1 --threads 1 --width 4 --dim 8 --heads 2 --cross-layers 1 --memory-layers 1 "
SMALL += "--single-layers 1 --token-length 2 --epochs-contrastive 1 --epochs-fusion 1"


def test_what_was_chosen_is_in_the_results_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deap(tmp_path / "data", people=2, trials=16, seconds=3)
    places = ["--root", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    line = ["train", "deap", *places, "--modalities", "eeg", *SMALL.split(), "--no-permuted"]
    out = tmp_path / "run"
    line += ["--select", "inner", "--out", str(out)]
    assert cli.main(line) == 0
    assert "chosen inside each training part (--select inner)" in capsys.readouterr().out
    before = (out / "results.json").read_bytes()
    found = json.loads(before)["selection"]["split1"]
    assert found["scores"].keys() == CANDIDATES.keys()
    trained = clmer.load(out)
    windows = {"eeg": np.random.default_rng(0).normal(size=(3, 32, 128))}
    assert trained.predict_proba(windows).shape == (3, 2)
    (out / "results.json").unlink()
    (out / "models" / "split1" / "select-5.safetensors").unlink()
    assert cli.main([*line, "--resume"]) == 0
    assert (out / "results.json").read_bytes() == before
