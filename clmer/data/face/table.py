"""A tracker's CSV: the header first, then only the columns that are used.

A plain file is read by NumPy. One that went through a spreadsheet, R or pandas (decimal commas,
quotes, UTF-16, NA cells, empty rows) is read cell by cell (`cells.py`), which also finds the line
of whatever cannot be read.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.face import cells
from clmer.errors import DataError

#: Longest header line in bytes: Py-Feat's 2500 columns take 30 kB.
_MAX_HEADER = 2**20
_MAX_BYTES = 2**31
#: Lines among which the header is.
_MAX_LINES = 100
_SEPARATORS = ",;\t"
#: What Excel reads, and some programs write, before the header.
_SEP_LINE = re.compile(r'"?sep=(.)"?')


@dataclass(frozen=True)
class Header:
    """A CSV's first line.

    Args:
        path: the file.
        names: its columns, stripped of spaces and quotes.
        separator: between them; None for runs of spaces.
        line: its number in the file, from 1.
        encoding: of the file's text.
    """

    path: Path
    names: tuple[str, ...]
    separator: str | None
    line: int = 1
    encoding: str = "utf-8-sig"


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a CSV.

    Args:
        columns: [rows] float64 by name; what is missing is NaN.
        lines: [rows] the line of each row in the file, from 1.
    """

    columns: dict[str, np.ndarray]
    lines: np.ndarray


def read_header(path: Path) -> Header:
    """The columns of a comma, semicolon, tab or space separated table.

    Raises:
        DataError: no such file, or no text.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_HEADER)
        encoding = _encoding(start)
        at, line, told = _header_line(start, encoding)
    except FileNotFoundError as error:
        expected = "an OpenFace CSV, or another face tracker's"
        raise DataError(path, "file", "nothing", expected) from error
    except (OSError, UnicodeDecodeError) as error:
        hint = "It is no face tracker's CSV: signals go under another modality (not `face`)."
        hint = hint if isinstance(error, UnicodeDecodeError) else ""
        raise DataError(path, "file", error, "a readable text file", hint) from error
    separator = told or _separator(line)
    if separator is None and line.startswith('"') and _separator(line.replace('"', "")):
        found, expected = "each line as one quoted cell", "a cell for each column"
        raise DataError(path, "header", found, expected, "Save it again as CSV, without quotes.")
    names = _names(path, line, separator)
    if line and not any(re.search(r"[A-Za-z]", name) for name in names):
        found, expected = f"{line[:40]!r} as its header", "a readable text file of named columns"
        raise DataError(path, "file", found, expected)
    return Header(path, names, separator, at, encoding)


def _header_line(start: bytes, encoding: str) -> tuple[int, str, str]:
    """Number and text of the first line that is not empty, and what a line before says of it."""
    if encoding == "utf-8-sig":  # the rows may hold what is no UTF-8, such as a file's name
        lines = re.split(rb"\r\n|\r|\n", start, maxsplit=_MAX_LINES)[:_MAX_LINES]
    else:
        text = start.decode(encoding, "ignore" if len(start) == _MAX_HEADER else "strict")
        lines = [line.encode() for line in re.split(r"\r\n|\r|\n", text)]
    separator = ""
    for at, raw in enumerate(lines, start=1):
        line = raw.decode("utf-8-sig")
        told = _SEP_LINE.fullmatch(line.strip())
        if told and not separator:
            separator = told[1]
        elif line.strip(' ,;\t"'):
            return at, line, separator
    return 1, "", separator


def _encoding(start: bytes) -> str:
    """By the byte order mark, or by the zeros that UTF-16 has between ASCII letters."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = [start[i:200:2].count(0) for i in (0, 1)]
    if len(start) > 3 and max(zeros) > 0.9 * len(start[1:200:2]) and min(zeros) == 0:
        return "utf-16-be" if zeros[0] else "utf-16-le"
    return "utf-8-sig"


