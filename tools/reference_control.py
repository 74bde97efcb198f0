"""Rest against later rest: what a reference makes of time alone. It should be chance.

    python tools/reference_control.py eegmat --root DIR --reference rest:60

The first seconds of each person's rest are the reference; the model is then asked whether a window
is from the next ones or from those after them. A score above chance would say that the reference
carries the recording's drift, and that a score of other states against it may, too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clmer.data.registry import DATASETS
from clmer.data.splits import Split, make_splits
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.store.writer import stores_folder
from clmer.pipeline.config import Config
from clmer.pipeline.fit import fit_split
from clmer.pipeline.options.reference import parse
from clmer.pipeline.presets import configure
from clmer.pipeline.reference_rows import find_reference
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays


def early_and_late(store: Store, config: Config) -> tuple[WindowArrays, np.ndarray]:
    """The windows with their reference, and 0 for the stretch after it, 1 for the one after that.

    Raises:
        ValueError: the reference is no stretch of some seconds.
    """
    stretch = parse(config.reference)
    if stretch is None or not np.isfinite(stretch.seconds):
        raise ValueError(f"reference: found {config.reference}, expected LABEL:SECONDS")
    windows, (label, seconds) = store.windows, stretch
    found = find_reference(config.reference, windows, config.task, store.path)
    assert found is not None
    own = windows.labels[config.task] == label
    start, end = windows.start_s, windows.start_s + windows.window_s
    y = np.full(len(windows), -1)
    for part in (0, 1):
        y[own & (start >= (part + 1) * seconds) & (end <= (part + 2) * seconds + 1e-6)] = part
    y[~found.used] = -1
    return WindowArrays.of(store, found.known), y


def of_logistic_regression(
    config: Config, windows: WindowArrays, y: np.ndarray, split: Split
) -> np.ndarray:
    """Classes [test] by logistic regression on the run's own tokens (log spectra on eegmat)."""
    tokenizer = Tokenizer.fit(windows, split.train, config.token_kind)
    cpu = torch.device("cpu")
    x = tokenizer.standardise(windows.arrays, cpu, windows.read_against)
    tokens = tokenizer.fit_tokens(x, {}, split.train, windows.read_against)[1].values()
    features = torch.cat([part.flatten(1) for part in tokens], 1).numpy()
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    )
    return np.asarray(
        model.fit(features[split.train], y[split.train]).predict(features[split.test])
    )


def of_the_model(config: Config, windows: WindowArrays, y: np.ndarray, split: Split) -> np.ndarray:
    """Classes [test] by what `clmer train` trains."""
    model = fit_split(config, windows, y, split, classes=("early", "late"))
    part = windows.rows(np.flatnonzero(windows.reference | np.isin(np.arange(len(y)), split.test)))
    proba = model.predict_proba(part.arrays, part.people, reference=part.reference)
    return proba[~part.reference].argmax(1)


WAYS = {"logistic regression": of_logistic_regression, "clmer": of_the_model}


def scores(store: Store, config: Config, way: str, draws: int) -> list[float]:
    """Balanced accuracy per window, all people tested once, of some draws of the folds."""
    windows, y = early_and_late(store, config)
    found = []
    for seed in range(draws):
        said = np.full(len(y), -1)
        for split in make_splits(store.windows, y, "subject", seed=seed):
            said[split.test] = WAYS[way](config, windows, y, split)
        found.append(float(balanced_accuracy_score(y[y >= 0], said[y >= 0])))
    return found


def main(words: list[str]) -> int:
    """Print the scores; the exit code is 1 where one is above 0.54."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=sorted(DATASETS))
    parser.add_argument("--root", help="the recordings (default $CLMER_DATA/<dataset>)")
    parser.add_argument("--reference", default="rest:60", metavar="LABEL:SECONDS")
    parser.add_argument("--draws", type=int, default=3, help="of the folds (3)")
    given = parser.parse_args(words)
    config = configure(given.dataset, "cpu", root=given.root, reference=given.reference)
    store = prepare(DATASETS[given.dataset], Path(config.root), config, cache=stores_folder(None))
    worst = 0.0
    for way in WAYS:
        found = scores(store, config, way, given.draws)
        worst = max(worst, float(np.mean(found)))
        each = ", ".join(f"{score:.3f}" for score in found)
        print(f"{way}: {np.mean(found):.3f} balanced accuracy per window ({each}), chance 0.500")
    return int(worst > 0.54)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
