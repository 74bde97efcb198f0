"""What a run's models are compared with, fitted and asked on the same splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clmer.baselines import SVM, svm
from clmer.data.splits import Split
from clmer.evaluation.rows import Rows
from clmer.pipeline.floor import held_together
from clmer.pipeline.targets import fit_target
from clmer.train.training_run import TrainingRun


def baselines(job: TrainingRun, split: Split) -> list[Rows]:
    """What training labels alone say, a linear model on what each model reads, and the SVM."""
    windows, y, kind = job.store.windows, job.y, job.kind
    guess = kind.guessed(y[split.train], len(split.test), job.task.classes)
    rows = [kind.of_split(kind.guess, split, windows, y, guess)]
    model = "LR" if job.task.classes else "ridge"
    for modalities in dict.fromkeys(job.modalities(name) for name in job.main):
        sources = {
            "band power": {"powers": np.hstack([job.powers[name] for name in modalities])},
            "features": job.windows.features_of(modalities),
        }
        for source, features in sources.items():
            title = f"{source} + {model}: {'+'.join(modalities)}"
            rows.append(kind.of_split(title, split, windows, y, linear(job, split, features)))
    if SVM in job.main:
        fit_predict = svm.fit_predict if job.task.classes else svm.fit_predict_ratings
        more = {"classes": job.classes} if job.task.classes else {}
        said = fit_predict(job.powers, y, split, job.config.seed, **more)
        rows.append(kind.of_split(SVM, split, windows, y, said))
    return rows


def linear(job: TrainingRun, split: Split, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a linear model that no network corrects says of the test part."""
    rows = np.sort(np.concatenate([split.train, split.val]))
    own = {name: part[rows] for name, part in features.items()}
    target = fit_target(job.config.target, job.task.classes, job.y, split.train)
    groups = held_together(job.windows, split)
    floor = target.floor(own, job.y[rows], groups, job.config.seed).floor
    return target.decode(floor.log_odds({n: part[split.test] for n, part in features.items()}))
