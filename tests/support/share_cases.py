"""A small study whose people, recordings and files have names that are found again in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.train_cases import SMALL

from clmer.cli import main
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.pipeline.config import Config
from clmer.pipeline.fit import fit_split
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.tokenizer import WindowArrays

PEOPLE = ("Zebulon-17", "Quirin-23", "Oswin-31", "Theda-42")
TRIALS = {"morningwalk": "calm", "eveningtalk": "tense"}
#: What must not be in a folder that is shared.
PERSONAL = (*PEOPLE, *TRIALS, "2024-05-17", "recording_", ".npy", "manifest.csv")
CHANNELS = {"eeg": 3, "ecg": 1}
WHAT = {"dataset": "manifest", "task": "label", "protocol": "subject"}


def write_study(root: Path) -> None:
    """A manifest of four people, two recordings each, of EEG and ECG."""
    rng = np.random.default_rng(0)
    lines = ["subject,trial,label,modality,path,rate"]
    for person in PEOPLE:
        for trial, label in TRIALS.items():
            for name, count in CHANNELS.items():
                x = rng.standard_normal((count, 1280)) * (2 if label == "tense" else 1)
                file = f"recording_{person}_{trial}_2024-05-17_{name}.npy"
                np.save(root / file, x)
                lines.append(f"{person},{trial},{label},{name},{file},128")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


def train_study(root: Path, *extra: str) -> Path:
    """A run of two splits and two members on it."""
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    line += ["--task", "label", "--window", "1", *SMALL, "--repeats", "2", "--folds", "4"]
    assert main([*line, "--members", "2", "--out", str(root / "run"), *extra]) == 0
    return root / "run"


def windows(count: int = 5, seed: int = 1) -> dict[str, np.ndarray]:
    """Prepared windows of a second, by modality."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal((count, channels, 128)).astype(np.float32)
        for name, channels in CHANNELS.items()
    }


def fitted(
    folder: Path, *options: dict, modalities: tuple[str, ...] = ("eeg", "ecg")
) -> TrainedRun:
    """A trained run without a folder's files: a split for each of the options."""
    sizes = {"width": 4, "dim": 8, "heads": 2, "cross_layers": 1, "memory_layers": 1}
    sizes |= {"single_layers": 1, "token_length": 4, "epochs_contrastive": 1, "epochs_fusion": 1}
    x = {name: array for name, array in windows(32).items() if name in modalities}
    known = {
        name: Modality(
            name, CHANNELS[name], 128.0, tuple(f"{name}{k}" for k in range(CHANNELS[name])),
            (name,) * CHANNELS[name], "uV", 256.0, ((name, 1.0),),
        )
        for name in x
    }  # fmt: skip
    people, rows = np.repeat(np.arange(4), 8), np.arange(32)
    split = Split("s", rows[:16], rows[16:24], rows[24:], 0, "")
    splits = {}
    for number, more in enumerate(options):
        config = Config(**{**WHAT, **sizes, **more})
        reference = None if config.reference == "none" else rows % 8 < 4
        arrays = WindowArrays(known, x, people, reference)
        rating = config.target == "rating"
        y = np.linspace(1, 9, 32) if rating else rows % 2
        if reference is not None:
            y = np.where(reference, np.nan if rating else -1, y)
            used = Split("s", *(part[~reference[part]] for part in rows.reshape(4, 8)[:3]), 0, "")
            split = used
        classes = () if rating else ("calm", "tense")
        splits[f"split{number + 1}"] = fit_split(config, arrays, y, split, classes=classes)
    return TrainedRun(folder, config, splits)
