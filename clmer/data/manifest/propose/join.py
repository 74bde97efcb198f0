"""Labels out of tables beside the recordings, joined by person and trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from clmer.data.manifest.columns import NEEDED, OPTIONAL, REFERENCE, is_remark, meaning
from clmer.data.manifest.propose.beside import ABOUT_PEOPLE, Beside
from clmer.data.manifest.propose.match import grouped, names_trials, pairings
from clmer.data.manifest.propose.names import grouped_ids, lettered_id, person_id
from clmer.data.manifest.propose.spans import marker_parts, parts_of
from clmer.data.manifest.propose.trials import Proposal, Trial, some
from clmer.data.manifest.propose.wide import take_wide, wide_columns
from clmer.data.manifest.propose.words import words
from clmer.data.manifest.table import OPEN
from clmer.data.tasks import DIMENSIONS
from clmer.text import folded

#: Other words for a rating.
_DIMENSION_WORDS = {
    **{name: name for name in DIMENSIONS},
    **dict.fromkeys(("valenz", "valencia", "pleasure", "pleasantness"), "valence"),
    **dict.fromkeys(("erregung", "activation"), "arousal"),
    **dict.fromkeys(("dominanz", "dominancia"), "dominance"),
}


def join_tables(made: Proposal, tables: Sequence[Beside]) -> None:
    """Give the trials the labels that tables hold."""
    for table in sorted(tables, key=lambda t: -len(t.cells)):
        _join(made, table)


def _join(made: Proposal, table: Beside) -> None:
    assert table.subject is not None
    name = table.path.name
    people: dict[str, list[Trial]] = {}
    for trial in made.trials:
        people.setdefault(trial.person_id, []).append(trial)
    cells = table.column(table.subject)
    ways = [_by_person(map(person_id, cells)), _by_person(map(lettered_id, cells))]
    ways += _by_group(table, cells)
    rows = max(ways, key=lambda each: len(each.keys() & people.keys()))
    both = [id_ for id_ in people if id_ in rows]
    if not both and table.is_sure and (twice := _in_groups(ways[:2], people)):
        id_, indices = next(iter(twice.items()))
        question = (
            f"{name} does not say of which group {cells[indices[0]]} is, whose files are those of "
            f"two people. Write {people[id_][0].person} for the one there, or add a column group "
            "with the folders' words."
        )
        _ask(made, table, twice, (), question)
        return
    if both or table.is_sure:
        _say_strangers(made, table, rows, people)
    if not both:
        return
    if table.start is not None and all(len(people[id_]) == 1 for id_ in both):
        _cut_by_table(made, table, _of_files(rows, people))
        return
    if table.start is not None and any(len(rows[id_]) > len(people[id_]) for id_ in both):
        if (files := grouped(table, rows, people)) is not None:
            _cut_by_table(made, table, files[1], files[0])
        else:
            listed = some([trial.name for trial in people[both[0]]], 4)
            _ask(made, table, rows, (), f"no column of {name} tells which rows are of which file "
                 f"({listed}).")  # fmt: skip
        return
    if table.start is not None:
        made.checks.append(f"{name}: its times are not used, since each file is one trial.")
    if all(len(rows[id_]) == 1 for id_ in both) and any(len(people[id_]) > 1 for id_ in both):
        _about_people(made, table, rows, people)
        return
    if (told := _pairs(made, table, rows, people)) is None:
        return
    trial_columns, pairs = told
    if not trial_columns and any(len(rows[id_]) > 1 for id_ in both):
        single = all(len(people[id_]) == 1 for id_ in both)
        if single and _cut_by_markers(made, table, rows):
            return
        if single:
            _cut_by_table(made, table, _of_files(rows, people))
        else:
            made.questions.append(
                f"label: no column of {name} names the trials of the files "
                f"({some([t.name for t in people[both[0]]], 4)})."
            )
        return
    _take(made, table, pairs, trial_columns)


def _by_person(ids: Iterable[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, id_ in enumerate(ids):
        rows.setdefault(id_, []).append(row)
    return rows


def _by_group(table: Beside, cells: Sequence[str]) -> list[dict[str, list[int]]]:
    """Rows by people who are called after their group, in one cell or by a column of groups."""
    ways: list[dict[str, list[int]]] = []
    pairs = [(found[0], found[2]) for cell in cells if all(found := cell.partition("_"))]
    columns = [pairs] if len(pairs) == len(cells) else []
    columns += [list(zip(table.column(i), cells, strict=True)) for i in table.others]
    for each in columns:
        ids = [grouped_ids(group, person) for group, person in each]
        ways += [_by_person(way) for way in zip(*ids, strict=True)]
    return ways


def _in_groups(
    ways: Sequence[Mapping[str, list[int]]], people: Mapping[str, Sequence[Trial]]
) -> dict[str, list[int]]:
    """Rows of people whose group the table does not say."""
    return {
        id_: rows[bare]
        for rows in ways
        for id_ in people
        if (bare := id_.rpartition("_")[2]) in rows and bare != id_
    }


def _say_strangers(
    made: Proposal, table: Beside, rows: dict[str, list[int]], people: dict[str, list[Trial]]
) -> None:
    """Name people of the table without files, and the reverse."""
    assert table.subject is not None
    cells = table.column(table.subject)
    if strange := [cells[rows[id_][0]] for id_ in rows if id_ not in people and id_]:
        made.checks.append(f"{table.path.name}: no files of {some(strange, 4)}.")
    if absent := [people[id_][0].person for id_ in people if id_ not in rows]:
        made.checks.append(f"{table.path.name}: no row of {some(absent, 4)}.")


def _pairs(
    made: Proposal, table: Beside, rows: dict[str, list[int]], people: dict[str, list[Trial]]
) -> tuple[tuple[int, ...], list[tuple[Trial, int]]] | None:
    """The columns that name trials, and the row of each trial; () where one row is a person's.

    None where several columns may name them and tell different rows: that is asked.
    """
    found = pairings(table, rows, people)
    if len(found) > 1:
        columns = [column for each, _ in found for column in each]
        listed = " or ".join(table.name(column) for column in columns)
        _ask(made, table, rows, columns, f"which column of {table.path.name} names the trials of "
             f"the files: {listed}? They tell different rows.")  # fmt: skip
        return None
    if found:
        return found[0]
    alone = [id_ for id_ in people if id_ in rows and len(people[id_]) == len(rows[id_]) == 1]
    return (), [(people[id_][0], rows[id_][0]) for id_ in alone]


def _ask(
    made: Proposal,
    table: Beside,
    rows: dict[str, list[int]],
    columns: Sequence[int],
    question: str,
) -> None:
    """Leave a table's labels open, `columns` being none of them, and ask."""
    indices = [row for each in rows.values() for row in each]
    labels = _labels(table, [i for i in table.others if i not in columns], indices, made)
    for trial in made.trials:
        if trial.person_id in rows:
            trial.labels |= dict.fromkeys(labels.values(), OPEN)
    made.questions.append(f"{', '.join(labels.values()) or 'label'}: {question}")


