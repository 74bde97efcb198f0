"""A small BIDS data set, written by mne-bids; its tables of physiology by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import mne
import mne_bids
import numpy as np
from support.edf_files import noise

FS = 128.0
PHYSIO_FS = 32.0
#: Onset, duration (s) and label of each event.
EVENTS = ((2.0, 8.0, "calm"), (12.0, 8.0, "angry"), (22.0, 8.0, "calm"), (32.0, 8.0, "angry"))


def write_tree(
    root: Path,
    people: int = 2,
    *,
    events: tuple[tuple[float, float, str], ...] = EVENTS,
    acquisition: str | None = None,
) -> dict[str, np.ndarray]:
    """Write people with a session and a run of 45 s each; the EEG in uV, [2, T] by person."""
    written = {}
    for number in range(1, people + 1):
        x = noise(2, 45, FS, seed=number)
        info = mne.create_info(["Fz", "Cz", "ECG"], FS, ["eeg", "eeg", "ecg"])
        heart = noise(1, 45, FS, seed=100 + number, sd=200)
        raw = mne.io.RawArray(np.vstack([x, heart]) * 1e-6, info, verbose="ERROR")
        raw.info["line_freq"] = 50
        onsets, durations, texts = zip(*events, strict=True) if events else ((), (), ())
        raw.set_annotations(mne.Annotations(onsets, durations, texts))
        path = mne_bids.BIDSPath(
            subject=f"{number:02d}",
            session="a",
            task="emo",
            acquisition=acquisition,
            run="01",
            datatype="eeg",
            root=root,
        )
        mne_bids.write_raw_bids(
            raw, path, format="BrainVision", allow_preload=True, overwrite=True, verbose="ERROR"
        )
        written[f"sub-{number:02d}"] = x
    return written


def write_physio(root: Path, person: str, start_s: float = -1.0) -> np.ndarray:
    """A table of pulse, breathing and a trigger beside a person's EEG; [3, T]."""
    data = np.round(noise(3, 50, PHYSIO_FS, seed=7), 3)
    data[2] = 0
    folder = root / person / "ses-a" / "eeg"
    name = f"{person}_ses-a_task-emo_run-01_physio"
    rows = "\n".join("\t".join(f"{value:.3f}" for value in row) for row in data.T)
    (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(f"{rows}\n".encode()))
    columns = ["cardiac", "respiratory", "trigger"]
    about = {"SamplingFrequency": PHYSIO_FS, "StartTime": start_s, "Columns": columns}
    (folder / f"{name}.json").write_text(json.dumps(about))
    return data
