"""One person's reference, worked through once: the same as among the rows, and for its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clmer.pipeline.split.model
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.pipeline.config import Config, ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.models import FittedModel
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.tokenizer import WindowArrays
from clmer.pipeline.window_features import Band, linear_features

CLASSES = ("calm", "angry")
SIZES: dict[str, Any] = {
    "width": 4,
    "token_length": 3,
    "dim": 8,
    "heads": 2,
    "cross_layers": 1,
    "memory_layers": 1,
    "single_layers": 1,
    "batch": 8,
    "epochs_contrastive": 1,
    "epochs_fusion": 2,
    "reference": "calm:6",
}
OPTIONS: tuple[dict[str, Any], ...] = (
    {"tokens": "channel", "classifier": "fusion"},
    {"tokens": "time", "members": 2, "classifier": "fusion"},
    {"tokens": "spectrum", "contrastive": False, "classifier": "fusion"},
    {"tokens": "channel", "contrastive": False, "classifier": "fusion"},  # raw
    {"tokens": "channel", "models": ("clmer", "mult"), "ablation": "single"},
    {"tokens": "spectrum", "contrastive": False, "classifier": "linear"},
    {"tokens": "channel", "classifier": "linear"},
)
FIRST = slice(0, 6)


def study(seed: int = 0) -> tuple[WindowArrays, np.ndarray, Split]:
    """Two people, whose first six windows are known; EEG, and a signal that some windows lack."""
    rng = np.random.default_rng(seed)
    y = np.arange(40) % 2
    kinds = {"eeg": ("eeg",) * 3, "acc": ("acc",) * 2, "gyro": ("gyro",) * 2}
    arrays = {
        name: (rng.standard_normal((40, len(each), 64)) + y[:, None, None]).astype(np.float32)
        for name, each in kinds.items()
    }
    arrays["eeg"][[3, 9, 25, 33]] = 0.0
    arrays["acc"][20:] *= 7
    modalities = {
        name: Modality(name, len(each), 32.0, tuple(f"c{i}" for i in range(len(each))), each)
        for name, each in kinds.items()
    }
    rows, people = np.arange(40), np.repeat(["a", "b"], 20)
    known = rows % 20 < 6
    parts = [part[~known[part]] for part in (rows[:20], rows[20:32], rows[32:])]
    windows = WindowArrays(modalities, arrays, people, reference=known)
    return windows, np.where(known, -1, y), Split("split 1/1", *parts, 0, "")


def fitted(**options: Any) -> SplitModel:
    windows, y, split = study()
    return fit_split(ModelConfig(**{**SIZES, **options}), windows, y, split, classes=CLASSES)


def of_b() -> dict[str, np.ndarray]:
    """The second person's windows, the first six of which are their reference."""
    return {name: array[20:] for name, array in study()[0].arrays.items()}


def part(windows: Mapping[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: array[rows] for name, array in windows.items()}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda x: "-".join(map(str, x.values())))
def test_it_says_what_the_rows_say(options: dict[str, Any]) -> None:
    """Every model; alone and together; a window that lacks EEG, in the reference and outside it."""
    model, own = fitted(**options), of_b()
    rows = np.arange(20) < 6
    person = model.known_person(part(own, FIRST))
    assert repr(person) == "PersonReference(6 windows)"
    for name in model.models:
        want = model.predict_proba(own, model=name, reference=rows)[6:]
        together = model.predict_proba(part(own, slice(6, 20)), model=name, reference=person)
        np.testing.assert_allclose(together, want, atol=1e-6)
        alone = [
            model.predict_proba(part(own, slice(i, i + 1)), model=name, reference=person)[0]
            for i in range(6, 20)
        ]
        np.testing.assert_allclose(alone, want, atol=1e-6)
    by_windows = model.predict_proba(part(own, slice(6, 20)), reference=part(own, FIRST))
    np.testing.assert_allclose(by_windows, model.predict_proba(own, reference=rows)[6:], atol=1e-6)


@pytest.mark.parametrize("tokens", ["channel", "time", "spectrum"])
def test_tokens_are_those_of_the_rows(tokens: str) -> None:
    model, own = fitted(tokens=tokens, contrastive=tokens != "spectrum"), of_b()
    want = model.tokens(model.known(own, reference=np.arange(20) < 6))
    person = model.known_person(part(own, FIRST))
    found = model.tokens(model.known(part(own, slice(6, 20)), reference=person))
    assert found["eeg"].isnan().all((1, 2)).nonzero().tolist() == [[7]]
    for name, each in found.items():
        torch.testing.assert_close(each, want[name][6:], equal_nan=True, rtol=0, atol=1e-4)


