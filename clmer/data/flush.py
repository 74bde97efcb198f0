"""Files on their way to the disk."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedWriter
from pathlib import Path


class Flush:
    """Sends what is written to the disk meanwhile, so that the last flush waits for little."""

    EVERY = 8 * 2**20  # bytes

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clmer-flush")
        self._going: Future[None] | None = None
        self._bytes = 0

    def after(self, file: BufferedWriter, count: int) -> None:
        """Note that `count` bytes more were written, `file` being among the files they went to.

        Raises:
            OSError: an earlier flush failed: the kernel says so once, to whoever asked.
        """
        self._bytes += count
        if self._bytes < self.EVERY or (self._going and not self._going.done()):
            return
        self._wait()
        self._bytes = 0
        self._going = self._thread.submit(os.fsync, file.fileno())

    def finish(self) -> None:
        """Wait for what goes on; raises as `after` does."""
        self._wait()
        self.close()

    def close(self) -> None:
        """Wait for what goes on, whatever comes of it."""
        self._thread.shutdown()

    def _wait(self) -> None:
        going, self._going = self._going, None
        if going:
            going.result()


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, whoever wrote it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
