"""Attention of short sequences in Triton: a head's queries and keys in one tile.

Plan: a program owns a whole head, Lq <= BLOCK_Q queries and Lk <= BLOCK_K keys, or HEADS heads so
tiny that they share a tile of the least size a tensor core multiplies: each has a slot of rows and
columns, and pairs across heads do not count. Scores and weights live in registers. The forward
reads Q, K, V and writes O and the row's log-sum-exp; the backward reads Q, K, V, dO and the
log-sum-exp, not O, since sum P dP is at hand, and writes dQ, dK, dV and, for a bias, dS: one
launch, every element written by one program, no atomics. Masks are applied before anything is read
that they hide. Roofline: memory; 3 D + D' numbers a token forward, 7 backward, one exponential a
pair each way.
"""

from __future__ import annotations

import triton
import triton.language as tl

from clmer.kernels._dropout import dropout_keeps, dropout_key
from clmer.kernels.attention_terms import (
    INTEGERS,
    keys_left,
    load_rows,
    pairs_shown,
    place,
    scores,
    store_rows,
)


@triton.jit
def _slots(heads, length, BLOCK: tl.constexpr, HEADS: tl.constexpr):
    """Of each of a tile's BLOCK rows (or columns): head, place in the head, whether it exists."""
    index = tl.arange(0, BLOCK)
    if HEADS == 1:
        head = tl.program_id(0)
        within = index
        exists = within < length
    else:
        head = tl.program_id(0) * HEADS + index // (BLOCK // HEADS)
        within = index % (BLOCK // HEADS)
        exists = (within < length) & (head < heads)
    return head, within, exists


@triton.jit
def _pairs(head_q, head_k, exist_q, left, HEADS: tl.constexpr):
    """Pairs of a query and a key of one head."""
    pairs = exist_q[:, None] & left[None, :]
    if HEADS > 1:
        pairs &= head_q[:, None] == head_k[None, :]
    return pairs


@triton.jit(do_not_specialize=INTEGERS)
def short_forward(
    query, key, value, mask, attn_mask, bias, seed,
    out,  # [heads, Lq, Dv]
    lse,  # [heads, Lq] float32; -inf where a query sees no key
    heads, n1, n2, rows, keys, width, value_width,
    q0, q1, q2, qr, k0, k1, k2, kr, v0, v1, v2, vr,
    m0, m1, m2, mc, a0, a1, a2, ar, ac, b0, b1, b2, br, bc,
    scale, threshold, grown, spare,
    HEADS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """O and the log-sum-exp of HEADS heads."""
    head_q, row, exist_q = _slots(heads, rows, BLOCK_Q, HEADS)
    head_k, col, exist_k = _slots(heads, keys, BLOCK_K, HEADS)
    left = keys_left(mask, head_k, col, exist_k, n1, n2, m0, m1, m2, mc)
    pairs = _pairs(head_q, head_k, exist_q, left, HEADS)
    pairs = pairs_shown(attn_mask, pairs, head_q, row, col, n1, n2, a0, a1, a2, ar, ac, CAUSAL)
    if attn_mask is not None or CAUSAL:
        left = tl.max(pairs.to(tl.int32), 0) > 0  # a key that no query sees may be NaN

    at_q = place(head_q, n1, n2, q0, q1, q2) + row.to(tl.int64) * qr
    at_k = place(head_k, n1, n2, k0, k1, k2) + col.to(tl.int64) * kr
    at_v = place(head_k, n1, n2, v0, v1, v2) + col.to(tl.int64) * vr
    q = load_rows(query, at_q, exist_q, width, BLOCK_D, VEC)
    k = load_rows(key, at_k, left, width, BLOCK_D, VEC)
    v = load_rows(value, at_v, left, value_width, BLOCK_D, VEC)
    s = scores(q, k, bias, pairs, head_q, row, col, n1, n2, b0, b1, b2, br, bc, scale, PRECISION)
    top = tl.max(s, 1)
    shift = tl.where(top == float("-inf"), 0.0, top)
    p = tl.exp(s - shift[:, None]) * spare
    total = tl.sum(p, 1)
    number = head_q.to(tl.int64) * rows + row
    tl.store(lse + number, shift + tl.log(total / spare), mask=exist_q)
    if seed is not None:
        p = tl.where(dropout_keeps(dropout_key(seed, number), col, threshold), p, 0.0)
    o = tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
    o = tl.where((total == 0.0)[:, None], 0.0, o * (grown / total)[:, None])
    store_rows(out, o, number, exist_q, value_width, BLOCK_D, VEC)


@triton.jit(do_not_specialize=INTEGERS)
def short_backward(
    grad_out, query, key, value, lse, mask, attn_mask, bias, seed,
    grad_query,  # [heads, Lq, D]
    grad_key,  # [heads, Lk, D]
    grad_value,  # [heads, Lk, Dv]
    grad_scores,  # [heads, Lq, Lk] float32, or None
    heads, n1, n2, rows, keys, width, value_width,
    g0, g1, g2, gr, q0, q1, q2, qr, k0, k1, k2, kr, v0, v1, v2, vr,
    m0, m1, m2, mc, a0, a1, a2, ar, ac, b0, b1, b2, br, bc,
    scale, threshold, grown,
    HEADS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """All gradients of HEADS heads."""
    head_q, row, exist_q = _slots(heads, rows, BLOCK_Q, HEADS)
    head_k, col, exist_k = _slots(heads, keys, BLOCK_K, HEADS)
    left = keys_left(mask, head_k, col, exist_k, n1, n2, m0, m1, m2, mc)
    number = head_q.to(tl.int64) * rows + row
    row_lse = tl.load(lse + number, mask=exist_q, other=float("-inf"))
    sees = row_lse != float("-inf")  # a query that sees no key, and its gradient, may be NaN
    pairs = _pairs(head_q, head_k, sees, left, HEADS)
    pairs = pairs_shown(attn_mask, pairs, head_q, row, col, n1, n2, a0, a1, a2, ar, ac, CAUSAL)
    if attn_mask is not None or CAUSAL:
        left = tl.max(pairs.to(tl.int32), 0) > 0

    at_g = place(head_q, n1, n2, g0, g1, g2) + row.to(tl.int64) * gr
    at_q = place(head_q, n1, n2, q0, q1, q2) + row.to(tl.int64) * qr
    at_k = place(head_k, n1, n2, k0, k1, k2) + col.to(tl.int64) * kr
    at_v = place(head_k, n1, n2, v0, v1, v2) + col.to(tl.int64) * vr
    do = load_rows(grad_out, at_g, sees, value_width, BLOCK_D, VEC)
    q = load_rows(query, at_q, sees, width, BLOCK_D, VEC)
    k = load_rows(key, at_k, left, width, BLOCK_D, VEC)
    v = load_rows(value, at_v, left, value_width, BLOCK_D, VEC)
    s = scores(q, k, bias, pairs, head_q, row, col, n1, n2, b0, b1, b2, br, bc, scale, PRECISION)
    p = tl.exp(s - tl.where(sees, row_lse, 0.0)[:, None])
    applied = p
    dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
    if seed is not None:
        keeps = dropout_keeps(dropout_key(seed, number), col, threshold)
        applied = tl.where(keeps, p * grown, 0.0)
        dp = tl.where(keeps, dp * grown, 0.0)
    ds = tl.where(pairs, p * (dp - tl.sum(p * dp, 1)[:, None]), 0.0)

    number_k = head_k.to(tl.int64) * keys + col
    dv = tl.dot(tl.trans(applied.to(do.dtype)), do, input_precision=PRECISION)
    store_rows(grad_value, dv, number_k, exist_k, value_width, BLOCK_D, VEC)
    dk = tl.dot(tl.trans(ds.to(q.dtype)), q, input_precision=PRECISION) * scale
    store_rows(grad_key, dk, number_k, exist_k, width, BLOCK_D, VEC)
    dq = tl.dot(ds.to(k.dtype), k, input_precision=PRECISION) * scale
    dq = tl.where(sees[:, None], dq, 0.0)  # a key that others see may be NaN
    store_rows(grad_query, dq, number, exist_q, width, BLOCK_D, VEC)
    if grad_scores is not None:
        inside = _pairs(head_q, head_k, exist_q, exist_k, HEADS)
        tl.store(grad_scores + (number * keys)[:, None] + col[None, :], ds, mask=inside)
