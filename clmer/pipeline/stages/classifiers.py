"""Stage 2: classifiers, trained on tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from clmer.baselines import ModelSpec
from clmer.data.splits import Split
from clmer.nn.random_state import drawn_from, seeded
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import (
    ChosenModel,
    Tokens,
    build_model,
    member_names,
)
from clmer.pipeline.split_model import FittedModel
from clmer.pipeline.stages.loop import Recorder, Schedule, fit, seed_of
from clmer.pipeline.stages.step import adam
from clmer.pipeline.targets import Target

#: Norm that the fusion stage's gradients are clipped to.
CLIP = 0.8


class Classifiers:
    """The fusion stage of a split: members of one model on one set of tokens and labels."""

    def __init__(
        self,
        config: ModelConfig,
        tokens: Tokens,
        y: np.ndarray,
        split: Split,
        target: Target,
        fs: float,
        device: torch.device,
        recorder: Recorder,
    ) -> None:
        self.config, self.tokens, self.y, self.split = config, tokens, y, split
        self.target, self.fs, self.device, self.recorder = target, fs, device, recorder

    def fit(self, chosen: ChosenModel, name: str) -> FittedModel:
        """Every member, trained one after the other."""
        names = member_names(name, self.config.members)
        return FittedModel(chosen, [self._member(chosen.spec, member) for member in names])

    def _member(self, spec: ModelSpec, name: str) -> nn.Module:
        """One model; it ends at its best epoch (the last one where nothing is held back)."""
        config, split = self.config, self.split
        # The paper's five orders share one model seed (IV-C); elsewhere each split has its own.
        start = name.split("/", 1)[1] if config.one_start else name
        shapes = {key: (part.shape[1], part.shape[2]) for key, part in self.tokens.items()}
        with drawn_from(seeded(seed_of(config.seed, start))):
            model = build_model(spec, shapes, self.target.outputs, config, self.fs)
        model = model.to(self.device)
        optimizer = adam(model, graph=config.graph, **spec.adam)
        schedule = Schedule(
            config.epochs_fusion,
            config.batch,
            clip=CLIP,
            patience=config.patience,
            amp=config.amp == "bf16",
            graph=config.graph,
        )
        losses = self.target.losses(model, self.tokens, self.y, split.train)
        rows = torch.from_numpy(split.train).to(self.device)
        validate = (lambda: self._validate(model)) if len(split.val) else None
        fit(self.recorder, name, model, optimizer, losses, rows, schedule, config.seed, validate)
        return model

    def _validate(self, model: nn.Module) -> tuple[float, float]:
        """Score and loss on the validation part."""
        split = self.split
        return self.target.validate(model, self.tokens, self.y, split.train, split.val)
