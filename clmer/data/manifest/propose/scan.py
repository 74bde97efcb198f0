"""What the files of a folder are: each is tried by the readers, none is parsed here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from clmer.data.channels import Channel
from clmer.data.face import tracker_of
from clmer.data.formats import VIDEOS, check_content, check_suffix, suffix_of
from clmer.data.formats.biosignal import is_recording, open_biosignal
from clmer.data.formats.mne_files import FOLDERS
from clmer.data.formats.tables import TEXT
from clmer.data.manifest.propose.beside import Beside, read_beside
from clmer.data.manifest.propose.words import kind_in, rate_in
from clmer.data.recording import KINDS
from clmer.errors import DataError
from clmer.storage import near_folder

_SHEETS = (".xlsx", ".xls", ".ods", ".numbers", ".sav")
#: Files that people keep beside recordings; nothing is said of them but their number.
_BESIDE = (
    ".json .md .pdf .doc .docx .png .jpg .jpeg .svg .html .py .m .r .ipynb .yml .yaml .toml .log "
    ".hog .license .bib .sh .bat .ini .xml"
).split()
_FORMATS = {
    ".edf": "EDF",
    ".bdf": "BDF",
    ".vhdr": "BrainVision",
    ".ahdr": "BrainVision",
    ".set": "EEGLAB",
    ".fif": "FIF",
    ".fif.gz": "FIF",
}
#: A table of this many bytes is no list of trials.
_LARGE = 2**22


@dataclass(frozen=True)
class Found:
    """What one file is.

    Args:
        path: relative to the folder.
        sort: "signals", "face", "video", "table" (of people, trials or labels), "unread" or
            "other", of which nothing is said.
        format: in words, "EDF".
        channels: of signals, those of a known type, and the others.
        duration_s: of signals; 0 where it is not known without reading all.
        says: what else to tell of it.
        files: all that it is made of.
        markers: onset and duration in seconds, and text; not those of trigger lines.
        table: what a table holds.
        rate: that its name states, of a file that does not say it; 0 where nothing does.
        needs_rate: whether the manifest has to state the rate.
    """

    path: Path
    sort: str
    format: str = ""
    channels: tuple[Channel, ...] = ()
    duration_s: float = 0.0
    says: str = ""
    files: tuple[Path, ...] = ()
    markers: tuple[tuple[float, float, str], ...] = ()
    table: Beside | None = None
    rate: float = 0.0
    needs_rate: bool = False

    @property
    def signals(self) -> tuple[Channel, ...]:
        """The channels that a modality may take."""
        return tuple(c for c in self.channels if c.kind in KINDS and not c.bad)


def scan(root: Path, *, progress: bool = False) -> list[Found]:
    """Every file of a folder and of those in it, in order of their names.

    Hidden files and run folders are passed by, and so are files that belong to a recording (a
    BrainVision header's samples).

    Args:
        root: the folder.
        progress: show a bar in a terminal.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(root, "folder", "nothing", "a folder of recordings", near_folder(root))
    paths = list(_walk(root))
    bar = tqdm(paths, desc="looking", unit="file", leave=False, disable=None if progress else True)
    found = [_look(root, path) for path in bar]
    parts = {part for each in found for part in each.files if part != root / each.path}
    return [each for each in found if root / each.path not in parts]


def _walk(folder: Path) -> Iterator[Path]:
    names = sorted(os.listdir(folder), key=_natural)
    if {"config.json", "data.json"} <= set(names) or "store.json" in names:
        return  # a run, or a prepared store
    for name in names:
        path = folder / name
        if name.startswith((".", "~$")) or name == "__MACOSX":
            continue
        if path.is_dir() and not is_recording(path):
            if not name.endswith("_aligned"):  # OpenFace's pictures
                yield from _walk(path)
        else:
            yield path


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts p2 before p10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p]


def _look(root: Path, path: Path) -> Found:
    """What one file is."""
    relative, suffix = path.relative_to(root), suffix_of(path)
    try:
        check_content(path)
        if suffix in TEXT and (table := _table(relative, path)):
            return table
        if is_recording(path):
            return _signals(relative, path)
        if suffix == ".npy":
            return _array(relative, path)
    except DataError as error:
        plain = suffix == ".txt" or suffix in _BESIDE
        return Found(relative, "other" if plain else "unread", suffix, says=_why(error))
    if suffix in VIDEOS:
        return Found(relative, "video", f"{suffix[1:]} video")
    if suffix in _BESIDE or not suffix:
        return Found(relative, "other")
    if suffix in _SHEETS:
        says = "save it as CSV UTF-8: a table of ratings or trials is then read"
        return Found(relative, "unread", suffix, says=says)
    return Found(relative, "unread", suffix, says=_unknown(path))


def _why(error: DataError) -> str:
    return f"{error.field}: found {error.found}, expected {error.expected}. {error.hint}".strip()


def _unknown(path: Path) -> str:
    """What to do about a file that no reader knows."""
    try:
        check_suffix(path, (), "a format that is read")
    except DataError as error:
        return error.hint
    return ""


def _signals(relative: Path, path: Path) -> Found:
    suffix, rate, needs_rate = suffix_of(path), rate_in(relative), False
    try:
        file = open_biosignal(path)
    except DataError as error:
        if error.field != "rate":
            raise
        file, needs_rate = open_biosignal(path, rate or 1.0), True
    channels = file.all_channels
    if needs_rate and not rate:
        channels = tuple(replace(channel, fs=0.0) for channel in channels)
    return Found(
        relative,
        "signals",
        "Empatica E4" if path.is_dir() and suffix not in FOLDERS else _format(suffix),
        channels,
        0.0 if needs_rate and not rate else file.duration_s,
        files=file.files,
        markers=tuple((m.onset_s, m.duration_s, m.text) for m in file.source.markers),
        rate=rate or 0.0 if needs_rate else 0.0,
        needs_rate=needs_rate,
    )


def _format(suffix: str) -> str:
    name = suffix[1:].upper()
    return _FORMATS.get(suffix, f"{name} table" if suffix in TEXT else name)


def _array(relative: Path, path: Path) -> Found:
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        return Found(relative, "unread", ".npy", says=str(error))
    shape = (1, *array.shape) if array.ndim == 1 else array.shape
    if len(shape) != 2 or array.dtype.kind not in "fiu" or shape[0] > shape[1]:
        says = f"an array {shape} of {array.dtype}, not [channels, samples]: save its transpose"
        return Found(relative, "unread", ".npy", says=says)
    kind, rate = kind_in(relative) or "eeg", rate_in(relative) or 0.0
    channels = tuple(Channel(f"ch{i + 1}", kind, "", rate) for i in range(shape[0]))
    duration_s = shape[1] / rate if rate else 0.0
    return Found(relative, "signals", ".npy", channels, duration_s, rate=rate, needs_rate=True)


def _table(relative: Path, path: Path) -> Found | None:
    """A table of a face, or of people, trials or labels; None for any other."""
    if tracker := tracker_of(path):
        return Found(relative, "face", f"{tracker} CSV")
    if path.stat().st_size < _LARGE and (table := read_beside(path)):
        return Found(relative, "table", "table", table=table)
    return None


def without_twins(found: list[Found]) -> list[Found]:
    """The same with a face table instead of the video of its name: the table was made of it."""
    tables = {each.path.with_suffix("").name for each in found if each.sort == "face"}
    made = [e for e in found if e.sort == "video" and e.path.with_suffix("").name in tables]
    return [replace(e, sort="other") if e in made else e for e in found]
