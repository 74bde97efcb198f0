"""Stage 2: classifiers, trained on tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from clmer.baselines import ModelSpec
from clmer.data.splits import Split
from clmer.nn import Fusion
from clmer.nn.random_state import drawn_from, seeded
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.floor import Offsets
from clmer.pipeline.models import (
    ChosenModel,
    FittedModel,
    Tokens,
    build_model,
    member_names,
    outputs_of,
)
from clmer.pipeline.stages.loop import Recorder, Schedule, fit, seed_of
from clmer.pipeline.stages.step import adam
from clmer.pipeline.stages.tuned import TunedModel
from clmer.pipeline.targets import Loss, Losses, Target

#: Norm that the fusion stage's gradients are clipped to.
CLIP = 0.8


class Classifiers:
    """The fusion stage of a split: members of one model on one set of tokens and labels.

    Where there are offsets the members correct a linear floor: they start at zero, add to its
    log-odds, and where none of their epochs is better on the validation part, by more than a
    standard error over its people, they stay at zero: a few people would choose noise.
    """

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
        offsets: Offsets | None = None,
    ) -> None:
        self.config, self.tokens, self.y, self.split = config, tokens, y, split
        self.target, self.fs, self.device, self.recorder = target, fs, device, recorder
        self.offsets = offsets

    def fit(self, chosen: ChosenModel, name: str) -> FittedModel:
        """Every member, trained one after the other; none where the floor is all."""
        floor = None if self.offsets is None else self.offsets.floor
        if floor is not None and self.config.classifier == "linear":
            return FittedModel(chosen, [], floor)
        names = member_names(name, self.config.members)
        return FittedModel(chosen, [self._member(chosen.spec, member) for member in names], floor)

    def _member(self, spec: ModelSpec, name: str) -> nn.Module:
        """One model; it ends at its best epoch (the last one where nothing is held back)."""
        config, split = self.config, self.split
        # The paper's five orders share one model seed (IV-C); elsewhere each split has its own.
        start = name.split("/", 1)[1] if config.one_start else name
        shapes = {key: (part.shape[1], part.shape[2]) for key, part in self.tokens.items()}
        with drawn_from(seeded(seed_of(config.seed, start))):
            model = build_model(spec, shapes, self.target.outputs, config, self.fs)
        if self.offsets is not None:
            start_at_zero(model)
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
        offset = None if self.offsets is None else self.offsets.log_odds
        loss = self.target.loss(self.y, split.train, self.device)
        losses = fusion_losses(model, self.tokens, loss, offset)
        rows = torch.from_numpy(split.train).to(self.device)
        validate = (lambda: self._validate(model, offset)) if len(split.val) else None
        fit(
            self.recorder,
            name,
            model,
            optimizer,
            losses,
            rows,
            schedule,
            config.seed,
            validate,
            counts_start=offset is not None,
        )
        return model

    def _validate(self, model: nn.Module, offset: np.ndarray | None) -> tuple[float, float]:
        """Score and loss on the validation part.

        Where a floor is corrected the loss is the floor's, plus the mean difference of the two over
        people and one standard error of it: an upper bound of what new people can expect.
        """
        split, y = self.split, self.y
        outputs = outputs_of(model, self.tokens, split.val, offset)
        score, loss = self.target.validate(outputs, y, split.train, split.val)
        if self.offsets is not None:
            floor = self.offsets.log_odds[split.val]
            _, start = self.target.validate(floor, y, split.train, split.val)
            own, others = (self.target.row_losses(each, y, split.train, split.val)
                           for each in (outputs, floor))  # fmt: skip
            loss = start + upper_bound(own - others, self.offsets.validation)
        return score, loss


def upper_bound(difference: np.ndarray, groups: np.ndarray) -> float:
    """Mean over groups of their mean difference, plus one standard error.

    Args:
        difference: [N] of each row.
        groups: [N] whose each is; each row is one of its own where there is a single group.
    """
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(group, difference) / count if len(count) > 1 else difference
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else 0.0
    return float(means.mean() + error)


def start_at_zero(model: nn.Module) -> None:
    """Let a fusion's outputs be zero until it is trained, with encoders of its own or without."""
    head = model.head if isinstance(model, TunedModel) else model
    if not isinstance(head, Fusion):
        raise TypeError(f"start_at_zero: found {type(head).__name__}, expected CLMER's Fusion")
    nn.init.zeros_(head.classifier.weight)
    nn.init.zeros_(head.classifier.bias)


def fusion_losses(
    model: nn.Module, tokens: Tokens, loss: Loss, offset: np.ndarray | None = None
) -> Losses:
    """The loss of the model's outputs plus the offset [N, K]."""
    device = next(model.parameters()).device
    known = None if offset is None else torch.from_numpy(offset).float().to(device)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        outputs = model({name: part[rows] for name, part in tokens.items()})
        if known is not None:
            outputs = outputs + known[rows]
        return {"loss": loss(outputs, rows)}

    return losses
