"""Your own recordings, described by `manifest.csv`: one row a (subject, trial, modality).

| column | |
|---|---|
| `subject`, `trial` | the person, and the recording within the person |
| label columns | any other names: a rating (all numbers) or a class; at least one |
| `modality` | a signal's name ("eeg", "ecg", "physio", ...), or "face" for a face tracker's CSV |
| `path` | relative to the manifest's folder |
| `start_s`, `stop_s` | optional: the trial's part of the file; empty for its start and end |
| `stimulus` | optional: what was shown; the first label by default |
| `group` | optional: people who must stay together; the subject by default |
| `rate` | samples a second of an `.npy`; may state the frame rate of a CSV without timestamps |
| `kind` | optional: the channels' type ("eeg", "ecg", "gsr", ...) where the file does not say |
| `channels` | optional: names separated by ";", to use some of a file's channels |
| `unit` | optional: the unit of the samples ("uV", "mV", "V", ...) where the file does not say |
| `face_id` | optional: which face of a CSV that holds several |

A modality named after a type takes the channels of that type where the file has several. All
modalities of a trial start together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clmer.data.biosignal import open_biosignal
from clmer.data.emotiv import read_emotiv
from clmer.data.face import read_face
from clmer.data.manifest_table import (
    FACE_MODALITIES,
    SUPPORTED,
    Row,
    number,
    read_rows,
    table_path,
)
from clmer.data.recording import KINDS, DataError, FaceSeries, Recording, Signal
from clmer.data.tasks import RATING_TASKS

#: Pass bands in Hz by signal type; the others keep their slow part.
BAND: dict[str, tuple[float | None, float | None] | None] = {"eeg": (4.0, 45.0), "ecg": (0.5, 40.0)}

#: Samples and markers of BrainVision, samples of EEGLAB, and OpenFace's HOG lie beside the file.
_BESIDE = {".vhdr": (".eeg", ".vmrk", ".dat"), ".set": (".fdt",), ".csv": (".hog",)}


def sources(root: Path) -> list[Path]:
    """The manifest and the files it names, with those that belong to them, sorted.

    Raises:
        DataError: the manifest cannot be used.
    """
    table = table_path(root)
    files = {table} | {row.path for row in read_rows(table)}
    for path in list(files):
        beside = _BESIDE.get(path.suffix.lower(), ())
        files |= {p for p in map(path.with_suffix, beside) if os.path.isfile(p)}
    return sorted(files)


def found(root: Path) -> tuple[str, ...]:
    """Every modality of the manifest, in order; "landmarks" and "au" where there is a face.

    The face's "gaze" and "hog" are used when asked for.
    """
    names = dict.fromkeys(row.modality for row in read_rows(table_path(root)))
    signals = tuple(name for name in names if name not in FACE_MODALITIES)
    return signals + (("landmarks", "au") if len(signals) < len(names) else ())


def labels(root: Path) -> tuple[str, ...]:
    """The label columns, in order."""
    return tuple(read_rows(table_path(root))[0].labels)


def tasks(root: Path) -> tuple[str, ...]:
    """The label columns, and the rating tasks that they make up."""
    columns = labels(root)
    made = (name for name, (needed, _, _) in RATING_TASKS.items() if set(needed) <= set(columns))
    return tuple(dict.fromkeys((*columns, *made)))


def read(root: Path, *, face: bool = True) -> Iterator[Recording]:
    """Recordings by subject and trial, sorted; one in memory.

    Args:
        root: the folder of `manifest.csv`, or the table itself.
        face: read the face CSVs too.

    Raises:
        DataError: the manifest or a file it names cannot be used.
    """
    rows = read_rows(table_path(root))
    numeric = {
        name: all(number(row.labels[name]) is not None for row in rows) for name in rows[0].labels
    }
    trials: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        trials.setdefault((row.subject, row.trial), []).append(row)
    for subject, trial in sorted(trials):
        yield _read_trial(trials[subject, trial], numeric, face)


def _read_trial(rows: list[Row], numeric: dict[str, bool], face: bool) -> Recording:
    series, face_start_s = None, 0.0
    signals: dict[str, Signal] = {}
    for row in rows:
        if row.modality not in FACE_MODALITIES:
            signals[row.modality] = _read_signal(row)
        elif face and series is None:
            series, face_start_s = _read_face(row)
    first = rows[0]
    return Recording(
        subject=first.subject,
        trial=first.trial,
        stimulus=first.stimulus,
        group=first.group,
        labels={name: float(v) if numeric[name] else v for name, v in first.labels.items()},
        signals=signals,
        face=series,
        face_start_s=face_start_s,
        source=first.path,
        files={row.modality: row.path for row in rows},
    )


def read_file(
    path: Path, modality: str, *, channels: tuple[str, ...] = (), rate: float | None = None
) -> Signal:
    """A whole file as one modality, as a row of a manifest that names it has it.

    Args:
        path: a file of a supported kind, not a face's.
        modality: its name.
        channels: names, in the order wanted; those of the modality's type, or all, by default.
        rate: samples a second of an .npy.

    Raises:
        DataError: the file cannot be read, or lacks a channel.
    """
    row = Row(0, "", "", modality, path, {}, 0.0, None, "", "", rate, "", channels)
    if not os.path.isfile(path):
        raise DataError(path, "file", "nothing", SUPPORTED)
    return _read_signal(row)


def _read_signal(row: Row) -> Signal:
    read = {".npy": _read_npy, ".csv": _read_emotiv}.get(row.path.suffix.lower(), _read_biosignal)
    signal = read(row)
    if row.kind:
        kinds = (row.kind,) * len(signal.kinds)
        return Signal(signal.data, signal.fs, signal.channels, kinds, signal.unit)
    return signal


def _read_biosignal(row: Row) -> Signal:
    file = open_biosignal(row.path)
    start_s, stop_s = _span(row, file.duration_s, 1 / file.fs)
    names = row.channels or file.channels
    if not row.channels and row.modality in file.kinds:
        pairs = zip(file.channels, file.kinds, strict=True)
        names = tuple(name for name, kind in pairs if kind == row.modality)
    signal = file.signal(names, start_s, stop_s)
    if row.modality in KINDS and row.modality not in signal.kinds:
        # The file types its channels otherwise, often all as EEG: the manifest knows better.
        kinds = (row.modality,) * len(names)
        return Signal(signal.data, signal.fs, signal.channels, kinds, signal.unit)
    return signal


def _read_emotiv(row: Row) -> Signal:
    return read_emotiv(row.path, channels=row.channels, start_s=row.start_s, stop_s=row.stop_s)


def _read_npy(row: Row) -> Signal:
    if row.rate is None:
        raise DataError(row.path, "rate", "none", "samples a second in the manifest's column rate")
    try:
        array = np.load(row.path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            row.path, "array", error, "an .npy of numbers [channels, samples]"
        ) from error
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] > array.shape[1] or array.dtype.kind not in "fiu":
        raise DataError(
            row.path,
            "array",
            f"shape {array.shape} of {array.dtype}",
            "real numbers [channels, samples], more samples than channels",
        )
    names = row.channels or tuple(f"ch{i + 1}" for i in range(len(array)))
    if len(names) != len(array):
        raise DataError(
            row.path, "channels", f"{len(array)} rows", f"{len(names)} as in the manifest"
        )
    start_s, stop_s = _span(row, array.shape[1] / row.rate, 1 / row.rate)
    data = np.array(array[:, round(start_s * row.rate) : round(stop_s * row.rate)], np.float64)
    if not np.isfinite(data).all():
        channel, sample = np.argwhere(~np.isfinite(data))[0]
        raise DataError(
            row.path,
            names[channel],
            f"{data[channel, sample]} at {start_s + sample / row.rate:.3f} s",
            "finite numbers",
            "Interpolate the gap, or leave that part out with start_s and stop_s.",
        )
    kind = row.modality if row.modality in KINDS else "other"
    return Signal(data, row.rate, names, (kind,) * len(names), "uV" if kind == "eeg" else "mixed")


def _read_face(row: Row) -> tuple[FaceSeries, float]:
    """The frames that surround a span, and the first one's time after the span's start."""
    face = read_face(row.path, fps=row.rate, face_id=row.face_id)
    start_s, stop_s = _span(row, len(face.valid) / face.fps, 1.5 / face.fps)
    first = math.floor(start_s * face.fps + 1e-6)
    last = math.floor(stop_s * face.fps + 1e-6) + 1
    return face.cut(first, last), first / face.fps - start_s


def _span(row: Row, duration_s: float, tolerance_s: float) -> tuple[float, float]:
    if row.start_s >= duration_s or (row.stop_s or 0.0) > duration_s + tolerance_s:
        raise DataError(
            row.path,
            "start_s, stop_s",
            f"{row.start_s:g} to {'the end' if row.stop_s is None else f'{row.stop_s:g}'} s "
            f"in line {row.line} of the manifest",
            f"times within the file's {duration_s:g} s",
        )
    return row.start_s, duration_s if row.stop_s is None else min(row.stop_s, duration_s)
