"""A run that may be used live."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.live_cases import train, write_study

import clmer
from clmer.pipeline.run.trained import TrainedRun


@pytest.fixture(scope="session")
def live_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EEG, ECG and faces of one person in two states, and `run` on them."""
    root = write_study(tmp_path_factory.mktemp("live"))
    train(root)
    return root


@pytest.fixture(scope="session")
def live_run(live_study: Path) -> TrainedRun:
    """The trained run."""
    return clmer.load(live_study / "run")
