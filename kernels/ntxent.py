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
                   from both sides (2 M^2 D): 3 M^2 D, n (n + 1) launches + 1, n = M / EDGE. The row
                   form would compute s anew for every 256 features: 8 M^2 D at D = 768. Each
                   element of dz has one program a launch: no atomics. Memory traffic, beside
                   products over D features: 3 M^2 elements of W, in L2 with EDGE = 4096, and
                   8 M^2 D / EDGE bytes of dz.
Extra memory at M = 65,536, D = 768, bfloat16: z 101 MB, its gradient in float32 201, the views'
gradients 101, W 34; forward sums 38, freed before. By count 0.44 GB, results included.
Launches at G M^2 up to 4 M pairs, M <= 1024, D <= 128: 3 forward (unit_rows, sum_pairs,
collect_sums with the mean), 1 backward; a learnt temperature adds PyTorch's sum and product.
Launch configuration comes from _TABLE, for shared memory and registers of sm_80: not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from clmer.kernels._variants import Variant
from clmer.kernels.ntxent_pairs import multiply_pairs, row_gradients, sum_pairs, weigh_pairs
from clmer.kernels.ntxent_rows import collect_sums, unit_rows, view_gradients
from clmer.ops._dispatch import no_double_backward

_PANEL = 64  # row blocks whose sums are in memory at a time
_STRIP = 8  # column blocks that a program of sum_pairs takes, where there are many
_WHOLE = 1024  # rows of which one program of collect_sums finds the mean
_EDGE = 4096  # rows and columns of a square of W
_LARGE = 1 << 22  # pairs, G M^2, from which on large tiles still fill the device
_FAR = -(1 << 30)  # the offset of another rank's columns


class Blocks(NamedTuple):
    """Launch configuration of one shape class."""

    edge: int  # rows and columns of a tile
    depth: int  # features or rows in one step of a product
    warps: int
    stages: int
    rows: int  # row_gradients: what a program owns
    columns: int  # and streams at a time
    row_warps: int
    row_stages: int
    most: int  # features up to which row_gradients runs


#: (precision, whether large)
_TABLE = {
    ("half", False): Blocks(64, 32, 4, 3, 32, 64, 4, 2, 256),
    ("half", True): Blocks(128, 64, 8, 3, 128, 64, 8, 2, 256),
    ("tf32", False): Blocks(64, 32, 4, 3, 32, 64, 4, 2, 128),
    ("tf32", True): Blocks(128, 32, 8, 3, 64, 64, 8, 2, 128),
    ("ieee", False): Blocks(32, 32, 4, 2, 16, 32, 4, 1, 128),
    ("ieee", True): Blocks(64, 32, 8, 2, 32, 32, 8, 1, 128),
}
_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}


class Launch(NamedTuple):
    """A kernel with its constants and options; called with a number of programs and arguments."""

    kernel: Any
    constants: dict[str, Any]
    options: dict[str, int]

    def __call__(self, programs: int, *arguments: Any) -> None:
        """On the current stream; a grid of no programs would be an error."""
        if programs:
            self.kernel[(programs,)](*arguments, **self.constants, **self.options)


class Config(NamedTuple):
    """The launches of one shape class."""

    dtype: torch.dtype  # of z
    precision: str  # "half", "tf32" or "ieee"
    large: bool

    @property
    def blocks(self) -> Blocks:
        """The row of the table."""
        return _TABLE[self.precision, self.large]

    @property
    def counts_exp(self) -> bool:
        """Whether one exp a pair instead of two is worth kernels of their own."""
        return self.large and self.precision != "ieee"

    @property
    def scale(self) -> float:
        """What W is multiplied by: |W| <= 2, and float16 ends at 65504 and 6e-8."""
        return 2.0**14 if self.dtype == torch.float16 else 1.0

    def padded(self, dim: int) -> int:
        """Features of z with the zeros that complete its blocks."""
        most, depth = self.blocks.most, self.blocks.depth
        if dim <= most:
            return max(depth, triton.next_power_of_2(dim))
        return triton.cdiv(dim, depth) * depth

    def _products(self) -> dict[str, Any]:
        precision = "tf32" if self.precision == "tf32" else "ieee"
        return {"BLOCK_K": self.blocks.depth, "PRECISION": precision}

    def _options(self) -> dict[str, int]:
        return {"num_warps": self.blocks.warps, "num_stages": self.blocks.stages}

    def unit(self, dim: int, learnt: bool) -> Launch:
        """unit_rows."""
        return Launch(unit_rows, {"LEARNT": learnt, **_row_blocks(dim)}, {"num_warps": 4})

    def sums(self, own: bool, bounded: bool) -> Launch:
        """sum_pairs."""
        constants = {"OWN": own, "BOUNDED": bounded, "BLOCK": self.blocks.edge}
        return Launch(sum_pairs, constants | self._products(), self._options())

    def rows(self, dim: int, bounded: bool) -> Launch:
        """row_gradients of `dim` features, padded."""
        blocks = self.blocks
        constants = {"SCALE": self.scale, "BOUNDED": bounded, "BLOCK_M": blocks.rows}
        constants |= {"BLOCK_N": blocks.columns, "BLOCK_D": dim}
        constants["PRECISION"] = self._products()["PRECISION"]
        options = {"num_warps": blocks.row_warps, "num_stages": blocks.row_stages}
        return Launch(row_gradients, constants, options)

    def weights(self, bounded: bool) -> Launch:
        """weigh_pairs."""
        constants = {"SCALE": self.scale, "BOUNDED": bounded, "BLOCK": self.blocks.edge}
        return Launch(weigh_pairs, constants | self._products(), self._options())

    def products(self) -> Launch:
        """multiply_pairs."""
        constants = {"BLOCK_M": self.blocks.edge, "BLOCK_N": self.blocks.edge}
        return Launch(multiply_pairs, constants | self._products(), self._options())

    def views(self, dim: int) -> Launch:
        """view_gradients."""
        constants = {"SCALE": 1 / self.scale, **_row_blocks(dim)}
        return Launch(view_gradients, constants, {"num_warps": 4})


