"""NT-Xent in Triton: what is launched with which blocks, and the gradient.

Plan, with M = 2N rows, D features and flops of matrix products:

forward   unit_rows, then sum_pairs over one triangle of s: M^2 D (both triangles: 2 M^2 D). Row and
          column sums go to buffers of a panel of _PANEL row blocks, which collect_sums adds up in a
          fixed order, float64: 2 launches a panel, O(_PANEL M) floats. (One buffer for the whole
          triangle takes M^2 / 128 of them: 0.54 GB at M = 131,072.)
backward  dz = W z, W symmetric, never whole. Two ways:
          rows     one owner a row block, s again from both triangles: 2 + 2 = 4 M^2 D, 1 launch, no
                   memory. (W z)_i must fit into registers: up to 128 or 256 features.
          squares  W of EDGE x EDGE pairs, i <= j, goes to memory once (s: M^2 D) and is multiplied
                   from both sides (2 M^2 D) by the library's product, which is plain and as fast as
                   the device: 3 M^2 D. The row form would compute s anew for every 256 features:
                   8 M^2 D at D = 768. Memory traffic, beside products over D features: 3 M^2
                   elements of W and 8 M^2 D / EDGE bytes of dz.
Extra memory at M = 65,536, D = 768, bfloat16: z 101 MB, its gradient in float32 201, W 134, freed
before the views' gradients take 101; forward sums 38, freed before. By count 0.44 GB.
Launches at G M^2 up to 4 M pairs, M <= 1024, D <= 128: 3 forward (unit_rows, sum_pairs,
collect_sums with the mean), 1 backward; a learnt temperature adds PyTorch's sum and product.
Launch configuration: ntxent_launches.py.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clmer.kernels._launch import cdiv
from clmer.kernels.ntxent_launches import WHOLE, Config, choose, collect
from clmer.kernels.ntxent_launches import variants as variants
from clmer.ops._dispatch import no_double_backward
from clmer.ops.ntxent.registration import reference_backward, weigh_rows

_PANEL = 64  # row blocks whose sums are in memory at a time
_STRIP = 8  # column blocks that a program of sum_pairs takes, where there are many
_EDGE = 8192  # rows and columns of a square of W
_FAR = -(1 << 30)  # the offset of another rank's columns


def is_bounded(temperature: float | Tensor, normalize: bool, m: int, to: Config) -> bool:
    """Whether e^s and its sums of m are known to keep their digits in float32: |s| <= 1 / tau."""
    if isinstance(temperature, Tensor) or not normalize or not to.counts_exp:
        return False  # a tensor's value would have to be waited for
    return 1 / temperature + math.log(m) < 32


class Rows(NamedTuple):
    """What unit_rows finds."""

    z: Tensor  # [G, M, dim]
    inverse_length: Tensor  # [G, M] float32
    positive: Tensor  # [G, N] float32
    inverse_tau: Tensor  # [1] float32


def unit(view_a: Tensor, view_b: Tensor, tau: float | Tensor, normalize: bool, to: Config) -> Rows:
    """Unit rows (or the rows as they are) of both views [G, N, D], padded."""
    groups, n, dim = view_a.shape
    padded = to.padded(dim)
    new = view_a.new_empty
    rows = Rows(
        new((groups, 2 * n, padded)),
        new((groups, 2 * n), dtype=torch.float32),
        new((groups, n), dtype=torch.float32),
        new(1, dtype=torch.float32),
    )
    launch = to.unit(dim, isinstance(tau, Tensor))
    # one program at least: a rank without samples still wants 1 / tau
    programs = max(1, cdiv(groups * n, launch.constants["BLOCK_R"]))
    launch(programs, view_a, view_b, tau, *rows, max(n, 1), dim, padded, groups * n, int(normalize))
    return rows


class Sums:
    """Sums of e^s over the negatives of every row, collected panel by panel or rank by rank.

    Args:
        rows: what the sums are of.
        bounded: see `is_bounded`.
        to: the shape class.
    """

    def __init__(self, rows: Rows, bounded: bool, to: Config) -> None:
        self.rows, self.bounded, self.to = rows, bounded, to
        groups, m, _ = rows.z.shape
        single = rows.z.new_empty
        self.carry = single((2, groups, m), dtype=torch.float64)
        self.stats = single((3, groups, m), dtype=torch.float32)
        self.has_carry = False

    def add_own(self, positives: bool, each: bool) -> Tensor:
        """All negatives are among the rows themselves: stats are complete; the loss.

        It is [G], or with `each` row's own [G, M].
        """
        _, m, _ = self.rows.z.shape
        whole = not each and m <= min(WHOLE, _PANEL * self.to.blocks.edge)  # one program, one panel
        loss = self._loss(whole)
        self._add(self.rows.z, True, m, positives, loss, whole)
        return loss if whole else (loss if each else loss.mean(-1)).to(torch.float32)

    def positives_come_first(self) -> Tensor:
        """For each row [G, M] whether its positive is above all negatives; not if bounded."""
        return torch.cat((self.rows.positive, self.rows.positive), -1) > self.carry[0]

    def add(self, columns: Tensor, own: bool, last: bool) -> Tensor:
        """Columns [G, m, dim] of one rank; the loss [G, M] of each row, float64, with the last."""
        loss = self._loss(False)
        self._add(columns, own, self.rows.z.shape[1] if last else 0, True, loss, False)
        return loss

    def _loss(self, whole: bool) -> Tensor:
        shape = self.rows.z.shape[:1] if whole else self.rows.z.shape[:2]
        return self.rows.z.new_empty(shape, dtype=torch.float32 if whole else torch.float64)

    def _add(
        self, columns: Tensor, own: bool, end: int, positives: bool, loss: Tensor, whole: bool
    ) -> None:
        z, _, positive, inverse_tau = self.rows
        groups, m, dim = z.shape
        m_j, edge = columns.shape[1], self.to.blocks.edge
        blocks, all_strips = cdiv(m, edge), cdiv(m_j, edge)
        strip = min(_STRIP, max(1, all_strips // _PANEL))
        all_strips = cdiv(all_strips, strip)
        panel = max(1, min(_PANEL, blocks))  # a rank may have no rows
        new = z.new_empty
        row_part = new((2, groups, all_strips, panel * edge), dtype=torch.float32)
        column_part = new((2, groups, panel if own else 0, m_j), dtype=torch.float32)
        sums, add = self.to.sums(own, self.bounded), collect(self.bounded, whole)
        for first in range(0, blocks, panel):
            taken = min(panel, blocks - first)
            first_strip = first // strip if own else 0
            strips = all_strips - first_strip
            sums(
                groups * taken * strips, z, columns, inverse_tau, row_part, column_part, m, m_j,
                dim // 16, first * edge, taken, strips, strip, first_strip, groups,
            )  # fmt: skip
            # what a triangle's panel leaves for later rows, too
            start, stop = first * edge, m if own else min(m, (first + taken) * edge)
            programs = groups * cdiv(stop - start, add.constants["BLOCK_R"])
            finished = min(end, (first + taken) * edge)
            add(
                programs, row_part, column_part, self.carry, positive, inverse_tau, self.stats,
                loss, start, stop, taken * edge, m, edge, strips, taken if own else 0, groups,
                finished, m if self.has_carry or (own and first) else 0, int(positives),
            )  # fmt: skip
        self.has_carry = True


def add_products(
    z_i: Tensor,
    z_j: Tensor,
    stats_i: Tensor,
    stats_j: Tensor,
    inverse_tau: Tensor,
    dz: Tensor,
    *,
    own: bool,
    adds: bool,
    bounded: bool,
    to: Config,
) -> None:
    """W z_j, square by square, into the rows dz [G, M, dim] float32 of z_i.

    Args:
        z_i: [G, M_i, dim].
        z_j: [G, M_j, dim]; z_i itself if `own`, whose symmetry then halves the work on W.
        stats_i: [3, G, M_i]: shift, share, miss.
        stats_j: [3, G, M_j].
        inverse_tau: [1].
        dz: W z_j is added to it if `adds`, and else written over it.
        own: whether the columns are the rows, so that self and positives are among them.
        adds: whether dz holds something.
        bounded: see `is_bounded`.
        to: the shape class.
    """
    (groups, m_i, dim), m_j, tile = z_i.shape, z_j.shape[1], to.blocks.edge
    budget = math.isqrt(_EDGE * _EDGE // max(groups, 1))
    edge = max(1, min(budget, max(m_i, m_j) + tile - 1) // tile) * tile
    w = z_i.new_empty((groups, edge, edge))
    weigh = to.weights(bounded)
    for i in range(0, m_i, edge):
        rows = slice(i, min(i + edge, m_i))
        tiles_i = cdiv(rows.stop - i, tile)
        for j in range(i if own else 0, m_j, edge):
            columns = slice(j, min(j + edge, m_j))
            tiles_j = cdiv(columns.stop - j, tile)
            weigh(
                groups * tiles_i * tiles_j, z_i, z_j, stats_i, stats_j, inverse_tau, w, m_i, m_j,
                dim // 16, i, j, 0 if own else _FAR, tiles_i, tiles_j, edge // tile, groups,
            )  # fmt: skip
            square = w[:, : rows.stop - i, : columns.stop - j]
            _add_product(dz[:, rows], square, z_j[:, columns], adds or j > 0)
            if own and j > i:
                _add_product(dz[:, columns], square.mT, z_i[:, rows], adds or i > 0)


def _add_product(total: Tensor, a: Tensor, b: Tensor, adds: bool) -> None:
    """A b, of half types or float32, is added to total (or written over it), in float32."""
    if a.dtype == torch.float32:
        total.baddbmm_(a, b, beta=int(adds))
    elif a.is_cuda:
        product = torch.ops.aten.baddbmm.dtype_out
        product(total, a, b, torch.float32, beta=int(adds), out=total)
    else:  # Triton's interpreter
        total.baddbmm_(a.float(), b.float(), beta=int(adds))


def view_gradients_of(
    dz: Tensor,
    z: Tensor,
    inverse_length: Tensor,
    grad_loss: Tensor,
    inverse_tau: Tensor,
    shape: torch.Size,
    normalize: bool,
    to: Config,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the views [G, N, D] = `shape`, and z . dL/dz [G, M], from dz = W z."""
    groups, n, dim = shape
    grad_a, grad_b = z.new_empty((2, groups, n, dim)).unbind()
    dots = torch.empty_like(inverse_length)
    launch = to.views(dim)
    programs = cdiv(2 * groups * n, launch.constants["BLOCK_R"])
    launch(
        programs, dz, z, inverse_length, grad_loss, inverse_tau, grad_a, grad_b, dots,
        grad_loss.stride(0), 2 * n, dim, z.shape[2], 2 * groups * n, int(normalize),
    )  # fmt: skip
    return grad_a, grad_b, dots


