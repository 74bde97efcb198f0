"""`manifest.csv`, the table of one's own recordings: read and checked, no recording opened.

`clmer.data.manifest` says what the columns mean and reads the files that the rows name.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path

from clmer.data.biosignal import SUFFIXES
from clmer.data.formats import check_suffix
from clmer.data.recording import KINDS, DataError

NEEDED = ("subject", "trial", "modality", "path")
OPTIONAL = ("start_s", "stop_s", "stimulus", "group", "rate", "kind", "channels", "unit", "face_id")
FACE_MODALITIES = ("face", "landmarks", "au", "gaze", "hog")
SUPPORTED = (
    f"{', '.join(SUFFIXES)} (through MNE), .npy with a rate, Emotiv .csv, and .csv of OpenFace, "
    "Py-Feat or clmer.data.video for the face"
)

#: Samples or frames a second that a table may give: less is a slip, and would be resampled to 128.
LEAST_RATE = 0.1

OBTAIN = """\
Describe your recordings in manifest.csv, one row a subject, trial and modality:
  subject,trial,label,modality,path,start_s,stop_s
  p01,calm1,calm,eeg,p01.edf,12.0,72.0
  p01,calm1,calm,face,p01_openface.csv,10.5,70.5
and give its folder with --root."""


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
    unit: str = ""
    face_id: str = ""


def table_path(root: Path) -> Path:
    """`manifest.csv` of a folder, or the table itself.

    Raises:
        DataError: there is none.
    """
    table = root / "manifest.csv" if root.is_dir() else root
    if not table.is_file() or table.suffix.lower() != ".csv":
        raise DataError(root, "manifest.csv", "nothing", "the table of your recordings", OBTAIN)
    return table


def read_rows(table: Path) -> list[Row]:
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
    rows = [_parse(table, at, line, label_names) for at, line in lines]
    _check_files(table, rows)
    _check_trials(table, rows)
    _check_classes(table, rows)
    return rows


def _parse(table: Path, at: int, line: dict[str, str], label_names: list[str]) -> Row:
    where = f"line {at}"
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
        numbers[name] = number(text)
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
        line=at,
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
        unit=cells.get("unit", ""),
        face_id=cells.get("face_id", ""),
        channels=tuple(filter(None, (c.strip() for c in cells.get("channels", "").split(";")))),
    )


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_files(table: Path, rows: list[Row]) -> None:
    # unlike Path.is_file, this takes a name that is too long for one of no file
    absent = sorted({str(row.path) for row in rows if not os.path.exists(row.path)})
    if absent:
        raise DataError(
            table, "path", f"{len(absent)} missing: {', '.join(absent)}", "files that exist"
        )
    for row in rows:
        suffix = row.path.suffix.lower()
        check_suffix(row.path, (*SUFFIXES, ".npy", ".csv"), SUPPORTED)
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
