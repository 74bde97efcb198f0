"""Stage 1 at DEAP's size: ours, by the functions that training calls, and in plain PyTorch.

Both take the weights and the views of one `ContrastiveModels`; without dropout they give the same
losses. The step t that is predicted from is a number, or stays on the device, as in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from bench_ntxent import exp_sum
from torch import Tensor, nn
from torch.nn import functional as F

from clmer.data.store.store import Modality
from clmer.nn.contrastive import ContrastiveModel, TemporalTransformer, future_steps
from clmer.pipeline.presets import build
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.stages.contrastive import (
    ADAM,
    ContrastiveModels,
    contrastive_losses,
    new_contrastive,
)
from clmer.pipeline.stages.step import GraphedStep, TrainStep, adam

#: Tokens, channels, samples of a one-second window, samples a second.
DEAP = {"physio": (40, 40, 128, 128.0), "landmarks": (3, 204, 25, 25.0), "au": (2, 34, 25, 25.0)}
Windows = Mapping[str, Tensor]
#: A step on rows of the batch, and one's losses.
Step = Callable[[], dict[str, Tensor]]


def modalities() -> dict[str, Modality]:
    """DEAP's, as a store describes them."""
    return {
        name: Modality(name, tokens, fs, tuple(f"{name}{i}" for i in range(channels)))
        for name, (tokens, channels, _, fs) in DEAP.items()
    }


def windows(count: int, device: str) -> dict[str, Tensor]:
    """Standardised windows [count, C, T] of noise."""
    torch.manual_seed(0)
    return {
        name: torch.randn(count, channels, length).to(device)
        for name, (_, channels, length, _) in DEAP.items()
    }


def models(x: Windows) -> ContrastiveModels:
    """Of the paper preset, on x's device."""
    config = build("deap", {"preset": "paper", "device": str(next(iter(x.values())).device)})
    return new_contrastive(config, modalities(), x)


# --- in plain PyTorch -----------------------------------------------------------------------------
def summary(transformer: TemporalTransformer, z: Tensor, t: int | Tensor) -> Tensor:
    """s_t [B, hidden] of z [B, F, T'] by SDPA."""
    shown = None
    if isinstance(t, Tensor):
        ago = t - torch.arange(z.shape[2], device=z.device)
        positions, shown = (
            transformer.positions[ago.clamp(min=0)],
            F.pad(ago >= 0, (1, 0), value=1)[None],
        )
    else:
        z = z[:, :, : t + 1]
        positions = transformer.positions[: t + 1].flip(0)
    x = transformer.embed(z.transpose(1, 2)) + positions
    x = torch.cat([transformer.summary.expand(len(x), 1, -1), x], dim=1)
    for layer in cast(Any, transformer.layers):
        n = layer.norm(x)
        q, k, v = (
            part.unflatten(2, (layer.heads, -1)).transpose(1, 2)
            for part in (layer.query(n), *layer.key_value(n).chunk(2, dim=-1))
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=shown)
        x = x + layer.dropout(layer.out(y.transpose(1, 2).flatten(2)))
        x = x + layer.feed_forward(x)
    return cast(Tensor, transformer.norm(x[:, 0]))


def plain(
    model: ContrastiveModel, x: Tensor, generator: torch.Generator, t: int | Tensor
) -> Tensor:
    """The loss of one modality (Eq. 1-4, negatives of the batch, the usual temperature)."""
    z = model.encoder(torch.cat(model.views(x, generator)))
    s = summary(model.transformer, z, t)
    both, ahead = (2, len(x)), future_steps(z.shape[2])
    a, b = model.project(s).unflatten(0, both)
    prediction = model.predict(s).view(*both, ahead, z.shape[1]).flip(0)
    steps = t + 1 + torch.arange(ahead, device=z.device)
    future = z.unflatten(0, both).index_select(3, steps)
    scores = prediction.transpose(1, 2) @ future.permute(0, 3, 2, 1)
    temporal = -scores.log_softmax(3).diagonal(dim1=2, dim2=3).mean()
    sample = exp_sum(a[None], b[None])[0]
    return model.sample_weight * sample + model.temporal_weight * temporal


def plain_losses(model: ContrastiveModels, x: Windows, captured: bool) -> Any:
    """What `contrastive_losses` gives, plainly."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if captured:
            generator = torch.cuda.default_generators[rows.device.index]
        total = []
        for name, part in x.items():
            one = cast(ContrastiveModel, model[name])
            t = one.draw_step(generator)
            total.append(plain(one, part[rows], generator, t if captured else int(t)))
        return {"loss": torch.stack(total).sum()}

    return losses


FORMS: dict[str, Callable[[ContrastiveModels, Windows, bool], Any]] = {
    "ours": lambda model, x, captured: contrastive_losses(model, x, Ranks(), captured=captured),
    "plain": plain_losses,
}


def step_of(
    form: str, batch: int = 64, device: str = "cuda", *, captured: bool, amp: bool = False
) -> tuple[Step, nn.Module]:
    """A training step of stage 1, and what it trains.

    Args:
        form: "ours" or "plain".
        batch: windows.
        device: where it runs.
        captured: replay it from a CUDA graph.
        amp: bfloat16 autocast.
    """
    x = windows(batch, device)
    model = models(x).train()
    losses = FORMS[form](model, x, captured)
    step = TrainStep(model, adam(model, graph=captured, **ADAM), losses, amp=amp)
    run = GraphedStep(step, batch) if captured else step
    rows, generator = torch.arange(batch, device=device), torch.Generator(device).manual_seed(0)
    return lambda: run(rows, generator), model
