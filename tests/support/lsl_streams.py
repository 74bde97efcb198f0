"""LSL over loopback: streams with names of their own, and a reader of one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest


def import_lsl() -> Any:
    """`mne_lsl.lsl`; the test is skipped where it is not installed."""
    pytest.importorskip("mne_lsl", reason="needs the extra live")
    from mne_lsl import lsl

    return lsl


def unique(name: str) -> str:
    """A stream's name that no other test uses, in whatever process."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, eq=False)
class Received:
    """What came of a stream: [C, n], [n] s, and LSL's description."""

    samples: np.ndarray
    times: np.ndarray
    info: Any


def receive(name: str, count: int, timeout_s: float = 20.0) -> Received:
    """Read the first `count` samples of a stream that may not be there yet."""
    lsl = import_lsl()
    until = time.monotonic() + timeout_s
    found: list[Any] = []
    while not found and time.monotonic() < until:
        found = lsl.resolve_streams(timeout=1.0, name=name)
    assert found, f"no stream {name} within {timeout_s} s"
    inlet = lsl.StreamInlet(found[0])
    inlet.open_stream(timeout=timeout_s)
    info = inlet.get_sinfo(timeout=timeout_s)
    samples, times = [], []
    while sum(map(len, times)) < count and time.monotonic() < until:
        rows, at = inlet.pull_chunk(timeout=0.2, max_samples=count)
        if len(at):
            samples.append(np.array(rows))
            times.append(np.array(at))
    assert times, f"no sample of {name} within {timeout_s} s"
    return Received(np.concatenate(samples).T, np.concatenate(times), info)


def while_receiving(
    names: dict[str, int], send: Callable[[], object], timeout_s: float = 20.0
) -> dict[str, Received]:
    """Read so many samples of each stream while `send` runs in this thread."""
    with ThreadPoolExecutor(len(names)) as pool:
        found: dict[str, Future[Received]] = {
            name: pool.submit(receive, name, count, timeout_s) for name, count in names.items()
        }
        send()
        return {name: future.result() for name, future in found.items()}
