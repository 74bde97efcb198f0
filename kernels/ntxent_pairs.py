"""NT-Xent's kernels over pairs of rows: the similarity matrix exists in tiles, on the chip.

Plan: s_ij = z_i . z_j / tau of a tile is a matrix product over blocks of features, both operands
streamed through shared memory, float32 accumulators in registers. What becomes of it differs:

sum_pairs      forward. A program owns one block of rows and a strip of column blocks. Tiles below
               the diagonal are left out: s is symmetric, so a tile's row sums serve its rows, in
               registers over the strip, and its column sums its columns, stored once for each
               block of rows. No element is written twice: no atomics, the same bits each time.
row_gradients  backward for few features: a program owns BLOCK_M rows whole, z_i and (W z)_i in
               registers, z_j loaded once for both products; ends with the gradient of the views.
weigh_pairs    backward for many features, where (W z)_i does not fit into registers: a square of W
               goes to memory, for plain matrix products from both sides.

W_ij = e^s_ij (e^-lse_i + e^-lse_j). A row keeps a shift, in units of z_i . z_j, and its share,
e^(shift / tau - lse): maxima are subtracted before 1 / tau multiplies, and cost no digits.
BOUNDED, where |s| is small enough to need none: all shifts are 0, one exp serves both rows.
Rows beyond the last are loaded as copies of it and left out of the sums: loads need no masks.
"""

from __future__ import annotations

import triton
import triton.language as tl

from clmer.kernels.ntxent_rows import LOG2_E, gradient_scale