def _take(
    made: Proposal, table: Beside, pairs: Sequence[tuple[Trial, int]], trial_columns: Sequence[int]
) -> None:
    """Copy the labels of matched rows."""
    columns = [i for i in table.others if i not in trial_columns]
    taken = _labels(table, columns, [row for _, row in pairs], made)
    for column, label in taken.items():
        cells = table.column(column)
        for trial, row in pairs:
            trial.labels[label] = table.table.plain(cells[row])
    if taken:
        joined = " and ".join(["person", *(table.name(i) for i in trial_columns)])
        lacking = len(made.trials) - len(pairs)
        names = [(table.name(i), to) for i, to in taken.items()]
        renamed = [f"{name} is {to}" for name, to in names if folded(name) != folded(to)]
        made.told["joined"] = f"{table.path.name} by {joined}" + (
            f"; {', '.join(renamed)}" if renamed else ""
        )
        if lacking:
            made.checks.append(f"{table.path.name}: no row fits {lacking} trials.")
        shared = {trial.name for trial in made.trials}
        if trial_columns and len(shared) < len(made.trials):
            for trial in made.trials:
                trial.stimulus = trial.name


def _labels(
    table: Beside, columns: Sequence[int], rows: Sequence[int], made: Proposal
) -> dict[int, str]:
    """The columns that may be labels, and what each is called in the manifest."""
    known = {name for trial in made.trials for name in trial.labels}
    labels: dict[int, str] = {}
    left_out = []
    for column in columns:
        name = table.name(column)
        cells = table.column(column)
        found = [cells[row] for row in rows if cells[row]]
        numbers = [table.table.number(cell) for cell in found]
        is_number = bool(found) and None not in numbers
        key = "".join(character for character in folded(name) if character.isalnum())
        many = not is_number and len(set(found)) > max(12, len(found) / 3)
        counted = is_number and names_trials(name)  # another count of trials
        if key in ABOUT_PEOPLE or is_remark(name) or len(set(found)) < 2 or many or counted:
            left_out.append(name)
            continue
        label = _dimension(name) or name.replace("\n", " ")
        taken = {*known, *labels.values(), *NEEDED, *OPTIONAL, REFERENCE}
        if label in taken or label.casefold() in taken or meaning(label, ()):
            label = f"{table.path.stem}_{label}"
        labels[column] = label
    if left_out:
        made.told[f"not used of {table.path.name}"] = some(left_out, 8)
    order = [*DIMENSIONS]
    return dict(
        sorted(labels.items(), key=lambda kv: order.index(kv[1]) if kv[1] in order else 9 + kv[0])
    )


def _dimension(name: str) -> str:
    """The rating that a column's name means: "SAM_Valence" is valence, "Erregung" arousal."""
    found = {_DIMENSION_WORDS[w.key] for w in words(name) if w.key in _DIMENSION_WORDS}
    return found.pop() if len(found) == 1 else ""


