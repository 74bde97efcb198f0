"""`cross_attention`: softmax(Q K^T) V without the matrix, for many small heads or a few long ones.

csrc/attention.h, attention_cpu.cpp.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    below_autograd,
    check_dtype,
    choose_impl,
    is_tracing,
    library,
    no_double_backward,
    without_autocast,
)

_NATIVE = ("cpu",)
_MAX_DIMS = 7


def cross_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """Scaled dot-product attention of one sequence's tokens over another's.

        O = dropout(softmax(scale Q K^T + attn_bias)) V

    All leading dimensions (modality pairs, batch, heads) go into one call. The forward keeps O and
    the row's log-sum-exp, the backward recomputes the weights: memory O(L D), never Lq x Lk.

    Args:
        query: [..., Lq, D], float32, float64, bfloat16 or float16; any strides.
        key: [..., Lk, D], query's leading dimensions and dtype.
        value: [..., Lk, Dv].
        key_padding_mask: bool, broadcastable to [..., Lk]; True = ignore. What stands in an ignored
            key or value, NaN included, reaches neither output nor gradients. For queries
            [B, H, Lq, D] and a mask [B, Lk] pass `mask[:, None]`.
        attn_bias: floating point, broadcastable to [..., Lq, Lk], added to the scores; its gradient
            is summed over the broadcast dimensions.
        dropout_p: probability in [0, 1) of dropping a weight; the kept ones grow by 1 / (1 - p).
        scale: None is 1 / sqrt(D).
        seed: 0-d int64, the key of the dropout mask; None draws one with `torch.randint`. The mask
            is a hash of (seed, leading index, row, column), the same in every implementation.
        impl: None, "native" or "reference" (plain PyTorch, differentiable any number of times).

    Returns:
        O [..., Lq, Dv] of query's dtype. A row without any key left is zero, and so are its
        gradients.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or dropout_p outside [0, 1).
        RuntimeError: `impl="native"` on a device without a kernel; second derivatives of the
            native form.

    Source: the paper's Eq. 5-6; row-wise log-sum-exp and recomputation as in Dao et al.,
    FlashAttention (2022).
    """
    _check(query, key, value, key_padding_mask, attn_bias, dropout_p)
    chosen = choose_impl(impl, query.device, _NATIVE)
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else float(scale)
    seed = _check_seed(seed, dropout_p, query.device)
    if chosen == "reference":
        return cross_attention_reference(
            query,
            key,
            value,
            key_padding_mask=key_padding_mask,
            attn_bias=attn_bias,
            dropout_p=dropout_p,
            scale=scale,
            seed=seed,
        )
    dtype = _compute_dtype(query.dtype)
    lead = query.dim() - 2
    if key_padding_mask is not None:
        key_padding_mask = _to_rank(key_padding_mask, lead + 1)
    if attn_bias is not None:
        attn_bias = _to_rank(attn_bias.to(dtype), lead + 2)
    call = torch.ops.clmer.cross_attention if is_tracing() else _autograd
    out, _ = call(
        query.to(dtype),
        key.to(dtype),
        value.to(dtype),
        attn_bias,
        key_padding_mask,
        seed,
        float(dropout_p),
        scale,
    )
    return out.to(query.dtype)


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    dropout_p: float,
) -> None:
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not 2 <= query.dim() <= _MAX_DIMS or not query.dim() == key.dim() == value.dim():
        raise ValueError(f"found {shapes}, expected the same 2 to {_MAX_DIMS} dimensions in each")
    lead = query.shape[:-2]
    if key.shape[:-2] != lead or value.shape[:-2] != lead:
        raise ValueError(f"found {shapes}, expected equal leading dimensions")
    if key.shape[-1] != query.shape[-1]:
        raise ValueError(f"found {shapes}, expected query [..., Lq, D] and key [..., Lk, D]")
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"found {shapes}, expected key [..., Lk, D] and value [..., Lk, Dv]")
    check_dtype("query", query)
    if not query.dtype == key.dtype == value.dtype:
        raise ValueError(
            f"found query {query.dtype}, key {key.dtype}, value {value.dtype}, "
            "expected one floating-point dtype"
        )
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p: found {dropout_p}, expected 0 <= p < 1")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(
                f"key_padding_mask: found {mask.dtype}, expected torch.bool (True = ignore); "
                "additive masks go into attn_bias"
            )
        _check_broadcast("key_padding_mask", mask, (*lead, key.shape[-2]))
    if bias is not None:
        check_dtype("attn_bias", bias)
        _check_broadcast("attn_bias", bias, (*lead, query.shape[-2], key.shape[-2]))
    for name, tensor in (("key", key), ("value", value), ("mask", mask), ("attn_bias", bias)):
        if tensor is not None and tensor.device != query.device:
            raise ValueError(f"devices differ: query on {query.device}, {name} on {tensor.device}")


def _check_broadcast(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    fits = tensor.dim() <= len(shape) and all(
        size in (1, full)
        for size, full in zip(reversed(tensor.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name}: found {tuple(tensor.shape)}, expected something broadcastable to {shape} "
            f"(dimensions align at the right; a mask [B, Lk] for [B, H, Lq, D] is mask[:, None])"
        )


def _check_seed(seed: Tensor | None, dropout_p: float, device: torch.device) -> Tensor | None:
    """The dropout key: none without dropout, else the caller's or a fresh one."""
    if dropout_p == 0.0:
        return None
    if seed is None:
        return draw_seed(device)
    if seed.dtype != torch.int64 or seed.dim() != 0 or seed.device != device:
        raise ValueError(
            f"seed: found {tuple(seed.shape)} {seed.dtype} on {seed.device}, "
            f"expected a 0-d torch.int64 tensor on {device}"
        )
    return seed


