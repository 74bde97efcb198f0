"""Files of epochs, each of which is a trial: FIF's `-epo.fif` and EEGLAB's epoched `.set`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.formats.mne_files.raw import MneFile
from clmer.data.recording import Marker
from clmer.data.timeline import Timeline


class EpochsFile(MneFile):
    """Epochs of MNE's one after the other, with a pause of unknown length between any two.

    The k-th of length L is at k L to (k + 1) L on the file's clock, where a marker with its event's
    name says so. `raw` is MNE's `Epochs`.
    """

    @property
    def _length(self) -> int:
        return len(self.raw.times)

    @cached_property
    def _timeline(self) -> Timeline:
        joints = {k * self._length: 0.0 for k in range(1, len(self.raw))}
        return Timeline.with_pauses(self.fs, len(self.raw) * self._length, joints)

    @property
    def markers(self) -> list[Marker]:
        """One per epoch, over the whole of it: its event's name."""
        return [
            Marker(piece.start_s, self._length / self.fs, name)
            for piece, name in zip(self._timeline.pieces, event_names(self.raw), strict=True)
        ]

    @property
    def files(self) -> list[Path]:
        """The file, and the parts that MNE split it into."""
        stem, dot, ending = self.path.name.partition(".")
        return [self.path, *sorted(self.path.parent.glob(f"{stem}-[0-9]*{dot}{ending}"))]

    def _get(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        size = self._length
        begin, end = first // size, -(-stop // size)
        if begin == end:
            return np.empty((len(rows), 0))
        data = self.raw.get_data(list(rows), item=slice(begin, end), verbose="WARNING")
        joined = np.concatenate(list(data), axis=1)
        return np.asarray(joined[:, first - begin * size :][:, : stop - first])


def event_names(epochs: Any) -> list[str]:
    """The name of each epoch's event; its number where it has no name."""
    names = {code: name for name, code in epochs.event_id.items()}
    return [str(names.get(code, code)) for code in epochs.events[:, 2].tolist()]


def overlap_note(path: Path, epochs: Any) -> tuple[str, ...]:
    """What to say where one epoch's samples are partly another's too; empty where none are."""
    steps = np.diff(np.sort(epochs.events[:, 0]))
    count = int(((steps > 0) & (steps < len(epochs.times))).sum())
    if len(epochs) < 2 or not count or (steps <= 1).all():  # numbered, not timed
        return ()
    return (
        f"{path.name}: {count} epochs begin before the one before them ends, so that they share "
        "samples: keep them in one part of a split",
    )
