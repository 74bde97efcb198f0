"""From a table's text to a `TableFile`: columns, clock, lost samples, markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from clmer.data.channels import kind_of_name, typed
from clmer.data.formats.delimited import is_missing
from clmer.data.formats.source import StoredChannel
from clmer.data.formats.tables import times
from clmer.data.formats.tables.layout import SECONDS, Layout, is_time_unit
from clmer.data.formats.tables.profiles import Column, Profile, describe
from clmer.data.formats.tables.rows import read_numbers, read_text
from clmer.data.formats.tables.source import TableFile
from clmer.data.recording import KINDS, Marker
from clmer.data.timeline import Span, Timeline
from clmer.errors import DataError

#: Missing numbers of a channel are interpolated up to this.
_FILLED_S = 0.25
#: Names of a column of times that no word of time is in.
_TIMES = ("t", "zeit", "temps", "tiempo", "tempo")
#: A name as electrodes have it that are only numbered.
_NUMBERED = re.compile(r"(ch|chan|channel|kanal|exg|electrode|sensor)?[ _.-]*\d+|eeg.*", re.I)
_MOST_MARKERS = 100_000


@dataclass
class Table:
    """What is known of a table while it is read.

    Args:
        layout: how it is written.
        columns: what its columns are.
        kinds: type of each.
        values: of each [n], NaN where there is none.
        notes: what was odd.
    """

    layout: Layout
    columns: list[Column]
    kinds: list[str]
    values: list[np.ndarray]
    notes: list[str] = field(default_factory=list)

    @property
    def signals(self) -> list[int]:
        """Columns of numbers that are signals, or may be."""
        return [
            i
            for i, kind in enumerate(self.kinds)
            if (kind in KINDS or kind == "unknown") and self.layout.numeric[i]
        ]


def open_table(layout: Layout, rate: float | None = None) -> TableFile:
    """Open a table of samples.

    Args:
        layout: how it is written.
        rate: samples per second, where somebody states it; it counts more than the file's.

    Raises:
        DataError: no table of samples, a cell that is no number, times that go back, no rate.
    """
    path = layout.path
    layout, columns, profile, stated = describe(layout)
    unnamed = [i for i, column in enumerate(columns) if not column.label]
    columns = _labelled(layout, columns)
    numeric = [i for i, is_number in enumerate(layout.numeric) if is_number]
    numbers, notes = read_numbers(layout, numeric)
    none = np.full(len(numbers), np.nan)
    values = [none] * len(columns)
    for i, column in zip(numeric, numbers.T, strict=True):
        values[i] = np.ascontiguousarray(column)
    kinds = _kinds(columns)
    table = Table(layout, columns, kinds, values, [*layout.notes, *notes])
    if numeric and numeric[0] in unnamed:
        _find_counting(table, numeric[0])
    seconds, name = _times(table, rate or stated)
    fs = _rate(table, profile, rate, stated, seconds, name)
    events = _events(table)
    _check_text(table)
    if all(kinds[i] in ("time", "counter", "trigger") for i in numeric):
        found = ", ".join(f"{columns[i].label} ({kinds[i]})" for i in numeric)
        raise DataError(path, "columns", found, "a column of samples beside them")
    keep = ~np.all([np.isnan(values[i]) for i in table.signals or numeric], axis=0)
    pauses = _pauses(table, fs, seconds, keep)
    line = Timeline.with_pauses(fs, int(keep.sum()), pauses)
    at_s = _clock(line, keep)
    filled = _flags(table, profile, keep)
    made = [_column(table, i, keep, line, filled) for i in numeric]
    raw = profile is not None and profile.numbers
    if raw:
        table.notes.append("its sensors' samples are the converter's own numbers, without a unit")
    markers = (Marker(float(at_s[i]), n / fs if n > 1 else 0.0, text) for i, n, text in events)
    return TableFile(
        tuple(
            StoredChannel(columns[i].label, fs, columns[i].unit, columns[i].told) for i in numeric
        ),
        tuple(column for column, _ in made),
        tuple(each for _, each in made),
        (path,),
        tuple(dict.fromkeys(table.notes)),
        tuple(markers),
        raw=raw,
    )


def _labelled(layout: Layout, columns: Sequence[Column]) -> list[Column]:
    """The columns with names for those without; one that is alone is called as the file."""
    if len(columns) == 1 and layout.headless:
        return [replace(columns[0], label=columns[0].label or layout.path.stem)]
    word = "ch" if layout.headless else "column "
    return [
        replace(
            column,
            label=column.label or f"{word}{i + 1}",
            told=column.told or _told(column, layout.headless),
        )
        for i, column in enumerate(columns)
    ]


def _told(column: Column, headless: bool) -> str:
    """The type of a column that no profile knows, as far as `channels.typed` cannot tell it.

    A name of which nothing is known ("pupil left") is no voltage of the scalp unless its unit is
    one, or it is a number as electrodes have it ("Ch 3").
    """
    label, unknown = column.label, kind_of_name(column.label) == "unknown"
    if label.lower() in _TIMES or is_time_unit(label or "-"):
        return "time"
    if unknown and is_time_unit(column.unit):
        return "time"
    numbered = headless or _NUMBERED.fullmatch(label)
    return "unknown" if unknown and not column.unit and not numbered else ""


def _kinds(columns: Sequence[Column]) -> list[str]:
    kinds, _ = typed(
        [column.label for column in columns],
        told=[column.told for column in columns],
        spelt_units=[column.unit for column in columns],
    )
    return kinds


def _check_text(table: Table) -> None:
    """Say which signals hold text instead of numbers.

    Raises:
        DataError: all of them.
    """
    layout = table.layout
    cells = layout.cells(layout.text[layout.start :].split("\n", 1)[0])
    for i, (kind, cell) in enumerate(zip(table.kinds, cells, strict=False)):
        if kind in KINDS and not layout.numeric[i] and not is_missing(cell):
            if not table.signals:
                raise DataError(
                    layout.path,
                    f"line {layout.line}, {layout.names[i]}",
                    repr(cell),
                    "a number",
                    "Save it without signs between thousands, and without units in the cells.",
                )
            table.notes.append(f"{table.columns[i].label} holds text ({cell!r:.40}): left out")


def _find_counting(table: Table, column: int) -> None:
    """Take a first column without a name that rises in equal steps for a counter or a clock."""
    steps = np.diff(table.values[column])
    step = float(np.median(steps))
    if len(table.layout.names) > 1 and step > 0 and (np.abs(steps / step - 1) < 0.05).mean() > 0.95:
        table.kinds[column] = "counter" if step == 1 else "time"
        told = replace(table.columns[column], told=table.kinds[column])
        table.columns[column] = told


def _times(table: Table, rate: float | None) -> tuple[np.ndarray | None, str]:
    """Seconds of each row and the name of the column that has them; None where no column does.

    Raises:
        DataError: times that go back, or of an unknown unit.
    """
    path, still, unread = table.layout.path, [], ""
    places = [i for i, kind in enumerate(table.kinds) if kind == "time"]
    for i in sorted(places, key=lambda i: _rank(table, i)):
        name, unit = table.columns[i].label, table.columns[i].unit
        values, said = table.values[i], ""
        if not table.layout.numeric[i]:
            cells = read_text(table.layout, i)[: len(values)]
            values, said = times.clock_times(path, name, cells, rate)
            unit = "s"
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            unread = unread or f"{name}, which has no time that is understood in row {row + 1}"
            continue
        if values.max() == values.min():
            still.append(name)
            continue
        ordered, note = times.in_seconds(path, name, values, unit, rate)
        table.notes += filter(None, (said, note))
        return times.check_order(path, name, ordered, table.layout.line), name
    if unread and not rate:
        raise DataError(
            path,
            "column of times",
            unread,
            "numbers, or times such as 2024-01-31 12:00:00.000",
            "Correct it, or state the rate in the manifest's column rate (clmer predict: --rate).",
        )
    if (still or unread) and rate:
        found = f"{still[0]} is the same in all rows" if still else unread
        table.notes.append(f"{found}: time is counted by the rate")
    if still and not rate:
        raise DataError(
            path,
            still[0],
            "the same time in all rows",
            "times that go on",
            "A spreadsheet rounds them when it saves the table: take the original export, or state "
            "the rate in the manifest's column rate (clmer predict: --rate).",
        )
    return None, ""


def _rank(table: Table, column: int) -> int:
    """Which of several columns of times is the best: the device's own, in numbers."""
    if not table.layout.numeric[column]:
        return 2
    told = table.columns[column].unit.lower() in SECONDS or table.values[column][0] >= 1e8
    return 0 if told else 1


