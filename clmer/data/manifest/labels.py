"""Labels and names of a manifest: missing ones, numbers, and one spelling each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clmer.data.formats.delimited import number
from clmer.data.manifest.columns import REFERENCE, check_no_times
from clmer.data.manifest.row import Row
from clmer.data.tasks import DIMENSIONS, condition_name
from clmer.errors import DataError
from clmer.text import folded, unpadded

#: Whole numbers from here on are not told apart as float64.
_EXACT = 2**53
#: More different numbers than this beside words are ratings with a slip among them.
_MOST_CLASSES = 9
_SHOWN = 5
#: What was meant for a number: "3?", "~3", "4-5", "inf"; no names such as "2-back".
_NUMBER_LIKE = re.compile(r"[\W\d]*\d[\W\d]*$|[+-]?inf(inity)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Labels:
    """The label columns' values.

    Args:
        labels: of each row, by column: class names, plain numbers, "" where there is none.
        numeric: columns whose values are all numbers.
    """

    labels: list[dict[str, str]]
    numeric: frozenset[str]

    def missing(self, rows: Sequence[Row], said: Mapping[tuple[int, str], str]) -> dict[str, str]:
        """By column, a sentence on the trials without a value.

        Args:
            rows: of the table.
            said: what a cell without a value held, by (line, column).
        """
        sentences = {}
        for name in self.labels[0]:
            if name == REFERENCE:  # most recordings are none
                continue
            trials: dict[tuple[str, str], str] = {}
            for row, labels in zip(rows, self.labels, strict=True):
                if not labels[name]:
                    cell = f"line {row.line} ({said.get((row.line, name), 'empty')})"
                    trials.setdefault((row.subject, row.trial), cell)
            if trials:
                count = len(trials)
                cells = list(trials.values())
                more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
                sentences[name] = (
                    f"{name}: {count} trial{'' if count == 1 else 's'} without a value "
                    f"{'is' if count == 1 else 'are'} left out of its task: "
                    f"{', '.join(cells[:_SHOWN])}{more}."
                )
        return sentences

    def check_classes(self, table: Path, rows: Sequence[Row]) -> None:
        """Refuse a table with no column that has two values.

        Raises:
            DataError: there is none.
        """
        names = list(self.labels[0])
        if all(len({labels[name] for labels in self.labels} - {""}) < 2 for name in names):
            values = {name: max(labels[name] for labels in self.labels) for name in names}
            raise DataError(
                table,
                ", ".join(names),
                f"only {', '.join(values.values())} in {len(rows)} rows",
                "at least two classes",
                "A classifier needs recordings of more than one.",
            )


def unquoted(text: str) -> str:
    """A name without the single quotes that keep it from being read as missing: 'none'."""
    quoted = re.fullmatch(r"'(.+)'", text)
    return quoted[1].strip() if quoted else text


def check_labels(table: Path, rows: Sequence[Row], names: Sequence[str]) -> Labels:
    """The label columns' values, each column numbers or words.

    Raises:
        DataError: a column has no value, mixes ratings with words, spells a class in two ways, or
            holds times.
    """
    columns: dict[str, list[str]] = {}
    numeric = set()
    for name in names:
        values = [row.labels[name] for row in rows]
        if not any(values):
            raise DataError(table, f"column {name}", "no value in any row", "a class or a rating")
        if _is_numeric(table, rows, name, values):
            numeric.add(name)
            values = [_plain(text) for text in values]
            first = {(row.subject, row.trial): i for i, row in reversed(list(enumerate(rows)))}
            trials = [(str(rows[i].path), values[i]) for i in sorted(first.values()) if values[i]]
            check_no_times(table, name, trials)
        else:
            cells = [(row.line, row.labels[name]) for row in rows]
            _one_spelling(table, name, cells, unpadded)
        columns[name] = values
    labels = [
        dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
    ]
    return Labels(labels, frozenset(numeric))


def _plain(text: str) -> str:
    """A number in one spelling: "1.0", "1" and "01" are one label."""
    value = number(text)
    return "" if value is None else condition_name(value)


def _is_numeric(table: Path, rows: Sequence[Row], name: str, values: Sequence[str]) -> bool:
    """Whether a column holds numbers, rather than words or codes made of digits."""
    found = [(row.line, text) for row, text in zip(rows, values, strict=True) if text]
    words = [(line, text) for line, text in found if number(text) is None]
    numbers = {text for _, text in found if number(text) is not None}
    slip = any(_NUMBER_LIKE.match(text) for _, text in words) and len(words) <= len(found) / 2
    if words and numbers and (name in DIMENSIONS or slip or len(numbers) > _MOST_CLASSES):
        line, text = words[0] if len(words) <= len(found) / 2 else (
            next((line, text) for line, text in found if text in numbers)
        )  # fmt: skip
        others = "numbers" if len(words) <= len(found) / 2 else "words"
        raise DataError(
            table,
            f"line {line}, {name}",
            repr(text),
            f"{others}, as in the column's other rows",
            "Leave the cell empty where there is no value."
            + (" A comma may be a decimal or a thousands sign here." if "," in text else ""),
        )
    codes = name not in DIMENSIONS and any(re.match(r"[+-]?0\d", text) for text in numbers)
    return not words and not codes and all(abs(float(text)) < _EXACT for text in numbers)


def check_spellings(table: Path, rows: Sequence[Row], note: Callable[[str, str], None]) -> None:
    """Refuse two spellings of a person, trial, stimulus or group; note names that look alike.

    Raises:
        DataError: two differ in nothing but case, spaces or the form of accents.
    """
    for name in ("subject", "stimulus", "group"):
        cells = [(row.line, getattr(row, name)) for row in rows]
        _one_spelling(table, name, cells)
        if name == "group":  # of one person each, unless the table says otherwise
            cells = [(row.line, row.group) for row in rows if row.group != row.subject]
        by_key: dict[str, str] = {}
        for line, text in cells:
            other = by_key.setdefault(unpadded(text), text)
            if other != text:
                note(f"{name} {other} and {text} are taken for two", f"line {line}")
    trials: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        trials.setdefault(row.subject, []).append((row.line, row.trial))
    for subject, cells in trials.items():
        _one_spelling(table, f"trial of {subject}", cells)
    modalities = [(row.line, row.modality) for row in rows]
    _one_spelling(table, "modality", modalities)


def _one_spelling(
    table: Path,
    name: str,
    cells: Sequence[tuple[int, str]],
    key: Callable[[str], str] | None = None,
) -> None:
    seen: dict[str, tuple[int, str]] = {}
    for line, text in cells:
        first, other = seen.setdefault((key or _key)(text), (line, text))
        if other != text:
            raise DataError(
                table,
                f"line {line}, {name}",
                f"{text!r}, and {other!r} in line {first}",
                "one spelling",
                "They differ in case, spaces, accents' form or zeros alone. Write both alike, or "
                "give them different names.",
            )


def _key(text: str) -> str:
    """What two spellings of a name share; of a number in digits its value."""
    value = number(text)
    whole = value is not None and abs(value) < _EXACT and not re.match(r"[+-]?0\d", text)
    return condition_name(value) if whole and value is not None else folded(text)