def _about_people(
    made: Proposal, table: Beside, rows: dict[str, list[int]], people: dict[str, list[Trial]]
) -> None:
    """A row per person: a column per trial, or about people: labels only where nothing else is."""
    wide = wide_columns(table, made.trials)
    if wide:
        named = {_dimension(label) or label: columns for label, columns in wide.items()}
        take_wide(table, named, rows, made.trials)
        made.told["joined"] = f"{table.path.name} by person, a column per trial"
        return
    if any(trial.labels for trial in made.trials):
        columns = [table.name(i) for i in table.others]
        made.told[f"not used of {table.path.name}"] = f"{some(columns, 6)}: of people, not trials"
        return
    pairs = [(t, rows[id_][0]) for id_, trials in people.items() if id_ in rows for t in trials]
    _take(made, table, pairs, ())


def _cut_by_markers(made: Proposal, table: Beside, rows: dict[str, list[int]]) -> bool:
    """One file per person and a row per trial: markers in the file may say where each begins.

    They are those that the table names or, where there are as many as rows, in its order.
    """
    spans, _ = marker_parts(made, {})
    trials = [each for trial in made.trials for each in parts_of(trial, spans.get(id(trial), []))]
    people: dict[str, list[Trial]] = {}
    for trial in trials:
        people.setdefault(trial.person_id, []).append(trial)
    if not trials:
        return False
    again = any(len({s.label for s in each}) < len(each) for each in spans.values())
    told = ((), []) if again else _pairs(made, table, rows, people)
    if told is None:
        return True
    columns, pairs = told
    if not columns:
        if any(len(own) != len(rows.get(id_, own)) for id_, own in people.items()):
            return False
        both = [id_ for id_ in people if id_ in rows]
        pairs = [pair for id_ in both for pair in zip(people[id_], rows[id_], strict=True)]
        made.checks.append(
            f"{table.path.name} is joined to the files' markers in the order of its rows."
        )
    made.trials = trials
    made.told["parts"] = "by markers in the files"
    made.checks.append("all files of a recording are taken to start together.")
    _take(made, table, pairs, columns)
    return True


def _of_files(
    rows: Mapping[str, list[int]], people: Mapping[str, Sequence[Trial]]
) -> dict[int, list[int]]:
    """Each person's rows, by the `id` of their recordings."""
    return {id(t): rows[id_] for id_, own in people.items() if id_ in rows for t in own}


def _cut_by_table(
    made: Proposal, table: Beside, rows: Mapping[int, list[int]], of_files: int | None = None
) -> None:
    """A row per trial of a file: the table says where each begins, or nobody does.

    `rows` are those of each recording by its `id`, `of_files` the column that told them.
    """
    name = table.path.name
    others = [i for i in table.others if i != of_files]
    column = next((i for i in others if names_trials(table.name(i))), None)
    indices = [row for own in rows.values() for row in own]
    labels = _labels(table, [i for i in others if i != column], indices, made)
    if column is None:  # a trial is called after its class
        words_ = [i for i in labels if not all(map(table.table.number, table.column(i)))]
        column = words_[0] if words_ else None
    starts = [
        (table.span(row)[0] or 0.0, trial.duration_s or float("inf"))
        for trial in made.trials
        for row in rows.get(id(trial), [])
    ]
    beyond = any(start_s >= duration_s for start_s, duration_s in starts)
    trials = []
    for trial in made.trials:
        own = rows.get(id(trial), [])
        said = ["" if column is None else table.cells[row][column] for row in own]
        for at, row in enumerate(own):
            again = said.count(said[at]) > 1
            part = f"{said[at]}_{said[: at + 1].count(said[at])}" if again else said[at]
            start_s, stop_s = (None, None) if beyond else table.span(row)
            trials.append(
                replace(
                    trial,
                    part=part if said[at] else str(at + 1),
                    stimulus="" if again or column in labels else said[at],
                    start_s=start_s,
                    stop_s=stop_s,
                    labels=trial.labels | _cells(table, row, labels),
                    unknown=trial.files if start_s is None else [],
                )
            )
        trials += [] if own else [trial]
    made.trials = trials
    made.told["joined"] = f"{name}, a row per trial: {len(trials)} trials"
    if beyond:
        made.questions.append(
            f"start_s, stop_s: {name} has trials that begin after their file's end. Name the unit "
            "of its times in the column, such as onset_ms, or count them from the file's start."
        )
    elif any(trial.unknown for trial in trials):
        made.questions.append(
            f"start_s, stop_s: {name} has several trials per person, the folder one file: in which "
            "seconds of the file is each? Columns onset and duration in the table would be read."
        )
    else:
        made.told["parts"] = f"{name} says where each trial begins, in seconds of the file"
        made.checks.append("all files of a recording are taken to start together.")


def _cells(table: Beside, row: int, labels: dict[int, str]) -> dict[str, str]:
    """The labels of a row, by their names in the manifest."""
    return {name: table.table.plain(table.column(i)[row]) for i, name in labels.items()}