class _NtXent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        view_a: Tensor,
        view_b: Tensor,
        tau: float | Tensor,
        normalize: bool,
        positives: bool,
        each: bool,
        ranked: bool,
        explicit: bool,
    ) -> tuple[Tensor, Tensor | None]:
        groups, n, _ = view_a.shape
        to = choose(view_a.dtype, groups, 2 * n)
        bounded = not ranked and is_bounded(tau, normalize, 2 * n, to)
        with torch.cuda.device_of(view_a):  # Triton launches on the current device
            rows = unit(view_a, view_b, tau, normalize, to)
            sums = Sums(rows, bounded, to)
            loss = sums.add_own(positives, each)
            first = sums.positives_come_first() if ranked else None
            if first is not None:
                ctx.mark_non_differentiable(first)
        learnt = tau if isinstance(tau, Tensor) else None
        again = (None, None, None) if explicit else (view_a, view_b, learnt)
        ctx.save_for_backward(rows.z, rows.inverse_length, rows.inverse_tau, sums.stats, *again)
        ctx.shape, ctx.to, ctx.bounded = view_a.shape, to, bounded
        ctx.constant, ctx.which = tau if learnt is None else None, (normalize, positives, each)
        return loss, first

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        z, inverse_length, inverse_tau, stats, view_a, view_b, learnt = ctx.saved_tensors
        if torch.is_grad_enabled():
            if view_a is None:
                raise no_double_backward("nt_xent", "triton")
            tau = ctx.constant if learnt is None else learnt
            grads = reference_backward(grad_loss, view_a, view_b, tau, *ctx.which)
            return *grads, *[None] * 5
        (groups, n, dim), to, normalize = ctx.shape, ctx.to, ctx.which[0]
        if grad_loss.dim() == 2:
            grad_loss, weighed = weigh_rows(grad_loss, stats.movedim(0, 1), 1)
            stats = weighed.movedim(1, 0).contiguous()
        with torch.cuda.device_of(z):
            if dim <= to.blocks.most:
                grad_a, grad_b = z.new_empty((2, groups, n, dim)).unbind()
                dots = torch.empty_like(inverse_length)
                launch = to.rows(z.shape[2], ctx.bounded)
                programs = groups * cdiv(2 * n, launch.constants["BLOCK_M"])
                launch(
                    programs, z, stats, inverse_length, grad_loss, inverse_tau, grad_a, grad_b,
                    dots, grad_loss.stride(0), 2 * n, dim, groups, int(normalize),
                )  # fmt: skip
            else:
                dz = torch.empty_like(z, dtype=torch.float32)
                add_products(
                    z, z, stats, stats, inverse_tau, dz, own=True, adds=False,
                    bounded=ctx.bounded, to=to,
                )  # fmt: skip
                grad_a, grad_b, dots = view_gradients_of(
                    dz, z, inverse_length, grad_loss, inverse_tau, ctx.shape, normalize, to
                )
        grad_tau = None
        if ctx.needs_input_grad[2]:
            total = dots.sum(dtype=torch.float64) * inverse_tau[0]
            grad_tau = (total * -0.5).to(torch.float32)
        return grad_a, grad_b, grad_tau, *[None] * 5