def _rate(
    table: Table,
    profile: Profile | None,
    stated: float | None,
    written: float | None,
    seconds: np.ndarray | None,
    name: str,
) -> float:
    """Samples per second.

    Raises:
        DataError: nothing tells, or the times contradict what is stated.
    """
    path, known = table.layout.path, stated or written
    low, high = times.RATES
    if known is not None and not low <= known <= high:
        expected = f"{low:g} to {high:g} samples per second"
        raise DataError(path, "sampling rate", f"{known:g} Hz", expected)
    if seconds is None:
        if known is None and profile and len(profile.rates) == 1:
            table.notes.append(f"its rate is taken to be {profile.name}'s, {profile.rates[0]:g} Hz")
            return profile.rates[0]
        if known is None:
            raise DataError(
                path,
                "rate",
                "no column of times, and no rate in the file",
                "samples per second",
                "State it in the manifest's column rate (clmer predict: --rate).",
            )
        return known
    measured = times.measured_rate(path, name, seconds)
    if known is None:
        near = [rate for rate in (profile.rates if profile else ()) if _is_near(measured, rate)]
        if not near:
            return measured
        known = near[0]
    if not _is_near(measured, known):
        raise DataError(
            path,
            "sampling rate",
            f"{known:g} Hz in {'the manifest' if stated else 'the header'}",
            f"the times' {measured:.1f} Hz (column {name})",
            "One of the two is wrong: state the true rate in the manifest's column rate, or leave "
            "that empty for the times' own.",
        )
    if times.drifts(seconds, measured, known):
        table.notes.append(f"{measured:.6g} Hz by its times ({name}), {known:g} Hz expected")
        return measured
    return known


