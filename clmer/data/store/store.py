"""A prepared store, opened: whole, of this version, with known fields; or refused by name.

What a store is made of is in `clmer.data.store.writer`.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from clmer import json_files
from clmer.data.store.origin import FORMAT, are_sources
from clmer.data.store.summary import report_misfit
from clmer.errors import DataError
from clmer.json_files import ANY, NUMBER

#: What NumPy and zipfile raise on files that were cut or changed.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
#: Bytes of a table or description that are read at most; millions of windows take less.
MOST_BYTES = 2**31
_MODALITY = {
    "name": str,
    "tokens": int,
    "fs": NUMBER,
    "channels": [str],
    "kinds": [str],
    "unit": str,
    "native_fs": NUMBER,
    "levels": [[str, NUMBER]],
}
#: What store.json holds.
_DESCRIPTION = {
    "format": int,
    "fingerprint": str,
    "parameters": {ANY: object},
    "sources": [[str, int, int, str]],
    "modalities": [_MODALITY],
    "window_s": NUMBER,
    "report": {ANY: object},
}
_NAMES = ("subject", "group", "recording", "stimulus")


@dataclass(frozen=True)
class Modality:
    """One modality of a store.

    Args:
        name: "physio", "eeg", "ecg", "landmarks", "au", or a manifest's own.
        tokens: rows of the token view: a signal's channels, 3 for landmarks, 2 for action units.
        fs: samples (or frames) a second.
        channels: C names of the stored rows.
        kinds: C signal types, which decided the filters; none for the face.
        unit: of landmarks as tracked ("mm", "px", "share") or of signals; "" where there is none or
            where channels differ.
        native_fs: the recordings' own rate in Hz, of the first one; 0 where it is not known.
        levels: (type, median amplitude over recordings) of a signal; none for the face.
    """

    name: str
    tokens: int
    fs: float
    channels: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    unit: str = ""
    native_fs: float = 0.0
    levels: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Modality:
        """Undo `dataclasses.asdict` after a journey through JSON."""
        levels = tuple((kind, level) for kind, level in fields.get("levels", ()))
        plain = {n: tuple(fields[n]) for n in ("channels", "kinds")}
        return cls(**{**fields, **plain, "levels": levels})


@dataclass(frozen=True, eq=False)
class Windows:
    """One row per window, in the order of the store's arrays.

    Args:
        subject: [N] str, the person.
        group: [N] str, people who must stay together.
        recording: [N] str, "subject/trial", unique a recording.
        stimulus: [N] str, what was shown or asked.
        start_s: [N] float64, seconds after the baseline.
        labels: rating [N] float64 or class [N] str by name, as the files state them.
        window_s: length of every window in seconds.
    """

    subject: np.ndarray
    group: np.ndarray
    recording: np.ndarray
    stimulus: np.ndarray
    start_s: np.ndarray
    labels: dict[str, np.ndarray]
    window_s: float

    def __len__(self) -> int:
        return len(self.start_s)


@dataclass(frozen=True, eq=False)
class Store:
    """A read-only view of a prepared folder.

    Args:
        path: the folder.
        fingerprint: SHA-256 of parameters and sources, hex.
        parameters: what it was prepared with.
        sources: name, size in bytes, modification time in ns and digest of the head of each file,
            as `clmer.data.store.origin.listed`.
        modalities: by name, in the order asked for.
        windows: one row per window.
        report: what was read, used, skipped and dropped, and why.
    """

    path: Path
    fingerprint: str
    parameters: dict[str, Any]
    sources: list[list[Any]]
    modalities: dict[str, Modality]
    windows: Windows
    report: dict[str, Any]

    @property
    def origin(self) -> dict[str, Any]:
        """What the fingerprint is of, for a run's folder and `differences`."""
        return {"format": FORMAT, "parameters": self.parameters, "sources": self.sources}

    def array(self, name: str) -> np.ndarray:
        """The windows of one modality as a memory map, [N, C, T] float32.

        The map is private: what is written to it stays in this process.

        Raises:
            KeyError: the store has no such modality.
            DataError: the file is not the one that was written.
        """
        rows, channels = len(self.windows), len(self.modalities[name].channels)
        path = self.path / f"{name}.npy"
        try:
            array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
            size = path.stat().st_size
        except _UNREADABLE as error:
            raise damaged(path, "array", error) from error
        if not isinstance(array, np.memmap):  # such as a zip of arrays under this name
            raise damaged(path, "array", type(array).__name__)
        if array.shape[:2] != (rows, channels) or array.ndim != 3 or 0 in array.shape:
            raise damaged(path, "shape", f"{array.shape}, not ({rows}, {channels}, T)")
        if array.dtype != np.dtype("<f4") or not array.flags.c_contiguous:
            raise damaged(path, "dtype", f"{array.dtype}, not float32 row by row")
        if size != array.offset + array.nbytes:
            raise damaged(path, "size", f"{size} bytes, not {array.offset + array.nbytes}")
        return array


