"""Serialised faces from OpenFace's CSV (`FeatureExtraction`, versions 1 and 2).

Needed columns: `X_0..67`, `Y_0..67`, `Z_0..67` (mm), the 17 `AUxx_r` and the same 17 `AUxx_c`;
used where present: `timestamp`, `frame`, `face_id`, `confidence`, `success`. The rest, AU28_c
included, is ignored, and so are the spaces of OpenFace's ", " separator.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clmer.data.recording import DataError, FaceSeries

#: The 17 action units that OpenFace gives both an intensity and a presence.
AU_NAMES = tuple(
    f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
)
LANDMARK_COLUMNS = tuple(f"{axis}_{i}" for axis in "XYZ" for i in range(68))
INTENSITY_COLUMNS = tuple(f"{au}_r" for au in AU_NAMES)
PRESENCE_COLUMNS = tuple(f"{au}_c" for au in AU_NAMES)
NEEDED_COLUMNS = LANDMARK_COLUMNS + INTENSITY_COLUMNS + PRESENCE_COLUMNS
OPTIONAL_COLUMNS = ("timestamp", "frame", "face_id", "confidence", "success")

_OPENFACE_3 = (
    "OpenFace 3 has no 3-D landmarks and 8 AUs only: make the CSV with OpenFace 2's "
    "FeatureExtraction."
)
_OPENFACE_2 = "Run OpenFace 2's FeatureExtraction with -3Dfp and -aus, or without such options."


def read_openface(
    path: Path,
    *,
    fps: float | None = None,
    min_confidence: float = 0.5,
    max_gap_s: float = 0.2,
) -> FaceSeries:
    """Read one OpenFace CSV as a series on a regular frame grid that begins at the video's start.

    A frame is lost where success is 0, confidence is under `min_confidence`, a value is not finite
    or the row is absent. Gaps up to `max_gap_s` with a face on both sides are interpolated
    linearly; longer ones hold their neighbours' values and have valid = False. With several
    `face_id`, the face with the largest sum of confidence over its frames is kept (a long and sure
    one beats a brief or doubtful one).

    Args:
        path: the CSV; comma, semicolon, tab or space separated.
        fps: frames per second; by default from the timestamps.
        min_confidence: OpenFace's confidence (0-1) under which a frame counts as lost.
        max_gap_s: longest gap in seconds that is interpolated.

    Raises:
        DataError: no such file, missing columns, no rows, a cell that is no number, no timestamp
            and no fps, or a face lost throughout.
    """
    columns = _read_columns(path)
    rows = len(columns["X_0"])
    confidence = columns.get("confidence", np.ones(rows))
    good = columns.get("success", np.ones(rows)) > 0.5
    good &= confidence >= min_confidence
    values = np.stack([columns[name] for name in NEEDED_COLUMNS], axis=1)  # [rows, 238]
    good &= np.isfinite(values).all(axis=1)
    if not good.any():
        raise DataError(
            path,
            "success, confidence",
            f"the face lost in all {rows} rows",
            f"frames with success 1 and confidence >= {min_confidence:g}",
            "Leave this recording's face out or check the video.",
        )
    keep = np.ones(rows, dtype=bool)
    if "face_id" in columns:
        keep = columns["face_id"] == _main_face(columns["face_id"], np.where(good, confidence, 0))
    index, rate = _frame_grid(path, {k: v[keep] for k, v in columns.items()}, fps)
    frames = int(index.max()) + 1
    grid = np.zeros((frames, values.shape[1]), dtype=np.float64)
    seen = np.zeros(frames, dtype=bool)
    found = good[keep]
    grid[index[found]] = values[keep][found]
    seen[index[found]] = True
    valid = _fill(grid, seen, int(max_gap_s * rate + 1e-6))
    points = len(LANDMARK_COLUMNS)
    intensity_end = points + len(AU_NAMES)
    return FaceSeries(
        fps=rate,
        landmarks=grid[:, :points].reshape(-1, 3, 68).transpose(0, 2, 1).astype(np.float32),
        au_intensity=grid[:, points:intensity_end].astype(np.float32),
        au_presence=(grid[:, intensity_end:] >= 0.5).astype(np.float32),
        valid=valid,
    )


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns we use by name, each [rows] float64."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(path, "file", "nothing", "an OpenFace CSV") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, "file", error, "a readable text file") from error
    header, _, body = text.partition("\n")
    separator = next((s for s in (",", ";", "\t") if s in header), None)
    names = [name.strip().strip('"') for name in header.split(separator)]
    position = {name: i for i, name in reversed(list(enumerate(names)))}
    missing = [name for name in NEEDED_COLUMNS if name not in position]
    if missing:
        aus = {n[:4] for n in names if re.fullmatch(r"AU\d\d(_[rc])?", n)}
        third = 0 < len(aus) <= 8 and not any(n in position for n in LANDMARK_COLUMNS)
        raise DataError(
            path,
            "header",
            f"{len(names)} columns without {_ranges(missing)}",
            "3-D landmarks X, Y, Z_0..67, and AUxx_r and AUxx_c of 17 action units",
            _OPENFACE_3 if third else _OPENFACE_2,
        )
    if not body.strip():
        raise DataError(path, "rows", "0 rows", "one row a video frame")
    # Windows builds of OpenFace write NaN as "-nan(ind)"
    if "nan(" in body:
        body = re.sub(r"-?nan\(\w*\)", "nan", body)
    wanted = [name for name in (*OPTIONAL_COLUMNS, *NEEDED_COLUMNS) if name in position]
    try:
        table = np.loadtxt(
            io.StringIO(body),
            delimiter=separator,
            usecols=[position[name] for name in wanted],
            ndmin=2,
            comments=None,
        )
    except ValueError as error:
        raise DataError(
            path,
            "rows",
            str(error).rstrip("."),
            f"{len(names)} numbers a row",
            "The file may be truncated: make it again.",
        ) from error
    return {name: table[:, i] for i, name in enumerate(wanted)}


def _main_face(face_id: np.ndarray, confidence: np.ndarray) -> float:
    ids, inverse = np.unique(face_id, return_inverse=True)
    return float(ids[np.argmax(np.bincount(inverse, weights=confidence))])


def _frame_grid(
    path: Path, columns: dict[str, np.ndarray], fps: float | None
) -> tuple[np.ndarray, float]:
    """Each row's frame number (0 = the video's start) and the frame rate."""
    rows = len(columns["X_0"])
    if "timestamp" in columns:
        seconds = columns["timestamp"]
        rate = fps if fps is not None else _rate(path, np.sort(seconds))
        index = np.rint(seconds * rate)
    elif fps is None:
        raise DataError(
            path,
            "timestamp",
            "no such column",
            "seconds of each frame, or a frame rate",
            "State the video's frame rate (fps).",
        )
    else:
        rate = fps
        index = columns.get("frame", np.arange(rows, dtype=np.float64))
        index = index - min(1.0, index.min())  # OpenFace counts from 1, others from 0
    if not (np.isfinite(index).all() and index.min() >= 0 and index.max() < 100 * rows + 1000):
        raise DataError(
            path,
            "timestamp" if "timestamp" in columns else "frame",
            f"{rows} rows at frames {index.min():g} to {index.max():g}",
            "times counted from the video's start",
        )
    return index.astype(np.int64), rate


def _rate(path: Path, seconds: np.ndarray) -> float:
    """Frames per second; rounded timestamps and absent rows do not bias it."""
    steps = np.diff(seconds)
    steps = steps[steps > 0]
    if not (steps.size and np.isfinite(steps).all()):
        raise DataError(
            path,
            "timestamp",
            f"{seconds.size} row(s) without two different times",
            "increasing seconds",
            "State the video's frame rate (fps).",
        )
    frames = np.rint(steps / np.median(steps)).sum()
    return round(float(frames / steps.sum()), 3)


def _fill(grid: np.ndarray, seen: np.ndarray, max_gap: int) -> np.ndarray:
    """Interpolate unseen rows of `grid` in place; returns which rows may be used."""
    valid = seen.copy()
    if seen.all():
        return valid
    at = np.flatnonzero(seen)
    lost = np.flatnonzero(~seen)
    for column in range(grid.shape[1]):
        grid[lost, column] = np.interp(lost, at, grid[at, column])
    for before, after in itertools.pairwise(at.tolist()):
        if after - before - 1 <= max_gap:
            valid[before:after] = True
    return valid


def _ranges(names: Sequence[str]) -> str:
    """Names as text, runs folded: X_0, X_1, X_2 -> "X_0..2"."""
    parts: list[tuple[str, int | None, int | None]] = []
    for name in names:
        prefix, _, number = name.rpartition("_")
        if not number.isdigit():
            parts.append((name, None, None))
        elif parts and parts[-1][0] == prefix and parts[-1][2] == int(number) - 1:
            parts[-1] = (prefix, parts[-1][1], int(number))
        else:
            parts.append((prefix, int(number), int(number)))
    return ", ".join(
        p if a is None else f"{p}_{a}" if a == b else f"{p}_{a}..{b}" for p, a, b in parts
    )
