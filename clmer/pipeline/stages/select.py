"""`select=inner`: what is trained is chosen by cross-validation inside each training part.

The candidates train on parts of a split's training and validation rows, and are scored on the part
that none of them saw; the split's test rows are not looked at. Of candidates that differ by less
than the noise over people the simpler one is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from clmer.data.splits import Split
from clmer.errors import ConfigError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.floor import held_together
from clmer.pipeline.tokenizer import WindowArrays

if TYPE_CHECKING:  # a loaded run needs no loop
    from clmer.pipeline.stages.loop import Recorder

Options = TypeVar("Options", bound=ModelConfig)

#: Parts of a training part: one is scored, one validates, the others train.
FOLDS = 4
#: A candidate has to be better than a simpler one by this many standard errors over people.
ERRORS = 1.0

#: Begins the names of files that hold what the candidates answered.
SELECT = "select"
#: What is chosen from, the simplest first: what each changes in the configuration that was given.
CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "linear": {"classifier": "linear", "contrastive": False, "tokens": "channel"},
    "corrected, spectrum": {
        "classifier": "corrected",
        "contrastive": False,
        "tokens": "spectrum",
    },
    "corrected, samples": {
        "classifier": "corrected",
        "contrastive": False,
        "tokens": "channel",
    },
    "corrected, stage 1, small": {
        "classifier": "corrected",
        "contrastive": True,
        "tokens": "channel",
        "dim": 16,
        "heads": 2,
        "cross_layers": 1,
        "memory_layers": 1,
        "single_layers": 1,
    },
    "corrected, stage 1": {"classifier": "corrected", "contrastive": True, "tokens": "channel"},
    "fusion, stage 1": {"classifier": "fusion", "contrastive": True, "tokens": "channel"},
}

#: Trains a configuration on a split, and gives the class [len(test)] of each of its test rows.
Classify = Callable[[ModelConfig, Split], np.ndarray]


@dataclass(frozen=True)
class Selection:
    """What was chosen for a split.

    Args:
        name: of the candidate.
        scores: balanced accuracy of each candidate over all rows held out.
        errors: of each candidate's difference to the chosen one, the standard error over people.
    """

    name: str
    scores: Mapping[str, float]
    errors: Mapping[str, float]


def candidates(config: Options) -> dict[str, Options]:
    """The configurations that are tried, by name; those that the configuration excludes are not.

    Raises:
        ConfigError: none is left.
    """
    found = {}
    for name, changes in CANDIDATES.items():
        try:
            found[name] = replace(config, **changes, select="none")
        except ConfigError:  # pictures have no stage 1, for one
            continue
    if not found:
        raise ConfigError("`select=inner`: no candidate fits the other options")
    return found


def choose(
    config: ModelConfig,
    windows: WindowArrays,
    y: np.ndarray,
    split: Split,
    classify: Classify,
    recorder: Recorder,
    name: str,
) -> Selection:
    """Choose for one split.

    Args:
        config: what the candidates change.
        windows: all windows.
        y: [N] class of each.
        split: its training and validation rows are used.
        classify: trains a candidate and predicts.
        recorder: keeps each candidate's answers, so that a killed run does not train it again.
        name: of the split.
    """
    parts = inner_splits(windows, y, split, config.seed)
    rows = np.concatenate([part.test for part in parts])
    right = {}
    tried = candidates(config)
    for number, (key, candidate) in enumerate(tried.items()):
        recorder.show(f"{name}/{SELECT}", number, len(tried))
        alone = replace(candidate, models=("clmer",), ablation="none", members=1)
        right[key] = _correct(recorder, f"{name}/{SELECT}-{number}", alone, parts, y, classify)
    weight = len(rows) / (np.bincount(y[rows]).clip(1) * len(np.unique(y[rows])))[y[rows]]
    people = rows if windows.people is None else windows.people[rows]
    return decide({key: weight * value for key, value in right.items()}, people)


def decide(gains: Mapping[str, np.ndarray], people: np.ndarray) -> Selection:
    """The best candidate, or a simpler one that it does not beat by more than the noise.

    Args:
        gains: [rows] of each candidate, simplest first: 0 where it was wrong, else a weight whose
            mean over all rows is its balanced accuracy.
        people: [rows] whose each is.
    """
    names = list(gains)
    best = max(names, key=lambda name: gains[name].mean())
    for name in names:  # simplest first
        if gains[best].mean() - gains[name].mean() <= ERRORS * _error(
            gains[best] - gains[name], people
        ):
            best = name
            break
    return Selection(
        best,
        {name: float(gains[name].mean()) for name in names},
        {name: _error(gains[name] - gains[best], people) for name in names},
    )


def _error(difference: np.ndarray, people: np.ndarray) -> float:
    """Standard error of a mean over rows, whose people were drawn and not their rows."""
    _, owner = np.unique(people, return_inverse=True)
    count = int(owner.max()) + 1
    if count < 2:
        return float("inf")
    sums = np.bincount(owner, difference - difference.mean())
    return float(np.sqrt(count / (count - 1) * np.square(sums).sum()) / len(difference))


def inner_splits(windows: WindowArrays, y: np.ndarray, split: Split, seed: int) -> list[Split]:
    """A split's training part, divided anew: what is held together there stays together.

    Raises:
        ConfigError: there are too few people (or recordings) to divide.
    """
    rows = np.sort(np.concatenate([split.train, split.val]))
    groups = held_together(windows, split)
    count = len(np.unique(groups))
    if count < FOLDS:
        raise ConfigError(
            f"`select=inner`: found {count} people or recordings in the training part of "
            f"{split.name}, expected at least {FOLDS}; leave `select` out"
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    tests = [rows[test] for _, test in folds.split(rows, y[rows], groups)]
    parts = []
    for number, test in enumerate(tests):
        val = tests[(number + 1) % FOLDS]
        train = np.setdiff1d(rows, np.concatenate([test, val]))
        parts.append(Split(f"{split.name}, inner {number + 1}/{FOLDS}", train, val, test, 0, ""))
    return parts


def _correct(
    recorder: Recorder,
    stage: str,
    config: ModelConfig,
    parts: list[Split],
    y: np.ndarray,
    classify: Classify,
) -> np.ndarray:
    """Whether a candidate is right, for each row held out, in the order of the parts."""
    known = recorder.load_tensors(stage)
    if known is not None:
        return np.asarray(known[0]["right"].numpy())
    found = np.concatenate([classify(config, part) == y[part.test] for part in parts])
    recorder.save_tensors(stage, {"right": torch.from_numpy(found)}, {})
    return found
