"""Predictions and results of made-up models, for tests of what a run leaves behind."""

from __future__ import annotations

import numpy as np

from clmer.data.splits import Split
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.results import build_results

CLASSES = ("calm, or so", "tense")


def predictions(name: str, right: float, *, people: int = 8, seed: int = 0) -> Predictions:
    """`right` of the windows correctly said; two recordings a person, 5 windows each."""
    rng = np.random.default_rng(seed)
    subject = np.repeat([f"s{i}" for i in range(people)], 10)
    recording = np.array([f"{s}/t{i % 10 // 5}" for i, s in enumerate(subject)])
    y = np.arange(len(subject)) % 10 // 5
    said = np.where(rng.random(len(y)) < right, y, 1 - y)
    logp = np.log(np.where(np.arange(2) == said[:, None], 0.8, 0.2))
    split = np.array([f"subject {int(s[1:]) % 2 + 1}/2" for s in subject])
    return Predictions(name, split, subject, recording, np.arange(len(y)) % 5 * 1.5, y, logp)


def results(
    models: list[Predictions],
    protocol: str = "subject",
    shared: int = 0,
    main: tuple[str, ...] = ("eeg", "ecg"),
) -> dict:
    rows = np.arange(2)
    splits = [Split(f"subject {i}/2", rows, rows, rows, shared, "No person twice.") for i in (1, 2)]
    return build_results(
        models,
        dataset="demo",
        task="label",
        protocol=protocol,
        classes=CLASSES,
        splits=splits,
        main=main,
        notes=["subject normalisation: transductive."],
    )
