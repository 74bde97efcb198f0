"""What is chosen inside a training part: from what, by whom; the test part plays no role."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.stages import select
from clmer.pipeline.stages.loop import Unrecorded
from clmer.pipeline.tokenizer import WindowArrays

SIZES: dict[str, Any] = {
    "width": 4,
    "token_length": 2,
    "dim": 8,
    "heads": 2,
    "cross_layers": 1,
    "memory_layers": 1,
    "single_layers": 1,
    "epochs_contrastive": 1,
    "epochs_fusion": 1,
    "batch": 32,
}


def study() -> tuple[WindowArrays, np.ndarray, Split]:
    """12 people whose power tells the class; the last two are tested."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 10)
    y = np.tile(np.arange(10) % 2, 12)
    x = rng.normal(size=(120, 2, 64)) * np.where(y, 2.0, 1.0)[:, None, None]
    modality = Modality("eeg", 2, 64.0, ("C3", "C4"), ("eeg", "eeg"))
    rows = np.arange(120)
    split = Split("subject 1/6", rows[:80], rows[80:100], rows[100:], 0, "")
    windows = WindowArrays({"eeg": modality}, {"eeg": x.astype(np.float32)}, people)
    return windows, y, split


def test_a_simpler_candidate_is_kept_where_the_better_one_gains_less_than_the_noise() -> None:
    people = np.repeat(np.arange(10), 10)
    rng = np.random.default_rng(0)
    simple = rng.random(100)
    noise = np.repeat(rng.normal(size=10), 10)
    close, better = simple + 0.01 + noise, simple + 0.2 + 0.01 * noise
    assert select.decide({"simple": simple, "close": close}, people).name == "simple"
    found = select.decide({"simple": simple, "close": close, "better": better}, people)
    assert found.name == "better" or close.mean() > better.mean()
    gained = select.decide({"simple": simple, "better": better}, people)
    assert gained.name == "better"
    assert gained.scores["better"] == pytest.approx(better.mean())
    means = np.array([0.2 + 0.01 * noise[people == k].mean() for k in range(10)])
    expected = means.std(ddof=1) / np.sqrt(10)
    assert gained.errors["simple"] == pytest.approx(expected)


def test_inner_parts_hold_each_person_once_and_nobody_tested() -> None:
    windows, y, split = study()
    parts = select.inner_splits(windows, y, split, 0)
    assert len(parts) == select.FOLDS
    tested = np.concatenate([part.test for part in parts])
    np.testing.assert_array_equal(np.sort(tested), np.arange(100))
    for part in parts:
        of = [set(windows.people[rows]) for rows in (part.train, part.val, part.test)]
        assert sum(map(len, of)) == len(set.union(*of))
    few = Split("s", split.train[:20], split.train[20:30], split.test, 0, "")
    with pytest.raises(ConfigError, match="found 3 people or recordings"):
        select.inner_splits(windows, y, few, 0)


def test_what_is_chosen_is_trained_and_kept(tmp_path: Any) -> None:
    windows, y, split = study()
    config = ModelConfig(**SIZES, select="inner")
    model = fit_split(config, windows, y, split, classes=("calm", "angry"))
    assert model.selection is not None
    assert list(model.selection.scores) == list(select.CANDIDATES)
    assert model.selection.scores["linear"] > 0.9
    assert model.config == select.candidates(config)[model.selection.name]
    model.save(tmp_path)
    loaded = SplitModel.load(tmp_path)
    some = {"eeg": windows.arrays["eeg"][split.test]}
    np.testing.assert_array_equal(loaded.predict_proba(some), model.predict_proba(some))


def test_labels_of_the_test_part_play_no_role_and_candidates_are_not_trained_twice() -> None:
    windows, y, split = study()
    config = ModelConfig(**SIZES, select="inner")
    asked: list[str] = []

    class Kept(Unrecorded):
        def __init__(self) -> None:
            self.files: dict[str, Any] = {}

        def save_tensors(self, stage: str, tensors: Any, notes: Any) -> None:
            self.files[stage] = dict(tensors), dict(notes)

        def load_tensors(self, stage: str) -> Any:
            return self.files.get(stage)

    def classify(config: ModelConfig, part: Split) -> np.ndarray:
        asked.append(config.classifier)
        assert np.isin(part.test, np.r_[split.train, split.val]).all()
        return np.asarray(y[part.test] ^ (config.classifier == "fusion"))

    recorder = Kept()
    first = select.choose(config, windows, y, split, classify, recorder, "split1")
    count = len(asked)
    changed = y.copy()
    changed[split.test] ^= 1
    again = select.choose(config, windows, changed, split, classify, recorder, "split1")
    assert first == again
    assert len(asked) == count == len(select.CANDIDATES) * select.FOLDS
    assert first.name == "linear"
    assert first.scores["fusion, stage 1"] == 0


def test_what_cannot_be_compared_is_refused() -> None:
    for options in ({"fusion": False}, {"target": "rating"}):
        with pytest.raises(ConfigError, match="select=inner"):
            ModelConfig(**SIZES, select="inner", **options)
