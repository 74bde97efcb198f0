"""`manifest.csv`, the table of one's own recordings: read and checked, no recording opened.

`clmer.data.manifest.reader` says what the columns mean and reads the files that the rows name;
`columns.py` knows the header's names, `labels.py` the labels' values, `files.py` whether the files
are there.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from clmer.data.channels import canonical
from clmer.data.formats.delimited import Table, is_missing, read_table
from clmer.data.formats.delimited import number as number
from clmer.data.manifest.columns import FACE_MODALITIES as FACE_MODALITIES
from clmer.data.manifest.columns import NEEDED, header, modality
from clmer.data.manifest.files import find_files
from clmer.data.manifest.labels import check_labels, check_spellings, unquoted
from clmer.data.manifest.row import Row
from clmer.data.recording import KINDS
from clmer.errors import DataError
from clmer.text import did_you_mean, folded

#: Samples or frames per second that a table may give: less is a slip that would be resampled to
#: 128 Hz.
LEAST_RATE = 0.1

#: Stands in a cell that `clmer manifest` could not tell.
OPEN = "?"

OBTAIN = """\
`clmer manifest DIR` proposes it. Or describe your recordings in manifest.csv, one row per subject,
trial and modality:
  subject,trial,label,modality,path,start_s,stop_s
  p01,calm1,calm,eeg,p01.edf,12.0,72.0
  p01,calm1,calm,face,p01_openface.csv,10.5,70.5
