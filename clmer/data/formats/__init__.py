"""File formats, one per module; they know no data set."""

from __future__ import annotations

from pathlib import Path

from clmer.data.formats.mne_files import READERS, suffix_of
from clmer.errors import DataError

#: The way into a manifest for what no reader knows.
AS_ARRAY = (
    "Save its samples as an .npy of [channels, samples] (numpy.save), without columns of time, "
    "counters and markers and with lost samples filled in, and state rate, unit and channels in "
    "the manifest's columns of these names."
)
_EXPORT = f"Export it as EDF, if its program can. {AS_ARRAY}"
#: What a suffix is a part of, or what to do about it.
_HINTS = {
    ".xdf": "XDF is not read: load it with pyxdf. " + AS_ARRAY,
    ".tsv.gz": "A compressed table is not read. " + AS_ARRAY,
    ".gz": "Unpack it first (gunzip).",
    ".zip": "Unpack it first.",
    ".rec": "If it is an EDF file, which begins with '0', name it .edf.",
    ".edf+": "Name it .edf.",
    ".bdf+": "Name it .bdf.",
}
#: What stands in for a file, in lower case: its beginning, what it is, and what to do.
_STAND_INS = (
    (b"version https://git-lfs", "a pointer of git-lfs", "Get the content: git lfs pull."),
    (b"/annex/objects/", "a pointer of git-annex", "Get the content: datalad get, git annex get."),
    (b"../.git/annex/", "a pointer of git-annex", "Get the content: datalad get, git annex get."),
    (b"<!doctype", "a web page", "The download failed, or asked for a login: get the file again."),
    (b"<html", "a web page", "The download failed, or asked for a login: get the file again."),
)
#: Parts of a recording that people give instead of its header.
_PARTS = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".dat": ".vhdr", ".fdt": ".set"}
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts")


def check_suffix(path: Path, readable: tuple[str, ...], expected: str) -> None:
    """Refuse a file that no reader knows by its suffix, and say what to do instead.

    Args:
        path: an existing file or folder.
        readable: suffixes, ".fif.gz" being one.
        expected: the same in words.

    Raises:
        DataError: another suffix.
    """
    suffix = suffix_of(path)
    if suffix in readable:
        check_content(path)
        return
    hint = ""
    if path.is_dir():
        raise DataError(path, "file", "a folder", expected, "Name a file in it.")
    if suffix in _PARTS:
        hint = part_of(path)
    elif path.name.lower().endswith(".tsv.gz"):
        hint = _HINTS[".tsv.gz"]
    elif suffix in _VIDEOS:
        hint = f"Make the face's table of it: clmer video {path.name}"
    raise DataError(path, "suffix", suffix or "none", expected, hint or _HINTS.get(suffix, _EXPORT))


def part_of(path: Path) -> str:
    """What to give instead of a file that belongs to a header; "" where it may stand alone."""
    header = path.with_suffix(_PARTS[suffix_of(path)])
    with path.open("rb") as file:
        is_text = suffix_of(path) == ".dat" and b"\0" not in file.read(4096)
    if is_text and not header.is_file():
        return ""
    there = "which lies beside it" if header.is_file() else "which is missing"
    return f"It is part of a recording: give {header.name}, {there}."


def check_content(path: Path) -> None:
    """Refuse what stands in for a file's content: pointers of git-lfs and git-annex, web pages.

    Raises:
        DataError: it is one of these.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    for start, what, hint in _STAND_INS:
        if head.startswith(start):
            raise DataError(path, "content", what, "the file itself", hint)


__all__ = ["AS_ARRAY", "READERS", "check_content", "check_suffix", "part_of", "suffix_of"]
