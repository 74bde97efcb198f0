"""`SplitModel`: what a fit gives, what files keep of it, and what is refused of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError, DataError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.run_files import read_tensors, write_tensors
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.tokenizer import WindowArrays

SMALL: Mapping[str, Any] = {
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
}
CLASSES = ("calm", "angry")


def study(seed: int = 0, reference: str = "none") -> tuple[WindowArrays, np.ndarray, Split]:
    """24 windows of two modalities, which tell the classes apart.

    With a reference the first four of each of two people are known, and their classes are not.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(24) % 2
    shapes = {"eeg": (3, 32), "face": (2, 10)}
    arrays = {
        name: (rng.standard_normal((24, *shape)) + y[:, None, None]).astype(np.float32)
        for name, shape in shapes.items()
    }
    modalities = {
        name: Modality(name, count, 32.0, tuple(f"c{i}" for i in range(count)))
        for name, (count, _) in shapes.items()
    }
    rows, people = np.arange(24), np.repeat(["a", "b"], 12)
    split = Split("split 1/1", rows[:16], rows[16:20], rows[20:], 0, "")
    if reference == "none":
        return WindowArrays(modalities, arrays, people), y, split
    known = rows % 12 < 4
    if reference == "all":
        return WindowArrays(modalities, arrays, people, reference=rows >= 0), y, split
    parts = [part[~known[part]] for part in (split.train, split.val, split.test)]
    split = Split("split 1/1", *parts, 0, "")
    return WindowArrays(modalities, arrays, people, reference=known), np.where(known, -1, y), split


def fitted(**options: Any) -> tuple[SplitModel, WindowArrays]:
    windows, y, split = study(reference=options.get("reference", "none"))
    config = ModelConfig(**{**SMALL, **options})
    return fit_split(config, windows, y, split, classes=CLASSES), windows


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contrastive": False, "members": 2},
        {"tokens": "spectrum", "contrastive": False, "reference": "all"},
        {"reference": "calm:4"},
        {"models": ("clmer", "mult"), "ablation": "single", "tokens": "time"},
    ],
)
def test_what_is_saved_predicts_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    model, windows = fitted(**options)
    known = windows.reference
    proba = model.predict_proba(windows.arrays, windows.people, reference=known)
    assert proba.shape == (24, 2)
    np.testing.assert_allclose(proba.sum(1), 1)
    model.save(tmp_path / "split1")
    for name in model.models:
        loaded = SplitModel.load(tmp_path / "split1", name)
        modalities = loaded.tokenizer.modalities
        some = {key: windows.arrays[key] for key in modalities}
        expected = model.predict_proba(windows.arrays, windows.people, name, known)
        again = loaded.predict_proba(some, windows.people, reference=known)
        np.testing.assert_array_equal(again, expected)
    assert SplitModel.load(tmp_path / "split1").classes == CLASSES
    assert repr(model).startswith("SplitModel(eeg+face")
    assert len(repr(model)) < 200


