"""`cross_attention` with its weights: in one pass where the native kernel writes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clmer.ops._dispatch import (
    any_requires_grad,
    apart,
    is_ordinary,
    is_tracing,
    no_double_backward,
    tell_reference,
)
from clmer.ops.attention.checks import check, number, padding_over_heads
from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import (
    attention_weights,
    check_seed,
    compute_dtype,
    cross_attention_reference,
    full_rank,
)
from clmer.ops.attention.registered import native_backward, native_forward


def cross_attention_with_weights(
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
    average: bool = True,
    impl: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention, and the weights that it applied, after dropout.

        P = dropout(softmax(scale Q K^T + attn_bias)),  O = P V

    On the CPU the kernel writes the weights in the pass that makes O; on GPUs, under compilers and
    where a reference is asked for, they are computed beside it. Their gradient, where one comes in,
    is computed in plain PyTorch; where none does, they cost the backward nothing.

    Args:
        query: [..., H, Lq, D]; all others as for `cross_attention`.
        key: [..., H, Lk, D].
        value: [..., H, Lk, Dv].
        key_padding_mask: True = ignore.
        attn_mask: True = takes part.
        attn_bias: added to the scores.
        is_causal: query i sees the keys 0 to i alone.
        dropout_p: probability of dropping a weight.
        scale: None is 1 / sqrt(D).
        seed: 0-d int64, the key of the dropout mask.
        average: the mean over H in place of each head's weights.
        impl: as for `cross_attention`.

    Returns:
        O [..., H, Lq, Dv] and the weights [..., Lq, Lk] or [..., H, Lq, Lk], both of query's dtype.

    Raises:
        ValueError, RuntimeError: as `cross_attention`.
    """
    seed = check_seed(seed, dropout_p, query.device)
    masks: dict[str, Any] = {
        "key_padding_mask": key_padding_mask,
        "attn_mask": attn_mask,
        "attn_bias": attn_bias,
        "is_causal": is_causal,
    }
    how: dict[str, Any] = {"dropout_p": dropout_p, "scale": scale, "seed": seed}
    tensors = (query, key, value, key_padding_mask, attn_mask, attn_bias, seed)
    at_once = impl in (None, "native") and query.is_cpu and query.dim() > 2 and dropout_p < 1.0
    if not at_once or query.dtype != key.dtype or is_tracing() or not is_ordinary(*tensors):
        out = cross_attention(query, key, value, **masks, **how, impl=impl)
        weights = attention_weights(query, key, **masks, **how).to(query.dtype)
        return out, weights.mean(-3) if average else weights
    if key_padding_mask is not None:
        key_padding_mask = padding_over_heads(key_padding_mask, query.shape[:-2])
    check(query, key, value, key_padding_mask, attn_mask, attn_bias, dropout_p)
    terms = full_rank(query, key_padding_mask, attn_mask, attn_bias)
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else number(scale)
    constants = (float(dropout_p), scale, bool(is_causal))
    if torch.is_grad_enabled() and any_requires_grad(query, key, value, attn_bias):
        return _WithWeights.apply(
            average, impl is not None, query, key, value, *terms, seed, *constants
        )
    out, weights, _ = _forward(average, False, query, key, value, *terms, seed, *constants)
    return out, weights


def _forward(
    average: bool,
    want_lse: bool,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """O, the weights and, if wanted, the log-sum-exp."""
    *lead, heads, rows, _ = query.shape
    shape = (*lead, 1 if average else heads, rows, key.shape[-2])
    weights = query.new_empty(shape, dtype=compute_dtype(query.dtype))
    tensors = (query, key, value, mask, attn_mask, bias, seed)
    out, lse = native_forward(*tensors, dropout_p, scale, is_causal, want_lse, weights)
    return out, (weights.squeeze(-3) if average else weights).to(query.dtype), lse


class _WithWeights(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, average, explicit, query, key, value, mask, attn_mask, bias, seed, *constants
    ):
        terms = (mask, attn_mask, bias, seed)
        out, weights, lse = _forward(average, True, query, key, value, *terms, *constants)
        ctx.save_for_backward(query, key, value, out, lse, *terms)
        ctx.constants, ctx.average, ctx.explicit = constants, average, explicit
        ctx.set_materialize_grads(False)
        return out, weights

    @staticmethod
    def backward(ctx, grad_out, grad_weights):  # type: ignore[no-untyped-def]
        query, key, value, out, lse, mask, attn_mask, bias, seed = ctx.saved_tensors
        terms = (mask, attn_mask, bias, seed)
        again = torch.is_grad_enabled()
        if again and ctx.explicit:
            raise no_double_backward("cross_attention")
        if again:
            tell_reference("cross_attention")
        wanted = [ctx.needs_input_grad[i] for i in (2, 3, 4, 7)]
        grads: list[Tensor | None] = [None] * 4
        if grad_out is not None and not again:
            operands = (grad_out, query, key, value, out, lse, *terms)
            grads = [*native_backward(*operands, *ctx.constants, wanted[3])]
        if grad_weights is not None or again:
            more = _reference_backward(
                ctx.average, again, wanted, grad_out if again else None, grad_weights,
                query, key, value, *terms, *ctx.constants,
            )  # fmt: skip
            grads = [_sum(a, b) for a, b in zip(grads, more, strict=True)]
        dq, dk, dv, grad_bias = (g if take else None for g, take in zip(grads, wanted, strict=True))
        return None, None, dq, dk, dv, None, None, grad_bias, None, None, None, None


def _reference_backward(
    average: bool,
    again: bool,
    wanted: list[bool],
    grad_out: Tensor | None,
    grad_weights: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
) -> list[Tensor | None]:
    """The gradients by plain PyTorch; `again`: as functions that can be differentiated again."""
    inputs = [query, key, value, bias]
    if again:
        inputs = apart(inputs)
    else:
        inputs = [None if t is None else t.detach().requires_grad_() for t in inputs]
    q, k, v, added = inputs
    assert q is not None
    assert k is not None
    assert v is not None
    masks: dict[str, Any] = {"key_padding_mask": mask, "attn_mask": attn_mask, "attn_bias": added}
    how: dict[str, Any] = {"dropout_p": dropout_p, "scale": scale, "seed": seed}
    outputs, given = [], []
    with torch.enable_grad():
        if grad_weights is not None:
            weights = attention_weights(q, k, **masks, is_causal=is_causal, **how).to(q.dtype)
            outputs.append(weights.mean(-3) if average else weights)
            given.append(grad_weights)
        if grad_out is not None:
            outputs.append(cross_attention_reference(q, k, v, **masks, is_causal=is_causal, **how))
            given.append(grad_out)
    taken = [t for t, take in zip(inputs, wanted, strict=True) if take and t is not None]
    found = iter(
        torch.autograd.grad(outputs, taken, given, create_graph=again, allow_unused=True)
        if outputs and taken
        else [None] * len(taken)
    )
    return [next(found) if take else None for take in wanted]


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
