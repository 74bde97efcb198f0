"""MulT and Husformer, which are in no package, by the structure of their papers, on any attention.

MulT: Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences (ACL 2019).
Husformer: Wang et al., Husformer (2022). Both have pre-norm layers over [L, B, E], call attention
by `query, key, value, attn_mask`, leave `need_weights` at its default, and mask what comes later by
an added matrix of 0 and -inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: (embed_dim, num_heads, dropout) -> a module with `nn.MultiheadAttention`'s arguments.
MakeAttention = Callable[[int, int, float], nn.Module]


class OwnAttention(nn.Module):
    """Attention as the published code of both has it: a class of its own, products written out.

    Parameters are named and shaped as `nn.MultiheadAttention`'s.
    """

    def __init__(self, embed_dim: int, num_heads: int, attn_dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = num_heads, attn_dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Output [Lq, B, E] and the weights averaged over heads."""
        given = zip(self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        projected = [
            F.linear(x, w, b) for x, (w, b) in zip((query, key, value), given, strict=True)
        ]
        q, k, v = (
            x.reshape(x.shape[0], -1, x.shape[2] // self.heads).transpose(0, 1) for x in projected
        )
        scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
        if attn_mask is not None:
            scores = scores + attn_mask
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        out = torch.bmm(weights, v).transpose(0, 1).reshape(query.shape)
        return self.out_proj(out), weights.unflatten(0, (-1, self.heads)).mean(1)


def later_masked(rows: int, keys: int, like: Tensor) -> Tensor:
    """-inf above the diagonal, moved by what one sequence is longer."""
    return like.new_full((rows, keys), -math.inf).triu(1 + abs(keys - rows))


class CrossmodalLayer(nn.Module):
    """x + attention of x to others, then x + feed-forward; one norm for x and the others."""

    def __init__(self, dim: int, heads: int, dropout: float, make: MakeAttention) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attn = make(dim, heads, dropout)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.layer_norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])

    def forward(self, x: Tensor, x_k: Tensor | None = None, x_v: Tensor | None = None) -> Tensor:
        q = self.layer_norms[0](x)
        k, v = (q if other is None else self.layer_norms[0](other) for other in (x_k, x_v))
        mask = later_masked(len(q), len(k), q)
        attended, _ = self.self_attn(query=q, key=k, value=v, attn_mask=mask)
        drop = partial(F.dropout, p=self.dropout, training=self.training)
        x = x + drop(attended)
        return x + drop(self.fc2(drop(F.relu(self.fc1(self.layer_norms[1](x))))))


class CrossmodalEncoder(nn.Module):
    """Positions, layers that all attend to the same others, a last norm."""

    def __init__(
        self, dim: int, heads: int, layers: int, dropout: float, make: MakeAttention
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers = nn.ModuleList(
            [CrossmodalLayer(dim, heads, dropout, make) for _ in range(layers)]
        )
        self.layer_norm = nn.LayerNorm(dim)

    def embedded(self, x: Tensor) -> Tensor:
        rows, _, dim = x.shape
        half = (dim + 1) // 2
        rate = torch.exp(torch.arange(half) * (-math.log(10000.0) / max(half - 1, 1)))
        angle = torch.arange(rows)[:, None] * rate
        places = torch.cat([angle.sin(), angle.cos()], 1)[:, None, :dim].to(x)
        return F.dropout(math.sqrt(dim) * x + places, self.dropout, self.training)

    def forward(self, x: Tensor, others: Tensor | None = None) -> Tensor:
        x = self.embedded(x)
        both = [] if others is None else [self.embedded(others) for _ in ("keys", "values")]
        for layer in self.layers:
            x = layer(x, *both)
        return self.layer_norm(x)


class MulT(nn.Module):
    """Each modality attends to each other one; the pairs of a modality are joined, the last counts.

    Takes three tensors [B, L, features].
    """

    def __init__(
        self,
        widths: Sequence[int],
        dim: int = 30,
        heads: int = 5,
        layers: int = 5,
        memory_layers: int = 3,
        dropout: float = 0.0,
        make: MakeAttention = nn.MultiheadAttention,
    ) -> None:
        super().__init__()
        ones = range(len(widths))
        self.projections = nn.ModuleList([nn.Conv1d(w, dim, 1, bias=False) for w in widths])
        self.pairs = nn.ModuleDict(
            {
                f"{a}{b}": CrossmodalEncoder(dim, heads, layers, dropout, make)
                for a in ones
                for b in ones
                if a != b
            }
        )
        wide = dim * (len(widths) - 1)
        deep = max(layers, memory_layers)
        self.memories = nn.ModuleList(
            [CrossmodalEncoder(wide, heads, deep, dropout, make) for _ in ones]
        )
        total = wide * len(widths)
        self.proj1, self.proj2 = nn.Linear(total, total), nn.Linear(total, total)
        self.out_layer = nn.Linear(total, 1)

    def forward(self, *inputs: Tensor) -> Tensor:
        given = zip(self.projections, inputs, strict=True)
        x = [project(each.transpose(1, 2)).permute(2, 0, 1) for project, each in given]
        last = []
        for a, memory in enumerate(self.memories):
            joined = [self.pairs[f"{a}{b}"](x[a], x[b]) for b in range(len(x)) if b != a]
            last.append(memory(torch.cat(joined, 2))[-1])
        h = torch.cat(last, 1)
        return self.out_layer(h + self.proj2(F.relu(self.proj1(h))))


class Husformer(nn.Module):
    """Each modality attends to all at once; their sequences, one behind the other, to themselves.

    Takes tensors [B, channels, samples]: the channels are the tokens.
    """

    def __init__(
        self,
        channels: Sequence[int],
        samples: int,
        dim: int = 30,
        heads: int = 3,
        layers: int = 5,
        dropout: float = 0.0,
        make: MakeAttention = nn.MultiheadAttention,
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList([nn.Conv1d(samples, dim, 1, bias=False) for _ in channels])
        self.crossmodal = nn.ModuleList(
            [CrossmodalEncoder(dim, heads, layers, dropout, make) for _ in channels]
        )
        self.fused = CrossmodalEncoder(dim, heads, layers, dropout, make)
        self.final_conv = nn.Conv1d(sum(channels), 1, 1, bias=False)
        self.proj, self.out_layer = nn.Linear(dim, dim), nn.Linear(dim, 1)

    def forward(self, *inputs: Tensor) -> Tensor:
        given = zip(self.projections, inputs, strict=True)
        x = [project(each.transpose(1, 2)).permute(2, 0, 1) for project, each in given]
        everything = torch.cat(x)
        attended = [c(each, everything) for c, each in zip(self.crossmodal, x, strict=True)]
        fused = self.fused(torch.cat(attended))
        h = self.final_conv(fused.transpose(0, 1)).squeeze(1)
        return self.out_layer(h + self.proj(F.selu(self.proj(h))))
