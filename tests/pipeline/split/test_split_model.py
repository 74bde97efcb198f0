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
from clmer.errors import DataError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.run_files import read_tensors
from clmer.pipeline.split.model import SplitModel, write_tensors
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


def study(seed: int = 0) -> tuple[WindowArrays, np.ndarray, Split]:
    """24 windows of two modalities, which tell the classes apart."""
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
    rows = np.arange(24)
    split = Split("split 1/1", rows[:16], rows[16:20], rows[20:], 0, "")
    return WindowArrays(modalities, arrays, np.repeat(["a", "b"], 12)), y, split


def fitted(**options: Any) -> tuple[SplitModel, WindowArrays]:
    windows, y, split = study()
    config = ModelConfig(**{**SMALL, **options})
    return fit_split(config, windows, y, split, classes=CLASSES), windows


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contrastive": False, "members": 2},
        {"tokens": "spectrum", "contrastive": False, "normalize": "subject"},
        {"models": ("clmer", "mult"), "ablation": "single", "tokens": "time"},
    ],
)
def test_what_is_saved_predicts_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    model, windows = fitted(**options)
    proba = model.predict_proba(windows.arrays, windows.people)
    assert proba.shape == (24, 2)
    np.testing.assert_allclose(proba.sum(1), 1)
    model.save(tmp_path / "split1")
    for name in model.models:
        loaded = SplitModel.load(tmp_path / "split1", name)
        modalities = loaded.tokenizer.modalities
        some = {key: windows.arrays[key] for key in modalities}
        expected = model.predict_proba(windows.arrays, windows.people, name)
        np.testing.assert_array_equal(loaded.predict_proba(some, windows.people), expected)
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
