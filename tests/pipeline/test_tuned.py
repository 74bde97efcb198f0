"""Encoders that stage 2 trains: where they start, what stays still, and that files keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.nn import Encoder
from clmer.nn.encoder import encode
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.models import build_model, chosen_models
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.stages.loop import Unrecorded
from clmer.pipeline.stages.step import adam
from clmer.pipeline.stages.tuned import TunedModel, feature_scales, linear_start, read_out, tuned
from clmer.pipeline.tokenizer import WindowArrays

CLASSES = ("calm", "angry")
SMALL: dict[str, Any] = {
    **{"width": 4, "token_length": 3, "dim": 8, "heads": 2, "cross_layers": 1},
    **{"memory_layers": 1, "single_layers": 1, "batch": 8},
    **{"epochs_contrastive": 1, "epochs_fusion": 2, "classifier": "fusion"},
}
SHAPES = {"eeg": (3, 32), "face": (2, 10)}


def study() -> tuple[WindowArrays, np.ndarray, Split]:
    """24 windows of two modalities, which tell the classes apart."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    arrays = {
        name: (rng.standard_normal((24, *shape)) + y[:, None, None]).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    modalities = {
        name: Modality(name, count, 32.0, tuple(f"c{i}" for i in range(count)))
        for name, (count, _) in SHAPES.items()
    }
    rows = np.arange(24)
    split = Split("split 1/1", rows[:16], rows[16:20], rows[20:], 0, "")
    return WindowArrays(modalities, arrays, np.repeat(["a", "b"], 12)), y, split


def fitted(**options: Any) -> tuple[SplitModel, WindowArrays]:
    windows, y, split = study()
    config = ModelConfig(**{**SMALL, **options})
    return fit_split(config, windows, y, split, classes=CLASSES), windows


def member(model: SplitModel) -> TunedModel:
    found = next(iter(model.models.values())).members[0]
    assert isinstance(found, TunedModel)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"encoders": "finetune", "members": 2},
        {"encoders": "finetune", "classifier": "corrected"},
        {"encoders": "finetune", "tokens": "time", "ablation": "single"},
        {"encoders": "scratch"},
        {"encoders": "scratch", "contrastive": False, "tokens": "time", "models": ("mult",)},
    ],
)
def test_what_is_saved_predicts_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    model, windows = fitted(**options)
    model.save(tmp_path / "split1")
    for name in model.models:
        loaded = SplitModel.load(tmp_path / "split1", name)
        some = {key: windows.arrays[key] for key in loaded.tokenizer.modalities}
        expected = model.predict_proba(windows.arrays, model=name)
        np.testing.assert_array_equal(loaded.predict_proba(some), expected)
        assert isinstance(member(loaded), TunedModel)
    assert (tmp_path / "split1" / "contrastive.safetensors").is_file() == bool(model.encoders)
    assert bool(model.encoders) == (options["encoders"] == "finetune")


def test_a_fit_repeats() -> None:
    one, windows = fitted(encoders="finetune")
    other, _ = fitted(encoders="finetune")
    found = other.predict_proba(windows.arrays)
    np.testing.assert_array_equal(found, one.predict_proba(windows.arrays))


def test_fine_tuning_begins_at_logistic_regression_on_frozen_features() -> None:
    model, windows = fitted()  # stage 1 as it is
    _, y, split = study()
    config = ModelConfig(**{**SMALL, "encoders": "finetune"})
    chosen = next(iter(chosen_models(config, tuple(SHAPES)).values()))
    x = model.tokenizer.standardise(windows.arrays, torch.device("cpu"))
    scales = feature_scales(model.encoders, x, split.train)
    start = linear_start(model.encoders, scales, x, y, split.train, 2)
    own = tuned(config, chosen, model.tokenizer, model.encoders, scales, start)
    network = build_model(own.spec, SHAPES, 2, config, 32.0).eval()
    with torch.no_grad():
        logits = network(x)
    z = {}
    for name, encoder in model.encoders.items():
        scale = scales[name]
        z[name] = (encode(encoder, x[name]) - scale.mean) / scale.std
    features = read_out(z).double().numpy()
    known = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced"))
    known.fit(features[split.train], y[split.train])
    odds = (logits[:, 1] - logits[:, 0]).numpy()
    np.testing.assert_allclose(odds, known.decision_function(features), rtol=1e-2, atol=1e-3)


