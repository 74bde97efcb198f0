"""A trained model as one torch module, from prepared windows to probabilities, for exporting."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from clmer.errors import ConfigError
from clmer.features import sign_of_missing
from clmer.nn.checks import NotScriptable
from clmer.pipeline.models import FittedModel
from clmer.pipeline.reference import Scale
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.targets import RatingTarget
from clmer.pipeline.tokenizer import Tokenizer, log_power_of_chunk, raw_tokens, without_missing


class WindowModel(NotScriptable, nn.Module):
    """What a split trained, statistics included: windows -> probabilities, or ratings.

        p = mean_m softmax(member_m(tokens((x - mean) / sd)))

    Weights and statistics are copies, in evaluation mode. Windows are not checked: what is not
    finite gives NaN.

    Args:
        split: the trained split.
        model: which of its models; "" for the first.

    Raises:
        KeyError: no such model.
        ConfigError: the model reads more than the window (hand-made features, a reference), or
            there is none.
    """

    def __init__(self, split: SplitModel, model: str = "") -> None:
        super().__init__()
        fitted = _of_window_alone(split, model)
        names, kind = fitted.chosen.modalities, split.tokenizer.kind
        self.spec, self.target = fitted.chosen.spec, split.target
        if self.spec.tokens == "raw":
            kind = "raw"
        elif split.config.encoders != "frozen":  # the members' own
            kind = "windows"
        self.tokenizer = replace(split.tokenizer.of(names, kind), tokens={})
        self.inputs = nn.ModuleDict({name: _Input(split.tokenizer, name) for name in names})
        scales = split.tokenizer.of(names, kind).tokens
        self.scales = nn.ModuleDict({name: _Scale(scale) for name, scale in scales.items()})
        read = names if kind in ("channel", "time") else ()
        self.encoders = nn.ModuleDict({name: copy.deepcopy(split.encoders[name]) for name in read})
        self.members = nn.ModuleList(copy.deepcopy(member) for member in fitted.members)
        self.to(split.device).eval()

    def forward(self, windows: Mapping[str, Tensor]) -> Tensor:
        """What the members say together.

        Args:
            windows: [N, C, T] by modality, as `SplitModel.predict_proba` takes them.

        Returns:
            Probabilities [N, classes], or ratings [N]; float32.
        """
        x = {name: each(windows[name]) for name, each in self.inputs.items()}
        tokens = {name: self.spec.readable(part) for name, part in self._tokens(x).items()}
        outputs = torch.stack([member(tokens) for member in self.members])  # [members, N, outputs]
        if isinstance(self.target, RatingTarget):
            return self.target.center + self.target.spread * outputs[..., 0].mean(0)
        return outputs.softmax(-1).mean(0)

    def _tokens(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the members read of standardised windows."""
        kind = self.tokenizer.kind
        if kind == "windows":
            return x
        if kind == "raw":
            return raw_tokens(self.tokenizer, x)
        z = {}
        for name, part in x.items():
            if kind == "spectrum":
                found = log_power_of_chunk(part, self.tokenizer.modalities[name].fs)
            else:
                found = self.encoders[name](part)
            z[name] = without_missing(found, part)
        stored = {name: cast(_Scale, each) for name, each in self.scales.items()}
        scales = {name: Scale(each.mean, each.std) for name, each in stored.items()}
        return replace(self.tokenizer, tokens=scales).arrange(z)


class MeanModel(NotScriptable, nn.Module):
    """The mean of several splits' probabilities or ratings, see `WindowModel`.

    Args:
        models: one of each split.
    """

    def __init__(self, models: Sequence[WindowModel]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.eval()

    def forward(self, windows: Mapping[str, Tensor]) -> Tensor:
        """As `WindowModel.forward`."""
        return torch.stack([model(windows) for model in self.models]).mean(0)


class _Scale(nn.Module):
    """A `Scale` that moves with the module."""

    mean: Tensor
    std: Tensor

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.register_buffer("mean", scale.mean)
        self.register_buffer("std", scale.std)


class _Input(_Scale):
    """Prepared windows [N, C, T] of one modality, standardised; zeros where they lack it."""

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        super().__init__(tokenizer.windows[name])
        self.sign = sign_of_missing(tokenizer.modalities[name], tokenizer.lengths[name])

    def forward(self, x: Tensor) -> Tensor:
        z = ((x.double() - self.mean) / self.std).float()
        if self.sign == "none":
            return z
        held = x[..., :1] if self.sign == "flat" else torch.zeros_like(x[..., :1])
        return z.masked_fill((x == held).flatten(1).all(1)[:, None, None], 0.0)


def _of_window_alone(split: SplitModel, model: str) -> FittedModel:
    """The model, if a window is all that it reads."""
    if not split.models:
        raise ConfigError("`fusion=False`: found encoders alone, expected a model that classifies")
    name = model or next(iter(split.models))
    fitted = split.models[name]
    if fitted.floor is not None:
        raise ConfigError(
            f"{name}: found a linear model on hand-made features, which NumPy computes and a "
            "module would leave out; expected networks alone: train with `classifier=fusion`, or "
            "call predict_proba"
        )
    if split.tokenizer.by_reference:
        raise ConfigError(
            f"`reference={split.config.reference}`: {name} reads a window against others of its "
            "person, which a module of windows cannot; train without a reference, or call "
            "predict_proba"
        )
    return fitted
