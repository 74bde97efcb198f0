"""What a run's models are compared with, fitted and asked on the same splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clmer.baselines import FITTED, SVM, TANGENT, svm, trees
from clmer.baselines.logistic import LinearFloor
from clmer.baselines.tangent import eeg_of, tangent_blocks
from clmer.data.splits import Split
from clmer.evaluation.rows import Rows
from clmer.pipeline.floor import held_together
from clmer.pipeline.reference import windows_by_person
from clmer.pipeline.split.baselines import Baseline
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.targets import Target, fit_target
from clmer.pipeline.window_features import POWERS
from clmer.train.training_run import TrainingRun


def baselines(
    job: TrainingRun, split: Split, trained: SplitModel
) -> tuple[list[Rows], dict[str, Baseline]]:
    """What training labels alone say, a linear model on what each model reads, and `FITTED`.

    Returns:
        Predictions of the test part; and the linear models, by their name there.
    """
    windows, y, kind = job.store.windows, job.y, job.kind
    guess = kind.guessed(y[split.train], len(split.test), job.task.classes)
    rows = [kind.of_split(kind.guess, split, windows, y, guess)]
    model = "LR" if job.task.classes else "ridge"
    target = fit_target(job.config.target, job.task.classes, y, split.train)
    fits: dict[str, Baseline] = {}
    floors = {
        each.chosen.modalities: each.floor
        for each in trained.models.values()
        if not trained.encoders  # whose features are no baseline's
    }
    for modalities in dict.fromkeys(job.modalities(name) for name in job.main):
        powers = {POWERS: np.hstack([job.powers[name] for name in modalities])}
        features = job.windows.features_of(modalities)
        floor = floors.get(modalities) or linear(job, split, features, target)
        both = (
            ("band power", linear(job, split, powers, target), powers, job.band),
            ("features", floor, features, None),
        )
        for source, fitted, known, band in both:
            outputs = fitted.log_odds({block: part[split.test] for block, part in known.items()})
            title = f"{source} + {model}: {'+'.join(modalities)}"
            rows.append(kind.of_split(title, split, windows, y, target.decode(outputs)))
            fits[title] = Baseline(fitted, modalities, band)
    for name in job.main:
        if name in FITTED:
            rows.append(kind.of_split(name, split, windows, y, _fitted(job, split, name)))
    return rows, fits


def _fitted(job: TrainingRun, split: Split, name: str) -> np.ndarray:
    """What a model that is fitted without the loop says of the test part."""
    y, seed, classes = job.y, job.config.seed, job.classes
    if name == SVM and not job.task.classes:
        return svm.fit_predict_ratings(job.powers, y, split, seed)
    if name == SVM:
        return svm.fit_predict(job.powers, y, split, seed, classes=classes)
    if name == TANGENT:
        return _tangent(job, split)
    features = job.windows.features_of(tuple(job.store.modalities))
    rows = np.sort(np.concatenate([split.train, split.val]))
    if not job.task.classes:
        return trees.fit_predict_ratings(name, features, y, rows, split.test, seed)
    groups = held_together(job.windows, split)
    return trees.fit_predict(name, features, y, rows, groups, split.test, classes, seed)


def _tangent(job: TrainingRun, split: Split) -> np.ndarray:
    """A linear model on the tangent space of EEG's covariances; under a reference aligned first."""
    modality, rows = eeg_of(job.store.modalities)
    x, known = job.store.array(modality)[:, rows], job.reference
    if known is not None:
        every = range(len(rows))
        x = windows_by_person(x, job.store.windows.subject, known.known, every)
    train = np.sort(np.concatenate([split.train, split.val]))
    blocks = tangent_blocks(x, job.store.modalities[modality].fs, train)
    target = fit_target(job.config.target, job.task.classes, job.y, split.train)
    fitted = linear(job, split, blocks, target)
    own = {block: part[split.test] for block, part in blocks.items()}
    return target.decode(fitted.log_odds(own))


def linear(
    job: TrainingRun, split: Split, features: Mapping[str, np.ndarray], target: Target
) -> LinearFloor:
    """A linear model that no network corrects, fitted as a floor is."""
    rows = np.sort(np.concatenate([split.train, split.val]))
    own = {block: part[rows] for block, part in features.items()}
    groups = held_together(job.windows, split)
    return target.floor(own, job.y[rows], groups, job.config.seed).floor
