"""`WindowModel`: what `predict_proba` says as one module, also where PyTorch is left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from test_split_model import CLASSES, SMALL, fitted, study
from torch import Tensor

from clmer.errors import ConfigError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.split.module import MeanModel, WindowModel

MODELS: Mapping[str, Mapping[str, Any]] = {
    "channel tokens": {"members": 2},
    "time tokens": {"tokens": "time"},
    "samples": {"contrastive": False},
    "spectra": {"tokens": "spectrum", "contrastive": False},
    "other models": {"models": ("clmer", "mult"), "ablation": "single"},
    "own encoders": {"encoders": "finetune"},
    "spectral encoders": {"objective": "spectral"},
}


def trained(name: str) -> tuple[SplitModel, dict[str, np.ndarray]]:
    """A model and 8 windows, of which some lack a modality."""
    model, windows = fitted(classifier="fusion", **MODELS[name])
    arrays = {key: np.array(array[:8]) for key, array in windows.arrays.items()}
    arrays["eeg"][1] = 0.0
    arrays["eeg"][2] = 7.5  # flat, which a brain is not
    arrays["face"][3] = 0.0
    return model, arrays


def as_tensors(windows: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in windows.items()}


@pytest.mark.parametrize("name", MODELS)
def test_says_what_predict_proba_says(name: str) -> None:
    split, windows = trained(name)
    for model in split.models:
        module = WindowModel(split, model)
        assert not any(each.training for each in module.modules())
        with torch.no_grad():
            found = module(as_tensors(windows))
        assert found.dtype == torch.float32
        want = split.predict_proba(windows, model=model)
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["time tokens", "own encoders"]
)  # one member, which is not stacked
def test_weights_are_copies(name: str) -> None:
    split, windows = trained(name)
    before = split.predict_proba(windows)
    module = WindowModel(split)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(split.predict_proba(windows), before)


def test_ratings() -> None:
    windows, y, split = study()
    config = ModelConfig(**SMALL, classifier="fusion", target="rating", members=2)
    model = fit_split(config, windows, y + 3.0, split, classes=())
    found = WindowModel(model)(as_tensors(windows.arrays))
    np.testing.assert_allclose(
        found.detach().numpy(), model.predict(windows.arrays), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", MODELS)
def test_exported_with_any_number_of_windows(name: str) -> None:
    split, windows = trained(name)
    module, given = WindowModel(split), as_tensors(windows)
    shapes = {"windows": {key: {0: torch.export.Dim("batch")} for key in given}}
    program = torch.export.export(module, (given,), dynamic_shapes=shapes)
    five = {key: part[:5] for key, part in given.items()}
    torch.testing.assert_close(program.module()(five), module(five))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["channel tokens", "spectra", "own encoders"])
def test_onnxruntime_says_the_same_of_raw_windows(name: str) -> None:
    pytest.importorskip("onnxscript", reason="onnx, onnxscript and onnxruntime: clmer[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="clmer[onnx]")
    split, windows = trained(name)
    module = MeanModel([WindowModel(split), WindowModel(split)])
    shapes = {"windows": {key: {0: torch.export.Dim("batch")} for key in windows}}
    program = torch.onnx.export(
        module, kwargs={"windows": as_tensors(windows)}, dynamic_shapes=shapes, dynamo=True,
        input_names=[*windows], output_names=["probabilities"], verbose=False,
    )  # fmt: skip
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    for some in (windows, {key: part[:3] for key, part in windows.items()}):
        (found,) = session.run(["probabilities"], some)
        np.testing.assert_allclose(found, split.predict_proba(some), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found a linear model on hand-made features.*train with `classifier=fusion`"),
        ({"classifier": "linear"}, "found a linear model on hand-made features"),
        ({"classifier": "fusion", "reference": "calm:4"}, "`reference=calm:4`: .*of its person"),
        ({"fusion": False}, "`fusion=False`: found encoders alone"),
    ],
)
def test_what_a_window_does_not_say_is_refused(options: dict[str, Any], message: str) -> None:
    split, _ = fitted(**options)
    with pytest.raises(ConfigError, match=message):
        WindowModel(split)
    assert split.classes == CLASSES
