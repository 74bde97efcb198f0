"""Small generated recordings, in the files that people have. Needs edfio (pip install edfio)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from edfio import Edf, EdfAnnotation, EdfSignal

from clmer.data.face import INTENSITY_COLUMNS, LANDMARK_COLUMNS, PRESENCE_COLUMNS
from clmer.data.synthetic.signals import neutral_face

FS = 128
SENSORS = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")
STATES = ("calm", "happy", "sad")


def eeg(state: str, seconds: float, seed: int) -> np.ndarray:
    """EEG [6, seconds FS] in uV: noise, and a rhythm whose rate the state decides, if not much."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * FS)) / FS
    hertz, height = {"calm": (10, 6), "happy": (20, 4), "sad": (6, 5)}.get(state, (10, 3))
    rhythm = rng.lognormal(0, 0.7) * height * np.sin(2 * np.pi * (hertz * time + rng.random()))
    return rng.lognormal(2.3, 0.3) * rng.normal(0, 1, (len(SENSORS), len(time))) + rhythm


def write_edf(
    path: Path,
    data: np.ndarray,
    sensors: Iterable[str] = SENSORS,
    notes: Iterable[tuple[float, float, str]] = (),
) -> None:
    """EEG in uV as an EDF file, with annotations (onset, duration, text)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        EdfSignal(row, FS, label=name, physical_dimension="uV", physical_range=(-500, 500))
        for name, row in zip(sensors, data.clip(-499, 499), strict=True)
    ]
    Edf(signals, annotations=[EdfAnnotation(*note) for note in notes]).write(path)


def write_openface(path: Path, state: str, seconds: float, seed: int, fps: int = 25) -> None:
    """A face as OpenFace 2 writes it; the corner of the mouth (AU12) follows the state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    count = round(seconds * fps)
    columns = {"frame": np.arange(count) + 1.0, "timestamp": np.arange(count) / fps}
    columns |= {"confidence": np.full(count, 0.98), "success": np.ones(count)}
    points = neutral_face().T.ravel() + np.repeat([0.0, 0.0, 600.0], 68)
    moved = points[:, None] + rng.normal(0, 0.3, (len(points), count))
    columns |= dict(zip(LANDMARK_COLUMNS, moved, strict=True))
    strength = {name: rng.random(count) for name in INTENSITY_COLUMNS}
    strength["AU12_r"] += rng.random() * {"happy": 2.0, "calm": 0.5}.get(state, 0.0)
    columns |= strength
    presence = zip(PRESENCE_COLUMNS, strength.values(), strict=True)
    columns |= {name: (values > 0.7).astype(float) for name, values in presence}
    table = np.stack(list(columns.values()), axis=1)
    np.savetxt(path, table, "%.4g", ", ", header=", ".join(columns), comments="")


def write_text(path: Path, lines: Iterable[str]) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def write_empatica(folder: Path, state: str, seconds: float, seed: int, start: int) -> None:
    """A session of an Empatica E4 from `start` (seconds since 1970) on; skin conductance tells."""
    rng = np.random.default_rng(seed)
    level = {"calm": 1.0, "happy": 2.0, "sad": 1.6}.get(state, 1.0) * rng.lognormal(0, 0.5)
    rates = {"EDA": 4, "TEMP": 4, "BVP": 64, "ACC": 32}
    for name, fs in rates.items():
        time = np.arange(round(seconds * fs)) / fs
        noise = rng.normal(0, 1, len(time))
        data = {
            "EDA": level + 0.1 * np.sin(time / 3) + 0.02 * noise,
            "TEMP": 32 + 0.01 * noise,
            "BVP": 40 * np.sin(2 * np.pi * 1.1 * time) + 5 * noise,
        }.get(name, 64 * np.ones(len(time)) + noise)
        width = 3 if name == "ACC" else 1
        head = [",".join([f"{start:.6f}"] * width), ",".join([f"{fs:.6f}"] * width)]
        rows = [",".join([f"{value:.4f}"] * width) for value in data]
        write_text(folder / f"{name}.csv", [*head, *rows])
