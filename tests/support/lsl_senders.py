"""LSL on this machine alone, and senders for tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lsl_streams import unique

# liblsl reads it once, when it is first used.
os.environ.setdefault("LSLAPICFG", str(Path(__file__).with_name("lsl_api.cfg")))

__all__ = ["Sender", "lsl", "running_sender", "unique"]
lsl: Any = pytest.importorskip("mne_lsl.lsl", reason="mne-lsl is not installed: clmer[live]")


class Sender:
    """An outlet that sends [C, n] samples at given times."""

    def __init__(
        self,
        name: str,
        channels: Sequence[str] | int,
        fs: float,
        *,
        units: str | list[str] | None = "microvolts",
        kinds: str = "eeg",
        dtype: str = "float64",
        source_id: str = "",
    ) -> None:
        count = channels if isinstance(channels, int) else len(channels)
        source_id = source_id or f"source-{name}"
        info = lsl.StreamInfo(name, "EEG", count, fs, dtype, source_id)
        if not isinstance(channels, int):
            info.set_channel_names(list(channels))
            info.set_channel_types(kinds)
        if units is not None:
            info.set_channel_units(units)
        self.outlet: Any = lsl.StreamOutlet(info)

    def send(self, samples: np.ndarray, times: np.ndarray) -> None:
        """Send samples [C, n] with their times [n]."""
        rows = np.ascontiguousarray(samples.T)
        if len(times) == 1:
            self.outlet.push_sample(rows[0], float(times[0]))
        elif len(times):
            self.outlet.push_chunk(rows, np.ascontiguousarray(times))

    def stop(self) -> None:
        """Take the stream off the network, as a program that is killed does."""
        self.outlet = None


_PROGRAM = """
import sys, time
import numpy as np
from support.lsl_senders import Sender, lsl
name, channels, fs = sys.argv[1], sys.argv[2].split(","), float(sys.argv[3])
sender, sent = Sender(name, channels, fs), 0
begun = lsl.local_clock()
while True:
    due = int((lsl.local_clock() - begun) * fs)
    numbers = np.arange(sent, due)
    sender.send(np.tile(numbers, (len(channels), 1)).astype(float), begun + numbers / fs)
    sent = due
    time.sleep(0.02)
"""


@contextlib.contextmanager
def running_sender(name: str, channels: Sequence[str], fs: float) -> Iterator[subprocess.Popen]:
    """A program of its own that sends 0, 1, 2, ... in every channel; killed at the end."""
    words = [sys.executable, "-c", _PROGRAM, name, ",".join(channels), str(fs)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()
