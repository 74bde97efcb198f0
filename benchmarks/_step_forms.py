"""The fusion model as others would write it: a loop over pairs, and stacked in plain PyTorch.

All take the weights of a `clmer.nn.Fusion`; without dropout all give the same logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clmer import ops
from clmer.nn import Fusion
from clmer.nn.fusion import StackedLayer, StackedLinear

#: q, k, v [S, B, h, L, d / h] and the dropout probability -> [S, B, h, L, d / h].
Attention = Callable[[Tensor, Tensor, Tensor, float], Tensor]
Inputs = Mapping[str, Tensor]


# --- the usual way --------------------------------------------------------------------------------
class LoopLayer(nn.Module):
    """A pre-norm transformer layer of one stream, out of PyTorch's own modules."""

    def __init__(self, like: StackedLayer) -> None:
        super().__init__()
        dim = like.dim
        self.norm, self.memory_norm, self.feed_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.attention = nn.MultiheadAttention(
            dim, like.heads, dropout=like.attention_dropout, batch_first=True
        )
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.relu_dropout = nn.Dropout(like.relu_dropout)
        self.residual_dropout = nn.Dropout(like.residual_dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        query = self.norm(x)
        key = query if memory is None else self.memory_norm(memory)
        y, _ = self.attention(query, key, key, need_weights=False)
        x = x + self.residual_dropout(y)
        hidden = self.relu_dropout(F.relu(self.widen(self.feed_norm(x))))
        return x + self.residual_dropout(self.narrow(hidden))


class LoopFusion(nn.Module):
    """`Fusion` with a Python loop over the pairs of modalities."""

    def __init__(self, like: Fusion) -> None:
        super().__init__()
        self.unify = nn.ModuleDict(like.unify)
        self.embedding_dropout = nn.Dropout(like.embedding_dropout.p)
        self.cross = nn.ModuleList(
            nn.ModuleList(LoopLayer(each) for each in like.cross) for _ in like.pairs
        )
        self.memory = nn.ModuleList(
            nn.ModuleList(LoopLayer(each) for each in like.memory) for _ in like.inputs
        )
        self.norms = nn.ModuleList(nn.LayerNorm(like.memory[0].dim) for _ in like.inputs)
        self.mlp, self.classifier = like.mlp, like.classifier
        self.pairs = like.pairs

    def forward(self, x: Inputs) -> Tensor:
        tokens = [self.embedding_dropout(unify(x[name])) for name, unify in self.unify.items()]
        enriched: list[list[Tensor]] = [[] for _ in tokens]
        for layers, (asking, answering) in zip(self.cross, self.pairs, strict=True):
            stream = tokens[asking]
            for layer in layers:
                stream = layer(stream, tokens[answering])
            enriched[asking].append(stream)
        pooled = []
        for streams, layers, norm in zip(enriched, self.memory, self.norms, strict=True):
            stream = torch.cat(streams, dim=2)
            for layer in layers:
                stream = layer(stream)
            pooled.append(norm(stream).mean(1))
        joined = torch.cat(pooled, dim=1)
        return self.classifier(joined + self.mlp(joined))


@torch.no_grad()
def looped(fusion: Fusion) -> LoopFusion:
    """The loop form with a copy of the weights."""
    torch.manual_seed(0)
    loop = LoopFusion(fusion)
    memory = fusion.key_value
    for p, layers in enumerate(loop.cross):
        for i, (layer, source) in enumerate(zip(layers, fusion.cross, strict=True)):
            part = slice(2 * i * fusion.dim, 2 * (i + 1) * fusion.dim)
            _copy_layer(
                layer,
                source,
                p,
                torch.cat([source.project.weight[p], memory.weight[p, :, part]], 1),
                torch.cat([source.project.bias[p, 0], memory.bias[p, 0, part]]),
            )
    for m, layers in enumerate(loop.memory):
        for layer, source in zip(layers, fusion.memory, strict=True):
            _copy_layer(layer, source, m, source.project.weight[m], source.project.bias[m, 0])
    return loop


def _copy_layer(
    layer: LoopLayer, source: StackedLayer, s: int, weight: Tensor, bias: Tensor
) -> None:
    layer.attention.in_proj_weight.copy_(weight.T)
    layer.attention.in_proj_bias.copy_(bias)
    linears = {
        "out": layer.attention.out_proj, "widen": layer.widen, "narrow": layer.narrow
    }  # fmt: skip
    for name, linear in linears.items():
        stacked: StackedLinear = getattr(source, name)
        linear.weight.copy_(stacked.weight[s].T)
        linear.bias.copy_(stacked.bias[s, 0])


# --- stacked, plain PyTorch -----------------------------------------------------------------------
def sdpa(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


def eager(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """The scale inside the product, three-dimensional products."""
    flat = [t.flatten(0, 2) for t in (q, k, v)]
    scale = q.shape[-1] ** -0.5
    nothing = q.new_empty(())
    scores = torch.baddbmm(nothing, flat[0], flat[1].transpose(1, 2), beta=0, alpha=scale)
    weights = F.dropout(scores.softmax(-1), dropout)
    return torch.bmm(weights, flat[2]).view(*q.shape[:-1], -1)


class PlainFusion(nn.Module):
    """`Fusion`'s own parameters and stacking, every operation PyTorch's."""

    def __init__(self, fusion: Fusion, attention: Attention) -> None:
        super().__init__()
        self.fusion, self.attention = fusion, attention

    def forward(self, x: Inputs) -> Tensor:
        fusion = self.fusion
        tokens = torch.stack([unify(x[name]) for name, unify in fusion.unify.items()])
        tokens = self._dropout(tokens, fusion.embedding_dropout.p)
        memory = self._project(fusion.key_value, tokens[fusion.key], fusion.heads)
        streams = tokens[fusion.query]
        for i, layer in enumerate(fusion.cross):
            streams = self._layer(layer, streams, memory[2 * i : 2 * i + 2])
        streams = streams.unflatten(0, (len(fusion.inputs), -1)).permute(0, 2, 3, 1, 4).flatten(3)
        for layer in fusion.memory:
            streams = self._layer(layer, streams, None)
        pooled = _normed(streams).mean(2).transpose(0, 1).flatten(1)
        first, _, _, second = fusion.mlp
        hidden = self._dropout(F.relu(first(pooled)), fusion.mlp[2].p)
        return fusion.classifier(pooled + second(hidden))

    def _layer(self, layer: StackedLayer, x: Tensor, key_value: Tensor | None) -> Tensor:
        projected = self._project(layer.project, x, layer.heads)
        key, value = projected[1:] if key_value is None else key_value
        dropout = layer.attention_dropout if self.training else 0.0
        return self._feed(
            layer, self._merge(layer, x, self.attention(projected[0], key, value, dropout))
        )

    def _project(self, linear: StackedLinear, x: Tensor, heads: int) -> Sequence[Tensor]:
        return _heads(_linear(linear, _normed(x)), x.shape[-1], heads)

    def _merge(self, layer: StackedLayer, x: Tensor, heads: Tensor) -> Tensor:
        y = heads.transpose(2, 3).flatten(3)
        return x + self._dropout(_linear(layer.out, y), layer.residual_dropout)

    def _feed(self, layer: StackedLayer, x: Tensor) -> Tensor:
        hidden = self._dropout(F.relu(_linear(layer.widen, _normed(x))), layer.relu_dropout)
        return x + self._dropout(_linear(layer.narrow, hidden), layer.residual_dropout)

    def _dropout(self, x: Tensor, p: float) -> Tensor:
        return F.dropout(x, p, self.training)


class SublayerFusion(PlainFusion):
    """The same with the ops of `clmer.ops` in one form: what `Fusion` takes on the CPU."""

    def __init__(self, fusion: Fusion, attention: Attention, impl: str) -> None:
        super().__init__(fusion, attention)
        self.impl = impl

    def _project(self, linear: StackedLinear, x: Tensor, heads: int) -> Sequence[Tensor]:
        return ops.project_heads(x, linear.weight, linear.bias, heads, impl=self.impl)

    def _merge(self, layer: StackedLayer, x: Tensor, heads: Tensor) -> Tensor:
        p = layer.residual_dropout if self.training else 0.0
        weights = (layer.out.weight, layer.out.bias)
        return ops.merge_heads(x, heads, *weights, dropout_p=p, impl=self.impl)

    def _feed(self, layer: StackedLayer, x: Tensor) -> Tensor:
        inner, outer = (
            p if self.training else 0.0 for p in (layer.relu_dropout, layer.residual_dropout)
        )
        weights = (layer.widen.weight, layer.widen.bias, layer.narrow.weight, layer.narrow.bias)
        options = {"hidden_dropout_p": inner, "dropout_p": outer}
        return ops.feed_forward(x, *weights, **options, impl=self.impl)


def fused(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Ours."""
    return ops.cross_attention(q, k, v, dropout_p=dropout)


def _linear(linear: StackedLinear, x: Tensor) -> Tensor:
    y = torch.baddbmm(linear.bias, x.flatten(1, -2), linear.weight)
    return y.view(*x.shape[:-1], -1)


def _heads(x: Tensor, dim: int, heads: int) -> Tensor:
    return x.unflatten(3, (-1, heads, dim // heads)).permute(3, 0, 1, 4, 2, 5)


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
