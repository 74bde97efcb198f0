"""A table's rows: numbers [rows, columns], and the cells of a column of text.

A plain file is read by NumPy. One with missing cells, comments among its rows, or text where a
number should be is read cell by cell, which knows the line of what it cannot read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from clmer.data.formats.delimited import THOUSANDS, THOUSANDS_POINT, bare, is_missing
from clmer.data.formats.tables.layout import Layout, name_and_unit, no_rows, split
from clmer.errors import DataError

#: Rows that are turned into an array at once.
_BLOCK = 2**15
_THREE = re.compile(r"[+-]?[1-9]\d\d", re.ASCII)


def read_numbers(layout: Layout, columns: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    """Some columns [rows, len(columns)] float64, NaN for a missing cell; and what was odd.

    Raises:
        DataError: fewer than two rows, a row of another length, a cell that is no number.
    """
    plain = _plain(layout, columns)
    values, notes = (plain, []) if plain is not None else _cell_by_cell(layout, columns)
    if len(values) < 2:
        raise no_rows(layout.path, layout.text.split("\n", 1)[0], len(values))
    _check_thousands(layout, columns, values)
    return values, notes


def _check_thousands(layout: Layout, columns: Sequence[int], values: np.ndarray) -> None:
    """Refuse a column whose decimal signs may stand between thousands.

    All its numbers with a sign look so ("1,275"), and others have three digits without one ("910"),
    or the table's decimal sign is another, or nothing else in it tells what the sign is.

    Raises:
        DataError: there is one.
    """
    broken = [k for k, x in enumerate(values.T) if (np.isfinite(x) & (x != np.rint(x))).any()]
    found = {}
    for k in broken:
        x = np.abs(values[np.isfinite(values[:, k]), k])
        part = x[x != np.rint(x)]
        whole = np.allclose(1e3 * part, np.rint(1e3 * part), rtol=0, atol=1e-6)
        if whole and part.min() >= 1 and part.max() < 1000:
            cells = read_text(layout, columns[k])
            marked = [cell for cell in cells if "," in cell or "." in cell]
            if marked and all(
                THOUSANDS.fullmatch(c) or THOUSANDS_POINT.fullmatch(c) for c in marked
            ):
                found[k] = marked[0], next(filter(_THREE.fullmatch, cells), "")
    alone = layout.decimal_comma and layout.separator != ";" and set(found) == set(broken)
    for k, (example, beside) in found.items():
        if beside or alone or (layout.decimal_comma and "." in example):
            raise DataError(
                layout.path,
                layout.names[columns[k]] or f"column {columns[k] + 1}",
                repr(example) + (f" beside {beside!r}" if beside else ""),
                "numbers of which it is clear whether they are thousands or have decimals",
                "Save it without signs between thousands, or with the same decimals in all cells.",
            )


def read_text(layout: Layout, column: int) -> list[str]:
    """The cells of a column, one per row of `read_numbers`."""
    return [bare(row[column]) if column < len(row) else "" for _, row in _rows(layout)]


def _plain(layout: Layout, columns: Sequence[int]) -> np.ndarray | None:
    """By NumPy; None where it cannot read a cell, or would take one for what it is not."""
    body = layout.text[layout.start :]
    if '"' in body or layout.separator in ("|", "\n"):
        return None
    body = body.replace(",", ".") if layout.decimal_comma else body
    try:
        values = np.loadtxt(
            io.StringIO(body),
            delimiter=layout.separator or None,
            usecols=list(columns),
            comments=None,
            ndmin=2,
        )
    except ValueError:
        return None
    if np.isinf(values).any():
        return None
    separators = body.count(layout.separator) if layout.separator else 0
    each = body.split("\n", 1)[0].count(layout.separator) if layout.separator else 0
    return values if separators == each * len(values) else None  # a row has a cell too many


def _rows(layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Number of its line, and the cells, of every row: neither empty nor a comment.

    Raises:
        DataError: more cells than columns, or a cell that goes on in the next line.
    """
    lines = layout.text[layout.start :].split("\n")
    places = [i for i, line in enumerate(lines) if line.strip() and line.lstrip()[0] not in "%#"]
    kept = (lines[i] for i in places)
    rows: Iterator[list[str]]
    if layout.separator in ("", "\n"):
        rows = (split(line, layout.separator) for line in kept)
    else:
        rows = csv.reader(kept, delimiter=layout.separator, skipinitialspace=True)
    width = len(layout.names)
    number = layout.line
    try:
        for place, row in zip(places, rows, strict=True):
            number = layout.line + place
            while len(row) > width and not row[-1].strip():
                row.pop()
            if len(row) > width:
                raise DataError(
                    layout.path,
                    f"line {number}",
                    f"{len(row)} cells",
                    f"{width}, as in the lines before",
                    "A cell that holds the separator (a decimal comma, say) needs quotation marks; "
                    "two recordings in one table need a file each.",
                )
            yield number, row
    except csv.Error as error:
        raise DataError(layout.path, f"line {number + 1}", error, "a row of cells") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            layout.path,
            "rows",
            "a cell that goes on in the next line",
            "one line per row",
            'A quotation mark (") may lack its second one.',
        ) from error


def _cell_by_cell(layout: Layout, columns: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    blocks, rows = [], _rows(layout)
    last: tuple[int, list[str]] = (0, [])
    while block := list(islice(rows, _BLOCK)):
        values = _block(layout, [row for _, row in block], columns)
        if values is None:
            values = np.array([[_value(layout, at, row, c) for c in columns] for at, row in block])
        blocks.append(values)
        last = block[-1]
    if not blocks:
        return np.empty((0, len(columns))), []
    values, notes = np.concatenate(blocks), []
    cut = len(last[1]) <= max(columns) and not layout.text.endswith("\n")
    if cut and len(values) > 1:
        values = values[:-1]
        notes.append(f"{layout.path.name} ends within line {last[0]}, which is left out")
    return values, notes


def _block(
    layout: Layout, rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> np.ndarray | None:
    """Columns of some rows, empty cells as NaN; None where a cell is anything but a number."""
    try:
        if layout.decimal_comma:
            read = [[float(row[c].replace(",", ".") or "nan") for row in rows] for c in columns]
        else:
            read = [[float(row[c] or "nan") for row in rows] for c in columns]
    except (ValueError, IndexError):
        return None
    values = np.array(read).T
    return None if np.isinf(values).any() else values


def _value(layout: Layout, line: int, row: Sequence[str], column: int) -> float:
    """The number in a cell; NaN where it says that there is none.

    Raises:
        DataError: text.
    """
    cell = row[column] if column < len(row) else ""
    try:
        found: float | None = float(cell)  # which nearly every cell is
    except ValueError:
        found = layout.number(bare(cell))
    if found is not None and abs(found) != np.inf:
        return found
    if is_missing(cell) or (not layout.text.endswith("\n") and column >= len(row) - 1):
        return np.nan
    name = layout.names[column] or f"column {column + 1}"
    hint = "Is the header there twice? Two recordings need a file each."
    if name_and_unit(bare(cell))[0] != layout.names[column]:
        hint = "Leave the cell empty where a sample is missing."
    raise DataError(layout.path, f"line {line}, {name}", repr(cell), "a number", hint)
