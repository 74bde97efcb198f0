"""What `cross_attention` computes, in plain PyTorch: all weights, the dropout mask, its key."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clmer.ops._dispatch import without_autocast
from clmer.ops.attention.checks import padding_over_heads, to_rank

_HALF = frozenset((torch.bfloat16, torch.float16))


def cross_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """The specification in plain PyTorch; the weights [..., Lq, Lk] in full."""
    if key_padding_mask is not None:
        key_padding_mask = padding_over_heads(key_padding_mask, query.shape[:-2])
    weights = attention_weights(
        query,
        key,
        key_padding_mask=key_padding_mask,
        attn_mask=attn_mask,
        attn_bias=attn_bias,
        is_causal=is_causal,
        dropout_p=dropout_p,
        scale=scale,
        seed=seed,
    )
    visible = _visible(query, key, key_padding_mask, attn_mask, is_causal)
    value = value.to(weights.dtype)
    if visible is not None:
        value = value.masked_fill(_unseen(visible), 0.0)
    with without_autocast(query.device):
        out = weights @ value
    if visible is not None:
        out = out.masked_fill(_blind(visible), 0.0)  # for the gradient that comes in here
    return out.to(query.dtype)


def attention_weights(
    query: Tensor,
    key: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """The weights that `cross_attention` applies, [..., Lq, Lk], in float32 at least."""
    seed = check_seed(seed, dropout_p, query.device)
    scores = attention_scores(
        query,
        key,
        key_padding_mask=key_padding_mask,
        attn_mask=attn_mask,
        attn_bias=attn_bias,
        is_causal=is_causal,
        scale=scale,
    )
    if scores.shape[-1] == 0:
        return scores
    # The finite floor keeps a row of -inf from becoming NaN; its sum is 0 and so are its weights.
    shift = scores.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    weights = (scores - shift).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total.masked_fill(total == 0, 1.0)
    if seed is not None:
        kept = dropout_mask(seed, weights.shape, dropout_p)
        weights = weights.masked_fill(~kept, 0.0)
        weights = weights / (1.0 - dropout_p) if dropout_p < 1.0 else weights
    return weights


def attention_scores(
    query: Tensor,
    key: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """What the softmax is of, [..., Lq, Lk], in float32 at least; -inf: a mask hides the pair."""
    if key_padding_mask is not None:
        key_padding_mask = padding_over_heads(key_padding_mask, query.shape[:-2])
    dtype = compute_dtype(query.dtype)
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else scale
    query, key = query.to(dtype), key.to(dtype)
    visible = _visible(query, key, key_padding_mask, attn_mask, is_causal)
    if visible is not None:
        query = query.masked_fill(_blind(visible), 0.0)
        key = key.masked_fill(_unseen(visible), 0.0)
    with without_autocast(query.device):
        scores = (query * scale) @ key.transpose(-1, -2)
    if attn_bias is not None:
        scores = scores + attn_bias.to(dtype)
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores


def _visible(
    query: Tensor,
    key: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    is_causal: bool,
) -> Tensor | None:
    """Which keys a query sees: bool, broadcastable to [..., Lq, Lk]; None is all of them."""
    kept = None
    if is_causal:
        kept = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device)
        kept = kept.tril()
    if attn_mask is not None:
        attn_mask = torch.atleast_2d(attn_mask)
        kept = attn_mask if kept is None else kept & attn_mask
    if key_padding_mask is not None:
        left = ~torch.atleast_1d(key_padding_mask)[..., None, :]
        kept = left if kept is None else kept & left
    return kept


def _unseen(visible: Tensor) -> Tensor:
    """The keys that no query sees: [..., Lk, 1]."""
    return ~visible.any(-2)[..., None]


def _blind(visible: Tensor) -> Tensor:
    """The queries that see no key: [..., Lq, 1]."""
    return ~visible.any(-1)[..., None]


def dropout_mask(seed: Tensor, shape: torch.Size, dropout_p: float) -> Tensor:
    """Which weights dropout keeps: bool [..., Lq, Lk], a hash of (seed, row, column).

    64 bits a row from splitmix64 of the seed and the row's index over all leading dimensions; with
    the column, two multiply-xorshift rounds in 32 bits. int64 holds it exactly: products wrap, and
    shifts mask the sign.
    """
    *lead, rows, columns = shape
    index = torch.arange(1, math.prod((*lead, rows)) + 1, device=seed.device)
    x = seed + index * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    x = (x ^ _shift(x, 31)).view(*lead, rows, 1)
    low, high = x & 0xFFFFFFFF, _shift(x, 32)
    h = low ^ (torch.arange(columns, device=seed.device) * 0x9E3779B1 & 0xFFFFFFFF)
    h = ((h ^ h >> 16) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ h >> 15 ^ high) * 0x846CA68B) & 0xFFFFFFFF
    h = h ^ h >> 16
    return h >= int(dropout_p * 2**32)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def check_seed(seed: Tensor | None, dropout_p: float, device: torch.device) -> Tensor | None:
    """The dropout key: none without dropout, else the caller's or a fresh one."""
    if dropout_p == 0.0:
        return None
    if seed is None:
        return draw_seed(device)
    if not isinstance(seed, Tensor):
        raise ValueError(f"seed: found {seed!r}, expected a 0-d torch.int64 tensor")
    if seed.dtype != torch.int64 or seed.dim() != 0 or seed.device != device:
        raise ValueError(
            f"seed: found {tuple(seed.shape)} {seed.dtype} on {seed.device}, "
            f"expected a 0-d torch.int64 tensor on {device}"
        )
    return seed


def draw_seed(device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """A fresh dropout key, from torch's generator by default: a tensor, so graphs draw it anew."""
    low, high = -(2**63), 2**63 - 1
    return torch.randint(low, high, (), dtype=torch.int64, device=device, generator=generator)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a dtype is computed in: float32 at least."""
    return torch.float32 if dtype in _HALF else dtype


def full_rank(
    query: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Masks and bias as kernels take them: of query's rank, the bias of the arithmetic's dtype."""
    rank = query.dim()
    return (
        None if key_padding_mask is None else to_rank(key_padding_mask, rank - 1),
        None if attn_mask is None else to_rank(attn_mask, rank),
        None if bias is None else to_rank(bias.to(compute_dtype(query.dtype)), rank),
    )
