"""Stage 1: one encoder per modality, trained without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.nn import ContrastiveModel, Encoder
from clmer.nn.contrastive import PooledContrast
from clmer.nn.encoder import missing_rows
from clmer.nn.random_state import drawing_from, drawn_from, seeded
from clmer.nn.shard import Shard, undo_ddp_mean
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import CONTRASTIVE, build_encoder
from clmer.pipeline.objectives import objective_of, views_of
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.stages.batches import by_person, neighbours
from clmer.pipeline.stages.loop import Recorder, Schedule, fit, seed_of
from clmer.pipeline.stages.start import Start
from clmer.pipeline.stages.step import adam
from clmer.pipeline.tokenizer import WindowArrays

#: Stage 1's optimiser.
ADAM: Mapping[str, Any] = {"lr": 3e-4, "betas": (0.9, 0.99), "weight_decay": 3e-4}


class ContrastiveModels(nn.ModuleDict):
    """A contrastive model per modality; they share nothing but the step."""

    def forward(
        self,
        x: Mapping[str, Tensor],
        generator: torch.Generator,
        shard: Shard | None,
        other: Mapping[str, Tensor],
        group: int | None,
        captured: bool = False,
    ) -> dict[str, Tensor]:
        """The losses summed over modalities, and their terms.

        Args:
            x: [B, C, T] by modality.
            generator: draws the views.
            shard: this rank's part of the batch.
            other: [B, C, T] neighbours, of the modalities that are trained by them.
            group: windows per group of the pooled objectives; None for one group.
            captured: the steps predicted from stay on the device, where a CUDA graph draws them.
        """
        parts = {}
        for name, part in x.items():
            if isinstance(self[name], PooledContrast):
                more = {"other": other.get(name), "group": group}
                parts[name] = self[name](part, generator, shard, **more)
            else:
                t = cast(Any, self[name]).draw_step(generator) if captured else None
                parts[name] = self[name](part, generator, t, shard)
        line = {
            f"{name}_{key}": value
            for name, part in parts.items()
            for key, value in part.items()
            if key != "loss"
        }
        return {"loss": torch.stack([part["loss"] for part in parts.values()]).sum(), **line}


def fit_encoders(
    config: ModelConfig,
    windows: WindowArrays,
    x: Mapping[str, Tensor],
    split: Split,
    recorder: Recorder,
    ranks: Ranks,
    name: str,
    start: Start | None = None,
) -> dict[str, Encoder]:
    """Train the encoders on the training part: all ranks together.

    Windows that lack a modality are left out.

    Where a modality's objective is not the paper's, a batch has groups of one person's windows
    (`clmer.pipeline.stages.batches.by_person`), and all modalities share it.

    Args:
        config: sizes, epochs and objectives.
        windows: all of them: modalities, people, recordings.
        x: [N, C, T] standardised windows by modality.
        split: its training rows count.
        recorder: keeps progress.
        ranks: the processes that share each batch.
        name: of the split.
        start: encoders of another study, which these start from.

    Raises:
        ConfigError: the start does not fit; neighbours are asked for, and nobody knows which
            windows are some.
    """
    train = _whole(x, split.train)
    model = new_contrastive(config, windows.modalities, x)
    if start is not None:
        for modality, part in model.items():
            start.fill(cast(Any, part).encoder, windows.modalities[modality])
    captured = config.graph and can_be_captured(model, ranks)
    optimizer = adam(model, graph=captured, **ADAM)
    device = next(iter(x.values())).device
    objectives = {n: objective_of(config, each) for n, each in windows.modalities.items()}
    pooled = set(objectives.values()) != {"paper"}
    drawn = by_person(train, windows.people, config.batch, device) if pooled else None
    near = _neighbours(windows, train) if "neighbour" in objectives.values() else None
    rows = torch.from_numpy(train).to(device)
    size = config.batch if drawn is None else drawn.size
    schedule = Schedule(config.epochs_contrastive, size, amp=config.amp == "bf16", graph=captured)
    losses = contrastive_losses(
        model,
        x,
        ranks,
        group=None if drawn is None else drawn.group,
        near=None if near is None else torch.from_numpy(near).to(device),
        nearby=[n for n, objective in objectives.items() if objective == "neighbour"],
        captured=captured,
    )
    stage = f"{name}/{CONTRASTIVE}"
    fit(recorder, stage, model, optimizer, losses, drawn or rows, schedule, config.seed)
    return {modality: cast(Any, part).encoder for modality, part in model.items()}


def can_be_captured(model: ContrastiveModels, ranks: Ranks) -> bool:
    """Whether a CUDA graph can hold a step.

    It cannot where several ranks share it, nor where axes are turned: PyTorch's matrix exponential
    asks the device how far it has to go.
    """
    turned = any(cast(Any, each).views.rotation for each in model.values())
    return ranks.group is None and not turned


def _neighbours(windows: WindowArrays, rows: np.ndarray) -> np.ndarray:
    if windows.recordings is None:
        raise ConfigError(
            "`objective=neighbour`: nobody says which windows follow each other; it needs "
            "recordings, or take `objective=pooled`"
        )
    return neighbours(windows.recordings, rows)


def new_contrastive(
    config: ModelConfig, modalities: Mapping[str, Modality], x: Mapping[str, Tensor]
) -> ContrastiveModels:
    """Untrained contrastive models of all modalities, on x's device."""
    kind: Any = config.temporal
    models: dict[str, nn.Module] = {}
    for name, part in x.items():
        views = views_of(config, modalities[name])
        with drawn_from(encoder_generator(config, name)):
            encoder = build_encoder(config, modalities[name], part.shape[2])
            if objective_of(config, modalities[name]) == "paper":
                models[name] = ContrastiveModel(encoder, temporal=kind, views=views)
            else:
                models[name] = PooledContrast(encoder, views=views)
    return ContrastiveModels(models).to(next(iter(x.values())).device)


