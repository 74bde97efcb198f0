"""One training step of stage 1 against the same model out of PyTorch's modules, per modality.

    pytest benchmarks/bench_stage_1.py --benchmark-only                # a minute or two
    OMP_NUM_THREADS=1 pytest benchmarks/bench_stage_1.py --benchmark-only -k small     # for CI

A step is views, forward, backward and fused Adam, batch 64, the cpu preset's encoders (width 16)
on DEAP's shapes, float32, dropout on; under the paper's objective the mean over all steps t that
may be predicted from. "PyTorch" has `nn.Conv1d`, `nn.BatchNorm1d`, `nn.MaxPool1d`,
`nn.TransformerEncoder` (pre-norm, biases at zero) and cross-entropy for NT-Xent, the same views and
temporal loss; "modules" is ours where no kernel fits: the form of earlier versions. All have the
same weights, and without dropout the same loss. Times are median/minimum in ms, contenders in turn;
the ratio is of medians, that of the minima in brackets.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from _measure import Table, compare_passes, table
from torch import Tensor, nn
from torch.nn import functional as F

from clmer.nn import ContrastiveModel, Encoder
from clmer.nn.contrastive import PooledContrast, pooled, temporal_loss
from clmer.pipeline.stages.step import adam

#: Batch, channels, samples, features.
SHAPES = {
    "small": (8, 5, 25, 16),
    "physio": (64, 40, 128, 80),
    "landmarks": (64, 204, 25, 66),
    "au": (64, 34, 25, 64),
}
OBJECTIVES = {"paper": ContrastiveModel, "pooled": PooledContrast}
PASSES = ("forward", "backward", "optimiser", "step")


# --- out of PyTorch's modules ---------------------------------------------------------------------
def torch_encoder(encoder: Encoder) -> nn.Sequential:
    parts = []
    for convolve, norm, relu, pool in encoder.blocks:
        own = nn.BatchNorm1d(norm.num_features)
        own.load_state_dict(norm.state_dict())
        parts.append(nn.Sequential(convolve, own, relu, pool))
    return nn.Sequential(*parts, nn.Dropout(encoder.dropout.p))


def torch_layers(layers: nn.ModuleList, norm: nn.LayerNorm) -> nn.TransformerEncoder:
    first = layers[0]
    dim, hidden = first.out.in_features, first.feed_forward[1].out_features
    like = nn.TransformerEncoderLayer(
        dim, first.heads, hidden, first.dropout.p, batch_first=True, norm_first=True
    )
    like.self_attn.dropout = 0.0
    made = nn.TransformerEncoder(like, len(layers), norm, enable_nested_tensor=False)
    for own, source in zip(made.layers, layers, strict=True):
        feed = source.feed_forward
        with torch.no_grad():
            own.self_attn.in_proj_weight.copy_(
                torch.cat((source.query.weight, source.key_value.weight))
            )
            own.self_attn.in_proj_bias.zero_()
        own.self_attn.out_proj.load_state_dict(source.out.state_dict())
        pairs = ((own.norm1, source.norm), (own.norm2, feed[0]), (own.linear1, feed[1]),
                 (own.linear2, feed[4]))  # fmt: skip
        for part, other in pairs:
            part.load_state_dict(other.state_dict())
    return made


class TorchStage(nn.Module):
    """A `ContrastiveModel` or `PooledContrast` out of PyTorch's modules."""

    def __init__(self, like: ContrastiveModel | PooledContrast) -> None:
        super().__init__()
        self.views, self.tau = like.views, like.temperature
        self.encoder = torch_encoder(like.encoder)
        norm = nn.BatchNorm1d(like.project[1].num_features)
        self.project = nn.Sequential(like.project[0], norm, nn.ReLU(), like.project[3])
        if isinstance(like, ContrastiveModel):
            source = like.transformer
            self.layers = torch_layers(source.layers, source.norm)
            self.embed, self.summary, self.predict = source.embed, source.summary, like.predict
            self.positions, self.ahead = source.positions, like.ahead

    def forward(self, x: Tensor, generator: torch.Generator, t: int | None = None) -> dict:
        both = (2, len(x))
        z = self.encoder(torch.cat(self.views(x, generator)))
        if t is None:
            return {"loss": self.sample(self.project(pooled(z)))}
        seen = self.embed(z[:, :, : t + 1].transpose(1, 2)) + self.positions[: t + 1].flip(0)
        s = self.layers(torch.cat([self.summary.expand(len(z), 1, -1), seen], dim=1))[:, 0]
        prediction = self.predict(s).view(*both, self.ahead, -1).flip(0)
        loss = 0.7 * self.sample(self.project(s))
        return {"loss": loss + temporal_loss(prediction, z.unflatten(0, both), t)}

    def sample(self, u: Tensor) -> Tensor:
        u = F.normalize(u, dim=1)
        scores = (u @ u.T / self.tau).fill_diagonal_(float("-inf"))
        half = len(u) // 2
        return F.cross_entropy(scores, torch.arange(2 * half).roll(half))