def test_batch_norms_behind_stage_1_stay_still_and_weights_move() -> None:
    model, _ = fitted(encoders="finetune")
    moved = member(model).encoders.state_dict()
    for name, encoder in model.encoders.items():
        for key, before in encoder.state_dict().items():
            same = torch.equal(before, moved[f"{name}.{key}"])
            assert same == ("running" in key or "tracked" in key), key
    scratch, _ = fitted(encoders="scratch")
    counts = [v for k, v in member(scratch).state_dict().items() if k.endswith("tracked")]
    assert min(counts) > 0


def test_trained_encoders_move_slowly() -> None:
    model = TunedModel({"eeg": Encoder(3, 32, width=4)}, torch.nn.Identity(), None, 2, trained=True)
    optimizer = adam(model, lr=1e-3, slow=("encoders.", 0.3))
    rates = {group["lr"]: len(group["params"]) for group in optimizer.param_groups}
    assert list(rates) == [1e-3, 3e-4]
    assert rates[3e-4] == len(list(model.encoders.parameters()))


def test_a_part_with_one_class_has_no_linear_start() -> None:
    model, windows = fitted()
    x = model.tokenizer.standardise(windows.arrays, torch.device("cpu"))
    rows = np.arange(8)
    assert (
        linear_start(
            model.encoders, feature_scales(model.encoders, x, rows), x, np.zeros(24, int), rows, 2
        )
        is None
    )


class Interrupted(Unrecorded):
    """A recorder in memory that stops one epoch, and goes on from its checkpoint."""

    keeps = True

    def __init__(self) -> None:
        self.kept: Any = None
        self.left = {"contrastive": 2, "eeg+face": 2}
        self.done: dict[str, Any] = {}

    def save_checkpoint(self, stage: str, tensors: Any, notes: Any) -> None:
        self.kept = {k: v.clone() for k, v in tensors.items()}, dict(notes)
        name = stage.split("/")[1]
        self.left[name] -= 1
        if self.left[name] == 0:
            raise KeyboardInterrupt

    def load_checkpoint(self, stage: str) -> Any:
        return self.kept

    def save_tensors(self, stage: str, tensors: Any, notes: Any) -> None:
        self.done[stage] = {k: v.clone() for k, v in tensors.items()}, dict(notes)

    def load_tensors(self, stage: str) -> Any:
        return self.done.get(stage)


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "pooled", "encoders": "finetune"},
        {"objective": "neighbour", "encoders": "frozen"},
        {"objective": "spectral", "encoders": "finetune"},
        {"objective": "paper", "encoders": "finetune"},
    ],
)
def test_interrupted_in_either_stage_it_ends_with_the_same_numbers(options: dict[str, Any]) -> None:
    windows, y, split = study()
    windows = WindowArrays(
        windows.modalities, windows.arrays, windows.people, recordings=np.arange(24) // 6
    )
    more = {"epochs_contrastive": 3, "epochs_fusion": 4}
    config = ModelConfig(**{**SMALL, **more, **options})
    whole = fit_split(config, windows, y, split, classes=CLASSES)
    recorder = Interrupted()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit_split(config, windows, y, split, classes=CLASSES, recorder=recorder)
    again = fit_split(config, windows, y, split, classes=CLASSES, recorder=recorder)
    found = again.predict_proba(windows.arrays)
    np.testing.assert_array_equal(found, whole.predict_proba(windows.arrays))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoders": "finetune", "contrastive": False}, "needs the contrastive stage"),
        ({"encoders": "scratch", "tokens": "spectrum"}, "needs `fusion=True` and `tokens=channel`"),
        ({"encoders": "scratch", "fusion": False}, "nothing to train"),
        ({"encoders": "finetune", "fusion": False}, "needs `fusion=True`"),
        ({"ablation": "stages", "contrastive": False}, "`ablation=stages`"),
        ({"ablation": "stages", "encoders": "scratch"}, "`ablation=stages`"),
        ({"view_scale": (1.0, -1.0)}, "`view_scale`: found 1,-1"),
        ({"view_jitter": (-0.5, 0.1)}, "`view_jitter`: found -0.5,0.1"),
        ({"view_pieces": 0}, "`view_pieces`: found 0, expected at least 1"),
        ({"view_rotation": -1.0}, "`view_rotation`: found -1.0"),
        ({"objective": "simclr"}, "`objective`: found 'simclr'"),
    ],
)
def test_options_that_exclude_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**options)


def test_neighbours_and_turns_need_what_they_need() -> None:
    with pytest.raises(ConfigError, match="nobody says which windows follow each other"):
        fitted(objective="neighbour")
    with pytest.raises(ConfigError, match="found 2 channels in face, expected threes"):
        fitted(objective="pooled", view_rotation=10.0)
