"""Files that are whole or not there, on their way to the disk, and locks on folders."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from clmer.errors import DataError
from clmer.text import closest


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all: under a temporary name, then renamed.

    Args:
        path: the file; its folder exists.
        content: what it will hold.
        durable: sync it to the disk first, so that it outlives a power cut. Without, it still
            outlives any kill of the process.

    Raises:
        DataError: the disk is full or the folder not writable; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def near_folder(path: Path) -> str:
    """A hint where a folder is not there and another's name is near; else ""."""
    try:
        names = [entry.name for entry in os.scandir(path.parent) if entry.is_dir()]
    except OSError:
        return ""
    name = closest(path.name, names)
    return f"Did you mean {path.parent / name}?" if name else ""


def unwritable(path: Path, error: OSError) -> DataError:
    """What to say where a file cannot be written."""
    hint = "Make the folder, or choose one that may be written to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space or choose another folder"
    left = "nothing half-written is left."
    return DataError(path, "writing", error.strerror, "a writable disk", f"{hint}; {left}")


def stores_folder(cache: Path | str | None) -> Path:
    """Where what was made of recordings is kept: as given, `$CLMER_CACHE`, or ~/.cache/clmer."""
    return Path(cache or os.environ.get("CLMER_CACHE") or "~/.cache/clmer").expanduser()


# --- locks ----------------------------------------------------------------------------------------
@contextmanager
def lock(path: Path, *, wait: bool = True, said: str = "") -> Iterator[None]:
    """Be the only process in a block. The kernel gives the lock back when its holder dies.

    Args:
        path: a folder that is there, or a file, which is made.
        wait: until another process has left.
        said: printed to standard error before waiting.

    Raises:
        BlockingIOError: another process holds it, and `wait` is off.
        DataError: the file cannot be made.
    """
    try:
        folder = path.is_dir()
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            if said:
                print(said, file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# --- flushing --------------------------------------------------------------------------------
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
