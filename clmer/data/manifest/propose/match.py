"""Which row of a table is which trial: the column, or columns, that name trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from clmer.data.manifest.columns import meaning
from clmer.data.manifest.propose.beside import Beside
from clmer.data.manifest.propose.trials import Trial
from clmer.data.manifest.propose.words import Word, words
from clmer.text import folded

_TRIAL_WORDS = (
    "video videoid videono clip clipid film filmid movie session run block stimulus stimulusid "
    "stimuli song picture image task taskid".split()
)

Pairs = list[tuple[Trial, int]]


def names_trials(name: str) -> bool:
    """Whether a column is called after what trials are."""
    return meaning(name, ["trial"]) == "trial" or _key(name) in _TRIAL_WORDS


def pairings(
    table: Beside, rows: Mapping[str, Sequence[int]], people: Mapping[str, Sequence[Trial]]
) -> list[tuple[tuple[int, ...], Pairs]]:
    """The columns that may name trials, and the row of each trial by them; the likeliest alone.

    A column of files comes first, then one that is called as the trials in the files' names are
    ("video" of "P01_video3"), several such together, then any that is called after trials. Of two
    as likely as each other both are given where they tell different rows.
    """
    count = sum(len(people[id_]) for id_ in people if id_ in rows)
    trials = [trial for id_ in people if id_ in rows for trial in people[id_]]
    called = [i for i in table.others if _is_called_as(table.name(i), trials)]
    ways: list[tuple[tuple[int, ...], int, Callable[[int, Trial], bool]]] = []
    if table.file is not None:
        ways.append(((table.file,), 4, _by_cell(table, table.file)))
    ways += [((i,), 1 + 2 * (i in called), _by_cell(table, i))
             for i in table.others if names_trials(table.name(i))]  # fmt: skip
    ways += [((i,), 0, _by_cell(table, i))
             for i in table.others if not names_trials(table.name(i))]  # fmt: skip
    if len(called) > 1:
        ways.append((tuple(called), 2, _by_words(table, called)))
    found: dict[int, list[tuple[tuple[int, ...], Pairs]]] = {}
    for columns, rank, fits in ways:
        pairs = _matched(fits, rows, people)
        if len(pairs) > count / 2 and all(
            _rows(pairs) != _rows(other) for _, other in found.get(rank, [])
        ):
            found.setdefault(rank, []).append((columns, pairs))
    return found[max(found)] if found else []


def grouped(
    table: Beside, rows: Mapping[str, Sequence[int]], people: Mapping[str, Sequence[Trial]]
) -> tuple[int, dict[int, list[int]]] | None:
    """The column that names files of several rows each, and their rows by the trial's `id`.

    Each row belongs to one file and each file has rows; None where no column says so, or two do.
    """
    found: list[tuple[int, dict[int, list[int]]]] = []
    for column in [*([] if table.file is None else [table.file]), *table.others]:
        fits = _by_cell(table, column)
        own: dict[int, list[int]] = {}
        sure = True
        for id_ in (each for each in people if each in rows):
            for row in rows[id_]:
                named = [trial for trial in people[id_] if fits(row, trial)]
                sure &= len(named) == 1
                if named:
                    own.setdefault(id(named[0]), []).append(row)
            sure &= all(id(trial) in own for trial in people[id_])
        if sure and own not in [each for _, each in found]:
            found.append((column, own))
    return found[0] if len(found) == 1 else None


def _rows(pairs: Pairs) -> list[tuple[int, int]]:
    return [(id(trial), row) for trial, row in pairs]


def _matched(
    fits: Callable[[int, Trial], bool],
    rows: Mapping[str, Sequence[int]],
    people: Mapping[str, Sequence[Trial]],
) -> Pairs:
    """The row of each trial that one row fits; none where a row fits two trials."""
    pairs = []
    for id_, trials in people.items():
        for trial in trials:
            found = [i for i in rows.get(id_, ()) if fits(i, trial)]
            pairs += [(trial, found[0])] if len(found) == 1 else []
    return pairs if len({row for _, row in pairs}) == len(pairs) else []


def _by_cell(table: Beside, column: int) -> Callable[[int, Trial], bool]:
    cells = table.column(column)
    return lambda row, trial: _names(cells[row], trial)


def _by_words(table: Beside, columns: Sequence[int]) -> Callable[[int, Trial], bool]:
    """Whether each column's cell has the number of the trial's word of its name: run and trial."""
    cells = {column: table.column(column) for column in columns}

    def fits(row: int, trial: Trial) -> bool:
        for column in columns:
            said = words(folded(cells[column][row]))
            own = [w for w in _trial_words(trial) if _is_short_for(w, table.name(column))]
            if len(said) != 1 or len(own) != 1 or said[0].value != own[0].value:
                return False
        return True

    return fits


def _names(cell: str, trial: Trial) -> bool:
    """Whether a cell names a trial: by its file, its name, or one of the words in that."""
    if not cell:
        return False
    stems = {folded(file.path.name.partition(".")[0]) for file in trial.files}
    if folded(Path(cell.replace("\\", "/")).name.partition(".")[0]) in stems:
        return True
    if (trial.named.rest or trial.part) and folded(cell) == folded(trial.name):
        return True
    said = [part for word in words(folded(cell)) for part in word.parts]
    own = {part for word in _trial_words(trial) for part in (*word.parts, word.id)}
    return bool(said) and set(said) <= own


def _trial_words(trial: Trial) -> list[Word]:
    return [*trial.named.rest, *words(trial.part)]


def _is_called_as(name: str, trials: Sequence[Trial]) -> bool:
    """Whether a column has the name that the trials' numbers have in the files' names."""
    return names_trials(name) and all(
        any(_is_short_for(word, name) for word in _trial_words(trial)) for trial in trials
    )


def _is_short_for(word: Word, name: str) -> bool:
    """Whether "ses" of "ses1" begins a column's name: "session"."""
    return bool(word.value and word.key) and _key(name).startswith(word.key)


def _key(name: str) -> str:
    return "".join(character for character in folded(name) if character.isalnum())