and give its folder with `root`."""


@dataclass(frozen=True)
class Manifest:
    """A checked table.

    Args:
        rows: in the table's order.
        numeric: label columns whose values are all numbers.
        missing: by label column, a sentence on the trials without a value; none where all have one.
        notes: what was odd about the table and how it was read; `missing` among it.
    """

    rows: list[Row]
    numeric: frozenset[str]
    missing: dict[str, str]
    notes: tuple[str, ...]


class Overlap(NamedTuple):
    """Two rows that read the same seconds of a file.

    Args:
        a, b: the rows, of two trials or of two people.
        seconds: how much both read; inf where both end with the file; 0 where two people share a
            file in separate parts of it.
    """

    a: Row
    b: Row
    seconds: float


def table_path(root: Path) -> Path:
    """`manifest.csv` of a folder, or the table itself.

    Raises:
        DataError: there is none.
    """
    table = root / "manifest.csv" if root.is_dir() else root
    if not table.is_file() or table.suffix.lower() != ".csv":
        there = sorted(os.listdir(root)) if root.is_dir() else []
        near = [name for name in there if name.lower().startswith("manifest.")]
        found = f"nothing, but {', '.join(near[:3])}" if near else "nothing"
        expected = "the table of your recordings, or a BIDS tree's dataset_description.json"
        raise DataError(root, "manifest.csv", found, expected, OBTAIN)
    return table


def read_rows(table: Path) -> list[Row]:
    """Every line, checked by itself and against the others; no recording is opened."""
    return read_manifest(table).rows


def read_manifest(path: Path) -> Manifest:
    """The table, checked, and what to say of it; no recording is opened.

    Raises:
        DataError: it cannot be used.
    """
    table = read_table(path)
    columns = header(table)
    label_names = columns.labels
    if not table.rows:
        raise DataError(path, "rows", "0", "one per subject, trial and modality")
    parser = _Parser(table, columns.names, label_names)
    rows = [parser.row(line, cells) for line, cells in table.lines()]
    rows = find_files(path, rows, parser.note)
    check_spellings(path, rows, parser.note)
    found = check_labels(path, rows, label_names)
    rows = [
        replace(row, labels=labels, stimulus=row.stimulus or _stimulus(row, labels))
        for row, labels in zip(rows, found.labels, strict=True)
    ]
    _check_trials(path, rows)
    found.check_classes(path, rows)
    missing = found.missing(rows, parser.unlabelled)
    notes = (*table.notes, *columns.notes, *parser.notes(), *missing.values())
    return Manifest(rows, found.numeric, missing, notes)


def _stimulus(row: Row, labels: dict[str, str]) -> str:
    """What was shown where the table does not say: the first label; one of its own without."""
    return next(iter(labels.values())) or f"{row.subject}/{row.trial}"


class _Parser:
    """Lines to rows; collects what is worth a note."""

    def __init__(self, table: Table, names: list[str], label_names: list[str]) -> None:
        self.table, self.names, self.label_names = table, names, label_names
        #: What each cell without a label said, by (line, column).
        self.unlabelled: dict[tuple[int, str], str] = {}
        self._notes: dict[str, list[str]] = {}

    def note(self, text: str, example: str) -> None:
        """Say `text` once, with examples."""
        self._notes.setdefault(text, []).append(example)

    def notes(self) -> list[str]:
        """One sentence each, with up to three of its examples."""
        lines = []
        for text, examples in self._notes.items():
            some = list(dict.fromkeys(examples))
            more = f" and {len(some) - 3} more" if len(some) > 3 else ""
            lines.append(f"manifest: {text}: {', '.join(some[:3])}{more}.")
        return lines

    def row(self, line: int, values: Sequence[str]) -> Row:
        """One line.

        Raises:
            DataError: a cell cannot be used.
        """
        table, where = self.table.path, f"line {line}"
        cells = dict(zip(self.names, values, strict=True))
        empty = [f"{name} ({cells[name] or 'empty'})" for name in NEEDED if is_missing(cells[name])]
        if empty:
            raise DataError(
                table, where, f"no value in {', '.join(empty)}", "a value",
                "A name that reads like none is written in single quotes: 'NA'.",
            )  # fmt: skip
        named = {name: unquoted(cells[name]) for name in ("subject", "trial", "path")}
        if "/" in named["subject"]:  # recordings are called subject/trial
            raise DataError(table, f"{where}, subject", named["subject"], "a name without /")
        for name in self.names:
            says_none = name == "unit" and folded(cells[name]) == "none"  # numbers without a unit
            is_open = cells[name] == OPEN and name in ("start_s", "stop_s", "rate")
            if name not in (*NEEDED, *self.label_names) and is_missing(cells[name]) and not is_open:
                cells[name] = "none" if says_none else ""
        start_s, stop_s, rate = self._numbers(line, cells)
        labels = {name: self._label(line, name, cells[name]) for name in self.label_names}
        return Row(
            line=line,
            subject=named["subject"],
            trial=named["trial"],
            modality=self._modality(cells["modality"], line),
            path=table.parent / named["path"],
            labels=labels,
            start_s=start_s,
            stop_s=stop_s,
            stimulus=unquoted(cells.get("stimulus", "")),
            group=unquoted(cells.get("group", "")) or named["subject"],
            rate=rate,
            kind=self._kind(cells.get("kind", ""), line),
            unit=cells.get("unit", ""),
            face_id=cells.get("face_id", ""),
            channels=tuple(filter(None, (c.strip() for c in cells.get("channels", "").split(";")))),
        )

    def _numbers(
        self, line: int, cells: dict[str, str]
    ) -> tuple[float, float | None, float | None]:
        """start_s, stop_s (or start_s + duration_s) and rate."""
        numbers: list[float | None] = []
        lowest = {"start_s": 0.0, "stop_s": 0.0, "rate": LEAST_RATE, "duration_s": 0.0}
        for name, low in lowest.items():
            text = cells.get(name, "")
            value = self.table.number(text)
            if text and (value is None or value < low):
                hint = "A comma may be a decimal or a thousands sign here." if "," in text else ""
                if ":" in text:
                    hint = "Times are in seconds."
                if text == OPEN:
                    hint = "`clmer manifest` could not tell it: fill it in."
                raise DataError(
                    self.table.path, f"line {line}, {name}", repr(text), f"a number from {low:g}",
                    hint,
                )  # fmt: skip
            if "," in text:
                self._say_comma(line, name, text)
            numbers.append(value)
        start_s, stop_s, rate = numbers[0] or 0.0, numbers[1], numbers[2]
        if numbers[3] is not None:
            if stop_s is not None and abs(stop_s - start_s - numbers[3]) > 0.1:
                raise DataError(
                    self.table.path,
                    f"line {line}, duration_s",
                    f"{numbers[3]:g} s from {start_s:g} to {stop_s:g} s",
                    "stop_s = start_s + duration_s",
                    "Leave one of the two out.",
                )
            stop_s = start_s + numbers[3]
            self.note("stop_s is start_s + duration_s", f"line {line}, {start_s:g} to {stop_s:g} s")
        if stop_s is not None and start_s >= stop_s:
            raise DataError(
                self.table.path,
                f"line {line}, start_s, stop_s",
                f"{start_s:g} to {stop_s:g} s",
                "start_s < stop_s",
                "stop_s is where the trial ends in the file; a length is duration_s.",
            )
        return start_s, stop_s, rate

    def _label(self, line: int, name: str, text: str) -> str:
        if is_missing(text):
            self.unlabelled[line, name] = text or "empty"
            return ""
        plain = self.table.plain(text)
        if "," in text and number(plain) is not None:
            self._say_comma(line, name, text)
            return plain
        return plain if number(plain) is not None else unquoted(text)

    def _say_comma(self, line: int, name: str, text: str) -> None:
        if self.table.separator != ";":
            self.note("a comma within a number is its decimal sign", f"line {line}, {name} {text}")

    def _modality(self, text: str, line: int) -> str:
        name = modality(text)
        if name != text:
            self.note(f"modality {text} is {name}", f"line {line}")
        return name

    def _kind(self, text: str, line: int) -> str:
        name = modality(text)
        if text and name not in KINDS:
            raise DataError(
                self.table.path,
                f"line {line}, kind",
                repr(text),
                f"one of {', '.join(KINDS)}",
                did_you_mean(text, KINDS),
            )
        return name


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
                    mine or "no value",
                    f"{theirs or 'none'}, as in the rows before it of {row.subject}, "
                    f"trial {row.trial}",
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


def overlaps(rows: Sequence[Row]) -> list[Overlap]:
    """Rows of different trials that read the same seconds of a file, as far as the table shows.

    Two rows are compared where they name one file (through links and other spellings of the path)
    and modality, and do not name different faces or channels. Of two people who share a file
    without overlapping the first rows come, with 0 s.

    Args:
        rows: checked rows of a manifest.

    Returns:
        Pairs in the table's order.
    """
    alike: dict[tuple[object, str], list[Row]] = {}
    for row in rows:
        face = row.modality in FACE_MODALITIES
        key = _identity(row.path), "face" if face else row.modality
        alike.setdefault(key, []).append(row)
    found = []
    for same in alike.values():
        shared: dict[frozenset[str], Overlap] = {}
        for a, b in combinations(same, 2):
            if (a.subject, a.trial) == (b.subject, b.trial) or _are_apart(a, b):
                continue
            ends = [math.inf if row.stop_s is None else row.stop_s for row in (a, b)]
            seconds = min(ends) - max(a.start_s, b.start_s)
            if seconds > 0:
                found.append(Overlap(a, b, seconds))
            if a.subject != b.subject:
                people = frozenset((a.subject, b.subject))
                first = shared.setdefault(people, Overlap(a, b, max(seconds, 0.0)))
                if seconds > first.seconds:
                    shared[people] = Overlap(a, b, seconds)
        found += [each for each in shared.values() if each.seconds == 0]
    return sorted(found, key=lambda each: (each.a.line, each.b.line))


def _are_apart(a: Row, b: Row) -> bool:
    """Whether two rows take different channels, or different faces, of one file."""
    channels = [{canonical(name) for name in row.channels} for row in (a, b)]
    faces = [set(filter(None, re.split(r"[;\s]+", row.face_id))) for row in (a, b)]
    return any(all(both) and not both[0] & both[1] for both in (channels, faces))


def _identity(path: Path) -> object:
    """What two spellings of a file's path have in common."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
