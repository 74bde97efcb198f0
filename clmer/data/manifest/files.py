"""The files that a manifest names: whether they are there, and of a kind that can be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clmer.data.choices.files import SUPPORTED
from clmer.data.formats import VIDEOS, check_suffix
from clmer.data.formats.biosignal import SUFFIXES, is_recording
from clmer.data.formats.tables import is_session
from clmer.data.manifest.columns import FACE_MODALITIES
from clmer.data.manifest.row import Row
from clmer.errors import DataError
from clmer.text import did_you_mean

#: A face tracker's table.
TABLES = (".csv", ".tsv", ".txt")


def find_files(table: Path, rows: list[Row], note: Callable[[str, str], None]) -> list[Row]:
    """The rows with paths that exist, in another case or with ~ and backslashes where need be."""
    found = []
    absent: dict[str, str] = {}
    for row in rows:
        # unlike Path.exists, this takes a name that is too long for one of no file
        if not os.path.exists(row.path):
            path, how = _as_meant(table.parent, row.path)
            if path is not None:
                note(how, f"line {row.line}, {row.path.name}")
                row = replace(row, path=path)
        folder = os.path.isdir(row.path) and not is_recording(row.path)
        if folder or not os.path.exists(row.path):
            absent.setdefault(str(row.path), near_file(table.parent, row.path))
        found.append(row)
    if absent:
        names = sorted(absent)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise DataError(
            table,
            "path",
            f"{len(names)} missing: {', '.join(names[:5])}{more}",
            "files that exist",
            next(filter(None, absent.values()), "Paths are relative to the manifest's folder."),
        )
    _check_suffixes(found)
    return found


def _as_meant(root: Path, path: Path) -> tuple[Path | None, str]:
    """The file that another spelling of a path names, and how it was read; None for no file."""
    text = str(path).replace("\\", "/")
    if text != str(path) and os.path.exists(text):
        return Path(text), "\\ in a path is read as /"
    inside = os.path.relpath(text, root)
    if inside.startswith("~/") and os.path.exists(os.path.expanduser(inside)):
        return Path(os.path.expanduser(inside)), "~ in a path is your home folder"
    found = Path(Path(text).anchor)
    for part in Path(text).relative_to(found).parts:
        there = found / part
        if not os.path.exists(there):
            names = os.listdir(found) if os.path.isdir(found) else []
            alike = [name for name in names if name.casefold() == part.casefold()]
            if len(alike) != 1:
                return None, ""
            there = found / alike[0]
        found = there
    return found, "a path is read in the case that its file has"


def near_file(root: Path, path: Path) -> str:
    """What may have gone wrong with a path that names no file; "" for no idea."""
    if os.path.isdir(path):
        return f"{path.name} is a folder: name a file in it."
    parts = str(path).replace("\\", "/").split("/")
    for count in range(len(parts) - 1, 0, -1):  # a folder too many, or another computer's
        near = "/".join(parts[-count:])
        if near and root / near != path and os.path.isfile(root / near):
            there = "" if os.path.isdir(path.parent) else f"There is no folder {path.parent}. "
            return f"{there}Did you mean {near}? Paths are relative to the manifest's folder."
    if "\\" in path.name:
        return "Write paths with / and relative to the manifest's folder."
    if os.path.islink(path):
        return (
            f"{path.name} is a link to a file that is not here: get its content first (datalad "
            "get, git annex get)."
        )
    folder = path.parent
    if not os.path.isdir(folder):
        return f"There is no folder {folder}."
    names = sorted(os.listdir(folder))
    alike = [name for name in names if name.startswith(f"{path.name}.")]  # without its suffix
    return f"Did you mean {alike[0]}?" if alike else did_you_mean(path.name, names)


def _check_suffixes(rows: list[Row]) -> None:
    for row in rows:
        suffix = row.path.suffix.lower()
        if row.modality in FACE_MODALITIES and suffix in (*TABLES, *VIDEOS):
            continue
        if not is_session(row.path):
            check_suffix(row.path, (*SUFFIXES, ".npy"), SUPPORTED)
        if row.modality in FACE_MODALITIES:
            raise DataError(
                row.path,
                f"modality in line {row.line} of the manifest",
                row.modality,
                "a face tracker's .csv, or a video",
                f"Give signals another name. Readable are {SUPPORTED}.",
            )
