"""`feed_forward` in Triton: rows on chip from the norm to the residual, hidden rows never written.

    y = x + dropout(dropout(relu(norm(x) W1 + b1)) W2 + b2)      W1 [dim, hidden], W2 [hidden, dim]

Plan: a program owns BLOCK_R rows of one stream. They are normed once and stay in registers; blocks
of BLOCK_C hidden features stream past: a block of W1 makes them, relu and mask are applied where
they stand, and a block of W2 takes them into y, which gathers in registers. The backward has the
same order twice and recomputes the hidden rows, so that nothing is kept but x. Owned by rows, it
gives dx; owned by BLOCK_C hidden features and one of `splits` runs of rows, it gives both weights'
gradients, into a plane of its own; `sum_parts` adds the planes in order. No atomics: the same bits
each time. Roofline: the products, 4 flops a weight and row forward, 6 and 8 in the backward's two
launches (8 would do, with hidden rows in memory); x is read and y written once, dx likewise.
"""

from __future__ import annotations

import triton
import triton.language as tl

from clmer.kernels.sublayer_terms import (
    INTEGERS,
    dropped,
    load_tile,
    load_weight,
    norm_gradient,
    normed,
    own_columns,
    own_rows,
    store_tile,
)


@triton.jit
def _first_layer(n, w1, bias1, col, hidden, PRECISION: tl.constexpr):
    """Hidden features before relu, in float32: zeros from `hidden` on."""
    b1 = tl.load(bias1 + col, mask=col < hidden, other=0.0).to(tl.float32)
    return tl.dot(n, w1, input_precision=PRECISION) + b1[None, :]