def open_store(path: Path) -> Store:
    """Open a prepared folder.

    Raises:
        DataError: the folder is no store, or one of another version or damaged; the file and the
            field are named.
    """
    meta = _description(path)
    windows = _windows(path, float(meta["window_s"]))
    store = Store(
        path=path,
        fingerprint=meta["fingerprint"],
        parameters=meta["parameters"],
        sources=meta["sources"],
        modalities={m["name"]: Modality.of(m) for m in meta["modalities"]},
        windows=windows,
        report=meta["report"],
    )
    for name in store.modalities:
        store.array(name)
    return store


def _description(path: Path) -> dict[str, Any]:
    """What store.json holds, checked."""
    file = path / "store.json"
    try:
        _check_size(file, file.stat().st_size)
        meta = json_files.parse(file.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(file, "JSON", error) from error
    if not isinstance(meta, dict) or not isinstance(meta.get("format"), int):
        raise damaged(file, "format", "no such field")
    if meta["format"] > FORMAT:
        raise damaged(file, "format", f"{meta['format']}, of a later version of CLMER")
    if meta["format"] != FORMAT:
        raise damaged(file, "format", f"{meta['format']}, of an earlier version of CLMER")
    try:
        json_files.check(meta, _DESCRIPTION, closed=True)
    except json_files.Misfit as error:
        raise damaged(file, error.where, error.found) from error
    wrong = report_misfit(meta["report"])
    if wrong:
        raise damaged(file, f"report.{wrong}", repr(meta["report"].get(wrong))[:60])
    if not are_sources(meta["sources"]):
        raise damaged(file, "sources", repr(meta["sources"])[:60])
    names = [modality["name"] for modality in meta["modalities"]]
    if not names or len(set(names)) != len(names):
        raise damaged(file, "modalities", names or "none")
    return meta


def _check_size(file: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise damaged(file, "size", f"{size >> 20} MiB, more than {MOST_BYTES >> 20}")


def _unpacked(opened: IO[bytes]) -> int:
    """Bytes that an archive says it holds; 0 of another file."""
    size = 0
    if zipfile.is_zipfile(opened):
        with zipfile.ZipFile(opened) as archive:
            size = sum(member.file_size for member in archive.infolist())
    opened.seek(0)
    return size


def _windows(path: Path, window_s: float) -> Windows:
    """The table in windows.npz, checked."""
    file = path / "windows.npz"
    try:
        with file.open("rb") as opened:
            _check_size(file, _unpacked(opened))
            table = np.load(opened, allow_pickle=False)
            names = getattr(table, "files", [])  # a single array under this name has none
            columns = {name: table[name] for name in names}
    except _UNREADABLE as error:
        raise damaged(file, "windows", error) from error
    known = [f.name for f in fields(Windows) if f.name not in ("labels", "window_s")]
    labels = {n.removeprefix("label:"): a for n, a in columns.items() if n.startswith("label:")}
    for name in known:
        if name not in columns:
            raise damaged(file, name, "no such column")
    unknown = sorted(set(columns) - set(known) - {f"label:{name}" for name in labels})
    if unknown:
        text = "a column that this version does not know; a later version of CLMER wrote it"
        raise damaged(file, unknown[0], text)
    count = columns["start_s"].shape
    for name, column in columns.items():
        kinds = "U" if name in _NAMES else "f" if name == "start_s" else "Uf"
        if column.ndim != 1 or column.shape != count or column.dtype.kind not in kinds:
            raise damaged(file, name, f"{column.dtype} {column.shape}, {count[0]} windows")
    return Windows(**{name: columns[name] for name in known}, labels=labels, window_s=window_s)


def damaged(path: Path, field: str, found: object) -> DataError:
    """What to say of a file of a store that cannot be used."""
    folder = path.parent
    if isinstance(found, PermissionError):
        hint = f"Allow reading {folder}, or choose another `cache`."
        return DataError(path, field, found.strerror, "a store that may be read", hint)
    text = found.strerror if isinstance(found, OSError) and found.strerror else found
    text = text if str(text) else type(text).__name__
    return DataError(
        path,
        field,
        text,
        f"a prepared store of format {FORMAT}",
        f"Delete the folder {folder} and run again: it is prepared anew.",
    )
