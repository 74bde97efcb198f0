"""Small problems of linear algebra on one thread: two wait for each other longer than they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

_LOCK = Lock()
_INSIDE: list[threadpool_limits] = []
_COUNT = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread meanwhile; the last of several threads to leave restores."""
    global _COUNT
    with _LOCK:
        if not _COUNT:
            _INSIDE.append(threadpool_limits(1))
        _COUNT += 1
    try:
        yield
    finally:
        with _LOCK:
            _COUNT -= 1
            if not _COUNT:
                _INSIDE.pop().restore_original_limits()
