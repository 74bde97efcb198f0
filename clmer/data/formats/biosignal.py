"""Recordings of physiology by channel name and type: EDF, BDF, XDF, BIDS' tables, MNE's formats.

Every channel is typed once (`clmer.data.channels`), samples come in our units at each channel's own
rate (`clmer.data.units`), and pauses and bad stretches stay what they are (`clmer.data.timeline`).
Damage is an error, not a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from clmer.data.channels import (
    Channel,
    plain_name,
    renamed,
    typed,
)
from clmer.data.formats import bids_physio, check_suffix, edf, xdf
from clmer.data.formats.bids import TYPES, read_table, table_path
from clmer.data.formats.biosignal_file import BiosignalFile
from clmer.data.formats.mne_files import READERS, open_mne, suffix_of
from clmer.data.formats.source import Source, StoredChannel
from clmer.data.formats.tables import SUFFIXES as TABLES
from clmer.data.formats.tables import is_session, is_table, open_numbers
from clmer.errors import DataError

#: Suffixes that are read.
SUFFIXES = tuple(
    dict.fromkeys((".edf", ".bdf", *READERS, *xdf.SUFFIXES, bids_physio.SUFFIX, *TABLES))
)


def files_of(path: Path) -> list[Path]:
    """All files that a recording is made of, BIDS' channels.tsv among them.

    Raises:
        DataError: a header that names them cannot be read.
    """
    if suffix_of(path) in (".edf", ".bdf"):
        return [path, *([table_path(path)] if read_table(path) else [])]
    if is_table(path) and not path.is_dir():
        return [path]  # which its rate need not be known for
    files = [*open_biosignal(path).files]
    return [
        each for file in files for each in (sorted(file.rglob("*")) if file.is_dir() else [file])
    ]


def bad_channels(path: Path) -> list[str]:
    """Names of the channels that a recording, or BIDS' table beside it, marks as bad.

    Raises:
        DataError: the recording cannot be read.
    """
    if suffix_of(path) in (".edf", ".bdf", *TABLES) and not read_table(path):
        return []  # the format has no such mark
    return [channel.name for channel in open_biosignal(path).all_channels if channel.bad]


def is_recording(path: Path) -> bool:
    """Whether a file or folder is one that `open_biosignal` looks into."""
    return suffix_of(path) in SUFFIXES or is_session(path)


def open_biosignal(path: Path, rate: float | None = None) -> BiosignalFile:
    """Open a file by its suffix (`SUFFIXES`), or an Empatica E4's folder.

    The header is checked, samples stay on disk; those of tables and arrays are read.

    Args:
        path: the file.
        rate: samples per second of a table or an array that does not say it.

    Raises:
        DataError: no such file, unknown suffix, a damaged or truncated file, no channel in it.
    """
    suffix = suffix_of(path)
    if not path.exists():
        raise DataError(path, "file", "nothing", f"a {suffix} recording")
    if not is_session(path):
        check_suffix(path, SUFFIXES, f"one of {', '.join(SUFFIXES)}")
    if not path.stat().st_size:
        raise DataError(path, "file", "0 bytes", f"a {suffix} recording", "Copy it again.")
    file = _opened(path, rate, _state([path]))
    if _state(file.files) != file.state:  # what belongs to it has changed or gone
        _opened.cache_clear()
        file = _opened(path, rate, _state([path]))
    return file


def _state(files: Sequence[Path]) -> tuple[tuple[int, int] | None, ...]:
    """Size and time of change of each file; None where it is gone."""
    stats = (path.stat() if path.exists() else None for path in files)
    return tuple((stat.st_size, stat.st_mtime_ns) if stat else None for stat in stats)


@lru_cache(maxsize=8)  # trials of one file come one after the other
def _opened(path: Path, rate: float | None, state: object) -> BiosignalFile:
    table, source = read_table(path), open_source(path, rate)
    beside = [table_path(path)] if table else []
    names = tuple(dict.fromkeys((path, *source.files, *beside)))
    channels = typed_channels(source.channels, table)
    return BiosignalFile(path, source, channels, names, _state(names))


def open_source(path: Path, rate: float | None = None) -> Source:
    """What reads a file of one of the `SUFFIXES`, or an Empatica E4's folder.

    Raises:
        DataError: it is damaged, or a table whose rate nothing tells.
    """
    suffix = suffix_of(path)
    if is_table(path):
        return open_numbers(path, rate)
    if suffix in (".edf", ".bdf"):
        return edf.open_edf(path)
    if suffix in xdf.SUFFIXES:
        return xdf.open_xdf(path)
    return bids_physio.open_physio(path) if suffix == bids_physio.SUFFIX else open_mne(path)


def typed_channels(
    stored: Sequence[StoredChannel], table: Mapping[str, Mapping[str, str]]
) -> tuple[Channel, ...]:
    """Channels by what the file, and BIDS' table beside it, say; names are unique."""
    entries = [table.get(c.label) or table.get(plain_name(c.label)[0]) or {} for c in stored]
    bids = [TYPES.get(entry.get("type", "").upper(), "") for entry in entries]
    unsure = [entry.get("type", "n/a").upper() in ("N/A", "MISC", "OTHER", "") for entry in entries]
    spelt = [c.unit or entry.get("units", "") for c, entry in zip(stored, entries, strict=True)]
    spelt = ["" if unit.lower() == "n/a" else unit for unit in spelt]
    kinds, guessed = typed(
        [channel.label for channel in stored],
        told=[b if not u and b else c.told for b, u, c in zip(bids, unsure, stored, strict=True)],
        spelt_units=spelt,
        placed=[channel.placed for channel in stored],
        sure=[bool(b) and not u for b, u in zip(bids, unsure, strict=True)],
    )
    channels = [
        Channel(
            plain_name(channel.label)[0],
            kind,
            unit,
            channel.fs,
            channel.bad or entry.get("status", "").lower() == "bad",
            guess,
        )
        for channel, kind, unit, entry, guess in zip(
            stored, kinds, spelt, entries, guessed, strict=True
        )
    ]
    return tuple(renamed(channels))
