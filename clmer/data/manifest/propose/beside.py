"""Tables beside the recordings: people, ratings and trials, or labels per second.

vp;video;valence;arousal      one row per person and trial
1;clip3;6,5;2

time,label                    one row per second of one recording
0,calm
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clmer.data.formats.delimited import Table, is_missing, read_table
from clmer.data.formats.tables.layout import SECONDS, name_and_unit
from clmer.data.manifest.columns import meaning
from clmer.data.tasks import DIMENSIONS
from clmer.errors import DataError
from clmer.text import folded

#: What tells a table of people: its columns for them, the surest first.
_PERSON = (
    "subject subjectid subjectno subjectnumber sub subj participant participantid participantno "
    "participantnumber proband probandid person personid patient patientid user userid vp vpn vpnr "
    "vpid pid ppt pp teilnehmer sujet id name code"
).split()
_LOOSE = ("id", "name", "code")
_FILE = frozenset("file filename filepath path edf recording recordingfile eegfile datei".split())
_TIME = frozenset("time times timestamp seconds second sec s t onset time_s zeit".split())
_LABELS = frozenset(
    "label labels emotion emotions class state condition mood affect category rating ratings "
    "annotation annotations stimulus event marker trialtype".split()
)
#: What a table says of people that is no emotion.
ABOUT_PEOPLE = frozenset(
    "age sex gender handedness hand height weight birth birthdate dob education nationality "
    "language native alter geschlecht bmi glasses vision medication occupation date time datum "
    "notes note comment comments remark remarks".split()
)
#: A column for times with its unit at once: "startms".
_GLUED = re.compile(r"(?:start|begin|onset|stop|end|offset|duration|dur|time|timestamp)s?(ms|us)")


@dataclass(frozen=True)
class Beside:
    """A table, and what its columns are.

    Args:
        table: its cells.
        subject, trial, file, start, stop, duration: numbers of columns, None where there is none.
        time: column of the seconds, where the rows are seconds or parts of one recording.
        others: the other columns, which may be labels.
    """

    table: Table
    subject: int | None = None
    file: int | None = None
    start: int | None = None
    stop: int | None = None
    duration: int | None = None
    time: int | None = None
    others: tuple[int, ...] = ()
    cells: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

    @property
    def is_sure(self) -> bool:
        """Whether its first column names people for certain: "name" may be a channel's."""
        return self.subject is not None and folded(self.name(self.subject)) not in _LOOSE

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    def name(self, column: int) -> str:
        """A column's name as written."""
        return self.table.names[column]

    def span(self, row: int) -> tuple[float | None, float | None]:
        """Start and end in seconds of a row's part of the file; None where the table lacks it."""

        def number(column: int | None) -> float | None:
            return None if column is None else self.seconds(row, column)

        start, stop, duration = number(self.start), number(self.stop), number(self.duration)
        if start is not None and stop is None and duration is not None:
            stop = start + duration
        return start, stop

    def seconds(self, row: int, column: int) -> float | None:
        """A time in seconds by the unit in its column's name; None where there is none."""
        found, scale = self.table.number(self.cells[row][column]), _scale(self.name(column))
        return None if found is None or scale is None else round(found * scale, 9)

    def column(self, column: int) -> list[str]:
        """A column's cells, "" where there is no value."""
        return ["" if is_missing(row[column]) else row[column] for row in self.cells]


def read_beside(path: Path) -> Beside | None:
    """What a table of people, trials or labels holds; None for any other file."""
    try:
        table = read_table(path)
        lines = table.lines()
    except DataError:
        return None
    names = [re.sub(r"[\W_]", "", folded(name)) for name in table.names]
    cells = tuple(tuple(row) for _, row in lines)
    if len(names) < 2 or not cells:
        return None
    subject = next((names.index(each) for each in _PERSON if each in names), None)
    if subject is None:
        meant = [i for i, n in enumerate(table.names) if meaning(n, ["subject"]) == "subject"]
        subject = meant[0] if meant else None
    bare = [re.sub(r"[\W_]", "", folded(name_and_unit(name)[0])) for name in table.names]
    time = next((i for i in range(len(names)) if {names[i], bare[i]} & _TIME), None)
    if subject is None or (names[subject] in _LOOSE and time is not None and len(names) < 4):
        return _per_second(table, names, cells, time)
    start, stop, duration = _times(table.names)
    file = next((i for i, name in enumerate(names) if name in _FILE), None)
    used = {subject, file, start, stop, duration}
    others = tuple(i for i in range(len(names)) if i not in used and table.names[i])
    return Beside(table, subject, file, start, stop, duration, others=others, cells=cells)


def _scale(name: str) -> float | None:
    """Seconds of one of a column's unit, seconds without one; None for samples and frames."""
    said = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    if {"sample", "samples", "frame", "frames"} & set(said):
        return None
    last = said[-1] if said else ""
    if glued := _GLUED.fullmatch(last):
        last = glued[1]
    return 1.0 if said[:1] == ["t"] and last == "min" else SECONDS.get(last, 1.0)


def _times(names: Sequence[str]) -> tuple[int | None, int | None, int | None]:
    """The columns of a part's start, stop and length."""
    known = ("start_s", "stop_s", "duration_s")
    found: dict[str, int] = {}
    for i, name in enumerate(names):
        for each in (name, name_and_unit(name)[0]):
            if (what := meaning(each, known)) in known or (what := folded(each)) in known:
                found.setdefault(what, i)
                break
    start, stop, duration = map(found.get, known)
    return start, stop, duration


def _per_second(
    table: Table, names: Sequence[str], cells: tuple[tuple[str, ...], ...], time: int | None
) -> Beside | None:
    """A table of one recording's labels over time, or of its parts; None where it is none."""
    start, stop, duration = _times(table.names)
    if start is not None and (stop is not None or duration is not None):
        others = [i for i in range(len(names)) if i not in (start, stop, duration)]
        others.sort(key=lambda i: names[i] not in {*_LABELS, *DIMENSIONS})
        found = Beside(table, None, None, start, stop, duration, start, tuple(others), cells)
        return found if others else None
    labels = [i for i, n in enumerate(names) if n in {*_LABELS, *DIMENSIONS} and i != time]
    if time is None or not labels or len(names) > 6:
        return None
    numbers = [table.number(row[time]) for row in cells]
    if any(number is None for number in numbers):
        return None
    return Beside(table, time=time, others=tuple(labels), cells=cells)