@triton.jit
def _other_view(rows, M):
    """The row of each sample's other view."""
    return tl.where(rows < M // 2, rows + M // 2, rows - M // 2)


@triton.jit
def _similarities(
    z_i, z_j, rows, columns, M_i, M_j, dim, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr
):
    """Products of rows of z_i with rows of z_j; dim is a multiple of BLOCK_K."""
    features = tl.arange(0, BLOCK_K)
    rows = tl.minimum(rows, M_i - 1).to(tl.int64)
    columns = tl.minimum(columns, M_j - 1).to(tl.int64)
    at_i = z_i + rows[:, None] * dim + features[None, :]
    at_j = z_j + columns[None, :] * dim + features[:, None]
    s = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for k in range(0, dim, BLOCK_K):
        s = tl.dot(tl.load(at_i + k), tl.load(at_j + k), s, input_precision=PRECISION)
    return s


@triton.jit(
    do_not_specialize=[
        *("M_i", "M_j", "first", "blocks", "strips", "strip", "first_strip", "groups", "dim16"),
    ]
)
def sum_pairs(
    z_i,  # [G, M_i, dim]
    z_j,  # [G, M_j, dim]; z_i itself if OWN
    inverse_tau,  # [1] float32
    row_part,  # [2, G, strips, blocks BLOCK] float32: maximum of tau s and sum of e^s over it
    column_part,  # [2, G, blocks, M_j] float32: the same, of columns after the diagonal's block
    M_i,
    M_j,
    dim16,  # features of z / 16: what the compiler must know of alignment
    first,  # row of the panel
    blocks,  # of rows in it
    strips,
    strip,  # column blocks in one
    first_strip,
    groups,
    OWN: tl.constexpr,  # z_j is z_i: a triangle, without self and positives
    BOUNDED: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sums of e^s over negatives, of a panel of rows against all columns from the diagonal on."""
    i = tl.program_id(0) % blocks  # neighbours share columns: both operands stay in L2
    at_strip = tl.program_id(0) // blocks % strips
    g = (tl.program_id(0) // blocks // strips).to(tl.int64)
    dim = 16 * dim16
    z_i += g * M_i * dim
    z_j += g * M_j * dim
    start = first + i * BLOCK
    rows = start + tl.arange(0, BLOCK)
    other = _other_view(rows, M_i)
    scale = tl.load(inverse_tau) * LOG2_E
    row_top = tl.full([BLOCK], float("-inf"), tl.float32)
    row_total = tl.zeros([BLOCK], tl.float32)
    column_plane = groups.to(tl.int64) * blocks * M_j
    begin = (first_strip + at_strip) * strip * BLOCK
    end = tl.minimum(begin + strip * BLOCK, M_j)
    if OWN:
        begin = tl.maximum(begin, start)
    for at in range(begin, end, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        s = _similarities(z_i, z_j, rows, columns, M_i, M_j, dim, BLOCK_K, PRECISION)
        kept = (rows[:, None] < M_i) & (columns[None, :] < M_j)
        if OWN:
            kept &= (columns[None, :] != rows[:, None]) & (columns[None, :] != other[:, None])
        s = tl.where(kept, s, float("-inf"))
        at_column = column_part + (g * blocks + i) * M_j + columns
        if BOUNDED:
            e = tl.exp2(s * scale)
            row_total += tl.sum(e, 1)
            if OWN:
                after = (columns < M_j) & (columns >= start + BLOCK)
                tl.store(at_column + column_plane, tl.sum(e, 0), mask=after)
        else:
            raised = tl.maximum(row_top, tl.max(s, 1))
            shift = tl.where(raised == float("-inf"), 0.0, raised)
            e = tl.exp2((s - shift[:, None]) * scale)
            row_total = row_total * tl.exp2((row_top - shift) * scale) + tl.sum(e, 1)
            row_top = raised
            if OWN:
                after = (columns < M_j) & (columns >= start + BLOCK)
                top = tl.max(s, 0)
                shift = tl.where(top == float("-inf"), 0.0, top)
                tl.store(at_column, top, mask=after)
                total = tl.sum(tl.exp2((s - shift[None, :]) * scale), 0)
                tl.store(at_column + column_plane, total, mask=after)
    at_row = row_part + ((g * strips + at_strip) * blocks + i) * BLOCK + tl.arange(0, BLOCK)
    if not BOUNDED:
        tl.store(at_row, row_top)
    tl.store(at_row + groups.to(tl.int64) * strips * blocks * BLOCK, row_total)


@triton.jit
def _row_stats(stats, plane, rows, M):
    """Shift, share and miss of rows; those beyond M get the last one's."""
    at = stats + tl.minimum(rows, M - 1)
    return tl.load(at), tl.load(at + plane), tl.load(at + 2 * plane)


@triton.jit
def _weights(
    s,  # [rows, columns]: tau s
    scale,  # log2(e) / tau
    shift_i,
    share_i,
    miss_i,
    shift_j,
    share_j,
    miss_j,
    rows,
    columns,
    other,  # column of each row's positive
    M_i,
    M_j,
    SCALE: tl.constexpr,
    BOUNDED: tl.constexpr,
):
    """SCALE W: float16's smallest numbers are too large for some of it."""
    if BOUNDED:
        w = tl.exp2(s * scale) * (share_i[:, None] + share_j[None, :])
    else:
        w = tl.exp2((s - shift_i[:, None]) * scale) * share_i[:, None]
        w += tl.exp2((s - shift_j[None, :]) * scale) * share_j[None, :]
    w = tl.where(columns[None, :] == other[:, None], -(miss_i[:, None] + miss_j[None, :]), w)
    kept = (rows[:, None] < M_i) & (columns[None, :] < M_j)
    return tl.where(kept & (columns[None, :] != rows[:, None]), w * SCALE, 0.0)


@triton.jit(do_not_specialize=["grad_stride", "M", "D", "groups", "normalize"])
def row_gradients(
    z,  # [G, M, BLOCK_D]
    stats,  # [3, G, M] float32: shift (of tau s), share, miss
    inverse_length,  # [G, M] float32
    grad_loss,  # [G] float32, of any stride
    inverse_tau,  # [1] float32
    grad_a,  # [G, N, D]
    grad_b,  # [G, N, D]
    dots,  # [G, M] float32: z . dL/dz
    grad_stride,
    M,
    D,
    groups,
    normalize,
    SCALE: tl.constexpr,
    BOUNDED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The views' gradients, from W z to the division by the length."""
    programs = tl.cdiv(M, BLOCK_M)
    g = (tl.program_id(0) // programs).to(tl.int64)
    rows = tl.program_id(0) % programs * BLOCK_M + tl.arange(0, BLOCK_M)
    features = tl.arange(0, BLOCK_D)
    z += g * M * BLOCK_D
    stats += g * M
    plane = groups.to(tl.int64) * M
    z_i = tl.load(z + tl.minimum(rows, M - 1).to(tl.int64)[:, None] * BLOCK_D + features[None, :])
    other = _other_view(rows, M)
    scale = tl.load(inverse_tau) * LOG2_E
    shift_i, share_i, miss_i = _row_stats(stats, plane, rows, M)
    dz = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(0, M, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        at = tl.minimum(columns, M - 1).to(tl.int64)
        z_j = tl.load(z + at[:, None] * BLOCK_D + features[None, :])
        s = tl.dot(z_i, tl.trans(z_j), input_precision=PRECISION)
        shift_j, share_j, miss_j = _row_stats(stats, plane, columns, M)
        w = _weights(
            s, scale, shift_i, share_i, miss_i, shift_j, share_j, miss_j, rows, columns, other,
            M, M, SCALE, BOUNDED,
        )  # fmt: skip
        dz = tl.dot(w.to(z_j.dtype), z_j, dz, input_precision=PRECISION)
    dz *= gradient_scale(grad_loss, grad_stride, inverse_tau, g, M) / SCALE
    z_i = z_i.to(tl.float32)
    dot = tl.sum(z_i * dz, 1)
    tl.store(dots + g * M + rows, dot, mask=rows < M)
    if normalize:
        inverse = tl.load(inverse_length + g * M + rows, mask=rows < M, other=0.0)
        dz = (dz - dot[:, None] * z_i) * inverse[:, None]
    N = M // 2
    dx = dz.to(grad_a.dtype.element_ty)
    at_a = ((g * N + rows) * D)[:, None] + features[None, :]
    valid = features[None, :] < D
    tl.store(grad_a + at_a, dx, mask=(rows < N)[:, None] & valid)
    tl.store(
        grad_b + at_a - N.to(tl.int64) * D, dx, mask=((rows >= N) & (rows < M))[:, None] & valid
    )


@triton.jit(
    do_not_specialize=[
        *("M_i", "M_j", "first_i", "first_j", "offset", "tiles_i", "tiles_j", "groups"),
        *("dim16", "edge_tiles"),
    ]
)
def weigh_pairs(
    z_i,  # [G, M_i, dim]
    z_j,  # [G, M_j, dim]
    stats_i,  # [3, G, M_i] float32: shift (of tau s), share, miss
    stats_j,  # [3, G, M_j]
    inverse_tau,  # [1] float32
    w,  # [G, edge, edge], like z: W of rows first_i.., columns first_j..
    M_i,
    M_j,
    dim16,  # features of z / 16
    first_i,
    first_j,
    offset,  # of a row's own column: 0, or so far off that no column is its own or its positive's
    tiles_i,
    tiles_j,
    edge_tiles,  # of w
    groups,
    SCALE: tl.constexpr,
    BOUNDED: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A square of W, in tiles; on the diagonal those below it are copies of those above."""
    edge = BLOCK * edge_tiles
    a = tl.program_id(0) % tiles_i
    b = tl.program_id(0) // tiles_i % tiles_j
    g = (tl.program_id(0) // tiles_i // tiles_j).to(tl.int64)
    mirrored = (offset == 0) & (first_i == first_j)
    if (not mirrored) | (a <= b):
        dim = 16 * dim16
        z_i += g * M_i * dim
        z_j += g * M_j * dim
        rows = first_i + a * BLOCK + tl.arange(0, BLOCK)
        columns = first_j + b * BLOCK + tl.arange(0, BLOCK)
        s = _similarities(z_i, z_j, rows, columns, M_i, M_j, dim, BLOCK_K, PRECISION)
        scale = tl.load(inverse_tau) * LOG2_E
        plane_i, plane_j = groups.to(tl.int64) * M_i, groups.to(tl.int64) * M_j
        shift_i, share_i, miss_i = _row_stats(stats_i + g * M_i, plane_i, rows, M_i)
        shift_j, share_j, miss_j = _row_stats(stats_j + g * M_j, plane_j, columns, M_j)
        own = columns - offset  # equals a row where it is that row
        tile = _weights(
            s, scale, shift_i, share_i, miss_i, shift_j, share_j, miss_j, rows, own,
            _other_view(rows, M_i), M_i, M_j - offset, SCALE, BOUNDED,
        ).to(w.dtype.element_ty)  # fmt: skip
        w += g * edge * edge
        row = a * BLOCK + tl.arange(0, BLOCK)
        column = b * BLOCK + tl.arange(0, BLOCK)
        tl.store(w + row[:, None] * edge + column[None, :], tile)
        if mirrored & (a < b):
            tl.store(w + column[:, None] * edge + row[None, :], tl.trans(tile))
