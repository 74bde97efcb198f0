"""Attention of longer sequences in Triton: keys, or queries, stream past a tile.

Plan: in the forward a program owns BLOCK_Q queries of one head and walks over the keys in blocks of
BLOCK_K with the online softmax: running maximum, sum and output in registers. The backward is two
launches, each of which recomputes the weights from the log-sum-exp: a program owns BLOCK_Q queries
and walks over the keys for dQ (and dS, for a bias), or BLOCK_K keys and walks over the queries for
dK and dV. Every element is written by one program in one order: no atomics, and the same bits each
time, for two products per tile more than the five that are needed. sum P dP is dO . O here. The
launch has folded keys that attn_mask hides from all queries into `mask`. CAUSAL: blocks that
no pair of a tile can be in are left out, in all three. Roofline: the tensor
cores; 2 (D + D') flops a pair forward, 2 (5 D + 4 D') both backward launches.
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
def _tile(length, BLOCK: tl.constexpr):
    """This program's head, its block's rows and which of them exist."""
    blocks = tl.cdiv(length, BLOCK)
    row = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(0) // blocks, row, row < length


@triton.jit
def _reach(row, rows, keys, BLOCK: tl.constexpr, CAUSAL: tl.constexpr):
    """The end of the keys that a block of queries may see."""
    reach = keys
    if CAUSAL:
        reach = tl.minimum(keys, tl.minimum(rows, tl.min(row) + BLOCK))
    return reach


@triton.jit(do_not_specialize=INTEGERS)
def long_forward(
    query, key, value, mask, attn_mask, bias, seed,
    out,  # [heads, Lq, Dv]
    lse,  # [heads, Lq] float32; -inf where a query sees no key
    heads, n1, n2, rows, keys, width, value_width,
    q0, q1, q2, qr, k0, k1, k2, kr, v0, v1, v2, vr,
    m0, m1, m2, mc, a0, a1, a2, ar, ac, b0, b1, b2, br, bc,
    scale, threshold, grown, spare,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """O and the log-sum-exp of BLOCK_Q queries of a head."""
    head, row, exists = _tile(rows, BLOCK_Q)
    number = head.to(tl.int64) * rows + row
    at_q = place(head, n1, n2, q0, q1, q2) + row.to(tl.int64) * qr
    q = load_rows(query, at_q, exists, width, BLOCK_D, VEC)
    top = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    o = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    reach = _reach(row, rows, keys, BLOCK_Q, CAUSAL)
    for start in range(0, reach, BLOCK_K):
        col = start + tl.arange(0, BLOCK_K)
        left = keys_left(mask, head, col, col < reach, n1, n2, m0, m1, m2, mc)
        pairs = exists[:, None] & left[None, :]
        pairs = pairs_shown(attn_mask, pairs, head, row, col, n1, n2, a0, a1, a2, ar, ac, CAUSAL)
        at_k = place(head, n1, n2, k0, k1, k2) + col.to(tl.int64) * kr
        at_v = place(head, n1, n2, v0, v1, v2) + col.to(tl.int64) * vr
        k = load_rows(key, at_k, left, width, BLOCK_D, VEC)
        v = load_rows(value, at_v, left, value_width, BLOCK_D, VEC)
        s = scores(q, k, bias, pairs, head, row, col, n1, n2, b0, b1, b2, br, bc, scale, PRECISION)
        raised = tl.maximum(top, tl.max(s, 1))
        shift = tl.where(raised == float("-inf"), 0.0, raised)
        faded = tl.exp(top - shift)
        p = tl.exp(s - shift[:, None]) * spare
        total = total * faded + tl.sum(p, 1)
        if seed is not None:
            p = tl.where(dropout_keeps(dropout_key(seed, number), col, threshold), p, 0.0)
        o = tl.dot(p.to(v.dtype), v, o * faded[:, None], input_precision=PRECISION)
        top = raised
    shift = tl.where(top == float("-inf"), 0.0, top)
    tl.store(lse + number, shift + tl.log(total / spare), mask=exists)
    o = tl.where((total == 0.0)[:, None], 0.0, o * (grown / total)[:, None])
    store_rows(out, o, number, exists, value_width, BLOCK_D, VEC)


@triton.jit
def _weights(s, do, v, row_lse, seed, number, col, threshold, grown, PRECISION: tl.constexpr):
    """P, what dropout leaves of it, and dP, from scores and the rows' log-sum-exp."""
    shift = tl.where(row_lse == float("-inf"), 0.0, row_lse)
    p = tl.exp(s - shift[:, None])
    applied = p
    dp = tl.dot(do, tl.trans(v), input_precision=PRECISION)
    if seed is not None:
        keeps = dropout_keeps(dropout_key(seed, number), col, threshold)
        applied = tl.where(keeps, p * grown, 0.0)
        dp = tl.where(keeps, dp * grown, 0.0)
    return p, applied, dp


