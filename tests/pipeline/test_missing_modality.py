"""Windows that lack a modality: trained with, predicted, and never read as a signal of zeros."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.tokenizer import WindowArrays

SIZES: dict[str, Any] = {
    "width": 4,
    "token_length": 3,
    "dim": 8,
    "heads": 2,
    "cross_layers": 1,
    "memory_layers": 1,
    "single_layers": 1,
    "batch": 16,
    "epochs_contrastive": 1,
    "embedding_dropout": 0.0,
}


def study() -> tuple[WindowArrays, np.ndarray, Split]:
    """Two modalities whose means tell the classes apart; a third of the windows lack the body."""
    rng = np.random.default_rng(0)
    y = np.arange(96) % 2
    arrays = {
        name: (rng.standard_normal((96, 2, 32)) + 2 * y[:, None, None] + 5).astype(np.float32)
        for name in ("eeg", "body")
    }
    arrays["body"][np.arange(96) % 3 == 0] = 0.0
    modalities = {name: Modality(name, 2, 32.0, ("a", "b")) for name in arrays}
    rows = np.arange(96)
    split = Split("subject 1/1", rows[:48], rows[48:72], rows[72:], 0, "")
    return WindowArrays(modalities, arrays, rows // 12), y, split


OPTIONS: tuple[dict[str, Any], ...] = (
    {"classifier": "fusion", "contrastive": False, "epochs_fusion": 25},
    {"classifier": "fusion", "contrastive": False, "epochs_fusion": 25, "modality_dropout": 0.3},
    {"classifier": "fusion", "tokens": "spectrum", "contrastive": False, "epochs_fusion": 2},
    {"classifier": "fusion", "epochs_fusion": 2},
    {"classifier": "fusion", "encoders": "finetune", "epochs_fusion": 2},
    {"classifier": "fusion", "encoders": "scratch", "epochs_fusion": 2},
    {"classifier": "corrected", "contrastive": False, "epochs_fusion": 3},
    {"classifier": "fusion", "models": ("mult",), "contrastive": False, "epochs_fusion": 2},
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda x: "-".join(map(str, x.values())))
def test_a_missing_modality_is_not_read(options: dict[str, Any], tmp_path: Path) -> None:
    windows, y, split = study()
    model = fit_split(ModelConfig(**{**SIZES, **options}), windows, y, split, classes=("a", "b"))
    test = {name: part[split.test] for name, part in windows.arrays.items()}
    said = model.predict_proba(test)
    assert np.isfinite(said).all()
    if options["epochs_fusion"] == 25:
        lacks = np.arange(72, 96) % 3 == 0
        right = said.argmax(1) == y[split.test]
        assert right[lacks].all()
        assert right[~lacks].all()
    model.save(tmp_path)
    assert np.array_equal(SplitModel.load(tmp_path).predict_proba(test), said)


def test_what_else_is_in_a_batch_plays_no_part() -> None:
    windows, y, split = study()
    config = ModelConfig(**SIZES, classifier="fusion", contrastive=False, epochs_fusion=2)
    model = fit_split(config, windows, y, split, classes=("a", "b"))
    test = {name: part[split.test] for name, part in windows.arrays.items()}
    alone = {name: part[:1] for name, part in test.items()}  # this one lacks the body
    assert not alone["body"].any()
    np.testing.assert_allclose(model.predict_proba(alone), model.predict_proba(test)[:1], rtol=1e-5)
