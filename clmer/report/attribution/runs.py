"""Attribution of the models in run folders, from their prepared stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from clmer.errors import DataError
from clmer.evaluation.kinds import kind_of
from clmer.pipeline.run.load import load
from clmer.report.attribution.measure import Drop, SplitDrops, by_person, drops, occlude, questions
from clmer.report.reading import RunFiles, find_runs
from clmer.report.sample import HeldOutWindows, read_test_windows
from clmer.text import score_text

#: Windows of a person and split that are asked about; of more, every n-th.
MOST_WINDOWS = 60


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a run's first model uses, on the people it was tested on.

    Args:
        run: what the page calls the run.
        model: its name.
        people: names of the P people.
        left_out: people whose windows have one class.
        windows: how many were asked about.
        scores: [P] of the windows as they are.
        drops: of each part.
    """

    run: str
    model: str
    people: Sequence[str]
    left_out: Sequence[str]
    windows: int
    scores: np.ndarray
    drops: Sequence[Drop]

    @property
    def is_rating(self) -> bool:
        """Whether ratings were predicted, which have no log loss."""
        return bool(np.isnan(self.drops[0].loss).any())

    def of_kind(self, kind: str) -> list[Drop]:
        """The parts of a kind, the largest cost first."""
        own = [drop for drop in self.drops if drop.part.kind == kind]
        return sorted(own, key=lambda drop: -drop.mean)


#: Of each run's folder what was found, or why there is nothing to be shown.
Found = dict[Path, Attribution | str]


def attribute(paths: Sequence[Path], cache: Path, *, progress: bool = False) -> Found:
    """What the first model of each run uses.

    Args:
        paths: run folders, or folders with runs below them.
        cache: folder of the prepared stores.
        progress: show a bar on a terminal.

    Raises:
        DataError: a path holds no run. Runs that cannot be read are left out.
    """
    return {run.path: _attribute_run(run, cache, progress) for run in find_runs(paths, [])}


def _attribute_run(run: RunFiles, cache: Path, progress: bool) -> Attribution | str:
    if why := not_above_chance(run):
        return why
    try:
        return _measured(run, read_test_windows(run, cache), progress)
    except (DataError, ValueError) as error:  # windows and weights that do not fit each other
        return f"Not drawn: {error}"


def not_above_chance(run: RunFiles) -> str:
    """Why there is nothing to attribute: no score that is above chance; "" where there is one."""
    results = run.scored
    if results is None:
        return "Not drawn: the run has no scored test windows."
    if run.protocol == "shuffled":
        return (
            "Not drawn: windows of one recording are in training and in test, so that the score "
            "may come from recognising recordings, and so would the picture."
        )
    kind, name = kind_of(results), results["main"][0]
    score = next(m for m in results["models"] if m["name"] == name)["windows"][kind.main]
    if score["low"] is None:
        return (
            "Not drawn: no interval of the score can be computed, which takes two people or more. "
            "Nothing shows that the model is above chance."
        )
    if score["low"] > kind.chance(results):
        return ""
    low, high = score_text(score["low"]), score_text(score["high"])
    return (
        f"Not drawn: the model is not above chance. {name} gets a {kind.title} of "
        f"{score_text(score['value'])} (95 % interval {low} to {high}) where chance is "
        f"{score_text(kind.chance(results))}. A map of a model that does not tell the classes "
        "would show noise."
    )


def _measured(run: RunFiles, tested: HeldOutWindows, progress: bool) -> Attribution | str:
    """The splits one after the other, each by its own model."""
    count = len((run.scored or {})["splits"])
    splits: list[SplitDrops] = []
    left_out: set[str] = set()
    windows = 0
    with tqdm(desc=run.name, leave=False, disable=None if progress else True) as bar:
        for number in range(count):
            chosen, alone = chosen_windows(tested, number)
            left_out.update(alone)
            if not len(chosen):
                continue
            trained = load(run.path, f"split{number + 1}", model=tested.rows.model)
            model = next(iter(trained.splits.values()))
            bar.total = count * questions(model)
            sample = tested.sample(chosen, len(chosen))
            splits.append(occlude(model, sample, seed=number, tick=bar.update))
            windows += len(chosen)
    if not splits:
        return (
            "Not drawn: every person's windows have one class. Parts are exchanged between windows "
            "of one person, which then say nothing of the classes."
        )
    people, scores = by_person(splits, [split.whole.score for split in splits])
    names = [str(person) for person in people]
    left = sorted(left_out - set(names))
    of = run.name, tested.rows.model
    return Attribution(*of, names, left, windows, scores, drops(splits))


def chosen_windows(tested: HeldOutWindows, number: int) -> tuple[np.ndarray, list[str]]:
    """Rows of a split's test part that are asked about, and people who have one class there."""
    rows, alone = tested.of_split(number), []
    found = []
    for person in np.unique(tested.rows.subject[rows]):
        own = rows[tested.rows.subject[rows] == person]
        y = tested.rows.y[own]
        if len(np.unique(y)) < 2:
            alone.append(str(person))
            continue
        by_class = own[np.argsort(y, kind="stable")]  # so that every class keeps its share
        taken = np.linspace(0, len(own) - 1, min(len(own), MOST_WINDOWS)).round().astype(int)
        found.append(np.sort(by_class[taken]))
    return np.concatenate(found) if found else np.array([], dtype=np.int64), alone
