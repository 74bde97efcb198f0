"""NT-Xent in Triton: which kernel gets which blocks, and every kernel as it may be launched.

One table, keyed by precision and by whether large tiles still fill the device, serves the launches
and `variants()`, which says what they are to tools without a GPU. It is made for the shared memory
and registers of sm_80; the rows of half types and the small one of tf32x3 were chosen by timing on
an H200 (docs/ntxent.md), the others were not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from clmer.kernels._launch import Variant, cdiv, launch, next_power_of_2
from clmer.kernels._precision import float32_precision
from clmer.kernels.ntxent_pairs import row_gradients, sum_pairs, weigh_pairs
from clmer.kernels.ntxent_rows import collect_sums, unit_rows, view_gradients

#: Rows of which one program of collect_sums finds the mean.
WHOLE = 1024
_LARGE = 1 << 22  # pairs, G M^2, from which on large tiles still fill the device


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
    ("half", False): Blocks(64, 64, 4, 2, 16, 128, 4, 2, 256),
    ("half", True): Blocks(128, 64, 4, 3, 128, 64, 8, 2, 128),
    ("tf32", False): Blocks(64, 32, 4, 3, 32, 64, 4, 2, 128),
    ("tf32", True): Blocks(128, 32, 8, 3, 64, 64, 8, 2, 128),
    ("tf32x3", False): Blocks(64, 32, 4, 3, 16, 64, 4, 2, 128),
    ("tf32x3", True): Blocks(64, 32, 4, 3, 16, 64, 4, 2, 128),
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
        """On the current stream."""
        launch(self.kernel, programs, arguments, self.constants, self.options)


class Config(NamedTuple):
    """The launches of one shape class."""

    dtype: torch.dtype  # of z
    precision: str  # "half", "tf32", or "tf32x3": three products that keep float32's digits
    large: bool

    @property
    def blocks(self) -> Blocks:
        """The row of the table."""
        return _TABLE[self.precision, self.large]

    @property
    def counts_exp(self) -> bool:
        """Whether one exp a pair instead of two is worth kernels of their own."""
        return self.large

    @property
    def scale(self) -> float:
        """What W is multiplied by: |W| <= 2, and float16 ends at 65504 and 6e-8."""
        return 2.0**14 if self.dtype == torch.float16 else 1.0

    def padded(self, dim: int) -> int:
        """Features of z with the zeros that complete its blocks."""
        most, depth = self.blocks.most, self.blocks.depth
        if dim <= most:
            return max(depth, next_power_of_2(dim))
        return cdiv(dim, depth) * depth

    def _products(self) -> dict[str, Any]:
        precision = "ieee" if self.precision == "half" else self.precision
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

    def views(self, dim: int) -> Launch:
        """view_gradients."""
        constants = {"SCALE": 1 / self.scale, **_row_blocks(dim)}
        return Launch(view_gradients, constants, {"num_warps": 4})


def _row_blocks(dim: int) -> dict[str, int]:
    return {"BLOCK_R": 16, "BLOCK_F": 64} if dim <= 64 else {"BLOCK_R": 4, "BLOCK_F": 256}


def collect(bounded: bool, whole: bool) -> Launch:
    """collect_sums."""
    constants = {"BOUNDED": bounded, "WHOLE": whole, "BLOCK_R": WHOLE if whole else 128}
    return Launch(collect_sums, constants, {"num_warps": 8 if whole else 4})


def choose(z_dtype: torch.dtype, groups: int, m: int) -> Config:
    """The shape class; products of float32 take tf32 only where torch's own do."""
    precision = "half"
    if z_dtype == torch.float32:
        precision = "tf32" if float32_precision() == "tf32" else "tf32x3"
    return Config(z_dtype, precision, groups * m * m >= _LARGE)


# --- every kernel as it may be launched -----------------------------------------------------------
_INTEGERS = frozenset(
    "N D M M_i M_j dim samples normalize first stop panel edge row_planes column_planes groups "
    "finished known positives blocks strips strip first_strip grad_stride rows_of_all first_i "
    "first_j offset tiles_i tiles_j dim16 edge_tiles".split()
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
            yield _variant(collect(bounded, whole), "fp32", loss=loss, carry="*fp64")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for dim in (64, 65):  # each side of the bound in _row_blocks
            for learnt, tau in ((False, "fp32"), (True, "*fp32")):
                launch = Config(dtype, "half", False).unit(dim, learnt)
                yield _variant(launch, _NAMES[dtype], temperature=tau)
            yield _variant(Config(dtype, "half", False).views(dim), _NAMES[dtype])
        for precision in ("tf32x3", "tf32") if dtype == torch.float32 else ("half",):
            for large in (False, True):
                yield from _pair_variants(Config(dtype, precision, large))


def _pair_variants(to: Config) -> Iterator[Variant]:
    dtype = _NAMES[to.dtype]
    yield _variant(to.sums(own=False, bounded=False), dtype)
    for bounded in (False, True)[: 1 + to.counts_exp]:
        yield _variant(to.weights(bounded), dtype)
        yield _variant(to.sums(True, bounded), dtype)
        dim = to.padded(1)
        while dim <= to.blocks.most:
            yield _variant(to.rows(dim, bounded), dtype)
            dim *= 2
