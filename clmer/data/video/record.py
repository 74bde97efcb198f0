"""What a series was made from, beside it: `<clip>.source.json` says whether it can be kept.

A CSV is the last of its files to appear and the first to go: one that is there has the record, and
the HOG file if any, that belong to it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from clmer.data.video.preview import has_preview, preview_folder
from clmer.errors import DataError
from clmer.storage import write_file

_VERSION = 2  # raise when the same clip gives another series


def describe(
    clip: Path, tracker: str, model: Path | None, faces: int | None = None
) -> dict[str, Any]:
    """What a series depends on: clip (name, size, time), tracker, the model's content, faces.

    Raises:
        DataError: no such clip, or an unreadable model.
    """
    try:
        stat = clip.stat()
        digest = hashlib.sha256(model.read_bytes()).hexdigest() if model else None
    except OSError as error:
        raise DataError(error.filename, "file", error.strerror, "a readable file") from error
    return {
        "version": _VERSION,
        "clip": clip.name,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "tracker": tracker,
        "model_sha256": digest,
        "faces": faces,
    }


def outdated(
    csv: Path,
    source: dict[str, Any],
    *,
    hog: bool,
    partial: bool,
    preview: str = "",
    every: float | None = None,
) -> str | None:
    """Why the series that is there is not the one that is wanted; None where it is.

    Args:
        csv: the series.
        source: of the wanted one, from `describe`.
        hog: a HOG file is wanted beside it.
        partial: part of a truncated or damaged clip would do.
        preview: "png" or "mp4" is wanted too.
        every: seconds from picture to picture of a "png".

    Raises:
        DataError: a CSV without a record, which something else made.
    """
    if not csv.is_file():
        return "it is not there"
    record = _read(csv)
    if record is None:
        raise DataError(
            csv,
            "file",
            f"a CSV without {_path(csv).name}, not known to be made from this clip",
            "a free name, or a series of this command",
            "Move it, use another `out`, or replace it with `overwrite`.",
        )
    changed = [name for name, value in source.items() if record.get(name) != value]
    if changed:
        return f"{', '.join(changed)} changed"
    if hog and not (record.get("hog") and csv.with_suffix(".hog").is_file()):
        return "it has no HOG file"
    if preview:
        there = has_preview(preview, preview_folder(csv))
        if not there or record.get("preview") != preview:
            return f"it has no {preview} preview"
        if record.get("every") != every:
            return "every changed"
    if not partial and not record.get("whole"):
        return "it is part of a truncated or damaged clip"
    return None


def place(made: Path, csv: Path, record: dict[str, Any], hog: Path | None = None) -> None:
    """Put a finished series in place of whatever was there.

    Args:
        made: the CSV under its temporary name, in the same file system.
        csv: where it goes.
        record: `describe`'s and "whole" (the clip was read to its stated end, undamaged), "notes"
            (what was said of it), "preview" and "every" of a preview that is finished.
        hog: its HOG file under a temporary name; without one, an older one is removed.
    """
    discard(csv)
    if hog is not None:
        os.replace(hog, csv.with_suffix(".hog"))
    text = json.dumps(record | {"hog": hog is not None}, indent=1)
    write_file(_path(csv), f"{text}\n".encode("ascii"))
    os.replace(made, csv)


def lines_of(csv: Path) -> list[str]:
    """What was said of a series when it was made.

    Raises:
        DataError: its record is damaged.
    """
    lines = (_read(csv) or {}).get("notes", [])
    return [str(line) for line in lines] if isinstance(lines, list) else []


def discard(csv: Path) -> None:
    """Remove a series and what belongs to it."""
    for path in (csv, csv.with_suffix(".hog"), _path(csv)):
        path.unlink(missing_ok=True)


def _read(csv: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(_path(csv).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            _path(csv), "file", error, "the record of a series", "Delete it and its CSV."
        ) from error
    return record if isinstance(record, dict) else None


def _path(csv: Path) -> Path:
    return csv.with_suffix(".source.json")
