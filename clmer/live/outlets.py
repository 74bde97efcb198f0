"""LSL outlets: streams of numbers with a time per sample, described as LabRecorder reads them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clmer.errors import DataError

_LINGER_S = 1.0  # what an outlet's readers need for its last samples


def import_lsl() -> Any:
    """`mne_lsl.lsl`, which brings liblsl.

    Raises:
        DataError: it is not installed.
    """
    try:
        from mne_lsl import lsl
    except ImportError as error:
        raise DataError(
            "mne-lsl", "package", "nothing", "mne-lsl", 'pip install "clmer[live]"'
        ) from error
    return lsl


class Outlet:
    """One stream of numbers on the network; leaving it as a context closes it.

    Args:
        name: of the stream, which readers ask for.
        channels: C names.
        fs: nominal rate in Hz, 0 for samples at any time.
        kind: LSL's word for the content: "EEG", "Face", "Probabilities".
        units: one per channel, "" for none; empty for no units at all.
        kinds: each channel's type, such as "EEG"; empty for no types.
        described: further entries of the description by name, such as the tracker.

    Raises:
        DataError: mne-lsl is not installed.
    """

    def __init__(
        self,
        name: str,
        channels: Sequence[str],
        fs: float,
        *,
        kind: str,
        units: Sequence[str] = (),
        kinds: Sequence[str] = (),
        described: Mapping[str, str] | None = None,
    ) -> None:
        lsl = import_lsl()
        self.name = name
        # Readers find a stream of the same source again after it was restarted.
        info = lsl.StreamInfo(name, kind, len(channels), fs, "float64", f"clmer {name}")
        entries = info.desc.append_child("channels")
        for i, label in enumerate(channels):
            entry = entries.append_child("channel")
            entry.append_child_value("label", label)
            if units:
                entry.append_child_value("unit", units[i])
            if kinds:
                entry.append_child_value("type", kinds[i])
        for key, value in (described or {}).items():
            info.desc.append_child_value(key, value)
        self._outlet = lsl.StreamOutlet(info)

    def __enter__(self) -> Outlet:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def has_readers(self) -> bool:
        """Whether anybody reads the stream."""
        return bool(self._outlet.has_consumers)

    def push(self, samples: ArrayLike, timestamps: ArrayLike) -> None:
        """Send samples [C, n] with the times [n] at which they were taken, in s of LSL's clock."""
        rows = np.ascontiguousarray(np.asarray(samples, np.float64).T)
        times = np.asarray(timestamps, np.float64)
        if rows.ndim != 2 or times.shape != rows.shape[:1]:
            raise ValueError(
                f"Outlet.push: found samples {rows.T.shape} and timestamps {times.shape}, "
                "expected [C, n] and [n]"
            )
        if len(rows) == 1:
            self._outlet.push_sample(rows[0], float(times[0]))
        elif len(rows):
            self._outlet.push_chunk(rows, times)

    def close(self) -> None:
        """End the stream, once its readers had time for what was sent last."""
        if self._outlet is None:
            return
        if self.has_readers:
            time.sleep(_LINGER_S)
        self._outlet = None
