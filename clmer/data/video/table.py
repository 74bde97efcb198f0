"""The CSV of a tracked clip: OpenFace's columns, and the number of faces in each frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np

from clmer.data.face.rows import (
    AU_NAMES,
    GAZE_COLUMNS,
    INTENSITY_COLUMNS,
    LANDMARK_COLUMNS,
)
from clmer.data.face.trackers import MEDIAPIPE_COLUMN
from clmer.data.face.trackers.mesh import PRESENCE, Face

_POSE = tuple(f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz")
_IMAGE = tuple(f"{axis}_{i}" for axis in "xy" for i in range(68))
_PRESENCES = tuple(f"{au}_c" for au in (*AU_NAMES[:-1], "AU28", AU_NAMES[-1]))
COLUMNS = (
    *("frame", "face_id", "timestamp", "confidence", "success", *GAZE_COLUMNS, *_POSE),
    *(*_IMAGE, *LANDMARK_COLUMNS, *INTENSITY_COLUMNS, *_PRESENCES, MEDIAPIPE_COLUMN),
)
_ROW = ", ".join(
    ["%d", "0", "%.4f", "%d", "%d"]
    + ["%.4f"] * 2
    + ["%.2f"] * 3
    + ["%.4f"] * 3
    + ["%.1f"] * 136
    + ["%.2f"] * 204
    + ["%.3f"] * 17
    + ["%d"] * 19
)
_LOST = (0.0,) * (len(COLUMNS) - 6)
#: The columns of a live stream, whose samples have times of their own.
STREAM_COLUMNS = COLUMNS[3:]
_UNITS = {
    **dict.fromkeys(GAZE_COLUMNS, "rad"),
    **{name: "mm" if name.startswith("pose_T") else "rad" for name in _POSE},
    **dict.fromkeys(_IMAGE, "px"),
    **dict.fromkeys(LANDMARK_COLUMNS, "mm"),
}
#: The unit of each of `STREAM_COLUMNS`, "" for none.
STREAM_UNITS = tuple(_UNITS.get(name, "") for name in STREAM_COLUMNS)


class TableWriter:
    """Writes a CSV row by row under a temporary name; `finish` puts it in place.

    Left without `finish`, by an error or a kill, no CSV appears.

    Args:
        path: the CSV.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            if not _alive(left):
                left.unlink(missing_ok=True)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._file = self._temporary.open("w", encoding="ascii")
        self._file.write(", ".join(COLUMNS) + "\n")

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def add(self, seconds: float, face: Face | None, faces: int) -> None:
        """One frame. The landmarker gives no confidence: 1 where a face was found, else 0."""
        self.rows += 1
        self._file.write(_row(self.rows, seconds, face, faces) + "\n")

    def finish(self, place: Callable[[Path, Path], object] = os.replace) -> None:
        """Flush to the disk and rename, or let `place(temporary name, path)` do so."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        place(self._temporary, self.path)


def stream_values(face: Face | None, faces: int) -> np.ndarray:
    """One frame's values of `STREAM_COLUMNS`: the numbers of the CSV's row, with its digits.

    Without a face, confidence and success are 0 and all else but the number of faces NaN.
    """
    cells = _row(0, 0.0, face, faces).split(", ")[-len(STREAM_COLUMNS) :]
    values = np.array(cells, np.float64)
    if face is None:
        values[2:-1] = np.nan
    return values


def _row(number: int, seconds: float, face: Face | None, faces: int) -> str:
    found = face is not None
    values = _LOST if face is None else _values(face)
    return _ROW % (number, seconds, found, found, *values, faces)


def _values(face: Face) -> list[float]:
    scores = np.insert(face.au, len(face.au) - 1, face.au28)
    return [
        *face.gaze,
        *face.translation,
        *face.rotation,
        *face.image.T.ravel(),
        *face.points.T.ravel(),
        *(5.0 * face.au),
        *(scores >= PRESENCE),
    ]


def _alive(temporary: Path) -> bool:
    process = temporary.name.split(".")[-2]
    if not process.isdigit() or os.name != "posix":
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
