"""Face tables as OpenFace writes them, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from clmer.data.face import AU_NAMES, LANDMARK_COLUMNS, NEEDED_COLUMNS
from clmer.data.synthetic import signals

Table = dict[str, np.ndarray]
FPS, FRAMES = 25.0, 500


def person(
    frames: int = FRAMES, seed: int = 0, number: int = 0, x: float = 0.0, size: float = 1.0
) -> Table:
    """A plausible face of OpenFace's: it sways, and an action unit of its own comes and goes."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / FPS
    own = rng.normal(0, 2, (68, 3))
    points = size * (signals.neutral_face() + own) + [x, 0, 600]
    points = points + 5 * np.sin(time + seed)[:, None, None] + rng.normal(0, 0.2, (frames, 68, 3))
    table: Table = {
        "frame": np.arange(1.0, frames + 1),
        "face_id": np.full(frames, float(number)),
        "timestamp": time,
        "confidence": np.full(frames, 0.98),
        "success": np.ones(frames),
    }
    table |= dict(zip(LANDMARK_COLUMNS, points.transpose(2, 1, 0).reshape(204, -1), strict=True))
    for i, au in enumerate(AU_NAMES):
        table[f"{au}_r"] = 2 + 1.5 * np.sin((1 + seed) * time + i)
    table |= {f"{au}_c": (table[f"{au}_r"] > 2.0).astype(float) for au in AU_NAMES}
    return table


def stacked(*tables: Table, by: str = "") -> Table:
    """Rows one after the other, sorted by a column."""
    both = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.argsort(both[by], kind="stable") if by else slice(None)
    return {name: column[order] for name, column in both.items()}


def some(table: Table, rows: slice | np.ndarray) -> Table:
    return {name: column[rows] for name, column in table.items()}


def text(table: Table, separator: str = ", ") -> str:
    rows = [separator.join(table)]
    rows += [separator.join(f"{v:.8g}" for v in row) for row in zip(*table.values(), strict=True)]
    return "\n".join(rows) + "\n"


#: Writes a table into a folder of its own.
Csv = Callable[[Table | str | bytes], Path]


def write_openface(path: Path, frames: int = 250, fps: float = 25.0) -> None:
    """Every landmark value is its frame's time."""
    names = ["frame", "timestamp", "confidence", "success", *NEEDED_COLUMNS]
    table = np.zeros((frames, len(names)))
    time = np.arange(frames) / fps
    table[:, 0], table[:, 1], table[:, 2:4] = np.arange(frames) + 1, time, 1
    table[:, 4 : 4 + len(LANDMARK_COLUMNS)] = time[:, None]
    np.savetxt(path, table, fmt="%.4f", delimiter=", ", header=", ".join(names), comments="")
