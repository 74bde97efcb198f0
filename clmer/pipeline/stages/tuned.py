"""Encoders and a classifier as one model, which stage 2 trains together (`encoders`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from clmer.baselines import ModelSizes, Shapes
from clmer.baselines.one_thread import one_thread
from clmer.nn import Encoder, Fusion, as_tokens
from clmer.nn.contrastive import pooled
from clmer.nn.encoder import encode, missing_rows
from clmer.nn.random_state import drawn_from, seeded
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import ChosenModel, build_encoder
from clmer.pipeline.reference import Scale
from clmer.pipeline.tokenizer import Tokenizer

#: Encoders that are trained already move at this share of the classifier's rate.
SLOW = 0.3
#: Inverse regularisation strength of the linear solution that a head starts at.
_C = 0.1


class TunedModel(nn.Module):
    """Windows to logits, encoders included.

        z = norm(encoder(x))                  each feature standardised over windows and time
        logits = head(tokens(z)) + readout(mean_t z, sd_t z)

    Args:
        encoders: by modality, in the order that the head stacks them.
        head: takes tokens by modality.
        tokens: tokens of each modality, see `clmer.nn.as_tokens`; "time" for encoder steps.
        classes: K.
        trained: encoders come from stage 1: the statistics of batch norms stay as they are.

    Source: ours.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        head: nn.Module,
        tokens: Mapping[str, int] | None,
        classes: int,
        *,
        trained: bool,
    ) -> None:
        super().__init__()
        self.encoders, self.head = nn.ModuleDict(encoders), head
        self.counts, self.trained = tokens, trained
        features = {name: encoder.features for name, encoder in encoders.items()}
        self.norms = nn.ModuleDict(
            {name: nn.BatchNorm1d(count, affine=False) for name, count in features.items()}
        )
        self.readout = nn.Linear(2 * sum(features.values()), classes)
        self.start_at_zero()

    def start_at_zero(self) -> None:
        """Let the linear reading say nothing until it is trained, or set."""
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def train(self, mode: bool = True) -> TunedModel:
        """Training or evaluation mode; batch norms behind stage 1 stay in evaluation mode."""
        super().train(mode)
        if self.trained:
            for module in (self.encoders, self.norms):
                for each in module.modules():
                    if isinstance(each, nn.BatchNorm1d):
                        each.eval()
        return self

    def features(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Standardised encoder features [B, F, T'] of windows, by modality; zeros where missing."""
        return {
            name: self.norms[name](encoder(x[name])).masked_fill(
                missing_rows(x[name])[:, None, None], 0.0
            )
            for name, encoder in self.encoders.items()
        }

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, K] of windows [B, C, T] by modality."""
        z = self.features(x)
        tokens = {
            name: as_tokens(
                part.masked_fill(missing_rows(x[name])[:, None, None], torch.nan),
                "time" if self.counts is None else self.counts[name],
            )
            for name, part in z.items()
        }
        read: Tensor = self.readout(read_out(z))
        return read + self.head(tokens)


def read_out(z: Mapping[str, Tensor]) -> Tensor:
    """What the linear reading sees of features [B, F, T'] by modality: [B, 2 sum F]."""
    return torch.cat([pooled(part) for part in z.values()], dim=1)


def tuned(
    config: ModelConfig,
    chosen: ChosenModel,
    tokenizer: Tokenizer,
    encoders: Mapping[str, Encoder],
    scales: Mapping[str, Scale] | None = None,
    start: nn.Linear | None = None,
) -> ChosenModel:
    """A model whose encoders are trained with it; it reads windows in the place of tokens.

    Args:
        config: sizes, and whether encoders come from stage 1.
        chosen: a model that reads stage 1's tokens.
        tokenizer: of the split.
        encoders: of stage 1, which are copied. Without them they start anew: from a random start,
            or to be filled from a file.
        scales: of their features, see `feature_scales`; none without encoders.
        start: the linear reading to begin with; see `linear_start`.
    """
    names, kind = chosen.modalities, config.tokens
    modalities = {name: tokenizer.modalities[name] for name in names}
    counts = None if kind == "time" else {name: each.tokens for name, each in modalities.items()}

    def build(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
        own = {
            name: copy.deepcopy(encoders[name])
            if name in encoders
            else build_encoder(config, each, tokenizer.lengths[name])
            for name, each in modalities.items()
        }
        token_shapes = {
            name: own[name].token_shape("time" if counts is None else counts[name])
            for name in names
        }
        head = chosen.spec.build(token_shapes, classes, sizes, fs)
        trained = config.encoders == "finetune"
        model = TunedModel(own, head, counts, classes, trained=trained)
        for name in names if scales else ():
            scale, norm = cast(Any, scales)[name], cast(Any, model.norms[name])
            norm.running_mean.copy_(scale.mean.flatten())
            norm.running_var.copy_(scale.std.flatten().square())
        if start is not None and isinstance(head, Fusion):
            model.readout.load_state_dict(start.state_dict())
            nn.init.zeros_(head.classifier.weight)
            nn.init.zeros_(head.classifier.bias)
        return model

    adam = dict(chosen.spec.adam)
    if config.encoders == "finetune":
        adam["slow"] = ("encoders.", SLOW)
    return chosen._replace(spec=replace(chosen.spec, build=build, adam=adam))


def feature_scales(
    encoders: Mapping[str, Encoder], x: Mapping[str, Tensor], rows: np.ndarray
) -> dict[str, Scale]:
    """Mean and sd [1, F, 1] of encoder features of the rows of x, over windows and time."""
    scales = {}
    for name, encoder in encoders.items():
        known = x[name][torch.from_numpy(rows).to(x[name].device)]
        z = encode(encoder, known[~missing_rows(known)])
        std = z.std((0, 2), correction=0, keepdim=True).clamp(min=1e-6)
        scales[name] = Scale(z.mean((0, 2), keepdim=True), std)
    return scales


def linear_start(
    encoders: Mapping[str, Encoder],
    scales: Mapping[str, Scale],
    x: Mapping[str, Tensor],
    y: np.ndarray,
    rows: np.ndarray,
    classes: int,
) -> nn.Linear | None:
    """Class-weighted logistic regression on the training rows, as the reading to start at.

    Args:
        encoders: of stage 1, of the modalities that are read.
        scales: of their features.
        x: [N, C, T] standardised windows by modality.
        y: [N] classes.
        rows: the training rows.
        classes: K.

    Returns:
        None where the rows hold one class.
    """
    known = y[rows]
    if len(np.unique(known)) < 2:
        return None
    z = {}
    for name, encoder in encoders.items():
        scale = scales[name]
        z[name] = (encode(encoder, x[name][torch.from_numpy(rows)]) - scale.mean) / scale.std
    features = read_out(z).double().cpu().numpy()
    model = LogisticRegression(C=_C, class_weight="balanced", max_iter=1000)
    with one_thread():
        scaler, fitted = make_pipeline(StandardScaler(), model).fit(features, known)
    weights, bias = fitted.coef_ / scaler.scale_, fitted.intercept_.copy()
    bias -= weights @ scaler.mean_
    if len(fitted.classes_) == 2:  # one row: the log-odds of the second class
        weights, bias = np.vstack([0 * weights, weights]), np.append(0.0, bias)
    with drawn_from(seeded(0)):  # weights that are overwritten, and no draw of the caller's
        start = nn.Linear(features.shape[1], classes)
    with torch.no_grad():
        start.weight.zero_()
        start.bias.fill_(-10.0)  # a class without training rows
        start.weight[fitted.classes_] = torch.from_numpy(weights).float()
        start.bias[fitted.classes_] = torch.from_numpy(bias).float()
    return start