def draw_seed(device: torch.device) -> Tensor:
    """A fresh dropout key from torch's generator: a tensor, so that graphs draw it anew."""
    return torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, device=device)


def _to_rank(tensor: Tensor, rank: int) -> Tensor:
    return tensor[(None,) * (rank - tensor.dim())]


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def cross_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """The specification in plain PyTorch; the weights [..., Lq, Lk] in full."""
    weights = attention_weights(
        query,
        key,
        key_padding_mask=key_padding_mask,
        attn_bias=attn_bias,
        dropout_p=dropout_p,
        scale=scale,
        seed=seed,
    )
    value = value.to(weights.dtype)
    if key_padding_mask is not None:
        value = value.masked_fill(key_padding_mask[..., None], 0.0)
    with without_autocast(query.device):
        return (weights @ value).to(query.dtype)


def attention_weights(
    query: Tensor,
    key: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """The weights that `cross_attention` applies, [..., Lq, Lk], in float32 at least."""
    dtype = _compute_dtype(query.dtype)
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else scale
    seed = _check_seed(seed, dropout_p, query.device)
    key = key.to(dtype)
    if key_padding_mask is not None:
        key = key.masked_fill(key_padding_mask[..., None], 0.0)
    with without_autocast(query.device):
        scores = (query.to(dtype) * scale) @ key.transpose(-1, -2)
    if attn_bias is not None:
        scores = scores + attn_bias.to(dtype)
    if key_padding_mask is not None:
        scores = scores.masked_fill(key_padding_mask[..., None, :], -torch.inf)
    if scores.shape[-1] == 0:
        return scores
    # The finite floor keeps a row of -inf from becoming NaN; its sum is 0 and so are its weights.
    shift = scores.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(dtype).min)
    weights = (scores - shift).exp()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total.masked_fill(total == 0, 1.0)
    if seed is not None:
        kept = dropout_mask(seed, weights.shape, dropout_p)
        weights = weights.masked_fill(~kept, 0.0) * (1.0 / (1.0 - dropout_p))
    return weights


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


# --- registration: any leading dimensions; bias and mask of full rank, each size 1 or full -------
library.define(
    "cross_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_bias, "
    "Tensor? key_padding_mask, Tensor? seed, float dropout_p, float scale) -> (Tensor, Tensor)"
)
library.define(
    "cross_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
    "Tensor out, Tensor lse, Tensor? attn_bias, Tensor? key_padding_mask, Tensor? seed, "
    "float dropout_p, float scale, bool bias_grad) -> (Tensor, Tensor, Tensor, Tensor)"
)


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
) -> tuple[Tensor, Tensor]:
    out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    lse = query.new_empty(query.shape[:-1])
    threads = torch.get_num_threads()
    _C.attention_forward(query, key, value, bias, mask, seed, dropout_p, scale, out, lse, threads)
    return out, lse