def test_a_fit_leaves_the_random_state_and_repeats_in_threads() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    expected = fitted()[0].predict_proba(study()[0].arrays)
    assert torch.equal(torch.get_rng_state(), before)
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: found.append(fitted()[0].predict_proba(study()[0].arrays)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        torch.randn(3)  # the caller draws meanwhile
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for each in found:
        np.testing.assert_array_equal(each, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 10**9, "heads": 10}, "contents: found .*tokenizer"),
        ({"dim": 10**5, "heads": 10}, r"contents: found .*, not \["),
        ({"cross_layers": 2}, r"contents: found .*absent, not \["),
        ({"members": 10**9}, "notes.config: found `members`: found 1000000000"),
        ({"colour": "red"}, "notes.config: found colour, expected the options of this version"),
        ({"models": ["svm"]}, "model: found svm, expected a run with a model"),
    ],
)
def test_a_size_is_not_believed(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    fitted()[0].save(tmp_path)
    path = tmp_path / "tokenizer.safetensors"
    tensors, notes = read_tensors(path)
    write_tensors(path, tensors, {**notes, "config": {**notes["config"], **change}})
    with pytest.raises(DataError, match=message):
        SplitModel.load(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    fitted()[0].save(tmp_path / "models" / "split1")
    (tmp_path / "models" / "split1" / "contrastive.safetensors").unlink()
    with pytest.raises(DataError, match=r"models/split1/contrastive\.safetensors: found nothing"):
        SplitModel.load(tmp_path / "models" / "split1")
    with pytest.raises(DataError, match="model: found mult, expected eeg"):
        SplitModel.load(tmp_path / "models" / "split1", "mult")


@pytest.mark.parametrize("kind", ["calm:4", "marked"])
def test_a_model_with_a_reference_asks_for_one(kind: str) -> None:
    model, windows = fitted(reference=kind)
    own = {name: array[12:] for name, array in windows.arrays.items()}
    first = {name: array[:4] for name, array in own.items()}
    with pytest.raises(ConfigError, match=r"found none, .*: record .* and give it as `reference`"):
        model.predict_proba(own)
    with pytest.raises(ConfigError, match="found `reference=all`"):
        model.predict_proba(own, reference="all")
    with pytest.raises(ValueError, match="found 3 windows of"):
        model.predict_proba(own, reference={name: array[:3] for name, array in first.items()})
    with pytest.raises(ValueError, match="several"):
        model.predict_proba(windows.arrays, windows.people, reference=first)
    by_windows = model.predict_proba(own, reference=first)
    by_mask = model.predict_proba(windows.arrays, windows.people, reference=windows.reference)
    np.testing.assert_allclose(by_windows, by_mask[12:], atol=1e-6)


def test_a_model_without_a_reference_takes_none() -> None:
    model, windows = fitted()
    with pytest.raises(ConfigError, match="expected none"):
        model.predict_proba(windows.arrays, reference="all")
    model, windows = fitted(reference="all")
    with pytest.raises(ConfigError, match="expected `reference=all`"):
        model.predict_proba(windows.arrays)
    assert model.predict_proba(windows.arrays, windows.people, reference="all").shape == (24, 2)


@pytest.mark.parametrize("tokens", ["channel", "spectrum"])
def test_offset_and_gain_of_a_recording_change_nothing_under_a_reference(tokens: str) -> None:
    model, windows = fitted(reference="calm:4", tokens=tokens)
    own = {name: array[12:].astype(np.float64) for name, array in windows.arrays.items()}
    other = {name: 40 + 7 * array for name, array in own.items()}
    probas = [
        model.predict_proba(x, reference={name: array[:4] for name, array in x.items()})
        for x in (own, other)
    ]
    np.testing.assert_allclose(*probas, atol=1e-4)


def test_a_reference_reaches_nobodys_statistics_but_its_persons() -> None:
    """What a person known only by their reference has in it does not change the training."""
    windows, y, split = study(reference="calm:4")
    config = ModelConfig(**SMALL, reference="calm:4", classifier="fusion")
    alone = Split("split 1/1", split.train[split.train < 12], split.val, split.test, 0, "")
    tensors = []
    for gain in (1.0, 50.0):
        arrays = {name: array.copy() for name, array in windows.arrays.items()}
        for array in arrays.values():
            array[12:16] *= gain
        changed = WindowArrays(
            windows.modalities, arrays, windows.people, reference=windows.reference
        )
        nobody = alone.val[:0]
        only = Split("split 1/1", alone.train, nobody, nobody, 0, "")
        model = fit_split(config, changed, y, only, classes=CLASSES)
        tensors.append([*model.models["eeg+face"].members[0].state_dict().values()])
    for one, other in zip(*tensors, strict=True):
        assert torch.equal(one, other)


def test_windows_and_option_agree_about_a_reference() -> None:
    windows, y, split = study()
    with pytest.raises(ConfigError, match="`reference=calm:4`: found none among the windows"):
        fit_split(ModelConfig(**SMALL, reference="calm:4"), windows, y, split, classes=CLASSES)