@pytest.mark.parametrize("band", [None, (1.0, 15.0)])
def test_baselines_of_hand_made_features_and_of_band_powers(band: Band | None) -> None:
    model = fitted(tokens="spectrum", contrastive=False, classifier="linear")
    windows, y, split = study()
    chosen = next(iter(model.models.values())).chosen
    features = linear_features(windows.modalities, windows.arrays, band, windows.read_against)
    own = {block: each[split.train] for block, each in features.items()}
    floor = model.target.floor(own, y[split.train], np.arange(len(split.train)), 0).floor
    model = replace(model, models={"baseline": FittedModel(chosen, [], floor, band)})
    want = model.predict_proba(of_b(), reference=np.arange(20) < 6)[6:]
    person = model.known_person(part(of_b(), FIRST))
    found = model.predict_proba(part(of_b(), slice(6, 20)), reference=person)
    np.testing.assert_allclose(found, want, atol=1e-9)
    assert want.std(0).min() > 0.01


def run_of(*models: SplitModel) -> TrainedRun:
    splits = {f"split{number}": model for number, model in enumerate(models, 1)}
    return TrainedRun(
        Path("run"), Config(**SIZES, dataset="manifest", task="mood", protocol="subject"), splits
    )


def test_a_run_works_through_it_once_for_all_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's hand-made features once for all splits, then none of them ever again."""
    trained = run_of(fitted(), fitted(seed=1))
    seen: list[int] = []

    def counted(modalities: Any, windows: Any, *rest: Any) -> dict[str, np.ndarray]:
        seen.append(len(windows["eeg"]))
        return linear_features(modalities, windows, *rest)

    monkeypatch.setattr(clmer.pipeline.split.model, "linear_features", counted)
    own = of_b()
    want = trained.predict_proba(own, reference=np.arange(20) < 6)[6:]
    seen.clear()
    person = trained.known_person(part(own, FIRST))
    assert seen == [6]
    found = [
        trained.predict_proba(part(own, slice(i, i + 1)), reference=person)[0] for i in range(6, 20)
    ]
    assert seen == [6, *[1] * 14]
    np.testing.assert_allclose(found, want, atol=1e-6)
    single = replace(trained, splits={"split2": trained.splits["split2"]})
    x = part(own, slice(6, 20))
    np.testing.assert_array_equal(
        single.predict_proba(x, reference=person),
        trained.splits["split2"].predict_proba(x, reference=person),
    )
    assert single.encode(x, reference=person)["eeg"].shape[0] == 14


def test_another_models_is_refused() -> None:
    one, other = fitted(), fitted()
    own = of_b()
    person = one.known_person(part(own, FIRST))
    message = r"found PersonReference\(6 windows\) of another model, expected this one's"
    with pytest.raises(ValueError, match=message):
        other.predict_proba(own, reference=person)
    with pytest.raises(ValueError, match=message):
        run_of(one, other).predict_proba(own, reference=person)


def test_what_is_no_reference_is_refused() -> None:
    model, own = fitted(), of_b()
    with pytest.raises(ValueError, match="found 3 windows of this person, expected at least 4"):
        model.known_person(part(own, slice(0, 3)))
    with pytest.raises(ValueError, match="found ndarray, expected windows"):
        model.known_person(np.arange(20) < 6)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"windows: found \['eeg'\]"):
        model.known_person({"eeg": own["eeg"]})
    person = model.known_person(part(own, FIRST))
    with pytest.raises(ValueError, match="people: found 2 with one reference"):
        model.predict_proba(own, np.arange(20) // 10, reference=person)
    with pytest.raises(ConfigError, match="found none, .*give it as `reference`"):
        model.predict_proba(own)
    every = replace(model, config=replace(model.config, reference="all"))
    with pytest.raises(ConfigError, match="expected `reference=all`"):
        every.known_person(part(own, FIRST))
    without = replace(model, config=replace(model.config, reference="none"))
    with pytest.raises(ConfigError, match="expected none"):
        without.known_person(part(own, FIRST))