def _backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    bias_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out, lse = out.contiguous(), lse.contiguous()
    dq, dk, dv = (t.new_empty(t.shape) for t in (query, key, value))
    parts = None
    if bias is not None and bias_grad:
        parts = query.new_zeros((_bias_parts(query, bias), *bias.shape))
    _C.attention_backward(
        grad_out,
        query,
        key,
        value,
        out,
        lse,
        bias,
        mask,
        seed,
        dropout_p,
        scale,
        dq,
        dk,
        dv,
        parts,
        torch.get_num_threads(),
    )
    return dq, dk, dv, query.new_empty(0) if parts is None else parts.sum(0)


def _bias_parts(query: Tensor, bias: Tensor) -> int:
    """How many partial sums of the bias gradient: by shape alone, so that threads change no bit."""
    slices = bias.shape[:-2].numel()
    sharing = query.shape[:-2].numel() // max(slices, 1)
    return max(1, min(sharing, 16 // max(slices, 1)))


library.impl("cross_attention", _forward, "CPU")
library.impl("cross_attention_backward", _backward, "CPU")


@torch.library.register_fake("clmer::cross_attention", lib=library)
def _fake(query, key, value, bias, mask, seed, dropout_p, scale):  # type: ignore[no-untyped-def]
    out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    return out, query.new_empty(query.shape[:-1])


@torch.library.register_fake("clmer::cross_attention_backward", lib=library)
def _fake_backward(  # type: ignore[no-untyped-def]
    grad_out, query, key, value, out, lse, bias, mask, seed, dropout_p, scale, bias_grad
):
    grads = tuple(t.new_empty(t.shape) for t in (query, key, value))
    return (*grads, query.new_empty(bias.shape if bias_grad else 0))


# --- autograd -----------------------------------------------------------------------------------
class _CrossAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, bias, mask, seed, dropout_p, scale):  # type: ignore[no-untyped-def]
        with below_autograd():
            out, lse = torch.ops.clmer.cross_attention(
                query, key, value, bias, mask, seed, dropout_p, scale
            )
        ctx.save_for_backward(query, key, value, out, lse, bias, mask, seed)
        ctx.constants = dropout_p, scale
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
        *grads, grad_bias = torch.ops.clmer.cross_attention_backward(
            grad_out, *ctx.saved_tensors, *ctx.constants, ctx.needs_input_grad[3]
        )
        grad_bias = grad_bias if ctx.needs_input_grad[3] else None
        return (*grads, grad_bias, None, None, None, None)


def _autograd(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
) -> tuple[Tensor, Tensor]:
    return _CrossAttention.apply(query, key, value, bias, mask, seed, dropout_p, scale)


def _autograd_backward(grad_out: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (grad_out, *args)
    ):
        raise no_double_backward("cross_attention")
    with below_autograd():
        return torch.ops.clmer.cross_attention_backward(grad_out, *args)


library.impl("cross_attention", _autograd, "Autograd")
library.impl("cross_attention_backward", _autograd_backward, "Autograd")


@torch.library.register_vmap("clmer::cross_attention", lib=library)
def _vmap(info, in_dims, query, key, value, bias, mask, seed, dropout_p, scale):  # type: ignore[no-untyped-def]
    if in_dims[5] is not None:
        raise ValueError("vmap over the dropout seed: use randomness='same'")

    def front(tensor: Tensor | None, dim: int | None, expand: bool) -> Tensor | None:
        if tensor is None:
            return None
        if dim is not None:
            return tensor.movedim(dim, 0)
        return tensor.expand(info.batch_size, *tensor.shape) if expand else tensor[None]

    tensors = (query, key, value, bias, mask)
    folded = [front(t, in_dims[i], expand=i < 3) for i, t in enumerate(tensors)]
    return torch.ops.clmer.cross_attention(*folded, seed, dropout_p, scale), (0, 0)
