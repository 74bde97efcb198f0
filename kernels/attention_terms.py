"""What the attention kernels share: where a head lies, which pairs count, scores.

Heads are numbered over the leading dimensions, which the launch folds to three, [n0, n1, n2]; each
tensor has a stride for each of them, 0 where it is broadcast. The features of a row are adjacent.
Strides of query, key, value and grad_out, and their widths, count vectors of VEC elements, so that
the compiler knows how wide it may load. Offsets are 64-bit: a head's number times its stride is.

A tile's rows are queries, its columns keys. A head index is one number for the whole tile or, where
several tiny heads share one, a vector; either broadcasts.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Arguments of all kernels that are compiled once, whatever their values.
INTEGERS = (
    *("heads", "n1", "n2", "rows", "keys", "width", "value_width", "threshold"),
    *(tensor + dim for tensor in "gqkv" for dim in "012r"),
    *(tensor + dim for tensor in "mab" for dim in "012rc"),
)


@triton.jit
def place(head, n1, n2, s0, s1, s2):
    """Where a head's slice of a tensor begins."""
    outer = head // n2
    at = (outer // n1).to(tl.int64) * s0 + (outer % n1).to(tl.int64) * s1
    return at + (head % n2).to(tl.int64) * s2


@triton.jit
def load_rows(tensor, at, wanted, width, BLOCK: tl.constexpr, VEC: tl.constexpr):
    """[len(at), BLOCK]: rows that begin at vector `at`; zeros where unwanted and past the width."""
    features = tl.arange(0, BLOCK)[None, :]
    inside = wanted[:, None] & (features < width * VEC)
    return tl.load(tensor + (at * VEC)[:, None] + features, mask=inside, other=0.0)


@triton.jit
def store_rows(tensor, x, number, exists, width, BLOCK: tl.constexpr, VEC: tl.constexpr):
    """Rows into a contiguous tensor, in which a row has a number over all heads."""
    features = tl.arange(0, BLOCK)[None, :]
    inside = exists[:, None] & (features < width * VEC)
    at = (number * width * VEC)[:, None] + features
    tl.store(tensor + at, x.to(tensor.dtype.element_ty), mask=inside)


@triton.jit
def keys_left(mask, head, col, exists, n1, n2, m0, m1, m2, mc):
    """The keys that key_padding_mask leaves: [BLOCK_K]."""
    left = exists
    if mask is not None:
        at = place(head, n1, n2, m0, m1, m2) + col.to(tl.int64) * mc
        left &= tl.load(mask + at, mask=exists, other=1) == 0
    return left


@triton.jit
def pairs_shown(attn_mask, pairs, head, row, col, n1, n2, a0, a1, a2, ar, ac, CAUSAL: tl.constexpr):
    """Those of the pairs that attn_mask shows, and CAUSAL: [BLOCK_Q, BLOCK_K]."""
    shown = pairs
    if CAUSAL:
        shown &= col[None, :] <= row[:, None]
    if attn_mask is not None:
        at = place(head, n1, n2, a0, a1, a2) + row.to(tl.int64) * ar
        at = at[:, None] + (col.to(tl.int64) * ac)[None, :]
        shown &= tl.load(attn_mask + at, mask=pairs, other=0) != 0
    return shown


@triton.jit
def scores(
    q, k, bias, pairs, head, row, col, n1, n2, b0, b1, b2, br, bc, scale, PRECISION: tl.constexpr
):
    """S = scale q k^T + bias; -inf where a pair does not count, whatever stands there."""
    s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    if bias is not None:
        at = place(head, n1, n2, b0, b1, b2) + row.to(tl.int64) * br
        at = at[:, None] + (col.to(tl.int64) * bc)[None, :]
        s += tl.load(bias + at, mask=pairs, other=0.0)
    return tl.where(pairs, s, float("-inf"))