def _row_blocks(dim: int) -> dict[str, int]:
    return {"BLOCK_R": 16, "BLOCK_F": 64} if dim <= 64 else {"BLOCK_R": 4, "BLOCK_F": 256}


def _collect(bounded: bool, whole: bool) -> Launch:
    constants = {"BOUNDED": bounded, "WHOLE": whole, "BLOCK_R": _WHOLE if whole else 128}
    return Launch(collect_sums, constants, {"num_warps": 8 if whole else 4})


def choose(z_dtype: torch.dtype, groups: int, m: int) -> Config:
    """The shape class; products of float32 take tf32 only where torch's own do."""
    precision = "half"
    if z_dtype == torch.float32:
        allowed = torch.backends.cuda.matmul.fp32_precision == "tf32"
        precision = "tf32" if allowed else "ieee"
    return Config(z_dtype, precision, groups * m * m >= _LARGE)


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
    programs = triton.cdiv(groups * n, launch.constants["BLOCK_R"])
    launch(programs, view_a, view_b, tau, *rows, n, dim, padded, groups * n, int(normalize))
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

    def add_own(self, positives: bool) -> Tensor:
        """All negatives are among the rows themselves: stats are complete; the loss [G]."""
        _, m, _ = self.rows.z.shape
        whole = m <= _WHOLE
        loss = self._loss(whole)
        self._add(self.rows.z, True, m, positives, loss, whole)
        return loss if whole else loss.mean(-1).to(torch.float32)

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
        blocks, all_strips = triton.cdiv(m, edge), triton.cdiv(m_j, edge)
        strip = min(_STRIP, max(1, all_strips // 64))
        all_strips = triton.cdiv(all_strips, strip)
        panel = min(_PANEL, blocks)
        new = z.new_empty
        row_part = new((2, groups, all_strips, panel * edge), dtype=torch.float32)
        column_part = new((2, groups, panel if own else 0, m_j), dtype=torch.float32)
        sums, collect = self.to.sums(own, self.bounded), _collect(self.bounded, whole)
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
            programs = groups * triton.cdiv(stop - start, collect.constants["BLOCK_R"])
            finished = min(end, (first + taken) * edge)
            collect(
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
    weigh, multiply = to.weights(bounded), to.products()
    parts = triton.cdiv(dim, multiply.constants["BLOCK_N"])
    for i in range(0, m_i, edge):
        tiles_i = triton.cdiv(min(edge, m_i - i), tile)
        for j in range(i if own else 0, m_j, edge):
            tiles_j = triton.cdiv(min(edge, m_j - j), tile)
            weigh(
                groups * tiles_i * tiles_j, z_i, z_j, stats_i, stats_j, inverse_tau, w, m_i, m_j,
                dim // 16, i, j, 0 if own else _FAR, tiles_i, tiles_j, edge // tile, groups,
            )  # fmt: skip
            both = tiles_j if own and j > i else 0
            multiply(
                groups * parts * (tiles_i + both), w, z_i, z_j, dz, dz, m_i, m_j, dim // 16, i,
                j, tiles_i, both, edge // tile, int(adds or j > 0), int(adds or i > 0),
            )  # fmt: skip


class _NtXent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        view_a: Tensor,
        view_b: Tensor,
        tau: float | Tensor,
        normalize: bool,
        positives: bool,
    ) -> Tensor:
        groups, n, _ = view_a.shape
        to = choose(view_a.dtype, groups, 2 * n)
        bounded = is_bounded(tau, normalize, 2 * n, to)
        with torch.cuda.device_of(view_a):  # Triton launches on the current device
            rows = unit(view_a, view_b, tau, normalize, to)
            sums = Sums(rows, bounded, to)
            loss = sums.add_own(positives)
        ctx.save_for_backward(rows.z, rows.inverse_length, rows.inverse_tau, sums.stats)
        ctx.shape, ctx.to, ctx.bounded, ctx.normalize = view_a.shape, to, bounded, normalize
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise no_double_backward("nt_xent", "triton")
        z, inverse_length, inverse_tau, stats = ctx.saved_tensors
        (groups, n, dim), to = ctx.shape, ctx.to
        m, padded = 2 * n, z.shape[2]
        grad_a, grad_b = z.new_empty((2, groups, n, dim)).unbind()
        dots = torch.empty_like(inverse_length)
        to_views = (inverse_length, grad_loss, inverse_tau, grad_a, grad_b, dots)
        stride = grad_loss.stride(0)
        with torch.cuda.device_of(z):
            if dim <= to.blocks.most:
                launch = to.rows(padded, ctx.bounded)
                programs = groups * triton.cdiv(m, launch.constants["BLOCK_M"])
                launch(programs, z, stats, *to_views, stride, m, dim, groups, int(ctx.normalize))
            else:
                dz = torch.empty_like(z, dtype=torch.float32)
                add_products(
                    z, z, stats, stats, inverse_tau, dz, own=True, adds=False,
                    bounded=ctx.bounded, to=to,
                )  # fmt: skip
                launch = to.views(dim)
                programs = triton.cdiv(groups * m, launch.constants["BLOCK_R"])
                launch(
                    programs, dz, z, *to_views, stride, m, dim, padded, groups * m,
                    int(ctx.normalize),
                )  # fmt: skip
        grad_tau = None
        if ctx.needs_input_grad[2]:
            total = dots.sum(dtype=torch.float64) * inverse_tau[0]
            grad_tau = (total * -0.5).to(torch.float32)
        return grad_a, grad_b, grad_tau, None, None


def nt_xent_triton(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool = True,
    positives: bool = True,
) -> Tensor:
    """NT-Xent of two views.

    Args:
        view_a: [G, N, D], float32, bfloat16 or float16.
        view_b: like view_a.
        temperature: a number, or 0-d, on the views' device.
        normalize: compare by cosine, or by plain dot product.
        positives: False leaves out the positives' own scores: the mean log-sum-exp of the rows.

    Returns:
        The loss [G], float32, with gradients for the views and temperature.

    Source: Eq. 1-2; `clmer.ops.nt_xent`.
    """
    if view_a.dtype == torch.bfloat16 and not view_a.is_cuda:
        view_a, view_b = view_a.float(), view_b.float()  # the interpreter takes it for integers
    if isinstance(temperature, Tensor):
        temperature = temperature.float()
    loss: Tensor = _NtXent.apply(
        view_a.contiguous(), view_b.contiguous(), temperature, normalize, positives
    )
    return loss


# --- every kernel as it may be launched -----------------------------------------------------------
_INTEGERS = frozenset(
    "N D M M_i M_j dim samples normalize first stop panel edge row_planes column_planes groups "
    "finished known positives blocks strips strip first_strip grad_stride rows_of_all first_i "
    "first_j offset tiles_i tiles_j adds_i adds_j dim16 edge_tiles".split()
)
_OF_DTYPE = frozenset("view_a view_b z z_i z_j w grad_a grad_b".split())


def _variant(launch: Launch, dtype: str, **types: str) -> Variant:
    signature = {}
    for name in launch.kernel.arg_names:
        if name in launch.constants:
            signature[name] = "constexpr"
        elif name in types:
            signature[name] = types[name]
        elif name in _INTEGERS:
            signature[name] = "i32"
        else:
            signature[name] = f"*{dtype}" if name in _OF_DTYPE else "*fp32"
    shown = ", ".join(f"{name}={value}" for name, value in launch.constants.items())
    name = f"{launch.kernel.__name__}[{', '.join((dtype, *types.values()))}; {shown}]"
    return Variant(name, launch.kernel, signature, launch.constants, launch.options)


def variants() -> Iterator[Variant]:
    """Every kernel with every choice of types, constants and options that the launches make."""
    for bounded in (True, False):
        for whole in (True, False):
            loss = "*fp32" if whole else "*fp64"
            yield _variant(_collect(bounded, whole), "fp32", loss=loss, carry="*fp64")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for dim in (64, 65):  # each side of the bound in _row_blocks
            for learnt, tau in ((False, "fp32"), (True, "*fp32")):
                launch = Config(dtype, "half", False).unit(dim, learnt)
                yield _variant(launch, _NAMES[dtype], temperature=tau)
            yield _variant(Config(dtype, "half", False).views(dim), _NAMES[dtype])
        for precision in ("ieee", "tf32") if dtype == torch.float32 else ("half",):
            for large in (False, True):
                yield from _pair_variants(Config(dtype, precision, large))


def _pair_variants(to: Config) -> Iterator[Variant]:
    dtype = _NAMES[to.dtype]
    yield _variant(to.products(), dtype, dz_i="*fp32", dz_j="*fp32")
    yield _variant(to.sums(own=False, bounded=False), dtype)
    for bounded in (False, True)[: 1 + to.counts_exp]:
        yield _variant(to.weights(bounded), dtype)
        yield _variant(to.sums(True, bounded), dtype)
        dim = to.padded(1)
        while dim <= to.blocks.most:
            yield _variant(to.rows(dim, bounded), dtype)
            dim *= 2
