"""Tables with a row per person and a column per trial: "valence_film1", "valence_film2", ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clmer.data.manifest.propose.beside import Beside
from clmer.data.manifest.propose.trials import Trial
from clmer.data.manifest.propose.words import TRIALS, words


def wide_columns(table: Beside, trials: Sequence[Trial]) -> dict[str, dict[tuple[str, ...], int]]:
    """The column of each trial, by the label that its name says beside the trial's.

    Args:
        table: with a row per person.
        trials: of all people.

    Returns:
        By label and by `trial_id`; labels that fewer than half of the trials have are left out.
    """
    ids = {trial.named.trial_id for trial in trials} - {()}
    found: dict[str, dict[tuple[str, ...], int]] = {}
    for column in table.others:
        name = words(table.name(column))
        for id_ in ids:
            of_trial = [word for word in name if set(word.parts) & set(id_)]
            said = {part for word in of_trial for part in word.parts}
            label = "_".join(w.text for w in name if w not in of_trial and w.key not in TRIALS)
            if label and said == set(id_):
                found.setdefault(label, {}).setdefault(id_, column)
    return {label: each for label, each in found.items() if 2 * len(each) >= len(ids) > 1}


def take_wide(
    table: Beside,
    columns: Mapping[str, Mapping[tuple[str, ...], int]],
    rows: Mapping[str, Sequence[int]],
    trials: Sequence[Trial],
) -> None:
    """Give each trial the cells of its columns in its person's row."""
    for trial in trials:
        for label, by_trial in columns.items():
            at = by_trial.get(trial.named.trial_id)
            if at is not None and trial.person_id in rows:
                cell = table.column(at)[rows[trial.person_id][0]]
                trial.labels[label] = table.table.plain(cell)
