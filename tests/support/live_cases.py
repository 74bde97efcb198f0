"""A study of signals and faces, a run that may be used live, and recordings as streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from support.face_cases import write_openface

from clmer.cli import main
from clmer.data.face import NEEDED_COLUMNS
from clmer.data.face.table import read_columns, read_header
from clmer.live import LiveWindow, StreamFormat
from clmer.pipeline.run.trained import TrainedRun

FS, FPS, SECONDS = 250.0, 25.0, 24
EEG, ECG = ("Fz", "Cz", "Pz"), ("ECG",)
TRAIN = ["--filter", "causal", "--window", "2", "--stride", "1", "--protocol", "block"]
TRAIN += ["--folds", "3", "--repeats", "1", "--no-contrastive", "--no-permuted", "--epochs-fusion"]
TRAIN += ["1", "--threads", "1"]


def signals(seed: int, seconds: float = SECONDS) -> np.ndarray:
    """[4, n] uV: three channels of EEG with large offsets and an ECG, a random walk with hum."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(EEG + ECG), round(seconds * FS)))
    return np.cumsum(x, 1) + 5 * x + 1000.0 * np.arange(len(x))[:, None]


def write_study(root: Path, *, face: bool = True, people: int = 1) -> Path:
    """Tables of two states of each person, and of their faces."""
    lines = ["subject,trial,label,modality,path,rate"]
    for person in range(people):
        for number, label in enumerate(("calm", "angry")):
            name = f"p{person}{label}"
            x = signals(10 * person + number)
            header = ",".join(f"{channel} [uV]" for channel in EEG + ECG)
            np.savetxt(root / f"{name}.csv", x.T, "%.6f", ",", header=header, comments="")
            files = [(each, f"{name}.csv,{FS:g}") for each in ("eeg", "ecg")]
            if face:
                write_openface(root / f"{name}-face.csv", round(SECONDS * FPS), FPS)
                files.append(("face", f"{name}-face.csv,"))
            lines += [f"p{person},{label},{label},{each},{file}" for each, file in files]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def train(root: Path, *more: str) -> Path:
    """A run on a study."""
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    assert main([*line, "--task", "label", "--out", str(root / "run"), *TRAIN, *more]) == 0
    return root / "run"


def streams_of(trained: TrainedRun) -> dict[str, StreamFormat]:
    """How the study's recordings come: all signals in one stream, the face in another."""
    streams = {"device": StreamFormat(EEG + ECG, FS, ("uV",) * len(EEG + ECG))}
    if "landmarks" in trained.modalities:
        streams["face"] = StreamFormat(face_columns(), FPS)
    return streams


def face_columns() -> tuple[str, ...]:
    """The columns of `write_openface`, but for times and frame numbers."""
    return ("confidence", "success", *NEEDED_COLUMNS)


def face_frames(path: Path) -> np.ndarray:
    """[columns, n] of a table."""
    table = read_columns(read_header(path), face_columns())
    return np.stack([table.columns[name] for name in face_columns()])


def chunks(
    data: Mapping[str, tuple[np.ndarray, np.ndarray]], seconds: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Streams (samples [C, n], times [n]) by name in turns, so many seconds of each at a time."""
    first = min(times[0] for _, times in data.values())
    last = max(times[-1] for _, times in data.values())
    for at in np.arange(first, last + seconds, seconds):
        for name, (samples, times) in data.items():
            rows = (times >= at) & (times < at + seconds)
            if rows.any():
                yield name, samples[:, rows], times[rows]


def values_of(windows: Sequence[LiveWindow]) -> np.ndarray:
    """[n, classes] of windows that all have values."""
    return np.array([window.values for window in windows])
