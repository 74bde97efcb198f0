"""NT-Xent in Triton: the similarity matrix stays on the chip, forward and backward.

Plan: a program owns BLOCK_M rows of one group and streams all 2N columns in blocks of BLOCK_N. The
first BLOCK_D features of its rows stay in registers. Forward keeps a running maximum and sum per
row; backward recomputes the similarities, turns them into W in registers and accumulates W z for
BLOCK_D features. Every output element is written by one program in one order: no atomics, and the
same bits each time. Both triangles are computed: 2 M^2 D flops forward, 4 M^2 D backward up to
D = BLOCK_D (each further BLOCK_D features recompute s). Products accumulate in float32; float32
inputs are multiplied as float32, not tf32, without tensor cores. O(M) work on row statistics is
left to PyTorch, in float64. Block sizes are chosen to fit every GPU since sm_80, not measured.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from clmer.ops._dispatch import no_double_backward


@triton.jit
def _load_rows(z, rows, features, M, D):
    """z[rows, features] of one group, zero outside."""
    inside = (rows[:, None] < M) & (features[None, :] < D)
    return tl.load(z + rows[:, None].to(tl.int64) * D + features[None, :], mask=inside, other=0.0)


@triton.jit
def _similarities(z, z_i, rows, columns, inverse_tau, M, D, BLOCK_D: tl.constexpr):
    """Block s [BLOCK_M, BLOCK_N]; z_i holds the rows' first BLOCK_D features."""
    features = tl.arange(0, BLOCK_D)
    s = tl.dot(z_i, tl.trans(_load_rows(z, columns, features, M, D)), input_precision="ieee")
    for d in range(BLOCK_D, D, BLOCK_D):
        more_i = _load_rows(z, rows, d + features, M, D)
        more_j = _load_rows(z, columns, d + features, M, D)
        s = tl.dot(more_i, tl.trans(more_j), s, input_precision="ieee")
    return s * inverse_tau