@triton.jit(do_not_specialize=INTEGERS)
def feed_forward_rows(
    x,  # [S, B, L, dim]
    weight1,  # [S, dim, hidden]
    bias1,  # [S, hidden]
    weight2,  # [S, hidden, dim]
    bias2,  # [S, dim]
    hidden_seed, seed,
    out,  # [S, B, L, dim]
    rows, dim, hidden, hidden_threshold, hidden_grown, threshold, grown,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The output of BLOCK_R rows."""
    dim, hidden = dim * VEC, hidden * VEC
    stream, number, exists = own_rows(rows, BLOCK_R)
    n, _ = normed(x, number, exists, dim, BLOCK_D)
    n = n.to(x.dtype.element_ty)
    weight1 += stream * dim * hidden
    weight2 += stream * dim * hidden
    bias1 += stream * hidden
    features = tl.arange(0, BLOCK_D)
    y = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    for start in range(0, hidden, BLOCK_C):
        col = start + tl.arange(0, BLOCK_C)
        w1 = load_weight(weight1, hidden, features, col, dim, hidden)
        h = _first_layer(n, w1, bias1, col, hidden, PRECISION)
        h = tl.where(h < 0.0, 0.0, h)  # NaN stays
        h = dropped(h, hidden_seed, number, col, hidden_threshold, hidden_grown)
        w2 = load_weight(weight2, dim, col, features, hidden, dim)
        y = tl.dot(h.to(n.dtype), w2, y, input_precision=PRECISION)
    b2 = tl.load(bias2 + stream * dim + features, mask=features < dim, other=0.0)
    y += b2.to(tl.float32)[None, :]
    y = dropped(y, seed, number, features, threshold, grown)
    y += load_tile(x, number * dim, exists, features, dim)
    store_tile(out, y, number * dim, exists, features, dim)


@triton.jit(do_not_specialize=INTEGERS)
def feed_grad_rows(
    grad_y,  # [S, B, L, dim]
    x,  # [S, B, L, dim]
    weight1,  # [S, dim, hidden]
    bias1,  # [S, hidden]
    weight2,  # [S, hidden, dim]
    hidden_seed, seed,
    grad_x,  # [S, B, L, dim]
    rows, dim, hidden, hidden_threshold, hidden_grown, threshold, grown,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of BLOCK_R rows of x."""
    dim, hidden = dim * VEC, hidden * VEC
    stream, number, exists = own_rows(rows, BLOCK_R)
    features = tl.arange(0, BLOCK_D)
    n, factor = normed(x, number, exists, dim, BLOCK_D)
    narrow = n.to(x.dtype.element_ty)
    g = load_tile(grad_y, number * dim, exists, features, dim)
    g = dropped(g, seed, number, features, threshold, grown).to(narrow.dtype)
    weight1 += stream * dim * hidden
    weight2 += stream * dim * hidden
    bias1 += stream * hidden
    dn = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    for start in range(0, hidden, BLOCK_C):
        col = start + tl.arange(0, BLOCK_C)
        w1 = load_weight(weight1, hidden, features, col, dim, hidden)
        h = _first_layer(narrow, w1, bias1, col, hidden, PRECISION)
        w2 = load_weight(weight2, dim, col, features, hidden, dim)
        dh = tl.dot(g, tl.trans(w2), input_precision=PRECISION)
        dh = dropped(dh, hidden_seed, number, col, hidden_threshold, hidden_grown)
        dh = tl.where(h > 0.0, dh, 0.0).to(narrow.dtype)
        dn = tl.dot(dh, tl.trans(w1), dn, input_precision=PRECISION)
    dx = norm_gradient(n, dn, factor, dim)
    dx += load_tile(grad_y, number * dim, exists, features, dim)
    store_tile(grad_x, dx, number * dim, exists, features, dim)


@triton.jit(do_not_specialize=INTEGERS)
def feed_grad_weights(
    grad_y,  # [S, B, L, dim]
    x,  # [S, B, L, dim]
    weight1,  # [S, dim, hidden]
    bias1,  # [S, hidden]
    weight2,  # [S, hidden, dim]
    hidden_seed, seed,
    sums,  # [splits, plane] float32: dW1, db1, dW2, db2, each [S, ...]
    streams, rows, dim, hidden, hidden_threshold, hidden_grown, threshold, grown,
    splits, split_rows, plane,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All weights' gradients of BLOCK_C hidden features, summed over a run of rows."""
    dim, hidden = dim * VEC, hidden * VEC
    blocks = tl.cdiv(hidden, BLOCK_C)
    stream, block, split, start, stop = own_columns(blocks, splits, split_rows, rows)
    col, features = block * BLOCK_C + tl.arange(0, BLOCK_C), tl.arange(0, BLOCK_D)
    own = stream * dim * hidden
    w1 = load_weight(weight1 + own, hidden, features, col, dim, hidden)
    w2 = load_weight(weight2 + own, dim, col, features, hidden, dim)
    dw1 = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    dw2 = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    db1 = tl.zeros([BLOCK_C], tl.float32)
    db2 = tl.zeros([BLOCK_D], tl.float32)
    for begin in range(start, stop, BLOCK_R):
        row = begin + tl.arange(0, BLOCK_R)
        number, exists = stream * rows + row, row < stop
        n, _ = normed(x, number, exists, dim, BLOCK_D)
        n = n.to(w1.dtype)
        g = load_tile(grad_y, number * dim, exists, features, dim).to(tl.float32)
        g = dropped(g, seed, number, features, threshold, grown)
        db2 += tl.sum(g, 0)
        g = g.to(w1.dtype)
        h = _first_layer(n, w1, bias1 + stream * hidden, col, hidden, PRECISION)
        dh = tl.dot(g, tl.trans(w2), input_precision=PRECISION)
        dh = dropped(dh, hidden_seed, number, col, hidden_threshold, hidden_grown)
        dh = tl.where(h > 0.0, dh, 0.0)
        db1 += tl.sum(dh, 0)
        h = tl.where(h < 0.0, 0.0, h)  # NaN stays
        h = dropped(h, hidden_seed, number, col, hidden_threshold, hidden_grown).to(w1.dtype)
        dw2 = tl.dot(tl.trans(h), g, dw2, input_precision=PRECISION)
        dw1 = tl.dot(tl.trans(n), dh.to(w1.dtype), dw1, input_precision=PRECISION)
    sums += split * plane
    store_tile(sums, dw1, own + features * hidden, features < dim, col, hidden)
    size = streams * dim.to(tl.int64) * hidden
    sums += size
    tl.store(sums + stream * hidden + col, db1, mask=col < hidden)
    sums += streams * hidden.to(tl.int64)
    store_tile(sums, dw2, own + col * dim, col < hidden, features, dim)
    sums += size
    if block == 0:
        tl.store(sums + stream * dim + features, db2, mask=features < dim)
