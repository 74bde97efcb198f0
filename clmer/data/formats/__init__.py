"""File formats, one per module; they know no data set."""

from __future__ import annotations

from pathlib import Path

from clmer.data.formats.mne_files import FOLDERS, READERS, header_of, suffix_of
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
    ".xdf.gz": "Name it .xdfz.",
    ".gz": "Unpack it first (gunzip).",
    ".zip": "Unpack it first.",
    ".rec": "If it is an EDF file, which begins with '0', name it .edf.",
    ".edf+": "Name it .edf.",
    ".bdf+": "Name it .bdf.",
}
_HINTS |= dict.fromkeys(
    (".ds", ".sqd", ".con", ".ns3", ".mefd", ".snirf", ".asc", ".cdt"),
    "MNE reads it: save it as FIF (mne.io.read_raw(...).save('x_raw.fif')), and give that.",
)
#: What stands in for a file, in lower case: its beginning, what it is, and what to do.
_STAND_INS = (
    (b"version https://git-lfs", "a pointer of git-lfs", "Get the content: git lfs pull."),
    (b"/annex/objects/", "a pointer of git-annex", "Get the content: datalad get, git annex get."),
    (b"../.git/annex/", "a pointer of git-annex", "Get the content: datalad get, git annex get."),
    (b"<!doctype", "a web page", "The download failed, or asked for a login: get the file again."),
    (b"<html", "a web page", "The download failed, or asked for a login: get the file again."),
)
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
    suffix, hint = suffix_of(path), ""
    if path.is_dir() and suffix not in FOLDERS:
        raise DataError(path, "file", "a folder", expected, "Name a file in it.")
    header = header_of(path)
    if header is None and suffix in readable:
        check_content(path)
        return
    if header is not None:
        there = "which lies beside it" if header.is_file() else "which is missing"
        hint = f"It is part of a recording: give {header.name}, {there}."
        raise DataError(path, "file", "a part of a recording", f"{header.name}", hint)
    if suffix in _VIDEOS:
        hint = f"Make the face's table of it: clmer video {path.name}"
    raise DataError(path, "suffix", suffix or "none", expected, hint or _HINTS.get(suffix, _EXPORT))


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


__all__ = ["AS_ARRAY", "READERS", "check_content", "check_suffix", "suffix_of"]