def _is_near(measured: float, rate: float) -> bool:
    return abs(measured / rate - 1) <= times.CLOCK


def _pauses(
    table: Table, fs: float, seconds: np.ndarray | None, keep: np.ndarray
) -> dict[int, float]:
    """Seconds of the pause before each kept row that has one."""
    count, by = int(keep.sum()), []
    lost = np.zeros(count, dtype=np.int64)
    counters = [i for i, kind in enumerate(table.kinds) if kind == "counter"]
    counted = (times.lost_by_counter(table.values[i][keep]) for i in counters)
    found = next(filter(None, counted), None)
    if found is not None:
        lost, _ = found
        by += ["counter"] if lost.any() else []
    elif seconds is None:
        lost[:-1] = np.diff(np.flatnonzero(keep)) - 1
        by += ["rows without a number"] if lost.any() else []
    if seconds is not None:
        index = np.arange(count) + np.concatenate([[0], np.cumsum(lost[:-1])])
        more = times.lost_by_time(seconds[keep], fs, index)
        by += ["times"] if more.any() else []
        lost = lost + more
    places = np.flatnonzero(lost)
    if len(places):
        total = int(lost.sum())
        table.notes.append(
            f"{total} samples ({total / fs:.3g} s) are missing in {len(places)} "
            f"place{'s' * (len(places) > 1)}, by its {' and '.join(by)}"
        )
    return {int(i) + 1: float(lost[i] / fs) for i in places}


def _clock(line: Timeline, keep: np.ndarray) -> np.ndarray:
    """Seconds of every row, those between samples too."""
    at_s = np.concatenate([p.start_s + np.arange(p.stop - p.first) / line.fs for p in line.pieces])
    return np.interp(np.arange(len(keep)), np.flatnonzero(keep), at_s)


def _events(table: Table) -> list[tuple[int, int, str]]:
    """First row, number of rows, and text of every stretch of a column of words."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for i, kind in enumerate(table.kinds):
        if kind != "trigger" or table.layout.numeric[i]:
            continue
        count = len(table.values[i])
        cells = ["" if is_missing(c) else c for c in read_text(table.layout, i)[:count]]
        edges = [k for k in range(count) if k == 0 or cells[k] != cells[k - 1]] + [count]
        runs = [(a, b - a, cells[a]) for a, b in zip(edges, edges[1:], strict=False) if cells[a]]
        if runs and len(runs) <= _MOST_MARKERS:
            found[table.columns[i].label] = runs
    several = len(found) > 1
    every = ((k, n, f"{c}/{t}" if several else t) for c, each in found.items() for k, n, t in each)
    return sorted(every)


def _flags(table: Table, profile: Profile | None, keep: np.ndarray) -> np.ndarray | None:
    """Which samples the device's program filled in; None where it does not say."""
    if profile is None or profile.filled not in table.layout.names:
        return None
    flags = table.values[table.layout.names.index(profile.filled)][keep] > 0
    if flags.any():
        table.notes.append(
            f"{int(flags.sum())} samples were lost and filled in by the headset's program; "
            f"stretches above {_FILLED_S:g} s are left out"
        )
    return flags


def _column(
    table: Table, column: int, keep: np.ndarray, line: Timeline, filled: np.ndarray | None
) -> tuple[np.ndarray, Timeline]:
    """A column's samples, missing ones interpolated, and its clock, with long gaps as bad spans."""
    values = table.values[column][keep]
    missing = np.isnan(values)
    if missing.all() or column not in table.signals:
        return np.nan_to_num(values), line
    spans = list(_spans(line, missing, "has no numbers"))
    if filled is not None:
        spans += _spans(line, filled, "filled in by the headset's program")
    if missing.any():
        good = np.flatnonzero(~missing)
        values = np.interp(np.arange(len(values)), good, values[good])
        table.notes.append(
            f"{table.columns[column].label}: {int(missing.sum())} missing numbers are "
            f"interpolated; stretches above {_FILLED_S:g} s are left out"
        )
    return values, Timeline(line.fs, line.pieces, tuple(spans))


def _spans(line: Timeline, flags: np.ndarray, reason: str) -> list[Span]:
    """Flagged stretches that are longer than what is filled."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    at_s = _clock(line, np.ones(len(flags), bool))
    return [
        Span(float(at_s[a]), float(at_s[b - 1]) + 1 / line.fs, reason)
        for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if b - a > _FILLED_S * line.fs
    ]
