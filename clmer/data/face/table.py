"""A tracker's CSV: the header first, then only the columns that are used."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.recording import DataError

#: Longest header line in bytes: Py-Feat's 2500 columns take 30 kB.
_MAX_HEADER = 2**20
_MAX_BYTES = 2**31

# An empty cell, which pandas writes for NaN; Windows builds of OpenFace write "-nan(ind)".
_EMPTY = {s: re.compile(rf"(?<={s})[ ]*(?={s}|$)|^[ ]*(?={s})", re.MULTILINE) for s in ",;\t"}
_WINDOWS_NAN = re.compile(r"-?nan\(\w*\)")


@dataclass(frozen=True)
class Header:
    """A CSV's first line.

    Args:
        path: the file.
        names: its columns, stripped of spaces and quotes.
        separator: between them; None for runs of spaces.
    """

    path: Path
    names: tuple[str, ...]
    separator: str | None


def read_header(path: Path) -> Header:
    """The columns of a comma, semicolon, tab or space separated table.

    Raises:
        DataError: no such file, or no text.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_MAX_HEADER).decode("utf-8-sig")
    except FileNotFoundError as error:
        expected = "an OpenFace CSV, or another face tracker's"
        raise DataError(path, "file", "nothing", expected) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, "file", error, "a readable text file") from error
    separator = next((s for s in (",", ";", "\t") if s in line), None)
    names = (name.strip().strip('"') for name in line.rstrip("\r\n").split(separator))
    return Header(path, tuple(names), separator)


def read_columns(header: Header, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Some columns by name, each [rows] float64; cells that are empty are NaN.

    Args:
        header: of the file.
        wanted: names, all of which the header has.

    Raises:
        DataError: no rows, a row cut short, a cell that is no number, a file above 2 GiB.
    """
    path, separator = header.path, header.separator
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise DataError(
            path, "size", f"{size / 2**30:.1f} GiB", "at most 2 GiB", "Cut the video into trials."
        )
    position = {name: i for i, name in reversed(list(enumerate(header.names)))}
    places = [position[name] for name in wanted]
    try:
        body = path.read_bytes().partition(b"\n")[2]
        table = _table(path, body, separator, places) if body.strip() else None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, "file", error, "a readable text file") from error
    except ValueError as error:
        raise DataError(
            path,
            "rows",
            str(error).rstrip("."),
            f"{len(header.names)} numbers a row",
            "The file may be truncated: make it again.",
        ) from error
    if table is None:
        raise DataError(path, "rows", "0 rows", "one row a video frame")
    return {name: table[:, i] for i, name in enumerate(wanted)}


def _table(path: Path, body: bytes, separator: str | None, places: Sequence[int]) -> np.ndarray:
    """Columns [rows, places]; of the body, mended, where NumPy cannot read the file as it is."""
    if b"nan(" not in body:
        try:  # by path NumPy reads in blocks, which is faster than line by line
            return _load(str(path), 1, separator, places)
        except ValueError:  # an empty cell, or what is then an error again
            pass
    return _load(io.StringIO(_with_nan(body.decode("utf-8"), separator)), 0, separator, places)


def _load(
    rows: str | io.StringIO, skip: int, separator: str | None, places: Sequence[int]
) -> np.ndarray:
    return np.loadtxt(
        rows,
        delimiter=separator,
        skiprows=skip,
        usecols=places,
        ndmin=2,
        comments=None,
        quotechar='"',
        encoding="utf-8-sig",
    )


def _with_nan(body: str, separator: str | None) -> str:
    """Rows in which empty cells, and those of Windows, are "nan"."""
    if "nan(" in body:
        body = _WINDOWS_NAN.sub("nan", body)
    if separator in _EMPTY and separator * 2 in body.replace(" ", ""):
        body = _EMPTY[separator].sub("nan", body)
    return body
