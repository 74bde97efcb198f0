"""What the sublayer ops compute, in plain PyTorch: every stage a tensor of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clmer.ops._dispatch import without_autocast
from clmer.ops.attention.reference import check_seed, compute_dtype, dropout_mask


def project_heads_reference(
    x: Tensor, weight: Tensor, bias: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """The specification of `project_heads` in plain PyTorch."""
    dtype = x.dtype
    x, weight, bias = widen(x, weight, bias)
    with without_autocast(x.device):
        y = stacked_linear(normed(x), weight, bias)
    return tuple(part.to(dtype) for part in split_heads(y, num_heads, x.shape[-1]))


def merge_heads_reference(
    x: Tensor,
    heads: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """The specification of `merge_heads` in plain PyTorch."""
    dtype = x.dtype
    x, heads, weight, bias = widen(x, heads, weight, bias)
    return (x + merged(heads, weight, bias, dropout_p, seed)).to(dtype)


def merged(
    heads: Tensor, weight: Tensor, bias: Tensor, dropout_p: float, seed: Tensor | None
) -> Tensor:
    """What `merge_heads` adds to the residual, in float32 at least."""
    with without_autocast(heads.device):
        y = stacked_linear(join_heads(heads), weight, bias)
    return _dropped(y, dropout_p, seed)


def feed_forward_reference(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    *,
    hidden_dropout_p: float = 0.0,
    dropout_p: float = 0.0,
    hidden_seed: Tensor | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """The specification of `feed_forward` in plain PyTorch."""
    return feed_forward_steps(
        x, weight1, bias1, weight2, bias2, hidden_seed, seed, hidden_dropout_p, dropout_p
    )[0]


def feed_forward_steps(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_seed: Tensor | None,
    seed: Tensor | None,
    hidden_dropout_p: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor]:
    """`feed_forward_reference`, and the hidden rows behind ReLU and dropout."""
    dtype = x.dtype
    x, weight1, bias1, weight2, bias2 = widen(x, weight1, bias1, weight2, bias2)
    with without_autocast(x.device):
        hidden = F.relu(stacked_linear(normed(x), weight1, bias1))
        hidden = _dropped(hidden, hidden_dropout_p, hidden_seed)
        y = stacked_linear(hidden, weight2, bias2)
    return (x + _dropped(y, dropout_p, seed)).to(dtype), hidden


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Half precision in float32; all are of one dtype."""
    if compute_dtype(tensors[0].dtype) == tensors[0].dtype:
        return tensors
    return tuple(t.to(compute_dtype(t.dtype)) for t in tensors)


def normed(x: Tensor) -> Tensor:
    """Layer norm over the last dimension, without gain and offset."""
    return F.layer_norm(x, x.shape[-1:])


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """S linear maps in one batched product: x [S, ..., inputs], weight [S, inputs, outputs]."""
    y = torch.baddbmm(bias, x.flatten(1, -2), weight)
    return y.view(*x.shape[:-1], weight.shape[-1])


def split_heads(y: Tensor, num_heads: int, dim: int) -> tuple[Tensor, ...]:
    """Features [S, B, L, n d] as n tensors [S, B, h, L, d / h]."""
    y = y.unflatten(3, (-1, num_heads, dim // num_heads))
    return y.permute(3, 0, 1, 4, 2, 5).unbind()


def join_heads(heads: Tensor) -> Tensor:
    """Heads [S, B, h, L, d / h] as [S, B, L, d]."""
    return heads.transpose(2, 3).flatten(3)


def _dropped(x: Tensor, p: float, seed: Tensor | None) -> Tensor:
    """Dropout by the mask of `cross_attention`; a NaN stays one, kept or dropped."""
    seed = check_seed(seed, p, x.device)
    if seed is None:
        return x
    return x * (dropout_mask(seed, x.shape, p).to(x.dtype) * (1.0 / (1.0 - p)))