def _separator(line: str) -> str | None:
    """The most frequent one outside of quotes."""
    counts = Counter(re.sub(r'"[^"]*"', "", line))
    best = max(_SEPARATORS, key=lambda s: counts[s])
    return best if counts[best] else None


def _names(path: Path, line: str, separator: str | None) -> tuple[str, ...]:
    if separator is None:
        names = line.split()
    else:
        try:
            names = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
        except (csv.Error, ValueError) as error:
            raise DataError(path, "header", error, "names of columns") from error
    return tuple(name.strip().strip('"').strip() for name in names)


def read_columns(header: Header, wanted: Sequence[str]) -> Table:
    """Some columns by name; cells that are empty are NaN.

    Args:
        header: of the file.
        wanted: names, all of which the header has.

    Raises:
        DataError: no rows, a row of another length than the header, a cell that is no number, a
            column that is there twice with different values, a file above 2 GiB.
    """
    path = header.path
    try:
        size = os.path.getsize(path)
        if size > _MAX_BYTES:
            found, most = f"{size / 2**30:.1f} GiB", "at most 2 GiB"
            raise DataError(path, "size", found, most, "Cut the video into trials.")
        body = path.read_bytes()
    except OSError as error:
        raise DataError(path, "file", error, "a readable text file") from error
    by_name: dict[str, list[int]] = {}
    for place, name in enumerate(header.names):
        by_name.setdefault(name, []).append(place)
    places = [place for name in wanted for place in by_name.get(name, ())]
    read = _plain(header, body, places)
    values, lines = read if read is not None else _cell_by_cell(header, body, places)
    if not len(values):
        raise DataError(path, "rows", "0 rows", "one row per video frame")
    columns: dict[str, np.ndarray] = {}
    for place, column in zip(places, values.T, strict=True):
        name = header.names[place]
        if not np.array_equal(columns.setdefault(name, column), column, equal_nan=True):
            raise DataError(
                path,
                f"header, {name}",
                "two columns of that name with different values",
                "each name once",
                "Two tables may have been joined side by side: keep one person's columns.",
            )
    return Table(columns, lines)


def _cell_by_cell(
    header: Header, body: bytes, places: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    # what is no text can only stand in columns that are not used, or is no number and is said
    text = body.decode(header.encoding, "replace")
    return cells.read(
        header.path, text, header.names, places, separator=header.separator, skip=header.line
    )


def _plain(
    header: Header, body: bytes, places: Sequence[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Values [rows, places] and lines [rows] of a file as trackers write them, else None."""
    lines = _lines(header, body)
    if lines is None or not len(lines):
        return None
    try:  # by path NumPy reads in blocks, which is faster than line by line
        values = np.loadtxt(
            str(header.path),
            delimiter=header.separator,
            skiprows=header.line,
            usecols=places,
            ndmin=2,
            comments=None,
            encoding="utf-8-sig",
        )
    except ValueError:  # a cell that NumPy cannot read: a missing one, or an error that needs words
        return None
    return (values, lines) if len(values) == len(lines) else None


def _lines(header: Header, body: bytes) -> np.ndarray | None:
    """The lines of the rows, if all have as many cells as the header and none has quotes."""
    if header.separator is None or header.encoding != "utf-8-sig":
        return None
    if b"\r" in body and body.count(b"\r") != body.count(b"\r\n"):
        return None
    data = np.frombuffer(body, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    if not body.endswith(b"\n"):
        ends = np.append(ends, len(data))
    if len(ends) <= header.line or body.find(b'"', ends[header.line - 1]) >= 0:
        return None
    separators = np.flatnonzero(data == ord(header.separator))
    counts = np.diff(np.searchsorted(separators, ends), prepend=0)
    rows = np.diff(ends, prepend=-1) > (2 if b"\r" in body else 1)
    rows[: header.line] = False
    if (counts[rows] != len(header.names) - 1).any():
        return None
    return np.flatnonzero(rows) + 1
