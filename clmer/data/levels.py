"""Ratings cut into levels where people answered: at the median or at terciles.

| `levels` | classes | edges |
|---|---|---|
| `median`, `tercile` | low, high; low, middle, high | of all recordings, the same for everyone |
| `person-median`, `person-tercile` | the same | of each person's own recordings |

A rating on an edge is in the lower level, unless that makes the halves of a median less even.

The edges say what the classes mean, as a stated threshold does. They are taken from all recordings,
those of test people too, so that a class means the same in every split. No model sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.tasks import Task
from clmer.errors import DataError
from clmer.text import did_you_mean

_CLASSES = {"median": ("low", "high"), "tercile": ("low", "middle", "high")}
_ANY = (-np.inf, np.inf)


@dataclass(frozen=True)
class PersonalTask(Task):
    """Levels whose edges are each person's own.

    Args (and those of `Task`):
        own_edges: upper edges of all but the last level, by person.
    """

    own_edges: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def encode(
        self,
        labels: Mapping[str, np.ndarray],
        source: Path | str,
        people: np.ndarray | None = None,
    ) -> np.ndarray:
        """Class indices, as of `Task`.

        Raises:
            ValueError: `people` is missing.
        """
        if people is None:
            raise ValueError(f"{self.name}: levels within people need whose each row is")
        y = np.full(len(people), -1, dtype=np.int64)
        for person, edges in self.own_edges:
            rows = np.flatnonzero(people == person)
            of_person = Task(self.name, self.classes, self.columns, edges, self.scale)
            y[rows] = of_person.encode({n: labels[n][rows] for n in self.columns}, source)
        return y


def choose_levels(
    source: Path | str,
    name: str,
    levels: str,
    columns: Mapping[str, np.ndarray],
    people: np.ndarray,
) -> Task:
    """The task of a column of numbers that is cut where people answered.

    Args:
        source: the data, for messages.
        name: the column.
        levels: one of `clmer.data.choices.LEVELS` but "none".
        columns: [R] float64 ratings or str classes by column, one row per recording.
        people: [R] str, whose each recording is.

    Raises:
        DataError: there is no such column of numbers, or a level stays empty.
    """
    numeric = [each for each, values in columns.items() if values.dtype.kind == "f"]
    if name not in numeric:
        raise DataError(
            source,
            f"`task={name}` with `levels={levels}`",
            "a column of words" if name in columns else "no such column",
            f"a column of numbers: {', '.join(numeric) or 'there is none'}",
            did_you_mean(name, numeric),
        )
    own, kind = levels.startswith("person-"), levels.removeprefix("person-")
    values = columns[name]
    known = np.isfinite(values)
    classes = _CLASSES[kind]
    if not own:
        edges = _edges(kind, values[known])
        found = np.unique(np.searchsorted(edges, values[known]))
        if len(found) < len(classes):
            said = f"{len(np.unique(values[known]))} different numbers in {known.sum()} recordings"
            hint = "Say where low ends: `threshold=X`."
            raise DataError(source, f"`levels={levels}`", said, "ratings in every level", hint)
        of_all = f"of all {known.sum()} recordings, those of test people too"
        return Task(name, classes, (name,), edges, _ANY, f"the {kind} {of_all}")
    edges_of, alone = [], 0
    for person in sorted(set(people[known].tolist())):
        of_person = values[known & (people == person)]
        edges = _edges(kind, of_person)
        alone += len(np.unique(np.searchsorted(edges, of_person))) < len(classes)
        edges_of.append((person, edges))
    firsts = [edges[0] for _, edges in edges_of]
    note = f"each person's own {kind}, which lies from {min(firsts):g} to {max(firsts):g}"
    if alone:
        note += f"; {alone} of {len(edges_of)} people lack a level"
    return PersonalTask(name, classes, (name,), (), _ANY, note, tuple(edges_of))


def _edges(kind: str, values: np.ndarray) -> tuple[float, ...]:
    """Upper edges of all levels but the last."""
    if kind == "tercile":
        return tuple(np.quantile(values, (1 / 3, 2 / 3)).tolist())
    middle = float(np.median(values))
    below = values[values < middle]
    lower = float(below.max()) if below.size else middle
    uneven = [abs(2 * np.count_nonzero(values <= edge) - len(values)) for edge in (middle, lower)]
    return (lower if uneven[1] < uneven[0] else middle,)
