"""NT-Xent's work on rows: unit length, the sums of all blocks into one loss, gradients of lengths.

Plan: everything here is O(M D) or O(M^2 / BLOCK), bound by bandwidth. `unit_rows` reads both views
once from memory (three times from L1, feature block by feature block) and writes z [G, M, dim], its
features padded with zeros to whole blocks, so that no kernel over pairs masks a load.
`collect_sums` owns rows and adds, in a fixed order and in float64, what the blocks of pairs left
for them; rows that are complete become the loss and what the backward needs. `view_gradients` takes
dz [G, M, dim] through the division by the length.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
_TINY = tl.constexpr(1.1754943508222875e-38)  # the smallest normal float32


@triton.jit
def _features(x, at, inside, start, D, BLOCK_F: tl.constexpr):
    """Features start.. of the rows that begin at `at`, in float32; zero outside."""
    features = start + tl.arange(0, BLOCK_F)
    inside = inside[:, None] & (features[None, :] < D)
    return tl.load(x + at[:, None] + features[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _length(x, at, inside, normalize, D, BLOCK_R: tl.constexpr, BLOCK_F: tl.constexpr):
    """Factor 2^-k with largest element 2^k, and 1 / |x 2^-k|, of each row; 0 without direction."""
    factor = tl.full([BLOCK_R], 1.0, tl.float32)
    inverse = tl.full([BLOCK_R], 1.0, tl.float32)
    if normalize:
        top = tl.zeros([BLOCK_R], tl.float32)
        for start in range(0, D, BLOCK_F):
            each = _features(x, at, inside, start, D, BLOCK_F)
            # a maximum may pass over NaN, infinity it keeps
            top = tl.maximum(top, tl.max(tl.where(each == each, tl.abs(each), float("inf")), 1))
        empty = top < _TINY
        exponent = tl.minimum(top.to(tl.int32, bitcast=True) >> 23, 253)
        factor = ((254 - exponent) << 23).to(tl.float32, bitcast=True)
        factor = tl.where(empty, 1.0, factor)
        squares = tl.zeros([BLOCK_R], tl.float32)
        for start in range(0, D, BLOCK_F):
            each = _features(x, at, inside, start, D, BLOCK_F) * factor[:, None]
            squares += tl.sum(each * each, 1)
        inverse = tl.where(empty, 0.0, 1.0 / tl.sqrt_rn(tl.where(empty, 1.0, squares)))
    return factor, inverse


@triton.jit(do_not_specialize=["N", "D", "dim", "samples", "normalize"])
def unit_rows(
    view_a,  # [G, N, D]
    view_b,  # [G, N, D]
    temperature,  # a number, or a 0-d float32 tensor
    z,  # [G, M, dim], zero beyond D
    inverse_length,  # [G, M] float32; 0 for rows without a direction
    positive,  # [G, N] float32: z_n . z_N+n
    inverse_tau,  # [1] float32
    N,
    D,
    dim,
    samples,  # G N
    normalize,
    LEARNT: tl.constexpr,  # whether temperature is a tensor
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """z, and what else of single rows the other kernels need."""
    sample = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = sample < samples
    row_a = sample // N * 2 * N + sample % N
    row_b = row_a + N
    factor_a, inverse_a = _length(view_a, sample * D, inside, normalize, D, BLOCK_R, BLOCK_F)
    factor_b, inverse_b = _length(view_b, sample * D, inside, normalize, D, BLOCK_R, BLOCK_F)
    product = tl.zeros([BLOCK_R], tl.float32)
    for start in range(0, dim, BLOCK_F):
        features = start + tl.arange(0, BLOCK_F)
        z_a = _features(view_a, sample * D, inside, start, D, BLOCK_F) * factor_a[:, None]
        z_b = _features(view_b, sample * D, inside, start, D, BLOCK_F) * factor_b[:, None]
        # rounded to the dtype of the products before they are multiplied, as those are
        z_a = (z_a * inverse_a[:, None]).to(z.dtype.element_ty)
        z_b = (z_b * inverse_b[:, None]).to(z.dtype.element_ty)
        product += tl.sum(z_a.to(tl.float32) * z_b.to(tl.float32), 1)
        stored = inside[:, None] & (features[None, :] < dim)
        tl.store(z + row_a[:, None] * dim + features[None, :], z_a, mask=stored)
        tl.store(z + row_b[:, None] * dim + features[None, :], z_b, mask=stored)
    tl.store(inverse_length + row_a, inverse_a * factor_a, mask=inside)
    tl.store(inverse_length + row_b, inverse_b * factor_b, mask=inside)
    tl.store(positive + sample, product, mask=inside)
    if tl.program_id(0) == 0:
        if LEARNT:
            tl.store(inverse_tau, 1.0 / tl.load(temperature))
        else:
            tl.store(inverse_tau, 1.0 / temperature)


@triton.jit
def _log1p(x):
    """Log(1 + x) of float64 x >= 0 to its last digits (Kahan)."""
    rounded = 1.0 + x
    exact = rounded == 1.0
    return tl.where(exact, x, tl.log(rounded) * (x / tl.where(exact, 1.0, rounded - 1.0)))


@triton.jit
def _collected(
    row_part,  # [BLOCK_R] each row's first maximum, in all three; the first sum is *_totals on
    column_part,
    carry,
    row_totals,
    column_totals,
    carry_totals,
    panel,
    M,
    row_planes,
    column_planes,
    scale,
    inside,
    in_panel,
    carried,
    below,
    BOUNDED: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Maximum of all parts of each row, then the sum over it, in float64."""
    top = tl.zeros([BLOCK_R], tl.float32)
    safe = top
    if not BOUNDED:
        top = tl.load(carry, mask=carried, other=float("-inf")).to(tl.float32)
        for k in range(row_planes):
            each = tl.load(row_part + k * panel, mask=in_panel, other=float("-inf"))
            top = tl.maximum(top, each)
        at = column_part
        for k in range(column_planes):
            seen = inside & (below > k)
            top = tl.maximum(top, tl.load(at, mask=seen, other=float("-inf")))
            at += M
        safe = tl.where(top == float("-inf"), 0.0, top)
    total = tl.load(carry + carry_totals, mask=carried, other=0.0)
    if not BOUNDED:
        before = tl.load(carry, mask=carried, other=float("-inf")).to(tl.float32)
        total = total * tl.exp2((before - safe) * scale)
    for k in range(row_planes):
        each = tl.load(row_part + row_totals + k * panel, mask=in_panel, other=0.0)
        if not BOUNDED:
            each_top = tl.load(row_part + k * panel, mask=in_panel, other=float("-inf"))
            each = each * tl.exp2((each_top - safe) * scale)
        total += each
    at = column_part
    for k in range(column_planes):
        seen = inside & (below > k)
        each = tl.load(at + column_totals, mask=seen, other=0.0)
        if not BOUNDED:
            each_top = tl.load(at, mask=seen, other=float("-inf"))
            each = each * tl.exp2((each_top - safe) * scale)
        total += each
        at += M
    return top, total


