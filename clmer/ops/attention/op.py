"""`cross_attention`: softmax(Q K^T) V without the matrix, for many small heads or a few long ones.

The plain PyTorch form is in reference.py, registration with torch and autograd in registered.py,
calls of the GPU kernels in gpu.py; the kernels are in csrc/attention/ (args.h, cpu_*, gpu_*) and
kernels/attention.py (Triton).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clmer.ops._dispatch import (
    any_requires_grad,
    choose_impl,
    is_plain,
    is_tracing,
    is_transformed,
    tell_reference,
)
from clmer.ops.attention.checks import check, number, padding_over_heads, promoted
from clmer.ops.attention.gpu import best_on_gpu
from clmer.ops.attention.reference import check_seed, cross_attention_reference, full_rank
from clmer.ops.attention.registered import IMPLEMENTATIONS, CrossAttention, registered

_NATIVE = ("cpu",)


def cross_attention(
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
        key_padding_mask: bool, True = ignore: [Lk], or query's leading dimensions, each of its size
            or 1, and Lk. For queries [B, H, Lq, D] also [B, Lk], as in `nn.MultiheadAttention`: the
            same keys for all heads, be H equal to B or not. Beside more leading dimensions fewer
            align at the right, and are refused where they fit in other places too.
        attn_mask: bool, broadcastable to [..., Lq, Lk]; True = takes part, as in
            `F.scaled_dot_product_attention` and unlike key_padding_mask. As there, dimensions align
            at the right: [H, Lq, Lk] is of the heads, be B equal to H or not.
        attn_bias: floating point, broadcastable to [..., Lq, Lk], added to the scores; its gradient
            is summed over the broadcast dimensions. -inf gives the weight 0 like a mask, but what
            stands behind it may be read: there a NaN may spread, which the masks prevent.
        is_causal: query i sees the keys 0 to i alone, as in `F.scaled_dot_product_attention`, and
            of these what the masks leave. What it hides is not computed, unlike with such a mask.
        dropout_p: probability in [0, 1] of dropping a weight; the kept ones grow by 1 / (1 - p).
        scale: a constant; None is 1 / sqrt(D). One that is learnt goes into query.
        seed: 0-d int64, the key of the dropout mask; None draws one with `torch.randint`. The mask
            is a hash of (seed, leading index, row, column), the same in every implementation.
        impl: None, "native" (CPU), "reference" (plain PyTorch, differentiable any number of times
            and in forward mode: None takes it there, and says so once),
            "triton" (GPU; elsewhere in Triton's interpreter; not float64; D and Dv up to 256) or
            "cuda" (GPU; not float64; Lq and Lk up to 128, D and Dv up to 64). None is native on the
            CPU; on a GPU of architecture 8.0 or later "cuda" where it fits and was built (in
            float32 past 80 tokens up to 32 features), else "triton" for half types up to its widths
            where it finds a C compiler, else the reference.

    Returns:
        O [..., Lq, Dv] of query's dtype and, on the CPU with Dv = D, in query's memory order. The
        masks give a hidden pair the weight 0, exactly. A
        query that sees no key gives zeros, and its gradients are zeros. Such a query (with its
        gradient that comes in) and a key or value that no query of its head sees may hold
        anything, NaN and Inf included: nothing else notices. A key that is hidden from some
        queries and seen by others must be finite: 0 times its NaN is NaN in the former too.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or dropout_p outside [0, 1].
        RuntimeError: an explicit `impl` that cannot run on these tensors, or second derivatives of
            one that is not the reference.

    Source: the paper's Eq. 5-6; row-wise log-sum-exp and recomputation as in Dao et al.,
    FlashAttention (2022).
    """
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        found = ", ".join(type(each).__name__ for each in (query, key, value))
        raise ValueError(f"query, key, value: found {found}, expected tensors")
    if key.dtype != query.dtype or value.dtype != query.dtype:
        query, key, value = promoted(query, key, value)
    if isinstance(key_padding_mask, Tensor):
        key_padding_mask = padding_over_heads(key_padding_mask, query.shape[:-2])
    check(query, key, value, key_padding_mask, attn_mask, attn_bias, dropout_p)
    masks: dict[str, Any] = {
        "key_padding_mask": key_padding_mask,
        "attn_mask": attn_mask,
        "is_causal": is_causal,
    }
    if dropout_p == 1.0:  # nothing is left of any weight
        out = cross_attention(query, key, value, **masks, attn_bias=attn_bias, impl=impl)
        return out.masked_fill(torch.ones((), dtype=torch.bool, device=out.device), 0.0)
    explicit = impl is not None
    if not explicit and is_transformed(query, key, value, attn_bias):
        impl = tell_reference("cross_attention")
    elif not explicit and query.is_cpu:
        impl = "native"
    else:
        wish = best_on_gpu(query, key, value) if not explicit and query.is_cuda else impl
        impl = choose_impl(wish, query.device, _NATIVE, also=("triton", "cuda"))
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else number(scale)
    seed = check_seed(seed, dropout_p, query.device) if dropout_p != 0.0 else None
    if impl == "reference":
        how: dict[str, Any] = {"dropout_p": dropout_p, "scale": scale, "seed": seed}
        return cross_attention_reference(query, key, value, **masks, attn_bias=attn_bias, **how)
    terms = full_rank(query, key_padding_mask, attn_mask, attn_bias)
    tensors = (query, key, value, *terms, seed)
    constants = (float(dropout_p), scale, bool(is_causal))
    implementation = IMPLEMENTATIONS[impl]
    apart = implementation.bypasses_dispatcher(query)
    if not apart and is_tracing():
        out, _ = torch.ops.clmer.cross_attention(*tensors, *constants, impl)
    elif not apart and not is_plain(*tensors):
        out, _ = CrossAttention.apply(registered(impl), explicit, *tensors, *constants)
    elif torch.is_grad_enabled() and any_requires_grad(query, key, value, attn_bias):
        out, _ = CrossAttention.apply(implementation, explicit, *tensors, *constants)
    else:
        out, _ = implementation.forward(*tensors, *constants, want_lse=False)
    return out