# --- contenders -----------------------------------------------------------------------------------
@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """Our modules take PyTorch's parts, as on a GPU."""
    with (
        mock.patch("clmer.nn.sublayer.takes_kernel", return_value=False),
        mock.patch("clmer.nn.encoder.takes_kernel", return_value=False),
    ):
        yield


@dataclass
class Contender:
    """A model, its optimiser, what it trains on, and the steps t that may be predicted from."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    x: Tensor
    times: list[int]
    plain: bool = False

    def steps(self) -> dict[str, float]:
        """Milliseconds per step and pass."""
        generator = torch.Generator().manual_seed(0)
        totals = [0.0] * len(PASSES)
        with without_kernels() if self.plain else contextlib.nullcontext():
            for t in self.times or [None]:
                more = {} if t is None else {"t": t}
                start = time.perf_counter()
                self.optimizer.zero_grad(set_to_none=True)
                loss = self.model(self.x, generator, **more)["loss"]
                middle = time.perf_counter()
                loss.backward()
                end = time.perf_counter()
                self.optimizer.step()
                last = time.perf_counter()
                spans = (middle - start, end - middle, last - end, last - start)
                totals = [total + span for total, span in zip(totals, spans, strict=True)]
        count = len(self.times or [None])
        return {name: 1e3 * t / count for name, t in zip(PASSES, totals, strict=True)}


def contenders(modality: str, objective: str) -> dict[str, Contender]:
    """Ours first; all from the same weights."""
    batch, channels, length, features = SHAPES[modality]
    torch.manual_seed(0)
    x = torch.randn(batch, channels, length)
    ours = OBJECTIVES[objective](Encoder(channels, length, width=16, features=features))
    models = {"ours": ours, "modules": copy.deepcopy(ours)}
    models["PyTorch"] = TorchStage(copy.deepcopy(ours))
    ahead = range(ours.encoder.steps - ours.ahead) if objective == "paper" else []
    agree(models, x, *ahead[-1:])
    options = {"lr": 3e-4, "betas": (0.9, 0.99), "weight_decay": 3e-4}
    return {
        name: Contender(each, adam(each, **options), x, [*ahead], name == "modules")
        for name, each in models.items()
    }


def agree(models: dict[str, nn.Module], x: Tensor, *t: int) -> None:
    """What computes something else has no place in a table."""
    losses = {}
    for name, each in models.items():
        with torch.no_grad(), without_kernels() if name == "modules" else contextlib.nullcontext():
            generator = torch.Generator().manual_seed(0)
            more = {"t": t[0]} if t else {}
            losses[name] = copy.deepcopy(each).eval()(x, generator, **more)["loss"]
    for name, loss in losses.items():
        torch.testing.assert_close(loss, losses["ours"], rtol=1e-4, atol=1e-4, msg=name)


def own_table() -> Table:
    own = table("One step of stage 1, float32: ms median/minimum")
    own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[5:]]
    return own


@pytest.mark.parametrize("modality", SHAPES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_step(benchmark, objective: str, modality: str) -> None:
    forms = contenders(modality, objective)
    runs = {name: form.steps for name, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 7), rounds=1)
    for which, result in results.items():
        row = {"objective": objective, "modality": modality, "pass": which}
        row |= {name: result.cell(name) for name in forms}
        row["fastest other / ours"] = result.ratio_cell()
        own_table().rows.append(row)
        benchmark.extra_info[which] = result.extra()