@triton.jit
def _pair_terms(top, total, product, inverse, positives):
    """Loss of each row and its miss, from maximum and sum over negatives and the positive."""
    d = (top.to(tl.float64) - product) * inverse + tl.log(total)
    small = tl.exp(-tl.abs(d))
    p = tl.where(d > 0, small, 1.0) / (1.0 + small)
    miss = tl.where(d > 0, 1.0, small) / (1.0 + small)
    each_loss = tl.maximum(d, 0.0) + _log1p(small)
    each_loss = tl.where(d == d, each_loss, d)
    if positives == 0:  # lse, whose gradient for the positive is p, not p - 1
        each_loss += product * inverse
        miss = -p
    return each_loss, miss


@triton.jit(
    do_not_specialize=[
        *(
            "first",
            "stop",
            "panel",
            "M",
            "edge",
            "row_planes",
            "column_planes",
            "groups",
            "finished",
        ),
        *("known", "positives"),
    ]
)
def collect_sums(
    row_part,  # [2, G, row_planes, panel] float32: of strips, maxima of tau s and sums over them
    column_part,  # [2, G, column_planes, M] float32: the same, of blocks of rows
    carry,  # [2, G, M] float64: the same, of what was collected before
    positive,  # [G, N] float32
    inverse_tau,  # [1] float32
    stats,  # [3, G, M] float32: shift (of tau s), share, miss
    loss,  # [G, M] float64; [G] float32 if WHOLE
    first,  # row of the panel that the parts are of
    stop,  # row up to which there are any
    panel,  # rows in it
    M,
    edge,  # rows in a block
    row_planes,
    column_planes,
    groups,
    finished,  # rows before this one are complete
    known,  # rows before this one have something in carry
    positives,
    BOUNDED: tl.constexpr,
    WHOLE: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Sums of all parts; for complete rows the loss and what the backward needs.

    With d = lse over negatives - s of the positive the loss is log(1 + e^d), and miss = 1 - p is
    1 / (1 + e^-d): no difference of near-equal numbers.
    """
    programs = tl.cdiv(stop - first, BLOCK_R)
    g = (tl.program_id(0) // programs).to(tl.int64)
    rows = first + tl.program_id(0) % programs * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = rows < stop
    in_panel = inside & (rows < first + panel)
    row_part += g * row_planes * panel + (rows - first)
    column_part += g * column_planes * M + rows
    carry += g * M + rows
    row_totals = groups.to(tl.int64) * row_planes * panel
    column_totals = groups.to(tl.int64) * column_planes * M
    carried = inside & (rows < known)
    below = (rows - first) // edge  # blocks of the panel before the row's own
    scale = tl.load(inverse_tau) * LOG2_E
    carry_totals = groups.to(tl.int64) * M
    top, total = _collected(
        row_part,
        column_part,
        carry,
        row_totals,
        column_totals,
        carry_totals,
        panel,
        M,
        row_planes,
        column_planes,
        scale,
        inside,
        in_panel,
        carried,
        below,
        BOUNDED,
        BLOCK_R,
    )
    tl.store(carry, top.to(tl.float64), mask=inside)
    tl.store(carry + carry_totals, total, mask=inside)
    # --- complete rows
    N = M // 2
    done = inside & (rows < finished)
    inverse = tl.load(inverse_tau).to(tl.float64)
    product = tl.load(positive + g * N + rows % N, mask=done, other=0.0)
    each_loss, miss = _pair_terms(top, total, product, inverse, positives)
    shift = tl.zeros([BLOCK_R], tl.float32)
    if not BOUNDED:
        shift = tl.maximum(top, product)
    beyond = total * tl.exp((top.to(tl.float64) - shift) * inverse)
    beyond += tl.exp((product.to(tl.float64) - shift) * inverse)
    plane = groups.to(tl.int64) * M
    stats += g * M + rows
    tl.store(stats, shift, mask=done)
    tl.store(stats + plane, (1.0 / beyond).to(tl.float32), mask=done)
    tl.store(stats + 2 * plane, miss.to(tl.float32), mask=done)
    if WHOLE:
        tl.store(loss + g, (tl.sum(tl.where(done, each_loss, 0.0), 0) / M).to(tl.float32))
    else:
        tl.store(loss + g * M + rows, each_loss, mask=done)


@triton.jit
def gradient_scale(grad_loss, grad_stride, inverse_tau, g, M):
    """What turns (W z)_i of group g into dL/dz_i."""
    return tl.load(grad_loss + g * grad_stride) * tl.load(inverse_tau) / M


@triton.jit(do_not_specialize=["grad_stride", "M", "D", "dim", "rows_of_all", "normalize"])
def view_gradients(
    dz,  # [G, M, dim] float32: W z
    z,  # [G, M, dim]
    inverse_length,  # [G, M] float32
    grad_loss,  # [G] float32, of any stride
    inverse_tau,  # [1] float32
    grad_a,  # [G, N, D]
    grad_b,  # [G, N, D]
    dots,  # [G, M] float32: z . dL/dz
    grad_stride,
    M,
    D,
    dim,
    rows_of_all,  # G M
    normalize,
    SCALE: tl.constexpr,  # 1 over what W was multiplied by
    BLOCK_R: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    """dL/dx = (dL/dz - (z . dL/dz) z) / |x| of the views' rows."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = row < rows_of_all
    g = row // M
    N = M // 2
    scale = tl.load(grad_loss + g * grad_stride, mask=inside, other=0.0)
    scale = scale * (tl.load(inverse_tau) * SCALE / M)
    dot = tl.zeros([BLOCK_R], tl.float32)
    for start in range(0, D, BLOCK_F):
        each = _features(dz, row * dim, inside, start, D, BLOCK_F)
        dot += tl.sum(each * _features(z, row * dim, inside, start, D, BLOCK_F), 1)
    dot *= scale
    tl.store(dots + row, dot, mask=inside)
    inverse = tl.full([BLOCK_R], 1.0, tl.float32)
    if normalize:
        inverse = tl.load(inverse_length + row, mask=inside, other=0.0)
    else:
        dot = tl.zeros([BLOCK_R], tl.float32)
    is_a = inside & (row % M < N)
    is_b = inside & (row % M >= N)
    at_a = (g * N + row % M) * D
    at_b = at_a - N * D
    for start in range(0, D, BLOCK_F):
        features = start + tl.arange(0, BLOCK_F)
        dx = _features(dz, row * dim, inside, start, D, BLOCK_F) * scale[:, None]
        dx -= dot[:, None] * _features(z, row * dim, inside, start, D, BLOCK_F)
        dx = (dx * inverse[:, None]).to(grad_a.dtype.element_ty)
        valid = features[None, :] < D
        tl.store(grad_a + at_a[:, None] + features[None, :], dx, mask=is_a[:, None] & valid)
        tl.store(grad_b + at_b[:, None] + features[None, :], dx, mask=is_b[:, None] & valid)
