"""Empatica E4: a folder of files, each with its start (UTC) in line 1 and its rate in line 2.

    EDA.csv, TEMP.csv (4 Hz), BVP.csv (64 Hz), ACC.csv (32 Hz, three columns in 1/64 g), HR.csv
    (1 Hz, the band's own average), IBI.csv (time and length of each beat), tags.csv (when the
    button was pressed)

The first two lines tell the format, the name or the rate which of them it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clmer.data.channels import kind_of_name
from clmer.data.formats.source import StoredChannel
from clmer.data.formats.tables.layout import Layout, read_layout
from clmer.data.formats.tables.rows import read_numbers
from clmer.data.formats.tables.source import TableFile
from clmer.data.recording import Marker
from clmer.data.timeline import Piece, Timeline
from clmer.errors import DataError

#: Seconds since 1970 of any recording with such a band: 2010 to 2050.
_START = 1.26e9, 2.53e9
_MOST_HZ = 1000.0
#: Channel, type and unit by what a file's name tells, and by its columns and rate.
_TYPES = {
    "gsr": ("EDA", "gsr", "uS"),
    "temp": ("TEMP", "temp", "degC"),
    "ppg": ("BVP", "ppg", ""),
    "acc": ("ACC", "acc", "g"),
    "derived": ("HR", "derived", "1/min"),
}
_BY_RATE = {64.0: "ppg", 32.0: "acc", 1.0: "derived"}
#: Parts of g that an accelerometer's number counts.
_PER_G = 64.0
#: What a folder of a session holds; two of these tell it.
FILES = ("EDA.csv", "BVP.csv", "ACC.csv", "TEMP.csv", "HR.csv")


def is_session(path: Path) -> bool:
    """Whether a folder is a session of a band."""
    return sum((path / name).is_file() for name in FILES) >= 2


def files_of_folder(path: Path) -> list[Path]:
    """The files of a session that are read."""
    return [path / name for name in (*FILES, "tags.csv") if (path / name).is_file()]


def open_folder(path: Path) -> TableFile:
    """All channels of a session, on the clock of the one that starts first.

    Raises:
        DataError: a file of it that is none of a band's.
    """
    found = []
    for name in FILES:
        if (path / name).is_file():
            layout = read_layout(path / name)
            head = header(layout)
            if head is None:
                raise _no_header(layout.path)
            found.append((head[0], _parts(layout, *head)))
    origin = min(start for start, _ in found)
    return _joined(path, found, origin)


def _no_header(path: Path) -> DataError:
    return DataError(
        path,
        "line 1",
        "no time since 1970 above a rate",
        "Empatica's first two lines, such as 1700000000.000000 and 4.000000",
        "Take the file as Empatica exports it.",
    )


def header(layout: Layout) -> tuple[float, float] | None:
    """Start in seconds since 1970 and samples per second; None where it is no band's file.

    Raises:
        DataError: it is a band's, and none of samples (IBI.csv, tags.csv).
    """
    lines = layout.text.lstrip().split("\n", 2)[:2]
    rows = [[layout.number(cell) for cell in layout.cells(line)] for line in lines]
    first = rows[0][0] if rows[0] else None
    if first is None or not _START[0] < first < _START[1]:
        return None
    if len(rows[0]) == 2 and lines[0].upper().endswith("IBI"):
        raise DataError(
            layout.path,
            "rows",
            "the time and length of each heart beat",
            "samples at a steady rate",
            "Name BVP.csv of the same session, from which they were found.",
        )
    if len(rows) > 1 and len(rows[1]) == 1 and rows[1][0] is not None and rows[1][0] > _START[0]:
        raise DataError(
            layout.path,
            "rows",
            "the times at which the band's button was pressed",
            "samples at a steady rate",
            "They are read as markers with the other files of the same folder.",
        )
    if len(rows) < 2 or not rows[1] or len(rows[0]) != len(rows[1]):
        return None
    fs = rows[1][0]
    same = len(set(rows[0])) == 1 and len(set(rows[1])) == 1
    return (first, fs) if same and fs is not None and 0 < fs <= _MOST_HZ else None


def open_file(layout: Layout, start: float, fs: float) -> TableFile:
    """One file of a session.

    Args:
        layout: how it is written.
        start: seconds since 1970.
        fs: samples per second.

    Raises:
        DataError: a cell that is no number.
    """
    return _joined(layout.path, [(start, _parts(layout, start, fs))], start)


Part = tuple[str, str, str, np.ndarray, float]


def _parts(layout: Layout, start: float, fs: float) -> list[Part]:
    """Label, type, unit, samples and rate of each column."""
    width = len(layout.cells(layout.text.lstrip().split("\n", 1)[0]))
    values, _ = read_numbers(layout, range(width))
    kind = kind_of_name(layout.path.stem.replace("_", " "))
    if kind not in _TYPES or (kind == "acc") != (width == 3):
        kind = "acc" if width == 3 else _BY_RATE.get(fs, "")
    label, told, unit = _TYPES.get(kind, (layout.path.stem, "unknown", ""))
    data = values[2:].T / (_PER_G if kind == "acc" else 1.0)
    if not np.isfinite(data).all():
        row = int(np.flatnonzero(~np.isfinite(data).all(axis=0))[0])
        line = f"line {layout.line + row + 2}"
        raise DataError(layout.path, line, "no number", "one per sample", "Export it again.")
    labels = [f"{label}_{axis}" for axis in "xyz"] if width == 3 else [label]
    return [(name, told, unit, x, fs) for name, x in zip(labels, data, strict=True)]


def _joined(path: Path, found: list[tuple[float, list[Part]]], origin: float) -> TableFile:
    parts = [(start - origin, part) for start, each in found for part in each]
    lines = [Timeline(fs, (Piece(late, 0, len(x)),)) for late, (_, _, _, x, fs) in parts]
    folder = path if path.is_dir() else path.parent
    tags = folder / "tags.csv"
    files = files_of_folder(path) if path.is_dir() else [path]
    return TableFile(
        tuple(StoredChannel(label, fs, unit, told) for _, (label, told, unit, _, fs) in parts),
        tuple(part[3] for _, part in parts),
        tuple(lines),
        tuple(dict.fromkeys([*files, *([tags] if tags.is_file() else [])])),
        markers=_tags(tags, origin),
    )


def _tags(path: Path, origin: float) -> tuple[Marker, ...]:
    """When the button was pressed, on the recording's clock.

    Raises:
        DataError: a line that is no time.
    """
    lines = path.read_text(encoding="utf-8-sig").split() if path.is_file() else []
    markers = []
    for i, line in enumerate(lines, start=1):
        try:
            markers.append(Marker(float(line) - origin, 0.0, f"tag {i}"))
        except ValueError as error:
            expected = "seconds since 1970"
            raise DataError(path, f"line {i}", repr(line), expected, "Export it again.") from error
    return tuple(markers)
