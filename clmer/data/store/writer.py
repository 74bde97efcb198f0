"""Prepared stores: windows on disk, built whole or not at all.

A store is a folder `<cache>/<data set>-<key>/`:

    store.json      parameters, fingerprint, modalities, report
    windows.npz     one row per window: person, group, recording, stimulus, start, labels
    <modality>.npy  [N, C, T] float32, opened as a memory map
    NOTICE          what it may hold

The key covers the parameters, `FORMAT`, and every source's name, size, modification time and first
bytes. A store is written into a hidden sibling folder, flushed to disk and renamed; a build that is
killed leaves only that folder, which the next build of the same data set removes.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.store.origin import FORMAT
from clmer.data.store.store import Modality, Store, Windows, open_store
from clmer.errors import DataError
from clmer.storage import Flush, lock, stores_folder, sync

__all__ = [
    "NOTICE",
    "Modality",
    "Store",
    "StoreWriter",
    "Windows",
    "build",
    "open_store",
    "stores_folder",
]

NOTICE = """\
This folder was prepared by CLMER from recordings of people. It can hold faces, or data that a data
set's agreement (DEAP, AMIGOS, ...) forbids to pass on. Keep it private: do not commit, upload or
publish it. It can be deleted at any time; the next run builds it again.
"""

# Magic, version 1.0 and a header of fixed length: the shape is known only after the last window.
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = 256


class StoreWriter:
    """Appends windows recording by recording; holds no more than what it is given.

    Args:
        folder: an existing empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes_written = 0
        #: Share of the sources done, 0-1; the caller keeps it, an error about space uses it.
        self.share_done = 0.0
        self._flush = Flush()
        self._files: dict[str, BufferedWriter] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._columns: dict[str, list[float | str]] = {}  # one value per recording
        self._starts: list[np.ndarray] = []

    def append(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        subject: str,
        group: str,
        recording: str,
        stimulus: str,
        start_s: np.ndarray,
        labels: Mapping[str, float | str],
    ) -> None:
        """Add the n windows of one recording.

        Args:
            arrays: [n, C, T] by modality, the same modalities, C and T every time.
            subject: the person; this and the rest as in `Windows`.
            group: people who stay together.
            recording: "subject/trial".
            stimulus: what was shown or asked.
            start_s: [n] seconds.
            labels: the recording's ratings or classes.
        """
        count = len(start_s)
        for name, array in arrays.items():
            if len(array) != count or array.shape[1:] != self._shapes.setdefault(
                name, array.shape[1:]
            ):
                raise ValueError(
                    f"StoreWriter.append: {name} {array.shape} of {recording}, "
                    f"expected {(count, *self._shapes[name])}"
                )
            data = np.ascontiguousarray(array, dtype="<f4")
            file = self._file(name)
            file.write(data.data)
            self.bytes_written += data.nbytes
            self._flush.after(file, data.nbytes)
        row: dict[str, float | str] = {f"label:{name}": value for name, value in labels.items()}
        row |= {"subject": subject, "group": group, "recording": recording, "stimulus": stimulus}
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)
        self._starts.append(np.asarray(start_s, dtype=np.float64))

    def __len__(self) -> int:
        return sum(map(len, self._starts))

    def _file(self, name: str) -> BufferedWriter:
        if name not in self._files:
            self._files[name] = open(self.folder / f"{name}.npy", "wb")  # noqa: SIM115
            self._files[name].write(b"\0" * _NPY_HEADER)
        return self._files[name]

    def finish(
        self,
        *,
        fingerprint: str,
        parameters: Mapping[str, Any],
        sources: Sequence[Sequence[Any]],
        modalities: Sequence[Modality],
        window_s: float,
        report: Mapping[str, Any],
    ) -> None:
        """Write headers, table and description, and flush all of it to the disk."""
        for name, file in self._files.items():
            file.seek(0)
            file.write(_npy_header((len(self), *self._shapes[name])))
        with open(self.folder / "windows.npz", "wb") as file:
            np.savez(file, **self._table())  # type: ignore[arg-type]
        meta = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "parameters": dict(parameters),
            "sources": list(sources),
            "modalities": [asdict(m) for m in modalities],
            "window_s": window_s,
            "report": dict(report),
        }
        text = json.dumps(meta, indent=1, ensure_ascii=False) + "\n"
        (self.folder / "store.json").write_text(text, encoding="utf-8")
        (self.folder / "NOTICE").write_text(NOTICE, encoding="utf-8")
        (self.folder / ".gitignore").write_text("*\n", encoding="utf-8")
        self._flush.finish()
        for file in self._files.values():
            file.close()
        for path in self.folder.iterdir():
            sync(path)
        sync(self.folder)

    def _table(self) -> dict[str, np.ndarray]:
        """The columns, one value per window."""
        counts = [len(starts) for starts in self._starts]
        table = {name: np.repeat(column, counts) for name, column in self._columns.items()}
        return table | {"start_s": np.concatenate(self._starts)}

    def close(self) -> None:
        """Close the files without finishing; what they hold is to be thrown away."""
        self._flush.close()
        for file in self._files.values():
            try:
                file.close()
            except OSError:  # a full disk refuses the buffered rest, which nobody wants any more
                file.raw.close()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    length = _NPY_HEADER - len(_NPY_MAGIC) - 2
    return _NPY_MAGIC + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def build(cache: Path, name: str, key: str, fill: Callable[[StoreWriter], None]) -> Store:
    """The store `<cache>/<name>-<key>`, opened if it exists, otherwise built by `fill`.

    Args:
        cache: folder of the stores, made when missing.
        name: the data set.
        key: the fingerprint of parameters and sources.
        fill: appends every window and calls `finish`.

    Returns:
        The finished store.

    Raises:
        DataError: the disk is full; nothing is left behind.
    """
    short = key[:16]
    path = cache / f"{name}-{short}"
    if path.is_dir():
        return open_store(path)
    _make_folder(cache)
    if (path.is_symlink() or path.exists()) and not path.is_dir():
        hint = "Delete it and run again, or choose another `cache`."
        raise DataError(path, "prepared store", "no folder", "a folder, or nothing yet", hint)
    said = f"Another process is preparing in {cache}; waiting for it."
    with lock(cache / f".{name}.lock", said=said):
        # As many characters as a key has, no more: deap's are not deap-raw's.
        for stale in cache.glob(f".{name}-{'?' * len(short)}.building"):
            shutil.rmtree(stale)
        if path.is_dir():  # another process built it while this one waited
            return open_store(path)
        temporary = cache / f".{path.name}.building"
        writer = StoreWriter(temporary)
        try:
            temporary.mkdir()
            fill(writer)
            temporary.rename(path)
            sync(cache)
        except BaseException as error:
            writer.close()
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full_disk(cache, writer) from error
            raise
    return open_store(path)


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise DataError(
            cache, "`cache`", error.strerror, "a folder that can be written", "Choose another one."
        ) from error


def _full_disk(cache: Path, writer: StoreWriter) -> DataError:
    free = shutil.disk_usage(cache).free / 2**20
    need = writer.bytes_written / 2**20 / max(writer.share_done, 1e-9)
    enough = f"about {need:.0f} MiB" if writer.share_done else "more"
    return DataError(
        cache,
        "free space",
        f"{free:.0f} MiB, and the disk was full after {writer.bytes_written / 2**20:.0f} MiB",
        f"{enough} for the prepared store",
        "Nothing was left behind. Make room, or choose another folder with `cache`.",
    )
