"""PyTorch's random state, which all threads of a process share.

Weights are drawn and elements dropped by the default generators. Whoever seeds them for a while
does so alone, and puts them back: then a fit in one of several threads ends as it would by itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.RLock()


def _after_fork() -> None:
    # The thread that held the lock is not in the child.
    global _LOCK
    _LOCK = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """A block that seeds the generators of the CPU and of a device as it likes.

    One thread is in such a block at a time; the others wait. What the generators were before is put
    back behind it.
    """
    cuda = [device] if device.type == "cuda" else []
    with _LOCK, torch.random.fork_rng(devices=cuda):
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the CPU's and a device's generator, and no other device's (`torch.manual_seed` all)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
