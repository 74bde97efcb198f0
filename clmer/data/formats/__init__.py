"""File formats, one a module; they know no data set."""

from __future__ import annotations

from pathlib import Path

from clmer.data.formats.mne_files import READERS, suffix_of
from clmer.data.recording import DataError

#: The way into a manifest for what no reader knows.
AS_ARRAY = (
    "Save its samples as an .npy of [channels, samples] (numpy.save), without columns of time, "
    "counters and markers and with lost samples filled in, and state rate, unit and channels in "
    "the manifest's columns of these names."
)
#: What a suffix is a part of, or what to do about it.
_HINTS = {
    ".xdf": "XDF is not read: load it with pyxdf. " + AS_ARRAY,
    ".tsv.gz": "A compressed table is not read. " + AS_ARRAY,
    ".mat": "Load it with scipy.io.loadmat. " + AS_ARRAY,
    ".gz": "Unpack it first (gunzip).",
    ".zip": "Unpack it first.",
}
#: Parts of a recording that people give instead of its header.
_PARTS = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".dat": ".vhdr", ".fdt": ".set"}
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts")
_TABLES = (".txt", ".tsv", ".asc", ".xlsx", ".xls", ".json", ".h5", ".parquet")


def check_suffix(path: Path, readable: tuple[str, ...], expected: str) -> None:
    """Refuse a file that no reader knows by its suffix, with the way out.

    Args:
        path: an existing file or folder.
        readable: suffixes, ".fif.gz" being one.
        expected: the same in words.

    Raises:
        DataError: another suffix.
    """
    suffix = suffix_of(path)
    if suffix in readable:
        return
    hint = ""
    header = path.with_suffix(_PARTS.get(suffix, ""))
    if suffix in _PARTS:
        there = "which lies beside it" if header.is_file() else "which is missing"
        hint = f"It is part of a recording: give {header.name}, {there}."
    elif path.name.lower().endswith(".tsv.gz"):
        hint = _HINTS[".tsv.gz"]
    elif suffix in _VIDEOS:
        hint = f"Make the face's table of it: python -m clmer.data.video {path.name} --out face"
    elif suffix in _TABLES:
        hint = AS_ARRAY
    raise DataError(path, "suffix", suffix or "none", expected, hint or _HINTS.get(suffix, ""))


__all__ = ["AS_ARRAY", "READERS", "check_suffix", "suffix_of"]
