"""What every format of physiology gives: `Source`, an open file that `BiosignalFile` reads from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from clmer.data.recording import Marker
from clmer.data.timeline import Timeline


@dataclass(frozen=True)
class StoredChannel:
    """One channel that holds samples, as far as its file says.

    Args:
        label: as in the file.
        fs: its own samples per second.
        unit: as the file spells it; "" where it does not say.
        told: its type as the file says it, see `channels.typed`; "" where it does not.
        placed: whether the file gives it a place on the scalp.
        bad: whether the file marks it as bad.
        group: the stream that it belongs to, where a file has several with a clock each.
    """

    label: str
    fs: float
    unit: str = ""
    told: str = ""
    placed: bool = False
    bad: bool = False
    group: str = ""


class Source(Protocol):
    """An open recording; samples stay on disk until they are asked for.

    A new format is a class with these members and a line in `biosignal.open_source`.
    """

    @property
    def channels(self) -> Sequence[StoredChannel]:
        """All channels that hold samples; a row is a place among them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd and read all the same."""

    @property
    def files(self) -> Sequence[Path]:
        """All files that it is made of."""

    def unit(self, row: int, kind: str) -> str:
        """The unit of what `samples` gives for a channel of a type; "" where nothing tells it."""

    def timeline(self, row: int) -> Timeline:
        """When a channel's samples were recorded."""

    def samples(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """Channels of one rate between two of their samples, [C, stop - first] float64.

        Raises:
            DataError: the file is damaged there.
        """

    def codes(self, row: int) -> np.ndarray | None:
        """All stored integers [n] of a channel; None where the format keeps none."""

    @property
    def markers(self) -> Sequence[Marker]:
        """Annotations on the timeline's clock, without those that mark pauses and bad spans."""
