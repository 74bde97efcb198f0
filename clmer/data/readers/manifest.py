"""Your own recordings, described by `manifest.csv`: one row a (subject, trial, modality).

| column | |
|---|---|
| `subject`, `trial` | the person, and the recording within the person |
| label columns | any other names: a rating (all numbers) or a class; at least one; may be missing |
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
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clmer.data import units
from clmer.data.channels import QUANTITY, SERVICE, as_kind, canonical, fits, kind_of_name
from clmer.data.face import INTENSITY_COLUMNS, LANDMARK_COLUMNS, read_face
from clmer.data.face.table import read_header
from clmer.data.formats import check_suffix, suffix_of
from clmer.data.formats.biosignal import SUFFIXES, bad_channels, files_of, open_biosignal
from clmer.data.formats.emotiv import read_emotiv
from clmer.data.readers.manifest_files import near_file
from clmer.data.readers.manifest_row import Row
from clmer.data.readers.manifest_table import (
    FACE_MODALITIES,
    SUPPORTED,
    overlaps,
    read_manifest,
    read_rows,
    table_path,
)
from clmer.data.recording import FaceSeries, Recording, SharedSamples, Signal
from clmer.data.service_channels import check_no_service
from clmer.data.tasks import RATING_TASKS, Task
from clmer.data.timeline import Timeline
from clmer.data.units import OURS, wrong_unit
from clmer.errors import DataError

#: Hz that signals are brought to, which decides how near to its start a part must begin.
FINEST = 128.0

#: Pass bands in Hz by signal type; the others keep their slow part.
BAND: dict[str, tuple[float | None, float | None] | None] = {"eeg": (4.0, 45.0), "ecg": (0.5, 40.0)}


def sources(root: Path) -> list[Path]:
    """The manifest and the files it names, with those that belong to them, sorted.

    Raises:
        DataError: the manifest cannot be used.
    """
    table = table_path(root)
    files = {table} | {row.path for row in read_rows(table)}
    for path in list(files):
        if suffix_of(path) in SUFFIXES:
            files |= set(files_of(path))
        elif (hog := path.with_suffix(".hog")).is_file():
            files.add(hog)
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
    """The label columns, and the rating tasks that those of numbers make up."""
    table = read_manifest(table_path(root))
    made = (name for name, (needed, _, _) in RATING_TASKS.items() if table.numeric >= set(needed))
    return tuple(dict.fromkeys((*table.rows[0].labels, *made)))


def label_values(root: Path) -> dict[str, np.ndarray]:
    """The label columns, one value per row: float64, nan where missing, or str and ""."""
    table = read_manifest(table_path(root))
    return {
        name: np.array([_value(row.labels[name], name in table.numeric) for row in table.rows])
        for name in table.rows[0].labels
    }


def check_scale(root: Path, task: Task) -> None:
    """Refuse ratings outside a task's scale, by their line.

    Raises:
        DataError: there is one.
    """
    table = table_path(root)
    low, high = task.scale
    for row in read_rows(table):
        for column in task.columns:
            value = float(row.labels[column] or "nan")
            if value < low or value > high:
                raise DataError(
                    table,
                    f"line {row.line}, {column}",
                    f"{value:g}",
                    f"a number from {low:g} to {high:g}",
                    task.outside(value),
                )


def missing(root: Path) -> dict[str, str]:
    """By label column, a sentence on the trials without a value; none where all have one."""
    return read_manifest(table_path(root)).missing


def shared(root: Path) -> list[SharedSamples]:
    """Recordings that read the same seconds of a file, or one file under two people's names."""
    return [
        SharedSamples(
            f"{each.a.subject}/{each.a.trial}",
            f"{each.b.subject}/{each.b.trial}",
            each.a.modality,
            each.seconds if math.isfinite(each.seconds) else None,
            each.a.path.name,
        )
        for each in overlaps(read_rows(table_path(root)))
    ]


