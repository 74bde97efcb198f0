"""What a run's models are compared with, fitted and asked on the same splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clmer.baselines import SVM, svm
from clmer.baselines.logistic import LinearFloor
from clmer.data.splits import Split
from clmer.evaluation.rows import Rows
from clmer.pipeline.floor import held_together
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.targets import Target, fit_target
from clmer.train.training_run import TrainingRun


def baselines(job: TrainingRun, split: Split, trained: SplitModel) -> list[Rows]:
    """What training labels alone say, a linear model on what each model reads, and the SVM."""
    windows, y, kind = job.store.windows, job.y, job.kind
    guess = kind.guessed(y[split.train], len(split.test), job.task.classes)
    rows = [kind.of_split(kind.guess, split, windows, y, guess)]
    model = "LR" if job.task.classes else "ridge"
    target = fit_target(job.config.target, job.task.classes, y, split.train)
    floors = {each.chosen.modalities: each.floor for each in trained.models.values()}
    for modalities in dict.fromkeys(job.modalities(name) for name in job.main):
        powers = {"powers": np.hstack([job.powers[name] for name in modalities])}
        features = job.windows.features_of(modalities)
        floor = floors.get(modalities) or linear(job, split, features, target)
        both = (
            ("band power", linear(job, split, powers, target), powers),
            ("features", floor, features),
        )
        for source, fitted, known in both:
            outputs = fitted.log_odds({block: part[split.test] for block, part in known.items()})
            title = f"{source} + {model}: {'+'.join(modalities)}"
            rows.append(kind.of_split(title, split, windows, y, target.decode(outputs)))
    if SVM in job.main:
        fit_predict = svm.fit_predict if job.task.classes else svm.fit_predict_ratings
        more = {"classes": job.classes} if job.task.classes else {}
        said = fit_predict(job.powers, y, split, job.config.seed, **more)
        rows.append(kind.of_split(SVM, split, windows, y, said))
    return rows


def linear(
    job: TrainingRun, split: Split, features: Mapping[str, np.ndarray], target: Target
) -> LinearFloor:
    """A linear model that no network corrects, fitted as a floor is."""
    rows = np.sort(np.concatenate([split.train, split.val]))
    own = {block: part[rows] for block, part in features.items()}
    groups = held_together(job.windows, split)
    return target.floor(own, job.y[rows], groups, job.config.seed).floor
