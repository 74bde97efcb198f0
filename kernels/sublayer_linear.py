"""`project_heads` and `merge_heads` in Triton: one linear map per stream, norm or residual beside.

    project   heads_i = split(norm(x) W + b)_i             i = 1..n, W [dim, n dim]
    merge     y = x + dropout(join(heads) W + b)           W [dim, dim]

Plan: a program owns BLOCK_R rows of one stream. They are normed, or joined from the heads, once and
stay in registers, while blocks of BLOCK_C of W's columns stream past; heads are written and read
where attention has them, so that no transposed copy exists. Gradients of rows are owned likewise,
with W transposed in the product. Gradients of W: a program owns BLOCK_C columns of W and one of
`splits` runs of a stream's rows, takes norm and mask again and leaves its sums in a plane of its
own; `sum_parts` adds the planes in order. No atomics: the same bits each time. Up to four of the n
heads tensors go into a launch, each by its own pointer. Roofline: memory for merge and for few
projections; rows are read once and written once per launch, W once per program, from L2.
"""

from __future__ import annotations

import triton
import triton.language as tl

from clmer.kernels.sublayer_terms import (
    INTEGERS,
    dropped,
    load_heads,
    load_tile,
    load_weight,
    norm_gradient,
    normed,
    one_of,
    own_columns,
    own_rows,
    store_heads,
    store_tile,
)


