"""Small tables as people save them: encoding, separator, decimal sign and missing values.

A spreadsheet writes "CSV" with semicolons where the comma is the decimal sign, in UTF-8 with or
without a mark, UTF-16 or Windows-1252, with `sep=;` on top and empty rows at the end. All of that
is read; what could be read in two ways is refused by the reader that asks for a number.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clmer.errors import DataError
from clmer.text import folded

#: How tables spell a value that is not there (BIDS, R, pandas, SQL, SPSS, people), without case,
#: spaces, brackets around it and a point at its end.
MISSING = frozenset(
    "n/a n\\a na n.a none null nil nat missing missingvalue undefined notavailable notapplicable "
    "noanswer novalue nodata n.d k.a keineangabe \\n na_character_ na_integer_ na_real_".split()
)
#: Dashes, dots and the like alone; what C's printf makes of no number; a spreadsheet's errors in
#: any language (#N/A, #NV, #WERT!, #NOM?).
_ABSENT = re.compile(
    r"(?!\.\.$)[-\u2010-\u2015\u2212_.?*~\u00b7/\\#]*|[+-]?nan(\(\w*\))?|"
    r"[+-]?(\d*\.)?#([qs]nan|ind)\d*|#n[av]|#[^\W\d]{1,2}/\w+|#.*[!?]"
)
_BRACKETS = {"<": ">", "(": ")", "[": "]", "{": "}"}
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
#: A number whose comma is its decimal sign.
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
#: Numbers whose commas, or points, may stand between thousands.
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
THOUSANDS_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", re.ASCII)
#: What a spreadsheet obeys above a table: "sep=;".
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
#: Marks that begin a text, and its encoding; UTF-32 first, whose mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_INVISIBLE = "\u200b\u2060\ufeff"


@dataclass(frozen=True)
class Table:
    """A header and its rows.

    Args:
        path: the file.
        names: the header's cells.
        rows: number of the line in the file, and its cells: `lines` has them checked.
        separator: between cells.
        notes: what was odd about the file and how it was read.
        decimal_comma: whether it holds numbers whose comma is a decimal sign for certain.
    """

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]
    separator: str
    notes: tuple[str, ...]
    decimal_comma: bool = False

    def lines(self) -> list[tuple[int, list[str]]]:
        """Number of each row's line, and as many cells as there are names: a row may end early.

        Raises:
            DataError: a row has more cells than the header.
        """
        lines = []
        for line, cells in self.rows:
            count = len(_trimmed(cells))
            if count > len(self.names):
                raise DataError(
                    self.path,
                    f"line {line}",
                    f"more cells than the header, {count} and {len(self.names)}, separated by "
                    f"{SEPARATORS[self.separator]}",
                    "one cell per column",
                    "A cell that holds the separator (a decimal comma, say) needs quotation marks.",
                )
            lines.append((line, [*cells, *[""] * len(self.names)][: len(self.names)]))
        return lines

    def plain(self, text: str) -> str:
        """A number with a decimal comma as one with a point; anything else as it is.

        "1,234" is left alone where cells are not separated by semicolons: it may be thousands.
        """
        text = text.replace("\u2212", "-")  # a typographic minus
        if not DECIMAL_COMMA.fullmatch(text):
            return text
        if self.separator != ";" and THOUSANDS.fullmatch(text):
            return text
        return text.replace(",", ".")

    def number(self, text: str) -> float | None:
        """A finite number, with a decimal point or comma, or None.

        "1.000" is none where the table's other numbers have decimal commas: it may be thousands.
        """
        if self.decimal_comma and THOUSANDS_POINT.fullmatch(text):
            return None
        return number(self.plain(text))


def number(text: str) -> float | None:
    """A finite number in digits, or None ("1_000", "inf" and "nan" are none)."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    key = folded(text)
    if key[:1] in _BRACKETS and key[-1:] == _BRACKETS[key[0]]:
        key = key[1:-1]
    return key.rstrip(".") in MISSING or _ABSENT.fullmatch(key) is not None


def read_table(path: Path) -> Table:
    """Read a small table.

    Raises:
        DataError: it is no text, or a cell has several lines.
    """
    text, notes = decoded(path)
    lines = re.split("\r\n|\r|\n", text)
    at = next((i for i, line in enumerate(lines) if line.strip()), 0)
    first = lines[at] if lines else ""
    stated = SEPARATOR_LINE.fullmatch(first)
    if stated:
        lines[at] = ""  # so that line numbers stay
        first = next((line for line in lines[at + 1 :] if line.strip()), "")
    separator = stated[1] if stated and stated[1] in SEPARATORS else _separator(first)
    if stated and stated[1] == "\\":
        separator = "\t"
    records = _records(path, "\n".join(lines), separator)
    names, rows = (records[0][1], records[1:]) if records else ([], [])
    every = (cell for _, row in rows for cell in row)
    comma = separator == ";" and any(map(DECIMAL_COMMA.fullmatch, every))
    return Table(path, tuple(_trimmed(names)), tuple(rows), separator, tuple(notes), comma)


def decoded(path: Path) -> tuple[str, list[str]]:
    """The text of a file in whichever encoding it is, and what to say of that.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(path, "file", error, "a table that can be read") from error
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        found, hint = "a spreadsheet's workbook", "Save it as CSV UTF-8 in the spreadsheet."
        raise DataError(path, "text", found, "a table in UTF-8, which is plain text", hint)
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "")
    if not encoding:
        half = len(raw[:4000]) // 2 or 1
        for name, zeros in (("utf-16-le", raw[1:4000:2]), ("utf-16-be", raw[:4000:2])):
            if zeros.count(0) > half / 2:
                encoding = name
    notes = []
    try:
        try:
            text = raw.decode(encoding or "utf-8")
        except UnicodeDecodeError:
            if encoding:
                raise
            text = raw.decode("cp1252")
            notes.append(
                f"{path.name} is not in UTF-8: read as Windows-1252. If names come out wrong, save "
                "it as CSV UTF-8."
            )
        if "\0" in text:
            raise ValueError("a NUL character: no text")
    except ValueError as error:  # of which UnicodeDecodeError is one
        raise DataError(
            path,
            "text",
            error,
            "a table in UTF-8 (UTF-16 and Windows-1252 are read too)",
            "Save it as CSV UTF-8.",
        ) from error
    return text.lstrip(_INVISIBLE), notes


def _separator(header: str) -> str:
    """What separates most cells of the header, commas where several do equally well."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=lambda separator: (bare.count(separator), separator == ","))


def _records(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that has any."""
    try:
        return list(_each(path, text, separator))
    except csv.Error as error:
        raise DataError(
            path, "text", error, f"a table of cells separated by {SEPARATORS[separator]}"
        ) from error


def _each(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    first = 1
    for row in reader:
        cells = [bare(cell) for cell in row]
        for cell in cells:
            if "\n" in cell:
                raise DataError(
                    path,
                    f"line {first}",
                    f"a cell that goes on to line {reader.line_num}",
                    "one line per row",
                    'A quotation mark (") may lack its second one.',
                )
        first = reader.line_num + 1
        if any(cells):
            yield reader.line_num, cells


def bare(text: str) -> str:
    """Without spaces around it, and without a spreadsheet's marks of text: ="007"."""
    text = text.strip().strip(_INVISIBLE).strip()
    quoted = re.fullmatch(r'="(.*)"', text)
    return quoted[1].strip() if quoted else text


def _trimmed(cells: list[str]) -> list[str]:
    """Without the empty cells that end a line."""
    count = len(cells)
    while count and not cells[count - 1]:
        count -= 1
    return cells[:count]
