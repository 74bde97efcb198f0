"""Where a device's table has its header, units and rows, and what separates its cells.

Programs put comments (`%`, `#`), blocks of `key: value`, a `sep=` line and a second line of units
around the names of the columns. The rows tell all of it: they are the lines that go on to the end
with numbers in the same places.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clmer.data import units
from clmer.data.formats import AS_ARRAY
from clmer.data.formats.delimited import (
    DECIMAL_COMMA,
    SEPARATOR_LINE,
    bare,
    decoded,
    is_missing,
    number,
)
from clmer.data.formats.tables.foreign import refuse_foreign
from clmer.errors import DataError

#: Characters and lines among which the header is.
_HEAD, _LINES = 2**20, 400
#: Lines whose cells may tell another kind of table.
_WORDS = 40
#: So many digits behind each line's only comma are a fraction.
_DIGITS = 4
_MOST_COLUMNS = 4096
_COMMENT = "%#"
_MAX_BYTES = 2**31
#: Seconds of one of a time column's units.
SECONDS = {
    **dict.fromkeys(("min", "mins", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "\u00b5s", "\u03bcs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
}
_IN_BRACKETS = re.compile(r"(.*\S)\s*[(\[{]\s*([^()\[\]{}]+?)\s*[)\]}]")
_AT_END = re.compile(
    r"(.*[^_ ])[_ ]+(ns|ms|us|\u00b5s|s|sec|seconds|[u\u00b5\u03bcmn]?V|[u\u00b5\u03bc]S|kOhms?)"
)
#: Words in a line of units for a column that has none, and those that say how it was made.
_NO_UNIT = ("", "-", "no units", "no_units", "n/a", "none")
_MADE = ("cal", "raw", "uncal", "calibrated", "uncalibrated")


@dataclass(frozen=True)
class Layout:
    r"""How a table is written.

    Args:
        path: the file.
        text: all of it, with "\n" at the ends of lines.
        line: number of the first row's line, from 1.
        start: of the first row in `text`.
        separator: between cells; "" for runs of blanks, "\n" for one cell per line.
        decimal_comma: whether numbers have one.
        names: of the columns as written, without units; "" where there are none.
        spelt: unit of each column; "" where the file does not say.
        numeric: whether the first rows have numbers in each column.
        headless: whether no line names the columns.
        above: comments without their marks, and the lines above the names.
        notes: what was odd.
    """

    path: Path
    text: str
    line: int
    start: int
    separator: str
    decimal_comma: bool
    names: tuple[str, ...]
    spelt: tuple[str, ...]
    numeric: tuple[bool, ...]
    headless: bool
    above: tuple[str, ...]
    notes: tuple[str, ...]

    def cells(self, line: str) -> list[str]:
        """The cells of a line."""
        return split(line, self.separator)

    def number(self, cell: str) -> float | None:
        """The number in a cell; None where there is none."""
        return number(cell.replace(",", ".") if self.decimal_comma else cell)


def split(line: str, separator: str) -> list[str]:
    """The cells of a line, without the spaces and marks around them."""
    if separator == "\n":
        return [bare(line)]
    if not separator:
        return line.split()
    row = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return [bare(cell) for cell in row]


def read_layout(path: Path) -> Layout:
    """Find header and rows.

    Raises:
        DataError: no text, or no rows of numbers.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        found = f"{size / 2**30:.1f} GiB"
        raise DataError(path, "size", found, "at most 2 GiB", "Cut it into parts.")
    text, notes = decoded(path)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text[:_HEAD].split("\n")[:_LINES]
    comments, kept, stated = _sorted(lines)
    if not kept:
        raise no_rows(path, comments[0] if comments else "")
    sample = [lines[i] for i in kept[len(kept) // 2 :]]
    separator = _stated(stated) or _separator(sample, lines[kept[0]])
    try:
        rows = [split(line, separator) for line in sample]
        every = [split(lines[i], separator) for i in kept]
    except csv.Error as error:
        raise DataError(path, "text", error, "a table of numbers") from error
    words = [cell for row in every[:_WORDS] for cell in row]
    refuse_foreign(path, [line.rstrip(",;\t") for line in comments] + words)
    comma = separator != "," and any(DECIMAL_COMMA.fullmatch(c) for row in rows for c in row)
    numeric = _numeric(rows, comma)
    if not any(numeric):
        raise no_rows(path, lines[kept[0]])
    if len(numeric) > _MOST_COLUMNS:
        raise DataError(
            path,
            "columns",
            f"{len(numeric)} in {len(kept)} lines",
            "a row per sample and a column per channel",
            "It looks like a row per channel: save its transpose.",
        )
    first = next(i for i, row in enumerate(every) if _is_data(row, numeric, comma))
    head = every[:first]
    names, spelt, named = _names(head, comments, separator, len(numeric))
    if named and len(names) == len(numeric) - 1 and _are_rows(every[first:], comma):
        names, spelt = ["Row", *names], ["", *spelt]  # R leaves the header one cell short
    count = max(len(names), _width(numeric, rows))
    return Layout(
        path,
        text,
        kept[first] + 1,
        sum(len(line) + 1 for line in lines[: kept[first]]),
        separator,
        comma,
        (*names, *[""] * count)[:count],
        (*spelt, *[""] * count)[:count],
        (*numeric, *[False] * count)[:count],
        not named,
        (*comments, *(lines[i] for i in kept[:first])),
        tuple(notes),
    )


def no_rows(path: Path, first: str, count: int = 0) -> DataError:
    """What to say of a text without rows of numbers, or with too few."""
    return DataError(
        path,
        "rows",
        f"{count or 'none'} of numbers in {first[:60]!r} ...",
        "a table of samples: names of columns, then a row of numbers per sample",
        f"Export it as CSV or EDF, if its program can. {AS_ARRAY}",
    )


def _sorted(lines: Sequence[str]) -> tuple[list[str], list[int], str]:
    """Comments without marks, numbers of the other lines with text, and what a sep= line states."""
    comments: list[str] = []
    kept: list[int] = []
    stated = ""
    for i, line in enumerate(lines):
        clean = line.strip().lstrip("\"'")
        told = SEPARATOR_LINE.fullmatch(line.strip()) or re.fullmatch('"?sep=(\t)"?', line)
        if told and not kept:
            stated = told[1]
        elif clean[:1] and clean[0] in _COMMENT:
            comments.append(clean.lstrip(_COMMENT).strip())
        elif clean.strip(' ,;\t"'):
            kept.append(i)
    if len(kept) > 1 and len(lines) == _LINES:
        kept.pop()  # which the head may end within
    return comments, kept, stated


def _stated(mark: str) -> str:
    return "\t" if mark in ("\\", "\t") else mark if mark in (",", ";", "|") else ""


def _separator(sample: Sequence[str], head: str) -> str:
    """What nearly all lines have in equal numbers; a blank last, since it may be within a cell."""
    for separator in ("\t", ";", ",", "|"):
        counts = Counter(len(split(line, separator)) for line in sample)
        cells, often = counts.most_common(1)[0]
        if cells > 1 and often >= 0.9 * len(sample):
            alone = separator not in head and number(head.strip().replace(",", ".")) is None
            if separator == "," and all(map(DECIMAL_COMMA.fullmatch, sample)):
                digits = {len(line.partition(",")[2]) for line in sample}
                if alone or (len(digits) == 1 and max(digits) >= _DIGITS):
                    return "\n"  # "0,512" below "EDA", and "0,512000" anywhere, is one number
            return separator
    counts = Counter(len(line.split()) for line in sample)
    cells, often = counts.most_common(1)[0]
    return "" if cells > 1 and often >= 0.9 * len(sample) else "\n"


def _numeric(rows: Sequence[Sequence[str]], comma: bool) -> list[bool]:
    """Whether each column has numbers in the first rows and nothing else."""
    found = []
    widths = sorted(map(len, rows))
    for at in range(widths[len(widths) // 2]):
        cells = [row[at] for row in rows if at < len(row) and not is_missing(row[at])]
        good = sum(_number(cell, comma) is not None for cell in cells)
        found.append(bool(cells) and good >= max(1, 0.9 * len(cells)))
    return found


def _number(cell: str, comma: bool) -> float | None:
    return number(cell.replace(",", ".") if comma else cell)


def _is_data(row: Sequence[str], numeric: Sequence[bool], comma: bool) -> bool:
    """Whether a line has numbers wherever rows have them."""
    there = [cell for cell, is_number in zip(row, numeric, strict=False) if is_number]
    good = [_number(cell, comma) is not None for cell in there]
    every = all(ok or is_missing(cell) for ok, cell in zip(good, there, strict=True))
    return every and any(good) and len(row) >= 0.5 * len(numeric)


def _width(numeric: Sequence[bool], rows: Sequence[Sequence[str]]) -> int:
    """Columns that have something in them: a line may end with a separator."""
    filled = [i for i in range(len(numeric)) if any(i < len(row) and row[i] for row in rows)]
    return max(filled) + 1


def _names(
    head: Sequence[Sequence[str]], comments: Sequence[str], separator: str, width: int
) -> tuple[list[str], list[str], bool]:
    """Names and units of the columns, and whether a line has them."""
    full = [row for row in head if sum(map(bool, row)) >= max(1, 0.6 * width)]
    made = [row for row in full if all(cell.lower() in (*_MADE, "") for cell in row)]
    spelt = [row for row in full if row not in made and full.index(row) and _is_units(row)]
    rest = [row for row in full if row not in made and row not in spelt]
    if not rest and comments:  # what numpy.savetxt does with a header
        cells = split(comments[-1], separator)
        rest = [cells] if len(cells) == width and width > 1 else []
    if not rest:
        return [], [], False
    # A line may repeat the device in all cells; of others that which is next to the rows counts.
    names = max(reversed(rest), key=lambda row: min(len(set(row)), width))
    names = next((row for row in rest if row[0].lower() == "channeltitle="), names)
    while names and not names[-1]:
        names = names[:-1]
    pairs = [name_and_unit(name) for name in names]
    below = (*(spelt[-1] if spelt else ()), *[""] * len(pairs))
    told = ["" if unit.lower() in _NO_UNIT else unit.strip("[](){} ") for unit in below]
    return (
        [name for name, _ in pairs],
        [line or unit for line, (_, unit) in zip(told, pairs, strict=False)],
        True,
    )


def _are_rows(rows: Sequence[Sequence[str]], comma: bool) -> bool:
    """Whether the first cells are the numbers of the rows."""
    numbers = [_number(row[0], comma) if row else None for row in rows]
    pairs = zip(numbers, numbers[1:], strict=False)
    return len(rows) > 1 and all(a is not None and b is not None and b - a == 1 for a, b in pairs)


def _is_units(row: Sequence[str]) -> bool:
    cells = [cell for cell in row if cell.lower() not in _NO_UNIT]
    known = [is_time_unit(cell) or units.parse(cell) is not None for cell in cells]
    return bool(known) and sum(known) >= 0.6 * len(known)


def is_time_unit(text: str) -> bool:
    """Whether a unit is one of time: "us" is, "uS" (siemens) is not."""
    bare_unit = text.strip("[](){} ")
    siemens = bare_unit[-1:] == "S" and bare_unit[:-1] in ("u", "\u00b5", "\u03bc", "n", "m")
    return bare_unit.lower() in SECONDS and not siemens


def name_and_unit(name: str) -> tuple[str, str]:
    """A column's name without the unit behind it, "ecg [uV]" or "time_ms"."""
    for pattern in (_IN_BRACKETS, _AT_END):
        found = pattern.fullmatch(name)
        unit = found[2] if found and not found[2].isdigit() else ""
        if found and unit and (is_time_unit(unit) or units.parse(unit) is not None):
            return found[1], unit
    return name, ""
