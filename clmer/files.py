"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from clmer.data.recording import DataError


def file_name(text: str) -> str:
    """A label column or the like as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", text)


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


def unwritable(path: Path, error: OSError) -> DataError:
    """What to say where a file cannot be written."""
    hint = "Make the folder, or choose one that may be written to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space or choose another folder"
    left = "nothing half-written is left."
    return DataError(path, "writing", error.strerror, "a writable disk", f"{hint}; {left}")
