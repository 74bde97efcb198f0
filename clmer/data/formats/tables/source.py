"""`TableFile`: named columns of samples, each with its clock, as `BiosignalFile` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.formats.source import StoredChannel
from clmer.data.recording import Marker
from clmer.data.timeline import Timeline


@dataclass(frozen=True, eq=False)
class TableFile:
    """An open table, or arrays by name: a `Source` whose samples are in memory.

    Args:
        channels: name, rate, unit and type of each of C columns of numbers.
        columns: the samples of each, float64.
        lines: when each was sampled.
        files: all files that it is made of.
        notes: what was odd and read all the same.
        markers: moments that a column of text, or a file beside it, names.
        assumed: unit by type where the file does not say: of arrays.
        raw: whether the numbers are a converter's own, so that none has a unit.
    """

    channels: tuple[StoredChannel, ...]
    columns: tuple[np.ndarray, ...]
    lines: tuple[Timeline, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    markers: tuple[Marker, ...] = ()
    assumed: tuple[tuple[str, str], ...] = ()
    raw: bool = False

    def unit(self, row: int, kind: str) -> str:
        """The unit of a column as the file spells it, or as such files have it."""
        return self.channels[row].unit or dict(self.assumed).get(kind, "")

    def timeline(self, row: int) -> Timeline:
        """When a column was sampled, without the stretches in which it has no numbers."""
        return self.lines[row]

    def samples(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """Columns of one rate between two samples, [C, stop - first] float64, in their units."""
        return np.stack([self.columns[row][first:stop] for row in rows])

    def codes(self, row: int) -> np.ndarray | None:
        """None: a table keeps no integers of a converter."""
        return None
