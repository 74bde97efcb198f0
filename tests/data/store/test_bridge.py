"""Samples that were lost: a few at a time are interpolated and counted, more are a pause."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.store.summary import report_lines
from clmer.errors import ConfigError

FS, SECONDS = 128, 20


def wave(time: np.ndarray, phase: float) -> np.ndarray:
    return 20 * np.sin(2 * np.pi * 6 * time + phase)


def study(folder: Path, lost: np.ndarray) -> Path:
    """Two people's tables with a counter, without the samples that are `lost`."""
    number = np.setdiff1d(np.arange(FS * SECONDS), lost)
    rows = ["subject,trial,label,modality,path,rate"]
    for person in range(2):
        noise = np.random.default_rng(person).normal(0, 0.1, len(number))
        cz = wave(number / FS, person) + noise
        cells = np.column_stack([number, cz, wave(number / FS, 9)])
        np.savetxt(folder / f"p{person}.csv", cells, "%.6g", ",", header="Counter,Cz [uV],Pz [uV]",
                   comments="")  # fmt: skip
        rows.append(f"p{person},1,{person},eeg,p{person}.csv,{FS}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def prepared(folder: Path, **options: float) -> Store:
    chosen = PrepareOptions(**options)  # type: ignore[arg-type]
    cache = folder / "cache"
    return prepare(DATASETS["manifest"], folder, chosen, cache=cache, progress=False)


def test_one_lost_sample_per_second_costs_no_window(tmp_path: Path) -> None:
    lost = np.arange(64, FS * SECONDS, FS)
    study(tmp_path, lost)
    store = prepared(tmp_path)
    assert len(store.windows) == 2 * SECONDS
    assert store.report["samples_interpolated"] == 2 * SECONDS
    assert "interpolated: 40 samples in short gaps" in report_lines(store.report)
    assert any("20 samples" in note and "are missing" in note for note in store.report["notes"])
    inner = store.array("eeg")[2 : SECONDS - 2, 0]  # away from the filter's edges
    time = np.arange(2 * FS, (SECONDS - 2) * FS) / FS
    np.testing.assert_allclose(inner.ravel(), wave(time, 0), atol=2.0)
    with pytest.raises(Exception, match="across a pause in eeg"):
        prepared(tmp_path, bridge_s=0.0)


def test_how_much_is_bridged_is_an_option_and_much_is_said(tmp_path: Path) -> None:
    lost = np.concatenate([64 + np.arange(3), 5 * FS + 64 + np.arange(4)])
    study(tmp_path, lost)
    store = prepared(tmp_path)
    assert len(store.windows) == 2 * (SECONDS - 1)
    assert store.report["windows_dropped"] == {"across a pause in eeg": 2}
    assert store.report["samples_interpolated"] == 2 * 3
    assert not any("1 % or more" in note for note in store.report["notes"])
    wider = prepared(tmp_path, bridge_s=0.04)
    assert (len(wider.windows), wider.report["samples_interpolated"]) == (2 * SECONDS, 2 * 7)
    study(tmp_path, np.arange(20, FS * SECONDS, 50))
    notes = prepared(tmp_path).report["notes"]
    assert any(n.startswith("eeg: 1 % or more of the samples were lost") for n in notes)
    with pytest.raises(ConfigError, match="bridge_s"):
        PrepareOptions(bridge_s=-1.0)
