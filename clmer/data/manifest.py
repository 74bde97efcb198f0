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

A modality named after a type takes the channels of that type where the file has several. All
modalities of a trial start together.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.biosignal import SUFFIXES, open_biosignal
from clmer.data.emotiv import read_emotiv
from clmer.data.face import read_face
from clmer.data.recording import KINDS, DataError, FaceSeries, Recording, Signal
from clmer.data.tasks import RATING_TASKS

NEEDED = ("subject", "trial", "modality", "path")
OPTIONAL = ("start_s", "stop_s", "stimulus", "group", "rate", "kind", "channels")
FACE_MODALITIES = ("face", "landmarks", "au", "gaze", "hog")
SUPPORTED = (
    f"{', '.join(SUFFIXES)} (through MNE), .npy with a rate, Emotiv .csv, and .csv of OpenFace, "
    "Py-Feat or clmer.data.video for the face"
)

#: Samples or frames a second that a table may give: less is a slip, and would be resampled to 128.
LEAST_RATE = 0.1

#: Pass bands in Hz by signal type; the others keep their slow part.
BAND: dict[str, tuple[float | None, float | None] | None] = {"eeg": (4.0, 45.0), "ecg": (0.5, 40.0)}

OBTAIN = """\
Describe your recordings in manifest.csv, one row a subject, trial and modality:
  subject,trial,label,modality,path,start_s,stop_s
  p01,calm1,calm,eeg,p01.edf,12.0,72.0
  p01,calm1,calm,face,p01_openface.csv,10.5,70.5
and give its folder with --root."""


#: Samples and markers of BrainVision, samples of EEGLAB, and OpenFace's HOG lie beside the file.
_BESIDE = {".vhdr": (".eeg", ".vmrk", ".dat"), ".set": (".fdt",), ".csv": (".hog",)}


@dataclass(frozen=True)
class Row:
    """One checked line."""

    line: int
    subject: str
    trial: str
    modality: str
    path: Path
    labels: dict[str, str]
    start_s: float
    stop_s: float | None
    stimulus: str
    group: str
    rate: float | None
    kind: str
    channels: tuple[str, ...]


def sources(root: Path) -> list[Path]:
    """The manifest and the files it names, with those that belong to them, sorted.

    Raises:
        DataError: the manifest cannot be used.
    """
    table = _table_path(root)
    files = {table} | {row.path for row in _read_rows(table)}
    for path in list(files):
        beside = _BESIDE.get(path.suffix.lower(), ())
        files |= {p for p in map(path.with_suffix, beside) if os.path.isfile(p)}
    return sorted(files)


def found(root: Path) -> tuple[str, ...]:
    """Every modality of the manifest, in order; "landmarks" and "au" where there is a face.

    The face's "gaze" and "hog" are used when asked for.
    """
    names = dict.fromkeys(row.modality for row in _read_rows(_table_path(root)))
    signals = tuple(name for name in names if name not in FACE_MODALITIES)
    return signals + (("landmarks", "au") if len(signals) < len(names) else ())


