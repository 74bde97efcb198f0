"""Stage 1: one encoder per modality, trained without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.nn import ContrastiveModel, Encoder
from clmer.nn.random_state import drawn_from, seeded
from clmer.nn.shard import Shard, undo_ddp_mean
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import (
    build_encoder,
)
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.split_model import CONTRASTIVE
from clmer.pipeline.stages.loop import Recorder, Schedule, fit, seed_of
from clmer.pipeline.stages.step import adam


class ContrastiveModels(nn.ModuleDict):
    """A contrastive model per modality; they share nothing but the step."""

    def forward(
        self, x: Mapping[str, Tensor], generator: torch.Generator, shard: Shard | None
    ) -> dict[str, Tensor]:
        """Eq. 4 summed over modalities, and its terms."""
        parts = {name: self[name](part, generator, shard=shard) for name, part in x.items()}
        line = {
            f"{name}_{key}": parts[name][key] for name in parts for key in ("sample", "temporal")
        }
        return {"loss": torch.stack([part["loss"] for part in parts.values()]).sum(), **line}


def fit_encoders(
    config: ModelConfig,
    modalities: Mapping[str, Modality],
    x: Mapping[str, Tensor],
    split: Split,
    recorder: Recorder,
    ranks: Ranks,
    name: str,
) -> dict[str, Encoder]:
    """Train the encoders on the windows of the training part: all ranks together.

    Args:
        config: sizes and epochs.
        modalities: by name.
        x: [N, C, T] standardised windows by modality.
        split: its training rows count.
        recorder: keeps progress.
        ranks: the processes that share each batch.
        name: of the split.
    """
    model = new_contrastive(config, modalities, x)
    optimizer = adam(model, lr=3e-4, betas=(0.9, 0.99), weight_decay=3e-4)
    rows = torch.from_numpy(split.train).to(next(iter(x.values())).device)
    schedule = Schedule(config.epochs_contrastive, config.batch, amp=config.amp == "bf16")
    losses = contrastive_losses(model, x, ranks)
    fit(recorder, f"{name}/{CONTRASTIVE}", model, optimizer, losses, rows, schedule, config.seed)
    return {modality: cast(ContrastiveModel, part).encoder for modality, part in model.items()}


def new_contrastive(
    config: ModelConfig, modalities: Mapping[str, Modality], x: Mapping[str, Tensor]
) -> ContrastiveModels:
    """Untrained contrastive models of all modalities, on x's device."""
    kind: Any = config.temporal
    models = {}
    for name, part in x.items():
        with drawn_from(encoder_generator(config, name)):
            encoder = build_encoder(config, modalities[name], part.shape[2])
            models[name] = ContrastiveModel(encoder, temporal=kind)
    return ContrastiveModels(models).to(next(iter(x.values())).device)


def encoder_generator(config: ModelConfig, modality: str) -> torch.Generator:
    """What the weights of a modality's encoder are drawn from: the seed and the name decide."""
    return seeded(seed_of(config.seed, "encoder", modality))


def contrastive_losses(model: ContrastiveModels, x: Mapping[str, Tensor], ranks: Ranks) -> Any:
    """The losses of a step, whose batch is spread over the ranks where there are several."""
    call: nn.Module = model
    if ranks.group is not None:
        call = DistributedDataParallel(model, process_group=ranks.group)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        shard = ranks.shard(len(rows))
        found = call({name: part[rows] for name, part in x.items()}, generator, shard)
        return {**found, "loss": undo_ddp_mean(found["loss"], ranks.count)}

    return losses
