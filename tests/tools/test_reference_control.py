"""Rest against later rest stays at chance under a reference, on real recordings."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from support.places import ROOT

from clmer.data.registry import DATASETS
from clmer.data.store.prepare import prepare
from clmer.pipeline.presets import configure

FOLDER = ROOT / "tools"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="tools/ is not beside the tests")


def test_time_alone_says_nothing_under_a_reference(
    clmer_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    control = importlib.import_module("reference_control")
    root = str(clmer_data / "eegmat")
    config = configure("eegmat", "cpu", root=root, reference="rest:60")
    store = prepare(DATASETS["eegmat"], Path(root), config, cache=tmp_path)
    windows, y = control.early_and_late(store, config)
    assert not (windows.reference & (y >= 0)).any()
    assert (np.bincount(y[y >= 0]) > 250).all()
    assert np.mean(control.scores(store, config, "logistic regression", 2)) <= 0.54
