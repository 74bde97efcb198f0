"""A folder of generated data: written whole or not at all, and reused when asked for again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from clmer.data.recording import SYNTHETIC_MARKER
from clmer.errors import DataError


def check_range(function: str, **ranges: tuple[float, float, float]) -> None:
    """Refuse arguments outside their range: name=(value, lowest, highest).

    Raises:
        ValueError: the first one that is.
    """
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise ValueError(f"{function}: {name} is {value}, expected {low} to {high}")


def write_folder(root: Path, marker: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """Make `root` with what `write` puts into a folder, and the marker; or reuse it.

    `write` works in a temporary folder beside `root`, which is renamed at the end.

    Args:
        root: absent, empty, or already written with this marker.
        marker: every argument that decides the content; becomes `SYNTHETIC_MARKER`.
        write: fills the folder it is given.

    Returns:
        `root`.

    Raises:
        DataError: `root` holds something else, or cannot be written.
    """
    if _reusable(root, marker):
        return root
    temporary = root.with_name(f".{root.name}.{os.getpid()}.partial")
    _remove_leftovers(root)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        text = json.dumps(marker, indent=1) + "\n"
        (temporary / SYNTHETIC_MARKER).write_text(text, encoding="ascii")
        os.replace(temporary, root)
    except OSError as error:
        if _reusable(root, marker):  # another process was faster
            return root
        hint = "Nothing was left behind. Make room, or choose another folder with `cache`."
        raise DataError(
            root, "folder", error.strerror, "room for the generated data", hint
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def _reusable(root: Path, marker: Mapping[str, object]) -> bool:
    """Whether `root` was written with the same arguments; DataError when it holds anything else."""
    if not root.exists():
        return False
    path = root / SYNTHETIC_MARKER
    hint = "Choose another folder or remove this one."
    if not path.is_file():
        if root.is_dir() and not any(root.iterdir()):
            return False
        raise DataError(root, "folder", "other files", "an empty folder", hint)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(path, "JSON", error, "the marker of generated data", hint) from error
    if found != marker:
        differing = {k: v for k, v in marker.items() if found.get(k) != v}
        there = {k: found.get(k) for k in differing}
        raise DataError(path, "parameters", there, differing, hint)
    return True


def _remove_leftovers(root: Path) -> None:
    """Remove the temporary folders of writers that were killed."""
    for path in root.parent.glob(f".{root.name}.*.partial"):
        process = path.name.split(".")[-2]
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    if os.name != "posix":  # signal 0 would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
