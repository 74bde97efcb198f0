"""BIDS' `_physio.tsv.gz`: columns without a header, which a JSON beside or above it describes.

https://bids-specification.readthedocs.io/en/stable/modality-specific-files/physiological-recordings.html
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.formats.bids import TYPES
from clmer.data.formats.source import StoredChannel
from clmer.data.recording import Marker
from clmer.data.timeline import Piece, Timeline
from clmer.errors import DataError

SUFFIX = ".tsv.gz"
#: The specification's own names of columns.
_KINDS = {"cardiac": "ppg", "respiratory": "resp", "trigger": "trigger"}
_NEEDED = ("SamplingFrequency", "StartTime", "Columns")


@dataclass(frozen=True, eq=False)
class PhysioFile:
    """An open table, a `clmer.data.formats.source.Source`; its numbers are in memory.

    A row in which a channel has no number is a gap. Times are the run's: its first sample may come
    before or after the run's own recording begins.

    Args:
        path: the table.
        files: the table and what describes it.
        channels: the columns.
        data: [T, C].
        line: of the rows without a gap.
    """

    path: Path
    files: tuple[Path, ...]
    channels: tuple[StoredChannel, ...]
    data: np.ndarray
    line: Timeline
    notes: tuple[str, ...] = ()
    markers: tuple[Marker, ...] = ()

    def unit(self, row: int, kind: str) -> str:
        """A column's unit, whatever its type."""
        return self.channels[row].unit

    def timeline(self, row: int) -> Timeline:
        """When the rows were recorded; the same for all columns."""
        return self.line

    def samples(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """Columns between two rows that were recorded, [C, stop - first]."""
        return np.array(self.data[first:stop, list(rows)].T, order="C")

    def codes(self, row: int) -> None:
        """Nothing: the table holds numbers."""


def descriptions(path: Path) -> list[Path]:
    """The JSON files that describe a table, the nearest last: beside it and above, up to the root.

    One above holds for all tables whose name has each of its entities.
    """
    parts, found = set(_parts(path)), []
    for folder in path.parents:
        near = [p for p in folder.glob("*_physio.json") if set(_parts(p)) <= parts]
        near += [p for p in [folder / "physio.json"] if p.is_file()]
        found += sorted(near, key=lambda each: -len(_parts(each)))
        if (folder / "dataset_description.json").is_file():
            break
        if not folder.name.startswith(("sub-", "ses-")) and folder != path.parent:
            break
    return found[::-1]


def _parts(path: Path) -> list[str]:
    return path.name.partition(".")[0].split("_")


def open_physio(path: Path) -> PhysioFile:
    """A table by what describes it.

    Raises:
        DataError: nothing describes it, or it does not fit that; it is damaged.
    """
    jsons = descriptions(path)
    known = _described(path, jsons)
    try:
        columns = [str(name) for name in known["Columns"]]
        fs, start_s = float(known["SamplingFrequency"]), float(known["StartTime"])
        if not (0 < fs < float("inf") and abs(start_s) < float("inf") and columns):
            raise ValueError(f"{fs} Hz from {start_s} s, {len(columns)} columns")
    except (TypeError, ValueError) as error:
        expected = "a rate above 0, seconds, and names"
        raise DataError(jsons[-1], ", ".join(_NEEDED), error, expected) from error
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            text = file.read().replace("n/a", "nan")
        data = np.loadtxt(io.StringIO(text), delimiter="\t", ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            path, "table", str(error).splitlines()[0], "numbers between tabs", "Copy it again."
        ) from error
    if data.shape[1:] != (len(columns),) or not len(data):
        found = f"{data.shape[1]} columns, {len(data)} rows"
        expected = f"{len(columns)}, without a header: {', '.join(columns)}"
        raise DataError(path, "columns", found, expected, f"Correct Columns in {jsons[-1].name}.")
    kept = np.isfinite(data).all(axis=1)
    edges = np.flatnonzero(np.diff(kept, prepend=False, append=False)).tolist()
    pieces, at = [], 0
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        pieces.append(Piece(start_s + first / fs, at, at + stop - first))
        at += stop - first
    channels = tuple(_channel(name, fs, known.get(name)) for name in columns)
    return PhysioFile(path, (path, *jsons), channels, data[kept], Timeline(fs, tuple(pieces)))


def _described(path: Path, jsons: Sequence[Path]) -> dict[str, Any]:
    """What the files say together, the nearest last.

    Raises:
        DataError: too little.
    """
    known: dict[str, Any] = {}
    for each in jsons:
        try:
            known |= json.loads(each.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(each, "file", error, "a JSON object") from error
    missing = [name for name in _NEEDED if name not in known]
    if missing:
        own = path.name.removesuffix(SUFFIX) + ".json"
        raise DataError(
            path,
            own,
            f"no {', '.join(missing)}" if jsons else "no such file",
            f"what describes the table: {', '.join(_NEEDED)}",
            'BIDS: {"SamplingFrequency": 100, "StartTime": 0, "Columns": ["cardiac", ...]}. A '
            "table that is not BIDS' is read unpacked (gunzip).",
        )
    return known


def _channel(name: str, fs: float, about: object) -> StoredChannel:
    unit = about.get("Units", "") if isinstance(about, dict) else ""
    told = _KINDS.get(name.lower(), TYPES.get(name.upper(), ""))
    return StoredChannel(name, fs, str(unit), told)
