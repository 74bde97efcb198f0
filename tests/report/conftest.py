"""Runs that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from clmer import cli
from clmer.data.synthetic import write_deap
from clmer.report.page import report

SMALL = ["--folds", "3", "--threads", "1", "--width", "4", "--dim", "8", "--heads", "2"]
SMALL += ["--cross-layers", "1", "--memory-layers", "1", "--single-layers", "1"]
SMALL += ["--token-length", "5", "--epochs-contrastive", "2", "--epochs-fusion", "2"]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/shuffled, runs/trial and runs/trial-eeg of a small generated DEAP, and their stores."""
    folder = tmp_path_factory.mktemp("report")
    write_deap(folder / "data", people=3, trials=12, seconds=2)
    data = ["train", "deap", "--root", str(folder / "data"), "--cache", str(folder / "cache")]
    for name, options in {
        "shuffled": ["--protocol", "shuffled", "--repeats", "2"],
        "trial": ["--repeats", "1"],
        "trial-eeg": ["--repeats", "1", "--modalities", "eeg", "--no-contrastive"],
    }.items():
        out = ["--out", str(folder / "runs" / name)]
        assert cli.main([*data, *out, *SMALL, *options]) == 0
    return folder


@pytest.fixture(scope="session")
def page(place: Path) -> str:
    return report([place / "runs"], cache=place / "cache")
