"""Stage 2: classifiers, trained on tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
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
    log_probabilities,
    member_names,
)
from clmer.pipeline.stages.loop import Recorder, Schedule, fit, seed_of
from clmer.pipeline.stages.step import adam

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
        classes: int,
        fs: float,
        device: torch.device,
        recorder: Recorder,
        offsets: Offsets | None = None,
    ) -> None:
        self.config, self.tokens, self.y, self.split = config, tokens, y, split
        self.classes, self.fs, self.device, self.recorder = classes, fs, device, recorder
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
            model = build_model(spec, shapes, self.classes, config, self.fs)
        offset = None
        if self.offsets is not None:
            start_at_zero(model)
            offset = self.offsets.log_odds
        model = model.to(self.device)
        optimizer = adam(model, graph=config.graph, **spec.adam)
        labels = torch.from_numpy(self.y).to(self.device)
        counts = torch.bincount(labels[split.train], minlength=self.classes).clamp(min=1)
        weight = (len(split.train) / (self.classes * counts)).float()
        schedule = Schedule(
            config.epochs_fusion,
            config.batch,
            clip=CLIP,
            patience=config.patience,
            amp=config.amp == "bf16",
            graph=config.graph,
        )
        losses = fusion_losses(model, self.tokens, labels, weight, offset)
        rows = torch.from_numpy(split.train).to(self.device)
        validate = (lambda: self._validate(model, weight)) if len(split.val) else None
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

    def _validate(self, model: nn.Module, weight: Tensor) -> tuple[float, float]:
        """Balanced accuracy and weighted cross-entropy on the validation part.

        Where a floor is corrected the latter is the floor's, plus the mean difference of the two
        over people and one standard error of it: an upper bound of what new people can expect.
        """
        known = self.y[self.split.val]
        offset = None if self.offsets is None else self.offsets.log_odds
        logp = torch.from_numpy(log_probabilities(model, self.tokens, self.split.val, offset))
        score = balanced_accuracy_score(known, logp.argmax(1).numpy())
        classes, weights = torch.from_numpy(known), weight.cpu().double()
        loss = float(nn.functional.nll_loss(logp, classes, weights))
        if self.offsets is not None:
            floor = torch.from_numpy(self.offsets.log_odds[self.split.val]).log_softmax(1)
            rows = [nn.functional.nll_loss(each, classes, weights, reduction="none")
                    for each in (logp, floor)]  # fmt: skip
            start = float(rows[1].sum() / weights[classes].sum())
            loss = start + upper_bound((rows[0] - rows[1]).numpy(), self.offsets.validation)
        return float(score), loss


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
    """Let a fusion's logits be zero until it is trained."""
    if not isinstance(model, Fusion):
        raise TypeError(f"start_at_zero: found {type(model).__name__}, expected CLMER's Fusion")
    nn.init.zeros_(model.classifier.weight)
    nn.init.zeros_(model.classifier.bias)


def fusion_losses(
    model: nn.Module,
    tokens: Tokens,
    y: Tensor,
    weight: Tensor,
    offset: np.ndarray | None = None,
) -> Any:
    """Cross-entropy, classes weighted, of the model's logits plus the offset [N, K]."""
    known = None if offset is None else torch.from_numpy(offset).float().to(y.device)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in tokens.items()})
        if known is not None:
            logits = logits + known[rows]
        return {"loss": nn.functional.cross_entropy(logits, y[rows], weight)}

    return losses
