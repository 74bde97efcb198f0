"""Arrays by name: MATLAB's `.mat` and NumPy's `.npz`, with a rate among them or stated.

An array of samples is [channels, samples] or [samples, channels]: a list of names beside it
(`channels`, `labels`, `ch_names`) tells which, else the longer side is time. All that are as long
are read: `eeg` of [14, n] gives the channels eeg1 ... eeg14, or those of a list of 14 names.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from clmer.data.channels import kind_of_name
from clmer.data.formats.matfile import load_plain
from clmer.data.formats.source import StoredChannel
from clmer.data.formats.tables.source import TableFile
from clmer.data.timeline import Timeline
from clmer.errors import DataError

_MAX_BYTES = 2**31
_RATE = re.compile(r"(fs|srate|sfreq|sr|hz|rate|sampl\w*(rate|freq\w*))", re.IGNORECASE)
#: What a list of the channels' names is called.
_CHANNELS = re.compile(
    r"(eeg|data|signal)?_?"
    r"((ch(an(nel)?)?s?|electrodes?|sensors?|clab)_?(names?|labels?|list)?|labels|names)",
    re.IGNORECASE,
)
#: Of these, names that a list of trials' classes may have too.
_PERHAPS = re.compile(r"((data|signal)_?)?(labels|names)", re.IGNORECASE)
#: A channel that is numbered.
_NUMBERED = re.compile(r"[^\W\d_]{0,8}[ _.-]?\d{1,4}")
#: As an `.npy`, whose numbers have no unit either.
_ASSUMED = (*((kind, "uV") for kind in ("eeg", "ieeg", "eog", "emg", "ecg")), ("gsr", "uS"))
#: Fewer samples than this are no recording, but a setting or a label.
_LEAST = 16
#: How much longer than the other the side of time must be where no names tell.
_LONGER = 2.0


def open_arrays(path: Path, rate: float | None = None) -> TableFile:
    """Open a file of arrays.

    Args:
        path: `.mat` or `.npz`.
        rate: samples per second, where somebody states it.

    Raises:
        DataError: a damaged file, no array of samples, several of different lengths, no rate.
    """
    arrays, words = _load_npz(path) if path.suffix.lower() == ".npz" else _load_mat(path)
    rate = rate or _rate(path, arrays)
    sides = {n for a in arrays.values() if _is_samples(a) for n in np.atleast_2d(a).shape}
    names = [list(e) for name, e in words.items() if _are_channels(path, name, e, sides)]
    matrices = {n: _upright(path, n, a, names) for n, a in arrays.items() if _is_samples(a)}
    if not matrices:
        found = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items()) or "none"
        deep = any(a.ndim > 2 for a in arrays.values())
        raise DataError(
            path,
            "arrays of samples",
            found,
            "one of real numbers [channels, samples]",
            "Save each trial as a file of its own." if deep else
            "Save the matrix alone: save('x.mat', 'eeg', 'fs', '-v7').",
        )  # fmt: skip
    lengths = {a.shape[1] for a in matrices.values()}
    if len(lengths) > 1:
        found = ", ".join(f"{name} {list(a.shape)}" for name, a in matrices.items())
        raise DataError(
            path,
            "arrays of samples",
            f"several of different lengths: {found}",
            "one, or several of one length and rate",
            "Save each of them with its rate as a file of its own: save('eeg.mat', 'eeg', 'fs', "
            "'-v7').",
        )
    if rate is None:
        raise DataError(
            path,
            "rate",
            f"none beside {', '.join(matrices)}",
            "samples per second",
            "State it in the manifest's column rate (clmer predict: --rate), or save it in the "
            "file as fs.",
        )
    labels, columns = [], []
    for name, array in matrices.items():
        labels += _names(name, len(array), names)
        columns += [_finite(path, name, row) for row in array]
    line = Timeline.continuous(rate, lengths.pop())
    return TableFile(
        tuple(StoredChannel(label, rate) for label in labels),
        tuple(columns),
        (line,) * len(labels),
        (path,),
        assumed=_ASSUMED,
    )


def _is_samples(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiu" and 1 <= array.ndim <= 2 and max(array.shape) >= _LEAST


def _are_channels(path: Path, name: str, words: Sequence[str], sides: Collection[int]) -> bool:
    """Whether a list is the channels' names, of an array whose sides are as long as `sides`.

    Raises:
        DataError: it may be trials' classes.
    """
    if not _CHANNELS.fullmatch(name):
        return False
    if not _PERHAPS.fullmatch(name) or len(words) not in sides:
        return True
    if len(set(words)) < len(words):
        return False
    known = sum(kind_of_name(w) != "unknown" or bool(_NUMBERED.fullmatch(w)) for w in words)
    if 2 * known >= len(words):
        return True
    raise DataError(
        path,
        name,
        f"{', '.join(words[:6])}{', ...' * (len(words) > 6)}, as many as the array's side",
        "names of channels (Fp1, ECG)",
        "Channels' names: call the list channels. What trials were: give the list another name, "
        "and state it in a label column of the manifest.",
    )


def _upright(
    path: Path, name: str, array: np.ndarray, names: Sequence[Sequence[str]]
) -> np.ndarray:
    """[channels, samples] float64.

    Raises:
        DataError: both sides may be time.
    """
    array = np.atleast_2d(np.asarray(array, np.float64))
    rows, columns = array.shape
    named = {len(each) for each in names} & {rows, columns}
    if len(named) == 1 and rows != columns:
        return array if rows in named else np.ascontiguousarray(array.T)
    if min(rows, columns) >= _LEAST and max(rows, columns) < _LONGER * min(rows, columns):
        raise DataError(
            path,
            name,
            f"[{rows}, {columns}], either of which may be time",
            "[channels, samples] with far more samples than channels, or names of the channels",
            "Save a list of the channels' names beside it, as channels.",
        )
    return array if rows <= columns else np.ascontiguousarray(array.T)


def _finite(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            path,
            name,
            f"{values[bad[0]]} in sample {bad[0] + 1}",
            "finite numbers",
            "Interpolate the gap, or save the parts before and after as files of their own.",
        )
    return values


def _rate(path: Path, arrays: Mapping[str, np.ndarray]) -> float | None:
    """Samples per second of the variable that is called so.

    Raises:
        DataError: there are several, of different rates.
    """
    single = {
        name: float(array.ravel()[0])
        for name, array in arrays.items()
        if array.size == 1 and array.dtype.kind in "fiu" and _RATE.fullmatch(name)
    }
    rates = {name: value for name, value in single.items() if np.isfinite(value) and value > 0}
    if len(set(rates.values())) > 1:
        raise DataError(
            path,
            "rate",
            ", ".join(f"{name} = {value:g}" for name, value in rates.items()),
            "one rate in samples per second",
            "State it in the manifest's column rate (clmer predict: --rate).",
        )
    return next(iter(rates.values()), None)


def _names(name: str, count: int, names: Sequence[Sequence[str]]) -> list[str]:
    """A list of as many names, or the variable's with running numbers."""
    found = next((list(each) for each in names if len(each) == count), None)
    if found:
        return found
    return [name] if count == 1 else [f"{name}{i + 1}" for i in range(count)]


Arrays = tuple[dict[str, np.ndarray], dict[str, list[str]]]


def _load_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            size = sum(info.file_size for info in file.zip.infolist())
            if size > _MAX_BYTES:
                raise DataError(path, "size", f"{size} bytes", f"at most {_MAX_BYTES} bytes")
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, "arrays", error, "an .npz of numpy.savez", "Save again.") from error
    words = {n: [str(t) for t in a.ravel()] for n, a in arrays.items() if a.dtype.kind == "U"}
    return {name: array for name, array in arrays.items() if array.dtype.kind != "U"}, words


def _load_mat(path: Path) -> Arrays:
    return load_plain(path, max_bytes=_MAX_BYTES)
