"""Which of MNE's readers a file takes: by its suffix; where several share one, by its content."""

from __future__ import annotations

from glob import escape
from pathlib import Path

#: suffix -> name of MNE's reader
READERS = {
    ".vhdr": "read_raw_brainvision",
    ".ahdr": "read_raw_brainvision",
    ".set": "read_raw_eeglab",
    ".fif": "read_raw_fif",
    ".fif.gz": "read_raw_fif",
    ".gdf": "read_raw_gdf",
    ".cnt": "read_raw_cnt",
    ".mff": "read_raw_egi",
    ".raw": "read_raw_egi",
    ".nedf": "read_raw_nedf",
    ".lay": "read_raw_persyst",
    ".eeg": "read_raw_nihon",
    ".data": "read_raw_nicolet",
    ".dat": "read_raw_bci2k",
    ".nxe": "read_raw_eximia",
}
#: Of these, recordings that are folders.
FOLDERS = (".mff",)
#: Files that are a part of a recording, and the suffixes of what names them.
_HEADERS = {
    ".eeg": (".vhdr", ".ahdr"),
    ".dat": (".vhdr", ".ahdr", ".lay"),
    ".vmrk": (".vhdr",),
    ".amrk": (".ahdr",),
    ".fdt": (".set",),
}
#: The same of suffixes that other files have too: a part only beside what names them.
_BESIDE = {
    ".head": (".data",),
    **dict.fromkeys((".pnt", ".21e", ".log"), (".eeg",)),
}
#: How a file begins that is a recording of its own all the same.
_OWN = {
    ".eeg": (b"EEG-", b"QI-403A", b"DAE-2100D"),  # Nihon Kohden
    ".dat": (b"HeaderLen=", b"BCI2000V="),
}


def suffix_of(path: Path) -> str:
    """The part of a name that tells the format: ".fif.gz" and ".tsv.gz" are one suffix."""
    name = path.name.lower()
    double = [suffix for suffix in (".fif.gz", ".tsv.gz") if name.endswith(suffix)]
    return double[0] if double else path.suffix.lower()


def header_of(path: Path) -> Path | None:
    """The file that a recording is opened by, of which this one is a part; None where it is whole.

    A `.eeg` is BrainVision's samples, whose header is to be given, or Nihon Kohden's own.
    """
    suffix, stem = suffix_of(path), path.stem
    names = _HEADERS.get(suffix, _BESIDE.get(suffix, ()))
    headers = [path.with_name(stem + s) for each in names for s in (each, each.upper())]
    there = next((header for header in headers if header.is_file()), None)
    if there is None and (
        suffix not in _HEADERS
        or stands_alone(path)
        or (suffix == ".dat" and b"\0" not in _head(path))  # of text, a table
    ):
        return None
    return there or headers[0]


def stands_alone(path: Path) -> bool:
    """Whether a file that may be a part of a recording begins as a whole one of MNE's."""
    return _head(path).startswith(_OWN.get(suffix_of(path), ()))


def parts_of(path: Path) -> list[Path]:
    """The files beside a recording that belong to it, as far as their suffixes tell."""
    beside = path.parent.glob(f"{escape(path.stem)}.*")
    return sorted(each for each in beside if each.is_file() and header_of(each) == path)


def reader_of(path: Path) -> tuple[str, dict[str, object]]:
    """The name of MNE's reader for a file of one of `READERS`, and options beside its defaults."""
    suffix = suffix_of(path)
    if suffix == ".cnt" and _head(path).startswith((b"RIFF", b"RF64")):
        return "read_raw_ant", {}
    options: dict[str, dict[str, object]] = {
        ".data": {"ch_type": "eeg"},  # which MNE asks for, and our typing takes for "not said"
        ".dat": {"preload": True},
    }
    return READERS[suffix], options.get(suffix, {})


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)
