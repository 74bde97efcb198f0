"""OpenFace's `.hog` files (`FeatureExtraction -hogalign`): the face's texture, frame by frame.

One record per frame: int32 columns, rows, orientations (12, 12, 31 for OpenFace's 112-pixel faces),
float32 good (1 or -1), then rows x columns x orientations float32, little-endian. Dalal-Triggs
histograms in Felzenszwalb's form: 18 signed and 9 unsigned orientations and 4 texture energies.

4464 numbers per frame are more than EEG's and say little one by one: cells are averaged over a grid
of 4 x 4 regions of the face, which leaves 16 x 31 rows, region by region from the upper left.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clmer.errors import DataError

REGIONS = 4  # per side
ORIENTATIONS = 31
HOG_ROWS = tuple(f"hog_{region}_{k}" for region in range(REGIONS**2) for k in range(ORIENTATIONS))

_HEAD_BYTES = 16
_MAX_CELLS = 64  # per side: OpenFace's own has 12
_CHUNK = 256  # frames read at once


@dataclass(frozen=True, eq=False)
class Hog:
    """Descriptors of a face series; read when asked for.

    Args:
        path: the `.hog` file.
        records: records that the file must have, one per row of the CSV beside it.
        frames: [n] the record of each frame of the series.
    """

    path: Path
    records: int
    frames: np.ndarray

    def at(self, frames: np.ndarray | slice) -> Hog:
        """The same file for other frames, numbered as those of now."""
        return replace(self, frames=self.frames[frames])

    def regions(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Descriptors of some frames of the series.

        Args:
            frames: [k] numbers.

        Returns:
            [k, 496] float32, the rows of `HOG_ROWS`; good [k] bool, False where OpenFace had no
            face.

        Raises:
            DataError: the file is absent, damaged, or not that of the CSV.
        """
        file = _open(self.path, self.records)
        out = np.empty((len(frames), len(HOG_ROWS)), dtype=np.float32)
        good = np.empty(len(frames), dtype=bool)
        for start in range(0, len(frames), _CHUNK):
            part = slice(start, start + _CHUNK)
            records = file[self.frames[frames[part]]]
            if (records["size"] != file["size"][0]).any():
                raise _damaged(self.path, "records of different sizes")
            out[part] = _pool(_pool(records["cells"].astype(np.float64), 1), 2).reshape(
                len(records), -1
            )
            good[part] = (records["good"] > 0) & np.isfinite(out[part]).all(axis=1)
        return out, good


def find_hog(path: Path, records: int) -> Hog | None:
    """The descriptors that OpenFace wrote beside a CSV of so many rows, if it did."""
    hog = path.with_suffix(".hog")
    return Hog(hog, records, np.arange(records)) if hog.is_file() else None


def _pool(cells: np.ndarray, axis: int) -> np.ndarray:
    """Means over `REGIONS` parts of an axis, as equal as whole cells allow."""
    edges = np.arange(REGIONS + 1) * cells.shape[axis] // REGIONS
    shape = [1] * cells.ndim
    shape[axis] = REGIONS
    return np.add.reduceat(cells, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)


def _open(path: Path, records: int) -> np.ndarray:
    """The file as a memory map of records; sizes are checked before anything is read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(path, "file", error.strerror, "a .hog file of OpenFace") from error
    if len(head) < _HEAD_BYTES:
        raise _damaged(path, f"{size} bytes")
    columns, rows, orientations = struct.unpack_from("<3i", head)
    sides = range(REGIONS, _MAX_CELLS + 1)
    if orientations != ORIENTATIONS or rows not in sides or columns not in sides:
        raise _damaged(path, f"{rows} x {columns} cells of {orientations} orientations")
    record = np.dtype(
        [("size", "<i4", 3), ("good", "<f4"), ("cells", "<f4", (rows, columns, orientations))]
    )
    if size != records * record.itemsize:
        raise DataError(
            path,
            "records",
            f"{size / record.itemsize:g}",
            f"{records}, one per row of {path.with_suffix('.csv').name}",
            "The two do not belong together, or one is truncated: make both again.",
        )
    return np.memmap(path, dtype=record, mode="r")


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        path,
        "header",
        found,
        f"rows x columns x {ORIENTATIONS} histograms of FeatureExtraction -hogalign",
        "The file may be damaged: make it again.",
    )