@triton.jit(do_not_specialize=INTEGERS)
def long_grad_query(
    grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed,
    grad_query,  # [heads, Lq, D]
    grad_scores,  # [heads, Lq, Lk] float32, or None
    heads, n1, n2, rows, keys, width, value_width,
    g0, g1, g2, gr, q0, q1, q2, qr, k0, k1, k2, kr, v0, v1, v2, vr,
    m0, m1, m2, mc, a0, a1, a2, ar, ac, b0, b1, b2, br, bc,
    scale, threshold, grown,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """dQ, and dS for a bias, of BLOCK_Q queries of a head."""
    head, row, exists = _tile(rows, BLOCK_Q)
    number = head.to(tl.int64) * rows + row
    row_lse = tl.load(lse + number, mask=exists, other=float("-inf"))
    sees = row_lse != float("-inf")  # a query that sees no key, and its gradient, may be NaN
    at_g = place(head, n1, n2, g0, g1, g2) + row.to(tl.int64) * gr
    at_q = place(head, n1, n2, q0, q1, q2) + row.to(tl.int64) * qr
    do = load_rows(grad_out, at_g, sees, value_width, BLOCK_D, VEC)
    o = load_rows(out, number * value_width, sees, value_width, BLOCK_D, VEC)
    q = load_rows(query, at_q, sees, width, BLOCK_D, VEC)
    delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
    dq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    reach = _reach(row, rows, keys, BLOCK_Q, CAUSAL)
    for start in range(0, reach, BLOCK_K):
        col = start + tl.arange(0, BLOCK_K)
        left = keys_left(mask, head, col, col < reach, n1, n2, m0, m1, m2, mc)
        pairs = sees[:, None] & left[None, :]
        pairs = pairs_shown(attn_mask, pairs, head, row, col, n1, n2, a0, a1, a2, ar, ac, CAUSAL)
        at_k = place(head, n1, n2, k0, k1, k2) + col.to(tl.int64) * kr
        at_v = place(head, n1, n2, v0, v1, v2) + col.to(tl.int64) * vr
        k = load_rows(key, at_k, left, width, BLOCK_D, VEC)
        v = load_rows(value, at_v, left, value_width, BLOCK_D, VEC)
        s = scores(q, k, bias, pairs, head, row, col, n1, n2, b0, b1, b2, br, bc, scale, PRECISION)
        p, _, dp = _weights(s, do, v, row_lse, seed, number, col, threshold, grown, PRECISION)
        ds = tl.where(pairs, p * (dp - delta[:, None]), 0.0)
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision=PRECISION)
        if grad_scores is not None:
            inside = exists[:, None] & (col < reach)[None, :]
            tl.store(grad_scores + (number * keys)[:, None] + col[None, :], ds, mask=inside)
    dq = tl.where(sees[:, None], dq * scale, 0.0)  # a key that others see may be NaN
    store_rows(grad_query, dq, number, exists, width, BLOCK_D, VEC)


@triton.jit(do_not_specialize=INTEGERS)
def long_grad_keys(
    grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed,
    grad_key,  # [heads, Lk, D]
    grad_value,  # [heads, Lk, Dv]
    heads, n1, n2, rows, keys, width, value_width,
    g0, g1, g2, gr, q0, q1, q2, qr, k0, k1, k2, kr, v0, v1, v2, vr,
    m0, m1, m2, mc, a0, a1, a2, ar, ac, b0, b1, b2, br, bc,
    scale, threshold, grown,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """Gradients of BLOCK_K keys and values of a head."""
    head, col, exists = _tile(keys, BLOCK_K)
    left = keys_left(mask, head, col, exists, n1, n2, m0, m1, m2, mc)
    at_k = place(head, n1, n2, k0, k1, k2) + col.to(tl.int64) * kr
    at_v = place(head, n1, n2, v0, v1, v2) + col.to(tl.int64) * vr
    k = load_rows(key, at_k, left, width, BLOCK_D, VEC)
    v = load_rows(value, at_v, left, value_width, BLOCK_D, VEC)
    dk = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    first = 0
    if CAUSAL:  # no query before the first key sees one of these
        first = tl.min(col) // BLOCK_Q * BLOCK_Q
        left &= col < rows
    for start in range(first, rows, BLOCK_Q):
        row = start + tl.arange(0, BLOCK_Q)
        number = head.to(tl.int64) * rows + row
        row_lse = tl.load(lse + number, mask=row < rows, other=float("-inf"))
        sees = row_lse != float("-inf")
        pairs = sees[:, None] & left[None, :]
        pairs = pairs_shown(attn_mask, pairs, head, row, col, n1, n2, a0, a1, a2, ar, ac, CAUSAL)
        at_g = place(head, n1, n2, g0, g1, g2) + row.to(tl.int64) * gr
        at_q = place(head, n1, n2, q0, q1, q2) + row.to(tl.int64) * qr
        do = load_rows(grad_out, at_g, sees, value_width, BLOCK_D, VEC)
        o = load_rows(out, number * value_width, sees, value_width, BLOCK_D, VEC)
        q = load_rows(query, at_q, sees, width, BLOCK_D, VEC)
        delta = tl.sum(do.to(tl.float32) * o.to(tl.float32), 1)
        s = scores(q, k, bias, pairs, head, row, col, n1, n2, b0, b1, b2, br, bc, scale, PRECISION)
        p, applied, dp = _weights(s, do, v, row_lse, seed, number, col, threshold, grown, PRECISION)
        ds = tl.where(pairs, p * (dp - delta[:, None]), 0.0)
        dv = tl.dot(tl.trans(applied.to(do.dtype)), do, dv, input_precision=PRECISION)
        dk = tl.dot(tl.trans(ds.to(q.dtype)), q, dk, input_precision=PRECISION)
    number = head.to(tl.int64) * keys + col
    store_rows(grad_key, dk * scale, number, exists, width, BLOCK_D, VEC)
    store_rows(grad_value, dv, number, exists, value_width, BLOCK_D, VEC)
