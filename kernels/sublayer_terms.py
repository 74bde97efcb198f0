"""What the sublayer kernels share: whose rows a program owns, norm, heads layout, linear map.

Rows are the tokens of S streams, numbered over [S, B, L]; each stream has weights of its own, and
`rows` = B L of them. Sizes of features (dim, width, hidden, outputs) count vectors of VEC elements
in a kernel's arguments, so that the compiler knows how wide it may load. Tiles are padded with
zeros to powers of two: zeros change no product. Offsets are 64-bit.
"""

from __future__ import annotations

import triton
import triton.language as tl

from clmer.kernels._dropout import dropout_keeps, dropout_key

#: Arguments of all kernels that are compiled once, whatever their values.
INTEGERS = (
    *("streams", "rows", "length", "dim", "width", "hidden", "outputs", "first", "parts"),
    *("splits", "split_rows", "threshold", "hidden_threshold", "plane", "end1", "end2", "end3"),
)
_EPS = tl.constexpr(1e-5)  # F.layer_norm's


@triton.jit
def own_rows(rows, BLOCK_R: tl.constexpr):
    """This program's stream, the numbers of its BLOCK_R rows, and which of them exist."""
    tiles = tl.cdiv(rows, BLOCK_R)
    stream = (tl.program_id(0) // tiles).to(tl.int64)
    row = tl.program_id(0) % tiles * BLOCK_R + tl.arange(0, BLOCK_R)
    return stream, stream * rows + row, row < rows


@triton.jit
def own_columns(blocks, splits, split_rows, rows):
    """Of a program over gradients of weights: stream, block of columns, split, its run of rows."""
    split = tl.program_id(0) % splits
    block = tl.program_id(0) // splits % blocks
    stream = (tl.program_id(0) // splits // blocks).to(tl.int64)
    start = split * split_rows
    return stream, block, split.to(tl.int64), start, tl.minimum(start + split_rows, rows)


@triton.jit
def load_tile(tensor, at, exists, col, stop):
    """[len(at), len(col)] of rows that begin at `at`; zeros where none exists and from stop on."""
    inside = exists[:, None] & (col < stop)[None, :]
    return tl.load(tensor + at[:, None] + col[None, :], mask=inside, other=0.0)


@triton.jit
def store_tile(tensor, y, at, exists, col, stop):
    """Where `load_tile` reads."""
    inside = exists[:, None] & (col < stop)[None, :]
    y = y.to(tensor.dtype.element_ty)
    tl.store(tensor + at[:, None] + col[None, :], y, mask=inside)


# --- heads: tensors [S, B, h, L, width] ---------------------------------------------------------
@triton.jit
def _head_places(number, col, length, dim, width):
    """Where features of rows stand in heads layout."""
    at_row = number // length * length * dim + number % length * width
    at_col = col // width * length * width + col % width
    return at_row[:, None] + at_col[None, :]


@triton.jit
def load_heads(heads, number, exists, col, length, dim, width):
    """[rows, len(col)]: features of all heads side by side."""
    inside = exists[:, None] & (col < dim)[None, :]
    at = _head_places(number, col, length, dim, width)
    return tl.load(heads + at, mask=inside, other=0.0)


@triton.jit
def store_heads(heads, y, number, exists, col, length, dim, width):
    """Where `load_heads` reads."""
    inside = exists[:, None] & (col < dim)[None, :]
    at = _head_places(number, col, length, dim, width)
    tl.store(heads + at, y.to(heads.dtype.element_ty), mask=inside)


@triton.jit
def one_of(which, part0, part1, part2, part3):
    """That one of up to four tensors; those that are missing are None."""
    part = part0
    if part1 is not None:
        part = tl.where(which == 1, part1, part)
    if part2 is not None:
        part = tl.where(which == 2, part2, part)
    if part3 is not None:
        part = tl.where(which == 3, part3, part)
    return part


# --- norm ---------------------------------------------------------------------------------------
@triton.jit
def normed(x, number, exists, dim, BLOCK_D: tl.constexpr):
    """Rows (x - mean) / sqrt(variance + eps) in float32, zeros past dim; and that factor."""
    col = tl.arange(0, BLOCK_D)
    rows = load_tile(x, number * dim, exists, col, dim).to(tl.float32)
    centred = tl.where((col < dim)[None, :], rows - (tl.sum(rows, 1) / dim)[:, None], 0.0)
    factor = 1.0 / tl.sqrt_rn(tl.sum(centred * centred, 1) / dim + _EPS)
    return centred * factor[:, None], factor


@triton.jit
def norm_gradient(n, grad, factor, dim):
    """The gradient before the norm: factor (g - mean(g) - n mean(g n)); g is zero past dim."""
    slope = tl.sum(grad * n, 1) / dim
    return factor[:, None] * (grad - (tl.sum(grad, 1) / dim)[:, None] - n * slope[:, None])


# --- dropout, linear map ------------------------------------------------------------------------
@triton.jit
def dropped(y, seed, number, col, threshold, grown):
    """Y [rows, len(col)] times 1 / (1 - p) where dropout keeps it, else 0: a NaN stays one."""
    if seed is not None:
        keeps = dropout_keeps(dropout_key(seed, number), col, threshold)
        y = y * tl.where(keeps, grown, 0.0)
    return y


@triton.jit
def load_weight(weight, outputs, row, col, row_stop, col_stop):
    """[len(row), len(col)] of a stream's weight, outputs wide; zeros from the stops on."""
    inside = (row < row_stop)[:, None] & (col < col_stop)[None, :]
    return tl.load(weight + row[:, None] * outputs + col[None, :], mask=inside, other=0.0)


# --- sums over rows -----------------------------------------------------------------------------
@triton.jit(do_not_specialize=INTEGERS)
def sum_parts(
    sums,  # [splits, plane] float32
    total1, total2, total3, total4,  # what lies in a plane one behind the other: two, or four
    end1, end2, end3,  # where the first three end
    splits, plane,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The planes' sum, added in order: a program owns BLOCK elements."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    here = sums + at
    for _ in range(splits):
        total += tl.load(here, mask=at < plane, other=0.0)
        here += plane
    y = total.to(total1.dtype.element_ty)
    tl.store(total1 + at, y, mask=at < end1)
    tl.store(total2 + (at - end1), y, mask=(at >= end1) & (at < end2))
    if total3 is not None:
        tl.store(total3 + (at - end2), y, mask=(at >= end2) & (at < end3))
        tl.store(total4 + (at - end3), y, mask=(at >= end3) & (at < plane))
