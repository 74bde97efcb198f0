"""How much of a model's score hangs on a part of the signals: exchange it, and ask again.

For a part e (an electrode, a band, ...) and a window i of person p, j is another window of the same
person, of a class drawn with equal chance among those that p has, whatever the class of i. With
x_i[e <- x_j] window i with e of window j in its place,

    cost_p(e) = mean over draws of L_p(x[e <- x_j]) - L_p(x),

where L_p is the log loss of person p's windows, classes weighing the same (of ratings their RMSE);
the drop of balanced accuracy is measured with it. e keeps the distribution that it has in p, and
says nothing of the class. All else is held fixed: the weights, the other parts, the reference.

Of each split the model is asked about its own test part alone. A person of one class has no drop.

Source: L. Breiman (2001), Random forests, permutation importance; here within people, as in
P. Good (2005), Permutation, Parametric and Bootstrap Tests, on restricted permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from clmer.evaluation.metrics import Predictions, confusion_scores, person_confusions
from clmer.evaluation.ratings import RatingPredictions, person_scores
from clmer.evaluation.significance import paired_interval
from clmer.pipeline.split.model import SplitModel
from clmer.report.attribution.parts import Part, parts_of
from clmer.report.sample import Sample

#: Draws of the windows that parts are taken from.
ROUNDS = 4


class Scores(NamedTuple):
    """What a model scores on each of P people.

    Args:
        score: [P, ...] balanced accuracy, or of ratings minus the RMSE; more is better.
        loss: [P, ...] log loss in nats, classes weighing the same; NaN of ratings.
    """

    score: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True, eq=False)
class Drop:
    """What exchanging a part costs each of P people.

    Args:
        part: which.
        score: [P] drop of the score.
        loss: [P] rise of the log loss; NaN of ratings.
    """

    part: Part
    score: np.ndarray
    loss: np.ndarray

    @property
    def cost(self) -> np.ndarray:
        """[P] what parts are compared by: the rise of the log loss, of ratings that of the RMSE."""
        return self.score if np.isnan(self.loss).any() else self.loss

    @property
    def mean(self) -> float:
        """Of the cost, over people."""
        return float(self.cost.mean())

    def is_seen(self, tests: int) -> bool:
        """Whether the cost is above 0 between these people, of so many parts that were looked at.

        By its interval over people with Bonferroni's correction.
        """
        found = paired_interval(self.cost, level=1 - 0.05 / tests)
        return found is not None and found[0] > 0


@dataclass(frozen=True, eq=False)
class SplitDrops:
    """Of one split: people [P], their scores, and scores without each of the parts [P, parts]."""

    people: np.ndarray
    parts: Sequence[Part]
    whole: Scores
    without: Scores


def occlude(
    model: SplitModel,
    sample: Sample,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> SplitDrops:
    """Exchange every part of a split's test windows, and ask the split's model each time.

    Args:
        model: the split's; its first classifier is asked.
        sample: test windows of the split, of people who have two classes or more.
        rounds: draws of the windows that parts are taken from.
        seed: of the draws, which are the same for all parts.
        tick: called after each question.

    Returns:
        Scores of the windows as they are and without each part.

    Raises:
        ValueError: the windows do not fit the model; a person's have one class.
    """
    modalities = model.tokenizer.modalities
    windows = {name: sample.windows[name] for name in modalities}
    parts = parts_of(modalities, model.tokenizer.lengths)
    people, person = np.unique(sample.person, return_inverse=True)
    count = len(sample.y)

    def ask(changed: dict[str, np.ndarray]) -> Scores:
        said = model.predictions(windows | changed, sample.people, reference=sample.reference)
        tick()
        return scores_by_person(said[:count], sample)

    whole = ask({})
    rng = np.random.default_rng(seed)
    total = Scores(*np.zeros((2, len(people), len(parts))))
    for _ in range(rounds):
        given = draw_windows(rng, person, sample.y)
        for number, part in enumerate(parts):
            array = np.array(windows[part.modality])
            own = array[:count]
            array[:count] = part.exchanged(own, own[given], modalities[part.modality])
            for sums, found in zip(total, ask({part.modality: array}), strict=True):
                sums[:, number] += found / rounds
    return SplitDrops(people, parts, whole, total)


def questions(model: SplitModel, rounds: int = ROUNDS) -> int:
    """How often `occlude` asks a model."""
    return 1 + rounds * len(parts_of(model.tokenizer.modalities, model.tokenizer.lengths))


def draw_windows(rng: np.random.Generator, person: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A window of the same person for each window, of a class drawn with equal chance.

    Args:
        rng: random numbers.
        person: [N] int.
        y: [N] int class; float ratings are drawn from all of a person's windows.

    Returns:
        [N] rows.

    Raises:
        ValueError: a person's windows have one class.
    """
    given = np.empty(len(y), dtype=np.int64)
    for each in np.unique(person):
        own = np.flatnonzero(person == each)
        if y.dtype.kind == "f":
            given[own] = rng.choice(own, len(own))
            continue
        classes = np.unique(y[own])
        if len(classes) < 2:
            raise ValueError(f"y: found class {classes[0]} alone of person {each}, expected two")
        of_class = [own[y[own] == known] for known in classes]
        drawn = rng.integers(len(classes), size=len(own))
        given[own] = [rng.choice(of_class[number]) for number in drawn]
    return given


def scores_by_person(said: np.ndarray, sample: Sample) -> Scores:
    """Each person's score and log loss, of log-probabilities [N, classes] or ratings [N]."""
    count = len(sample.y)
    columns = ("", np.full(count, ""), sample.person, sample.recording, np.zeros(count))
    if said.ndim == 1:
        _, own = person_scores(RatingPredictions(*columns, sample.y, said))
        return Scores(-own["rmse"], np.full(len(own["rmse"]), np.nan))
    people, counts = person_confusions(Predictions(*columns, sample.y, said))
    loss = -said[np.arange(count), sample.y]
    return Scores(
        confusion_scores(counts)["balanced_accuracy"],
        np.array([_balanced_mean(loss, sample, person) for person in people]),
    )


def _balanced_mean(loss: np.ndarray, sample: Sample, person: str) -> float:
    """Mean over a person's classes of the mean over their windows."""
    own = sample.person == person
    return float(np.mean([loss[own & (sample.y == k)].mean() for k in np.unique(sample.y[own])]))


def by_person(
    splits: Sequence[SplitDrops], values: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """People [P], sorted, and the mean over splits of their values [people, ...], [P, ...]."""
    person, joined = np.concatenate([s.people for s in splits]), np.concatenate(values)
    people = np.unique(person)
    return people, np.stack([joined[person == each].mean(0) for each in people])


def drops(splits: Sequence[SplitDrops]) -> list[Drop]:
    """What each part costs each person, the mean over the splits that tested the person."""
    _, score = by_person(splits, [s.whole.score[:, None] - s.without.score for s in splits])
    _, loss = by_person(splits, [s.without.loss - s.whole.loss[:, None] for s in splits])
    return [Drop(part, score[:, i], loss[:, i]) for i, part in enumerate(splits[0].parts)]