def describe(root: Path) -> tuple[str, ...]:
    """What was odd about the table and how it was read, a sentence each."""
    return read_manifest(table_path(root)).notes


def _value(text: str, numeric: bool) -> float | str:
    """A label as a recording has it; nan or "" where there is none."""
    return float(text or "nan") if numeric else text


def read(root: Path, *, face: bool = True) -> Iterator[Recording]:
    """Recordings by subject and trial, sorted; one in memory.

    Args:
        root: the folder of `manifest.csv`, or the table itself.
        face: read the face CSVs too.

    Raises:
        DataError: the manifest or a file it names cannot be used.
    """
    table = read_manifest(table_path(root))
    trials: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        trials.setdefault((row.subject, row.trial), []).append(row)
    bad = _bad_channels(table.rows)
    for subject, trial in sorted(trials):
        yield _read_trial(trials[subject, trial], table.numeric, face, bad)


def _bad_channels(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """What to say of each channel that a file marks as bad, by modality and canonical name.

    All recordings of a modality need the same channels, so what is bad in one is left out of all.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.modality in FACE_MODALITIES or row.channels or suffix_of(row.path) not in SUFFIXES:
            continue
        for name in bad_channels(row.path):
            of_name = found.setdefault(row.modality, {}).setdefault(canonical(name), [name])
            of_name.append(f"{row.subject}/{row.trial}")
    total = {name: sum(row.modality == name for row in rows) for name in found}
    return {
        modality: {
            key: f"{modality}: {name} is marked as bad in {len(where)} of {total[modality]} "
            f"recordings ({', '.join(where[:3])}{', ...' if len(where) > 3 else ''}) and "
            "left out of all"
            for key, (name, *where) in names.items()
        }
        for modality, names in found.items()
    }


def _read_trial(
    rows: list[Row], numeric: frozenset[str], face: bool, bad: dict[str, dict[str, str]]
) -> Recording:
    series, face_start_s = None, 0.0
    signals: dict[str, Signal] = {}
    for row in rows:
        if row.modality not in FACE_MODALITIES:
            without = bad.get(row.modality, {})
            signal = _read_signal(row, without)
            notes = (*signal.notes, *(() if row.channels else without.values()))
            signals[row.modality] = replace(signal, notes=notes)
        elif face and series is None:
            series, face_start_s = _read_face(row)
    first = rows[0]
    return Recording(
        subject=first.subject,
        trial=first.trial,
        stimulus=first.stimulus,
        group=first.group,
        labels={name: _value(v, name in numeric) for name, v in first.labels.items()},
        signals=signals,
        face=series,
        face_start_s=face_start_s,
        source=first.path,
        files={row.modality: row.path for row in rows},
    )


def read_file(
    path: Path,
    modality: str,
    *,
    channels: tuple[str, ...] = (),
    rate: float | None = None,
    unit: str = "",
    kind: str = "",
) -> Signal:
    """A whole file as one modality, as a row of a manifest that names it has it.

    Args:
        path: a file of a supported kind, not a face's.
        modality: its name.
        channels: names, in the order wanted; those of the modality's type, or all, by default.
        rate: samples a second of an .npy.
        unit: of the samples, where the file does not say; it counts more than the file's.
        kind: type of the channels, where the file does not say.

    Raises:
        DataError: the file cannot be read, or lacks a channel.
    """
    row = Row(*(0, "", "", modality, path, {}, 0.0, None, "", "", rate, kind, channels), unit=unit)
    if not os.path.exists(path):
        raise DataError(path, "file", "nothing", SUPPORTED, near_file(path.parent, path))
    check_suffix(path, (*SUFFIXES, ".npy", ".csv"), SUPPORTED)
    return _read_signal(row)


def _read_signal(row: Row, without: Collection[str] = ()) -> Signal:
    suffix = suffix_of(row.path)
    if suffix == ".npy":
        return _read_npy(row)
    if suffix == ".csv":
        return _read_emotiv(row)
    file = open_biosignal(row.path)
    start_s, stop_s = _span(row, file.duration_s, 1 / file.fs if file.fs else 0.0)
    channels = file.select(row.modality, row.channels, kind=row.kind, without=without)
    return file.signal(channels, start_s, stop_s, unit=row.unit)


def _read_emotiv(row: Row) -> Signal:
    names = set(read_header(row.path).names)
    if len(names & {*LANDMARK_COLUMNS, *INTENSITY_COLUMNS, "x_0", "y_0", "AU01"}) > 1:
        raise DataError(
            row.path,
            f"modality in line {row.line} of the manifest" if row.line else "modality",
            row.modality,
            "face, for a face tracker's table",
            "The face's CSV is a row of its own, of modality face (clmer predict: --face).",
        )
    signal = read_emotiv(
        row.path, channels=row.channels, start_s=row.start_s, stop_s=row.stop_s, unit=row.unit
    )
    return _of_modality(row, signal)


def _of_modality(row: Row, signal: Signal) -> Signal:
    """The channels that a modality takes out of a table of named columns.

    Raises:
        DataError: none of its type.
    """
    need = row.kind or as_kind(row.modality)
    if row.kind:
        return replace(signal, kinds=(row.kind,) * len(signal.kinds))
    keep = [i for i, kind in enumerate(signal.kinds) if kind == need] if need else []
    if not need or len(keep) == len(signal.kinds):
        return signal
    if keep and not row.channels:
        return signal.select(need)
    found = ", ".join(f"{c} ({k})" for c, k in zip(signal.channels, signal.kinds, strict=True))
    raise DataError(
        row.path,
        f"channels of modality {row.modality}",
        found,
        f"channels of type {need}",
        "State the type in the manifest's column kind where the file's names do not tell it.",
    )


def _read_npy(row: Row) -> Signal:
    if row.rate is None:
        raise DataError(row.path, "rate", "none", "samples a second in the manifest's column rate")
    try:
        array: np.ndarray = np.lib.format.open_memmap(row.path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        with row.path.open("rb") as file:
            packed = file.read(2) == b"PK"
        raise DataError(
            row.path,
            "array",
            "an .npz, which holds several arrays" if packed else error,
            "an .npy of numbers [channels, samples]",
            "Save the array of samples alone, with numpy.save." if packed else "",
        ) from error
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] > array.shape[1] or array.dtype.kind not in "fiu":
        raise DataError(
            row.path,
            "array",
            f"shape {array.shape} of {array.dtype}",
            "real numbers [channels, samples], more samples than channels",
            _other_shape(array),
        )
    names = row.channels or tuple(f"ch{i + 1}" for i in range(len(array)))
    if len(names) != len(array):
        raise DataError(
            row.path,
            "channels",
            f"{len(array)} rows",
            f"{len(names)}: {' '.join(names)}" + (" as in the manifest" if row.line else ""),
            "An array's rows are all used, in their order: save it with these alone.",
        )
    line = Timeline.whole(row.rate, array.shape[1])
    start_s, stop_s = _span(row, line.duration_s, 1 / row.rate)
    part = line.part(start_s, stop_s, FINEST)
    piece = part.pieces[0]
    data = np.array(array[:, piece.first : piece.stop], np.float64)
    if not np.isfinite(data).all():
        channel, sample = np.argwhere(~np.isfinite(data))[0]
        raise DataError(
            row.path,
            names[channel],
            f"{data[channel, sample]} at {(piece.first + sample) / row.rate:.3f} s",
            "finite numbers",
            "Interpolate the gap, or leave that part out with start_s and stop_s.",
        )
    kinds = _kinds_of_array(row, names)
    untold = [not row.channels or kind_of_name(name) == "unknown" for name in names]
    if not row.kind:
        check_no_service(row.path, data, names, kinds, untold)
    unit = _unit_of_array(row, data, kinds)
    signal = Signal(data, row.rate, names, kinds, unit, timeline=part.shifted())
    signals = [i for i, kind in enumerate(kinds) if kind == (as_kind(row.modality) or kind)]
    return signal if row.kind or len(signals) == len(kinds) else _of_modality(_unnamed(row), signal)


def _other_shape(array: np.ndarray) -> str:
    """What to do with an array of another shape or of other numbers."""
    if array.ndim == 2 and array.dtype.kind in "fiu" and array.size:
        return "It looks like [samples, channels]: save its transpose, array.T."
    if array.ndim == 3:
        return "Save each trial as an array of its own, and name it in a row of the manifest."
    return ""


def _unnamed(row: Row) -> Row:
    """The same row; an array's names say what its rows are, not which of them are wanted."""
    return replace(row, channels=())


def _kinds_of_array(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """The type of each of an array's rows: as stated, by its name, or the modality's.

    Raises:
        DataError: a row whose name tells that it is no signal, such as a trigger.
    """
    default = row.kind or as_kind(row.modality) or "other"
    if row.kind:
        return (default,) * len(names)
    told = [kind_of_name(name) if row.channels else "unknown" for name in names]
    service = [f"{n} ({k})" for n, k in zip(names, told, strict=True) if k in SERVICE[:-1]]
    if service:
        raise DataError(
            row.path,
            f"channels in line {row.line} of the manifest",
            ", ".join(service),
            "names of signals",
            "Save the array without those rows; or, if a name misleads, state the true type in the "
            "column kind.",
        )
    return tuple(default if kind == "unknown" else kind for kind in told)


def _unit_of_array(row: Row, data: np.ndarray, kinds: Sequence[str]) -> str:
    """Bring an array's numbers to our unit, in place, and name it.

    Raises:
        DataError: an unknown unit.
    """
    need = {QUANTITY.get(kind) for kind in kinds}
    if not row.unit:
        quantity = need.pop() if len(need) == 1 else None
        return OURS[quantity] if quantity else "mixed"
    unit = units.parse(row.unit)
    for kind in dict.fromkeys(kinds):
        if unit is None or not (units.is_bare(unit) or fits(kind, unit.quantity)):
            where = f"unit in line {row.line} of the manifest" if row.line else "unit"
            raise wrong_unit(row.path, where, row.unit, kind)
    assert unit is not None
    data *= unit.factor
    return unit.ours


def _read_face(row: Row) -> tuple[FaceSeries, float]:
    """The frames that surround a span, and the first one's time after the span's start."""
    face = read_face(row.path, fps=row.rate, face_id=row.face_id)
    start_s, stop_s = _span(row, len(face.valid) / face.fps, 1.5 / face.fps)
    first = math.floor(start_s * face.fps + 1e-6)
    last = math.floor(stop_s * face.fps + 1e-6) + 1
    return face.part(first, last), first / face.fps - start_s


def _times_hint(row: Row, duration_s: float) -> str:
    """What times beyond a file's end may be."""
    last = row.start_s if row.stop_s is None else row.stop_s
    if last > 100 * duration_s:
        return "Are they milliseconds, or samples? Times are seconds from the file's start."
    return "Times are seconds from the file's start, stop_s the trial's end, no duration."


def _span(row: Row, duration_s: float, tolerance_s: float) -> tuple[float, float]:
    if row.start_s >= duration_s or (row.stop_s or 0.0) > duration_s + tolerance_s:
        raise DataError(
            row.path,
            "start_s, stop_s",
            f"{row.start_s:g} to {'the end' if row.stop_s is None else f'{row.stop_s:g}'} s "
            f"in line {row.line} of the manifest",
            f"times within the file's {duration_s:g} s",
            _times_hint(row, duration_s + tolerance_s),
        )
    return row.start_s, duration_s if row.stop_s is None else min(row.stop_s, duration_s)