@triton.jit
def _forward(
    z,  # [G, M, D]
    inverse_tau,  # 0-d float32
    top,  # [G, M] float32: max over negatives of s
    total,  # [G, M] float32: sum over negatives of e^(s - top)
    positive,  # [G, M] float32: s of the positive
    M,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    g = tl.program_id(1).to(tl.int64)
    z += g * M * D
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    other = tl.where(rows < M // 2, rows + M // 2, rows - M // 2)
    z_i = _load_rows(z, rows, tl.arange(0, BLOCK_D), M, D)
    tau_inverse = tl.load(inverse_tau)
    row_top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    row_total = tl.zeros([BLOCK_M], tl.float32)
    row_positive = tl.zeros([BLOCK_M], tl.float32)
    for start in range(0, M, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        s = _similarities(z, z_i, rows, columns, tau_inverse, M, D, BLOCK_D)
        is_positive = columns[None, :] == other[:, None]
        row_positive += tl.sum(tl.where(is_positive, s, 0.0), 1)
        excluded = is_positive | (columns[None, :] == rows[:, None]) | (columns[None, :] >= M)
        s = tl.where(excluded, float("-inf"), s)
        raised = tl.maximum(row_top, tl.max(s, 1))
        shift = tl.where(raised == float("-inf"), 0.0, raised)
        row_total = row_total * tl.exp(row_top - shift) + tl.sum(tl.exp(s - shift[:, None]), 1)
        row_top = raised
    at = g * M + rows
    tl.store(top + at, row_top, mask=rows < M)
    tl.store(total + at, row_total, mask=rows < M)
    tl.store(positive + at, row_positive, mask=rows < M)


@triton.jit
def _backward(
    z,  # [G, M, D]
    inverse_tau,  # 0-d float32
    shift,  # [G, M] float32: c_i
    share,  # [G, M] float32: 1 / sum over j != i of e^(s_ij - c_i)
    miss,  # [G, M] float32: 1 - p(i's positive)
    scale,  # [G] float32: grad_loss / (M tau)
    grad,  # [G, M, D] float32
    M,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    g = tl.program_id(1).to(tl.int64)
    z += g * M * D
    shift += g * M
    share += g * M
    miss += g * M
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    features = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    other = tl.where(rows < M // 2, rows + M // 2, rows - M // 2)
    z_i = _load_rows(z, rows, tl.arange(0, BLOCK_D), M, D)
    tau_inverse = tl.load(inverse_tau)
    shift_i = tl.load(shift + rows, mask=rows < M, other=0.0)
    share_i = tl.load(share + rows, mask=rows < M, other=0.0)
    miss_i = tl.load(miss + rows, mask=rows < M, other=0.0)
    dz = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(0, M, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        s = _similarities(z, z_i, rows, columns, tau_inverse, M, D, BLOCK_D)
        shift_j = tl.load(shift + columns, mask=columns < M, other=0.0)
        share_j = tl.load(share + columns, mask=columns < M, other=0.0)
        miss_j = tl.load(miss + columns, mask=columns < M, other=0.0)
        w = tl.exp(s - shift_i[:, None]) * share_i[:, None]
        w += tl.exp(s - shift_j[None, :]) * share_j[None, :]
        pair = columns[None, :] == other[:, None]
        w = tl.where(pair, -(miss_i[:, None] + miss_j[None, :]), w)
        outside = (columns[None, :] == rows[:, None]) | (columns[None, :] >= M)
        w = tl.where(outside, 0.0, w)
        z_j = _load_rows(z, columns, features, M, D)
        dz = tl.dot(w.to(z_j.dtype), z_j, dz, input_precision="ieee")
    inside = (rows[:, None] < M) & (features[None, :] < D)
    at = (g * M + rows[:, None]) * D + features[None, :]
    tl.store(grad + at, dz * tl.load(scale + g), mask=inside)


def block_sizes(dim: int, dtype: torch.dtype) -> dict[str, int]:
    """Constants for D features. Products of float32 unroll, and so get smaller blocks."""
    edge, most = (32, 64) if dtype == torch.float32 else (64, 128)
    block_d = min(most, max(16, triton.next_power_of_2(dim)))
    return {"BLOCK_M": edge, "BLOCK_N": edge, "BLOCK_D": block_d}


class _NtXent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, temperature, positives):
        groups, m, dim = z.shape
        inverse_tau = temperature.reciprocal().to(torch.float32)
        top, total, positive = z.new_empty((3, groups, m), dtype=torch.float32)
        blocks = block_sizes(dim, z.dtype)
        if groups:
            grid = (triton.cdiv(m, blocks["BLOCK_M"]), groups)
            with torch.cuda.device_of(z):  # Triton launches on the current device
                _forward[grid](z, inverse_tau, top, total, positive, m, dim, **blocks)
        # With d = lse over negatives - s of the positive, the loss is log(1 + e^d) and 1 - p is
        # 1 / (1 + e^-d): no difference of near-equal numbers.
        top, total, positive = top.double(), total.double(), positive.double()
        d = top + total.log() - positive
        loss = torch.nn.functional.softplus(d, threshold=1e9)
        miss = d.sigmoid()
        if not positives:  # lse, whose gradient for the positive is p, not p - 1
            loss, miss = loss + positive, -(-d).sigmoid()
        loss = loss.mean(-1)
        shift = torch.maximum(top, positive)
        share = 1 / (total * (top - shift).exp() + (positive - shift).exp())
        stats = torch.stack((shift, share, miss)).to(torch.float32)
        ctx.save_for_backward(z, temperature, stats)
        return loss.to(torch.float32)

    @staticmethod
    def backward(ctx, grad_loss):
        if torch.is_grad_enabled():
            raise no_double_backward("nt_xent", "triton")
        z, temperature, stats = ctx.saved_tensors
        groups, m, dim = z.shape
        grad = torch.empty_like(z, dtype=torch.float32)
        scale = (grad_loss / (m * temperature)).to(torch.float32).contiguous()
        blocks = block_sizes(dim, z.dtype)
        if groups:
            grid = (triton.cdiv(m, blocks["BLOCK_M"]), groups, triton.cdiv(dim, blocks["BLOCK_D"]))
            inverse_tau = temperature.reciprocal().to(torch.float32)
            with torch.cuda.device_of(z):
                _backward[grid](z, inverse_tau, *stats, scale, grad, m, dim, **blocks)
        grad_temperature = (z.double() * grad).sum() / (-2 * temperature)
        return grad.to(z.dtype), grad_temperature.to(temperature.dtype), None


def nt_xent_triton(z: Tensor, temperature: Tensor, positives: bool = True) -> Tensor:
    """NT-Xent of rows that are already normalised, if they are to be.

    Args:
        z: [G, 2N, D], float32, bfloat16 or float16; rows n and N + n are the two views of sample n.
        temperature: 0-d, on z's device.
        positives: False leaves out the positives' own scores: the mean log-sum-exp of the rows.

    Returns:
        The loss [G], float32, with gradients for z and temperature.

    Source: Eq. 1-2; `clmer.ops.nt_xent`.
    """
    if z.dtype == torch.bfloat16 and not z.is_cuda:
        z = z.float()  # the interpreter's tl.dot takes bfloat16 for integers
    loss: Tensor = _NtXent.apply(z.contiguous(), temperature, positives)
    return loss
