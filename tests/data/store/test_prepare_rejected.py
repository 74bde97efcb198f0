"""Recordings most of whose windows are left out are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.edf_files import noise, write_edf

from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare


def test_a_recording_of_which_little_is_left_is_named(tmp_path: Path) -> None:
    """EEG of 40 s beside ECG of 3 s: windows after the end of the ECG are none."""
    rng = np.random.default_rng(0)
    lines = ["subject,trial,label,modality,path,rate,unit"]
    for trial, label, seconds in (("a", "calm", 40), ("b", "tense", 3)):
        write_edf(tmp_path / f"{trial}.edf", ["Fz", "Cz"], list(noise(2, 40, 128)), 128.0)
        np.save(tmp_path / f"{trial}.npy", 300 * rng.normal(size=(1, 128 * seconds)))
        lines.append(f"p1,{trial},{label},eeg,{trial}.edf,,")
        lines.append(f"p1,{trial},{label},ecg,{trial}.npy,128,uV")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    store = prepare(
        DATASETS["manifest"],
        tmp_path,
        PrepareOptions(window_s=1.0),
        cache=tmp_path / "cache",
        progress=False,
    )
    said = "90 % of a recording's windows or more were left out; kept are: p1/b 3 of 40"
    assert said in store.report["notes"]
