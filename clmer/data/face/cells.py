"""A table that NumPy cannot read as it stands, cell by cell; errors name the line of the file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clmer.data.formats.delimited import DECIMAL_COMMA, is_missing
from clmer.data.formats.tables.times import DAY_S, clock_seconds, has_date, is_clock_time
from clmer.errors import DataError

#: Truth values of R, pandas, and of spreadsheets in English and German.
_TRUTH = {"true": 1.0, "false": 0.0, "wahr": 1.0, "falsch": 0.0}
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b")
_POINTS = "Save the table with decimal points and without thousands separators."


@dataclass
class _Reader:
    """Numbers of the wanted cells; notices which decimal mark the table uses, where, and clocks."""

    path: Path
    names: Sequence[str]
    places: Sequence[int]
    comma: str = ""
    point: str = ""
    #: Times as a clock shows them, by column and line.
    clocks: dict[str, dict[int, str]] = field(default_factory=dict)

    def row(self, line: int, row: list[str]) -> list[float]:
        """The wanted cells of a row as numbers."""
        wanted = [row[i] for i in self.places]
        joined = "\n".join(wanted)
        if "," not in joined and "_" not in joined:  # float() takes 1_000
            self.point = self.point or (f"line {line}" if "." in joined else "")
            try:
                return list(map(float, wanted))
            except ValueError:
                pass
        elif "." not in joined and "_" not in joined:
            try:
                values = list(map(float, joined.replace(",", ".").split("\n")))
                self.comma = self.comma or f"line {line}"
                return values
            except ValueError:
                pass
        names = (self.names[i] for i in self.places)
        return [self._number(line, *pair) for pair in zip(names, wanted, strict=True)]

    def _number(self, line: int, name: str, cell: str) -> float:
        text = cell.strip().strip('"').strip()
        if is_missing(text):
            return np.nan
        if text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        if is_clock_time(text):
            self.clocks.setdefault(name, {})[line] = text
            return np.nan  # `seconds` has it
        where = f"line {line}, {name}"
        try:
            if "," not in text and "_" not in text:
                self.point = self.point or (where if "." in text else "")
                return float(text)
            if DECIMAL_COMMA.fullmatch(text):
                self.comma = self.comma or where
                return float(text.replace(",", "."))
        except ValueError:
            pass
        hint = _POINTS if re.fullmatch(r"[-+\d., ']+", text) else ""
        if _DATE.match(text):
            hint = "Write times as seconds from the video's start."
        if text == name:
            hint = "Two tables in one file? Split it there: one CSV per clip."
        raise DataError(self.path, where, repr(text[:40]), "a number", hint)

    def seconds(self, name: str, lines: Sequence[int]) -> np.ndarray:
        """A column of clock times [rows], NaN where a row has another number or none.

        They go on at midnight, and back where another face's rows follow. Those with dates begin on
        the second day, so that they are known to be none since the video's start.
        """
        cells = self.clocks[name]
        rows = [i for i, line in enumerate(lines) if line in cells]
        texts = [cells[lines[i]] for i in rows]
        times = np.full(len(lines), np.nan)
        times[rows] = clock_seconds(texts, several=True)
        if any(map(has_date, texts)):
            times += DAY_S - np.nanmin(times)
        return times

    def check_marks(self) -> None:
        """Refuse a table in which commas may be decimal marks or separate thousands."""
        if self.comma and self.point:
            raise DataError(
                self.path,
                self.comma,
                f"a comma in a number, and a point in {self.point}",
                "one decimal mark throughout",
                _POINTS,
            )


def read(
    path: Path,
    text: str,
    names: Sequence[str],
    places: Sequence[int],
    *,
    separator: str | None,
    skip: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Some columns of a table.

    Args:
        path: the file, for messages.
        text: all of it.
        names: its columns.
        places: which of them.
        separator: between cells; None for runs of spaces.
        skip: lines up to and with the header.

    Returns:
        Values [rows, places] with NaN for what is missing, without empty rows at the end; the line
        of each row in the file, from 1.

    Raises:
        DataError: a row of another length than the header, or a cell that is no number.
    """
    reader = _Reader(path, names, places)
    needed = len(names)
    while needed > 1 and not names[needed - 1]:
        needed -= 1  # a separator at the line's end names no column
    values: list[list[float]] = []
    lines: list[int] = []
    filled = 0
    rows = _rows(path, text, separator, skip)
    for line, row in rows:
        blank = not any(cell.strip() for cell in row)
        if not blank and (len(row) < needed or any(cell.strip() for cell in row[len(names) :])):
            last = next((False for _, other in rows if any(c.strip() for c in other)), True)
            raise _wrong_length(path, line, row, len(names), separator, _is_cut(last, text))
        # an empty row may stand for a frame, unless nothing follows
        values.append([np.nan] * len(places) if blank else reader.row(line, row))
        lines.append(line)
        filled = filled if blank else len(values)
    reader.check_marks()
    table = np.array(values[:filled], dtype=np.float64).reshape(filled, len(places))
    for k, i in enumerate(places):
        if names[i] in reader.clocks:
            seconds = reader.seconds(names[i], lines[:filled])
            table[:, k] = np.where(np.isfinite(seconds), seconds, table[:, k])
    return table, np.array(lines[:filled], dtype=np.int64)


def _rows(
    path: Path, text: str, separator: str | None, skip: int
) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row after the header, and its line; lines without any character are no rows."""
    if separator is not None and '"' in text:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True
        )
        try:
            for row in reader:
                if reader.line_num > skip and row:
                    yield reader.line_num, row
        except csv.Error as error:
            where = f"line {reader.line_num}"
            raise DataError(path, where, error, "cells of a table") from error
        return
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for at, line in enumerate(lines[skip:], start=skip + 1):
        if line.strip(" "):
            yield at, line.split(separator)


def _is_cut(last: bool, text: str) -> bool:
    return last and not text.endswith(("\n", "\r"))


def _wrong_length(
    path: Path, line: int, row: list[str], expected: int, separator: str | None, cut: bool
) -> DataError:
    found = f"{len(row)} cells"
    if cut and len(row) < expected:
        found += " in the last row, which has no line end"
        hint = "The file may be truncated: make it again."
    elif len(row) < expected:
        hint = "Every row needs a cell for each column, empty where there is no value."
    elif separator == ",":
        hint = (
            "A decimal comma (0,98) or a comma in a text makes one cell more: write decimal points "
            "and quote texts. R's write.table adds row names: use row.names = FALSE."
        )
    else:
        hint = "R's write.table adds row names: use row.names = FALSE."
    return DataError(path, f"line {line}", found, f"{expected} as in the header", hint)