def labels(root: Path) -> tuple[str, ...]:
    """The label columns, in order."""
    return tuple(_read_rows(_table_path(root))[0].labels)


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
    rows = _read_rows(_table_path(root))
    numeric = {
        name: all(_number(row.labels[name]) is not None for row in rows) for name in rows[0].labels
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
    face = read_face(row.path, fps=row.rate)
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


def _table_path(root: Path) -> Path:
    table = root / "manifest.csv" if root.is_dir() else root
    if not table.is_file() or table.suffix.lower() != ".csv":
        raise DataError(root, "manifest.csv", "nothing", "the table of your recordings", OBTAIN)
    return table


def _read_rows(table: Path) -> list[Row]:
    """Every line, checked by itself and against the others; no recording is opened."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True, restkey="", restval="")
        try:
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            lines = [(reader.line_num, line) for line in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(table, "text", error, "a comma-separated UTF-8 table") from error
        names = list(reader.fieldnames)
    missing = [name for name in NEEDED if name not in names]
    label_names = [name for name in names if name not in NEEDED + OPTIONAL]
    if missing or not label_names or len(set(names)) < len(names) or "" in names:
        raise DataError(
            table,
            "header",
            ",".join(names) or "nothing",
            f"{', '.join(NEEDED)} and at least one label column, each once",
        )
    if not lines:
        raise DataError(table, "rows", "0", "one a subject, trial and modality")
    rows = [_parse(table, number, line, label_names) for number, line in lines]
    _check_files(table, rows)
    _check_trials(table, rows)
    _check_classes(table, rows)
    return rows


def _parse(table: Path, number: int, line: dict[str, str], label_names: list[str]) -> Row:
    where = f"line {number}"
    if "" in line:
        raise DataError(table, where, "more cells than the header", "one cell a column")
    cells = {name: value.strip() for name, value in line.items()}
    empty = [name for name in (*NEEDED, *label_names) if cells[name].lower() in ("", "nan")]
    if empty:
        raise DataError(table, where, f"no value in {', '.join(empty)}", "a value")
    if "/" in cells["subject"]:  # recordings are called subject/trial
        raise DataError(table, f"{where}, subject", cells["subject"], "a name without /")
    numbers: dict[str, float | None] = {}
    for name, low in (("start_s", 0.0), ("stop_s", 0.0), ("rate", LEAST_RATE)):
        text = cells.get(name, "")
        numbers[name] = _number(text)
        value = numbers[name]
        if text and (value is None or value < low):
            raise DataError(table, f"{where}, {name}", repr(text), f"a number from {low:g}")
    start_s, stop_s = numbers["start_s"] or 0.0, numbers["stop_s"]
    if stop_s is not None and start_s >= stop_s:
        raise DataError(
            table, f"{where}, start_s, stop_s", f"{start_s:g} to {stop_s:g} s", "start_s < stop_s"
        )
    kind = cells.get("kind", "")
    if kind and kind not in KINDS:
        raise DataError(table, f"{where}, kind", repr(kind), f"one of {', '.join(KINDS)}")
    return Row(
        line=number,
        subject=cells["subject"],
        trial=cells["trial"],
        modality=cells["modality"],
        path=table.parent / cells["path"],
        labels={name: cells[name] for name in label_names},
        start_s=start_s,
        stop_s=stop_s,
        stimulus=cells.get("stimulus") or cells[label_names[0]],
        group=cells.get("group") or cells["subject"],
        rate=numbers["rate"],
        kind=kind,
        channels=tuple(filter(None, (c.strip() for c in cells.get("channels", "").split(";")))),
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_files(table: Path, rows: list[Row]) -> None:
    # unlike Path.is_file, this takes a name that is too long for one of no file
    absent = sorted({str(row.path) for row in rows if not os.path.isfile(row.path)})
    if absent:
        raise DataError(
            table, "path", f"{len(absent)} missing: {', '.join(absent)}", "files that exist"
        )
    for row in rows:
        suffix = row.path.suffix.lower()
        if suffix not in (*SUFFIXES, ".npy", ".csv"):
            raise DataError(row.path, "suffix", suffix or "none", SUPPORTED)
        if suffix != ".csv" and row.modality in FACE_MODALITIES:
            raise DataError(
                row.path,
                f"modality in line {row.line} of the manifest",
                row.modality,
                "a face tracker's .csv",
                f"Give signals another name. Readable are {SUPPORTED}.",
            )


def _check_trials(table: Path, rows: list[Row]) -> None:
    """No row twice; rows of a trial agree on all but the file."""
    first: dict[tuple[str, str], Row] = {}
    lines: dict[tuple[str, str, str], int] = {}
    groups: dict[str, str] = {}
    for row in rows:
        where = f"line {row.line}"
        face = row.modality in FACE_MODALITIES
        key = (row.subject, row.trial, "face" if face else row.modality)
        if key in lines:
            raise DataError(
                table, where, f"{' '.join(key)} again, as in line {lines[key]}", "each row once"
            )
        lines[key] = row.line
        other = first.setdefault((row.subject, row.trial), row)
        for name, mine, theirs in (
            *((name, row.labels[name], other.labels[name]) for name in row.labels),
            ("stimulus", row.stimulus, other.stimulus),
            ("group", row.group, groups.setdefault(row.subject, row.group)),
        ):
            if mine != theirs:
                raise DataError(
                    table,
                    f"{where}, {name}",
                    mine,
                    f"{theirs}, as in the rows before it of {row.subject}, trial {row.trial}",
                )
        spans = [r.stop_s - r.start_s for r in (row, other) if r.stop_s is not None]
        if len(spans) == 2 and abs(spans[0] - spans[1]) > 0.1:
            raise DataError(
                table,
                f"{where}, start_s, stop_s",
                f"{spans[0]:g} s",
                f"{spans[1]:g} s, as in line {other.line} of the same trial",
                "The modalities of a trial start and stop together.",
            )


def _check_classes(table: Path, rows: list[Row]) -> None:
    names = list(rows[0].labels)
    if all(len({row.labels[name] for row in rows}) < 2 for name in names):
        raise DataError(
            table,
            ", ".join(names),
            f"only {', '.join(rows[0].labels.values())}",
            "at least two classes",
            "A classifier needs recordings of more than one.",
        )