def nt_xent_triton(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool = True,
    positives: bool = True,
    each: bool = False,
    ranked: bool = False,
    *,
    explicit: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """NT-Xent of two views.

    Args:
        view_a: [G, N, D], float32, bfloat16 or float16.
        view_b: like view_a.
        temperature: a number, or 0-d, on the views' device.
        normalize: compare by cosine, or by plain dot product.
        positives: False leaves out the positives' own scores: the mean log-sum-exp of the rows.
        each: the loss of each row in place of the mean.
        ranked: whether to look for each row's largest negative.
        explicit: second derivatives are an error; else they are those of the plain PyTorch form,
            and the views are kept for them.

    Returns:
        The loss [G] or [G, 2N], float32, with gradients for the views and temperature; and for each
        row [G, 2N] whether its positive scores above all negatives, or None.

    Source: Eq. 1-2; `clmer.ops.nt_xent`.
    """
    if view_a.dtype == torch.bfloat16 and not view_a.is_cuda:
        view_a, view_b = view_a.float(), view_b.float()  # the interpreter takes it for integers
    temperature = temperature.float() if isinstance(temperature, Tensor) else float(temperature)
    views = view_a.contiguous(), view_b.contiguous()
    loss, first = _NtXent.apply(*views, temperature, normalize, positives, each, ranked, explicit)
    return loss, first