def encoder_generator(config: ModelConfig, modality: str) -> torch.Generator:
    """What the weights of a modality's encoder are drawn from: the seed and the name decide."""
    return seeded(seed_of(config.seed, "encoder", modality))


def _whole(x: Mapping[str, Tensor], rows: np.ndarray) -> np.ndarray:
    """Those of the rows that lack no modality; all where every one does."""
    lacks = torch.stack([missing_rows(part) for part in x.values()]).any(0).cpu().numpy()
    whole = rows[~lacks[rows]]
    return whole if len(whole) else rows


@torch.no_grad()
def random_encoders(
    config: ModelConfig,
    modalities: Mapping[str, Modality],
    x: Mapping[str, Tensor],
    rows: np.ndarray,
) -> dict[str, Encoder]:
    """The encoders that stage 1 would start from, batch norms fitted to the rows of x.

    Args:
        config: sizes and seed.
        modalities: by name.
        x: [N, C, T] standardised windows by modality.
        rows: training rows, over which running statistics are plain averages.
    """
    found = {}
    for name, part in x.items():
        generator = encoder_generator(config, name)
        with drawn_from(generator):
            encoder = build_encoder(config, modalities[name], part.shape[2]).to(part.device)
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.reset_running_stats()
                module.momentum = None  # a plain average over the batches
        encoder.train()
        with drawing_from(generator):
            there = part[torch.from_numpy(rows).to(part.device)]
            for known in there[~missing_rows(there)].split(256):
                if len(known) > 1:
                    encoder(known)
        found[name] = encoder.eval()
    return found


def contrastive_losses(
    model: ContrastiveModels,
    x: Mapping[str, Tensor],
    ranks: Ranks,
    *,
    group: int | None = None,
    near: Tensor | None = None,
    nearby: Sequence[str] = (),
    captured: bool = False,
) -> Any:
    """The losses of a step, whose batch is spread over the ranks where there are several.

    Args:
        model: of all modalities.
        x: [N, C, T] of each.
        ranks: who share a batch.
        group: windows per group, where a batch has groups.
        near: [N, 2] neighbours, where some are asked for; one is drawn per window and step.
        nearby: the modalities whose second views are neighbours.
        captured: a CUDA graph holds the step: all draws are those of the device's own generator,
            which graphs know, and no t comes back from the device.
    """
    call: nn.Module = model
    if ranks.group is not None:
        call = DistributedDataParallel(model, process_group=ranks.group)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        shard = ranks.shard(len(rows))
        if captured:
            generator = torch.cuda.default_generators[rows.device.index]
        other: dict[str, Tensor] = {}
        if near is not None:
            side = torch.randint(2, (len(rows), 1), generator=generator, device=rows.device)
            chosen = near[rows].gather(1, side)[:, 0]
            other = {name: x[name][chosen] for name in nearby}
        part = {name: each[rows] for name, each in x.items()}
        found = call(part, generator, shard, other, group, captured)
        return {**found, "loss": undo_ddp_mean(found["loss"], ranks.count)}

    return losses
