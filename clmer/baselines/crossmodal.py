"""The crossmodal transformer that MulT introduced and Husformer took over."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from clmer.nn.attention import CrossModalAttention
from clmer.nn.contrastive import sinusoid
from clmer.nn.dropout import Dropout


class CrossmodalLayer(nn.Module):
    """One pre-norm layer in which a stream attends to a memory, or to itself.

        y = x + MultiHead(LN_1(x), LN_1(m), LN_1(m));  z = y + W_2 relu(W_1 LN_2(y))

    Query and memory share LN_1. 12 d^2 + 13 d parameters.

    Args:
        dim: d, features of a token.
        heads: divides d.
        attention_dropout, relu_dropout, residual_dropout: where the names say.

    Source: MulT's `TransformerEncoderLayer`, Eq. 6 of the paper.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        attention_dropout: float,
        relu_dropout: float,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = CrossModalAttention(
            dim, heads, dropout=attention_dropout, batch_first=True
        )
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        for linear in (self.attention.out_proj, self.widen, self.narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.relu_dropout = Dropout(relu_dropout)
        self.residual_dropout = Dropout(residual_dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Update x [B, L, d] from memory [B, Lk, d], or from itself."""
        query = self.attention_norm(x)
        key = query if memory is None else self.attention_norm(memory)
        y, _ = self.attention(query, key, key, need_weights=False)
        x = x + self.residual_dropout(y)
        hidden = self.relu_dropout(F.relu(self.widen(self.feed_forward_norm(x))))
        out: Tensor = x + self.residual_dropout(self.narrow(hidden))
        return out


class CrossmodalTransformer(nn.Module):
    """Layers over a stream and a memory that stays the same in all of them, then a norm.

        z_0 = dropout(sqrt(d) x + p);  z_i = layer_i(z_i-1, dropout(sqrt(d) m + p));  LN(z_D)

    p are sinusoidal positions, counted from 0 in stream and memory each.

    Args:
        dim: d, features of a token.
        heads: divides d.
        layers: D.
        longest: the most tokens that a stream or a memory will have.
        attention_dropout, relu_dropout, residual_dropout: of the layers.
        embedding_dropout: on scaled tokens with their positions.

    Source: MulT's `TransformerEncoder`. Its positions give a token whose first feature is 0 the
    place of padding, and a causal mask is on by default; neither is here.
    """

    positions: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        longest: int,
        *,
        attention_dropout: float = 0.1,
        relu_dropout: float = 0.1,
        residual_dropout: float = 0.1,
        embedding_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(dim)
        # An odd width ends with a sine that has no cosine.
        positions = sinusoid(longest, dim + dim % 2)[:, :dim]
        self.register_buffer("positions", positions, persistent=False)
        self.embedding_dropout = Dropout(embedding_dropout)
        self.layers = nn.ModuleList(
            CrossmodalLayer(
                dim,
                heads,
                attention_dropout=attention_dropout,
                relu_dropout=relu_dropout,
                residual_dropout=residual_dropout,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Stream x [B, L, d] enriched by memory [B, Lk, d], or by itself: [B, L, d]."""
        x = self._embed(x)
        memory = None if memory is None else self._embed(memory)
        for layer in self.layers:
            x = layer(x, memory)
        out: Tensor = self.norm(x)
        return out

    def _embed(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.embedding_dropout(self.scale * x + self.positions[: x.shape[1]])
        return embedded


class TokenProjection(nn.Module):
    """A modality's tokens brought to d features: a convolution over neighbouring tokens, no bias.

    Args:
        features: of a token.
        dim: d.
        kernel: tokens it spans, odd; zeros stand beyond the first and the last.

    Source: MulT's temporal convolution (Eq. 4 of the paper).
    """

    def __init__(self, features: int, dim: int, kernel: int = 1) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"TokenProjection: kernel must be odd and >= 1, got {kernel}")
        self.convolution = nn.Conv1d(features, dim, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Project x [B, tokens, features] to [B, tokens, d]."""
        projected: Tensor = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        return projected