@triton.jit(do_not_specialize=INTEGERS)
def project_forward(
    x,  # [S, B, L, dim]
    weight,  # [S, dim, outputs]
    bias,  # [S, outputs]
    part0, part1, part2, part3,  # [S, B, h, L, width] each, or None
    rows, length, dim, width, outputs,
    first,  # which projection part0 is
    parts,  # how many of part0.. there are
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Heads of BLOCK_R rows."""
    dim, width, outputs = dim * VEC, width * VEC, outputs * VEC
    stream, number, exists = own_rows(rows, BLOCK_R)
    n, _ = normed(x, number, exists, dim, BLOCK_D)
    n = n.to(x.dtype.element_ty)
    weight += stream * dim * outputs
    bias += stream * outputs
    blocks = tl.cdiv(dim, BLOCK_C)
    for block in range(parts * blocks):
        col = block % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
        at = (first + block // blocks) * dim
        w = load_weight(weight + at, outputs, tl.arange(0, BLOCK_D), col, dim, dim)
        b = tl.load(bias + at + col, mask=col < dim, other=0.0).to(tl.float32)
        y = tl.dot(n, w, input_precision=PRECISION) + b[None, :]
        part = one_of(block // blocks, part0, part1, part2, part3)
        store_heads(part, y, number, exists, col, length, dim, width)


@triton.jit(do_not_specialize=INTEGERS)
def merge_forward(
    x,  # [S, B, L, dim]
    heads,  # [S, B, h, L, width]
    weight,  # [S, dim, dim]
    bias,  # [S, dim]
    seed,
    out,  # [S, B, L, dim]
    rows, length, dim, width, threshold, grown,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The output of BLOCK_R rows."""
    dim, width = dim * VEC, width * VEC
    stream, number, exists = own_rows(rows, BLOCK_R)
    joined = load_heads(heads, number, exists, tl.arange(0, BLOCK_D), length, dim, width)
    weight += stream * dim * dim
    bias += stream * dim
    for start in range(0, dim, BLOCK_C):
        col = start + tl.arange(0, BLOCK_C)
        w = load_weight(weight, dim, tl.arange(0, BLOCK_D), col, dim, dim)
        b = tl.load(bias + col, mask=col < dim, other=0.0).to(tl.float32)
        y = tl.dot(joined, w, input_precision=PRECISION) + b[None, :]
        y = dropped(y, seed, number, col, threshold, grown)
        y += load_tile(x, number * dim, exists, col, dim)
        store_tile(out, y, number * dim, exists, col, dim)


@triton.jit(do_not_specialize=INTEGERS)
def project_grad_rows(
    part0, part1, part2, part3,  # [S, B, h, L, width]: gradients of the heads
    x,  # [S, B, L, dim]
    weight,  # [S, dim, outputs]
    grad_x,  # [S, B, L, dim]
    rows, length, dim, width, outputs,
    first, parts,  # as in project_forward
    ADDS: tl.constexpr,  # to what grad_x holds, of earlier launches
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of BLOCK_R rows of x, of these heads alone: it is linear in them."""
    dim, width, outputs = dim * VEC, width * VEC, outputs * VEC
    stream, number, exists = own_rows(rows, BLOCK_R)
    weight += stream * dim * outputs
    features = tl.arange(0, BLOCK_D)
    dn = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    blocks = tl.cdiv(dim, BLOCK_C)
    for block in range(parts * blocks):
        col = block % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
        part = one_of(block // blocks, part0, part1, part2, part3)
        g = load_heads(part, number, exists, col, length, dim, width)
        at = (first + block // blocks) * dim
        w = load_weight(weight + at, outputs, features, col, dim, dim)
        dn = tl.dot(g, tl.trans(w), dn, input_precision=PRECISION)
    n, factor = normed(x, number, exists, dim, BLOCK_D)
    dx = norm_gradient(n, dn, factor, dim)
    if ADDS:
        dx += load_tile(grad_x, number * dim, exists, features, dim)
    store_tile(grad_x, dx, number * dim, exists, features, dim)


@triton.jit(do_not_specialize=INTEGERS)
def merge_grad_rows(
    grad_y,  # [S, B, L, dim]
    weight,  # [S, dim, dim]
    seed,
    grad_heads,  # [S, B, h, L, width]
    rows, length, dim, width, threshold, grown,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The heads' gradients of BLOCK_R rows."""
    dim, width = dim * VEC, width * VEC
    stream, number, exists = own_rows(rows, BLOCK_R)
    features = tl.arange(0, BLOCK_D)
    g = load_tile(grad_y, number * dim, exists, features, dim)
    g = dropped(g, seed, number, features, threshold, grown).to(weight.dtype.element_ty)
    weight += stream * dim * dim
    for start in range(0, dim, BLOCK_C):
        row = start + tl.arange(0, BLOCK_C)
        w = load_weight(weight, dim, row, features, dim, dim)
        d_joined = tl.dot(g, tl.trans(w), input_precision=PRECISION)
        store_heads(grad_heads, d_joined, number, exists, row, length, dim, width)


@triton.jit(do_not_specialize=INTEGERS)
def project_grad_weights(
    part0, part1, part2, part3,  # [S, B, h, L, width]: gradients of the heads
    x,  # [S, B, L, dim]
    sums,  # [splits, plane] float32: dW [S, dim, outputs], then db [S, outputs]
    streams, rows, length, dim, width, outputs,
    first, parts,  # as in project_forward
    splits, split_rows, plane,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients dW and db of BLOCK_C columns, summed over a run of rows."""
    dim, width, outputs = dim * VEC, width * VEC, outputs * VEC
    blocks = tl.cdiv(dim, BLOCK_C)
    stream, block, split, start, stop = own_columns(parts * blocks, splits, split_rows, rows)
    col = block % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    part = one_of(block // blocks, part0, part1, part2, part3)
    dw = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    db = tl.zeros([BLOCK_C], tl.float32)
    for begin in range(start, stop, BLOCK_R):
        row = begin + tl.arange(0, BLOCK_R)
        number, exists = stream * rows + row, row < stop
        n, _ = normed(x, number, exists, dim, BLOCK_D)
        g = load_heads(part, number, exists, col, length, dim, width)
        dw = tl.dot(tl.trans(n.to(g.dtype)), g, dw, input_precision=PRECISION)
        db += tl.sum(g.to(tl.float32), 0)
    sums += split * plane
    at = stream * dim * outputs + (first + block // blocks) * dim
    feature = tl.arange(0, BLOCK_D)
    store_tile(sums, dw, at + feature * outputs, feature < dim, col, dim)
    at = streams * dim.to(tl.int64) * outputs + stream * outputs + (first + block // blocks) * dim
    tl.store(sums + at + col, db, mask=col < dim)


@triton.jit(do_not_specialize=INTEGERS)
def merge_grad_weights(
    grad_y,  # [S, B, L, dim]
    heads,  # [S, B, h, L, width]
    seed,
    sums,  # [splits, plane] float32: dW [S, dim, dim], then db [S, dim]
    streams, rows, length, dim, width, threshold, grown, splits, split_rows, plane,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
    VEC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients dW and db of BLOCK_C columns, summed over a run of rows."""
    dim, width = dim * VEC, width * VEC
    blocks = tl.cdiv(dim, BLOCK_C)
    stream, block, split, start, stop = own_columns(blocks, splits, split_rows, rows)
    col = block * BLOCK_C + tl.arange(0, BLOCK_C)
    features = tl.arange(0, BLOCK_D)
    dw = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    db = tl.zeros([BLOCK_C], tl.float32)
    for begin in range(start, stop, BLOCK_R):
        row = begin + tl.arange(0, BLOCK_R)
        number, exists = stream * rows + row, row < stop
        joined = load_heads(heads, number, exists, features, length, dim, width)
        g = load_tile(grad_y, number * dim, exists, col, dim).to(tl.float32)
        g = dropped(g, seed, number, col, threshold, grown)
        dw = tl.dot(tl.trans(joined), g.to(joined.dtype), dw, input_precision=PRECISION)
        db += tl.sum(g, 0)
    sums += split * plane
    at = stream * dim * dim + features * dim
    store_tile(sums, dw, at, features < dim, col, dim)
    at = streams * dim.to(tl.int64) * dim + stream * dim
    tl.store(sums + at + col, db, mask=col < dim)
