"""The sublayer ops in Triton: which kernel gets which tiles, and each as it may be launched.

Tiles come from the table below, chosen by what the compiler reports for sm_80, 90 and 100: the
largest whose registers hardly spill (at most 56 bytes per thread on sm_90 and 100; float32's
gradients of weights take up to 352 on sm_80), and 99 KiB of shared memory at most, which every GPU
since sm_80 has. No timing has chosen them yet. How rows are split over the programs that sum
gradients of weights goes by shape alone, so that every GPU gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clmer.kernels._launch import Variant, cdiv, launch, next_power_of_2
from clmer.kernels._precision import float32_precision
from clmer.kernels.sublayer_feed import feed_forward_rows, feed_grad_rows, feed_grad_weights
from clmer.kernels.sublayer_linear import (
    merge_forward,
    merge_grad_rows,
    merge_grad_weights,
    project_forward,
    project_grad_rows,
    project_grad_weights,
)
from clmer.kernels.sublayer_terms import INTEGERS, sum_parts

_PROGRAMS = 512  # that fill a device, with gradients of weights
_MAX_SPLITS = 16
_SUMMED = 1024  # elements of a program of sum_parts


# --- tiles ----------------------------------------------------------------------------------------
class Tiles(NamedTuple):
    """A launch's constants, warps and stages."""

    BLOCK_R: int  # rows
    BLOCK_C: int  # columns of W, or hidden features, at a time
    warps: int
    stages: int = 2


class Plan(NamedTuple):
    """The tiles of one padded width of rows."""

    rows: Tiles  # programs that own rows
    feed_grad_rows: Tiles  # which holds two more products
    columns: Tiles  # programs that own columns
    feed_grad_weights: Tiles

    def of(self, kernel: Any) -> Tiles:
        """The tiles of a kernel."""
        if kernel is feed_grad_rows:
            return self.feed_grad_rows
        if kernel is feed_grad_weights:
            return self.feed_grad_weights
        return self.columns if kernel in _BY_COLUMNS else self.rows


_BY_ROWS = (
    *(project_forward, project_grad_rows, merge_forward, merge_grad_rows),
    *(feed_forward_rows, feed_grad_rows),
)
_BY_COLUMNS = (project_grad_weights, merge_grad_weights, feed_grad_weights)
_WIDE, _SQUARE = Tiles(64, 32, 4), Tiles(32, 32, 4)
_FLAT, _SMALL = Tiles(16, 32, 4), Tiles(16, 16, 8)
#: By bytes of an element and padded width; float32's are those that three products leave room for.
_PLANS = {
    **{(2, width): Plan(_WIDE, _WIDE, _SQUARE, _SQUARE) for width in (16, 32, 64)},
    (2, 128): Plan(Tiles(64, 32, 8), Tiles(64, 32, 8), Tiles(32, 32, 8), Tiles(32, 32, 8)),
    (2, 256): Plan(Tiles(32, 32, 8), Tiles(32, 32, 8), Tiles(32, 16, 8), Tiles(32, 16, 8)),
    **{(4, width): Plan(_SQUARE, Tiles(32, 16, 4), _SQUARE, _FLAT) for width in (16, 32, 64)},
    (4, 128): Plan(_FLAT, _SMALL, Tiles(32, 32, 8), _SMALL),
}


def _precision(dtype: torch.dtype) -> str:
    """How factors are multiplied: Triton's input_precision."""
    if dtype != torch.float32:
        return "ieee"
    return "tf32" if float32_precision() == "tf32" else "tf32x3"


def _block_d(dim: int) -> int:
    """The padded width of a row: a power of two that a tensor core multiplies."""
    return max(16, next_power_of_2(dim))


# --- calls ----------------------------------------------------------------------------------------
class Call(NamedTuple):
    """What every kernel of a call takes: arguments by name, constants, and its tiles."""

    arguments: dict[str, Any]
    constants: dict[str, Any]
    plan: Plan

    def by_rows(self, kernel: Any, more: dict[str, Any], **constants: bool) -> None:
        """A kernel whose programs own rows."""
        blocks = cdiv(self.arguments["rows"], self.plan.of(kernel).BLOCK_R)
        self._launch(kernel, self.arguments["streams"] * blocks, more, constants)

    def by_columns(self, kernel: Any, blocks: int, sums: Sums, more: dict[str, Any]) -> None:
        """A kernel whose programs own one of `blocks` blocks of columns and a run of rows."""
        programs = self.arguments["streams"] * blocks * sums.splits
        self._launch(kernel, programs, {**more, **sums.arguments()}, {})

    def blocks(self, kernel: Any, columns: int) -> int:
        """Into how many blocks such a kernel takes that many columns."""
        return cdiv(columns, self.plan.of(kernel).BLOCK_C)

    def sums(self, kernel: Any, blocks: int, *totals: Tensor) -> Sums:
        """Room for the gradients of weights that `blocks` blocks of columns have."""
        streams, rows = self.arguments["streams"], self.arguments["rows"]
        tile = self.plan.of(kernel).BLOCK_R
        tiles = cdiv(rows, tile)
        splits = max(1, min(tiles, _MAX_SPLITS, _PROGRAMS // max(1, streams * blocks)))
        split_rows = max(1, cdiv(tiles, splits)) * tile
        splits = max(1, cdiv(rows, split_rows))
        plane = sum(total.numel() for total in totals)
        planes = totals[0].new_empty((splits, plane), dtype=torch.float32)
        return Sums(planes, totals, splits, split_rows, plane)

    def _launch(
        self, kernel: Any, programs: int, more: dict[str, Any], first: dict[str, Any]
    ) -> None:
        tiles = self.plan.of(kernel)
        constants = first | {"BLOCK_R": tiles.BLOCK_R, "BLOCK_C": tiles.BLOCK_C} | self.constants
        every = self.arguments | more
        taken = tuple(every[name] for name in kernel.arg_names if name not in constants)
        launch(kernel, programs, taken, constants, _options(tiles))


class Sums(NamedTuple):
    """Gradients of weights, a plane for each run of rows, and where they go."""

    planes: Tensor  # [splits, plane] float32
    totals: tuple[Tensor, ...]
    splits: int
    split_rows: int
    plane: int

    def arguments(self) -> dict[str, Any]:
        """What the kernels that write planes take."""
        return {"sums": self.planes, "splits": self.splits, "split_rows": self.split_rows,
                "plane": self.plane}  # fmt: skip

    def add(self) -> None:
        """The planes' sum into the totals."""
        ends, end = [], 0
        for total in self.totals:
            end += total.numel()
            ends.append(end)
        missing = 4 - len(self.totals)
        totals = (*self.totals, *[None] * missing)
        counts = (*ends[:3], *[end] * max(0, missing - 1), self.splits, self.plane)
        programs = cdiv(self.plane, _SUMMED)
        launch(
            *(sum_parts, programs, (self.planes, *totals, *counts)),
            *({"BLOCK": _SUMMED}, {"num_warps": 4}),
        )


def call_of(x: Tensor, width: int = 0, hidden: int = 0, outputs: int = 0) -> Call:
    """Of rows x [S, B, L, dim]; sizes of features in vectors, as the kernels take them."""
    streams, batch, length, dim = x.shape
    plan = _PLANS.get((x.element_size(), _block_d(dim)))
    if plan is None:
        most = max(width for size, width in _PLANS if size == x.element_size())
        raise ValueError(f"impl='triton': found d = {dim} in {x.dtype}, expected at most {most}")
    sizes = {"dim": dim, "width": width, "hidden": hidden, "outputs": outputs}
    constants = _constants(dim, x.dtype, _precision(x.dtype))
    if any(size % constants["VEC"] for size in sizes.values()):
        constants["VEC"] = 1
    integers = {"streams": streams, "rows": batch * length, "length": length}
    integers |= {name: size // constants["VEC"] for name, size in sizes.items()}
    return Call(integers, constants, plan)


def _constants(dim: int, dtype: torch.dtype, precision: str) -> dict[str, Any]:
    """What all kernels of a call share, where every size is whole vectors of 16 bytes."""
    return {"BLOCK_D": _block_d(dim), "VEC": 16 // dtype.itemsize, "PRECISION": precision}


# --- ahead of time --------------------------------------------------------------------------------
#: (dim, dtype, precision): the paper's streams and its self-attention layers; the widest rows.
_SAMPLES = [
    *((dim, torch.bfloat16, "ieee") for dim in (40, 80, 256)),
    *((dim, torch.float32, precision) for dim in (40, 80) for precision in ("tf32", "tf32x3")),
]
_TYPES = {torch.bfloat16: "bf16", torch.float32: "fp32"}
_SEEDS = ("seed", "hidden_seed")
_FLOATS = ("grown", "hidden_grown")


def variants() -> Iterator[Variant]:
    """Every kernel in every kind of product, at the paper's sizes and the widest, with wide loads.

    Each with dropout, and at the first size without; heads come as three tensors. Not listed, and
    compiled at first call: other numbers of heads tensors, float16 (bfloat16's twin),
    single-element loads and sizes beyond 2^31.
    """
    for sample in _SAMPLES:
        for kernel in (*_BY_ROWS, *_BY_COLUMNS):
            yield variant(kernel, *sample, drops=True)
            if sample[0] == 40 and "seed" in kernel.arg_names:
                yield variant(kernel, *sample, drops=False)
    for short in _TYPES.values():
        signature = {name: _type(name, "fp32") for name in sum_parts.arg_names}
        signature |= {f"total{i}": f"*{short}" for i in range(1, 5)} | {"BLOCK": "constexpr"}
        fixed = {"BLOCK": _SUMMED}
        yield Variant(f"sum_parts {short}", sum_parts, signature, fixed, {"num_warps": 4})


def variant(
    kernel: Any,
    dim: int,
    dtype: torch.dtype,
    precision: str,
    drops: bool,
    tiles: Tiles | None = None,
) -> Variant:
    """One of them, in its own tiles or others."""
    constants = _constants(dim, dtype, precision)
    tiles = tiles or _PLANS[dtype.itemsize, constants["BLOCK_D"]].of(kernel)
    fixed: dict[str, Any] = {**constants, "BLOCK_R": tiles.BLOCK_R, "BLOCK_C": tiles.BLOCK_C}
    fixed |= {"ADDS": False, "part3": None} | ({} if drops else dict.fromkeys(_SEEDS))
    fixed = {name: value for name, value in fixed.items() if name in kernel.arg_names}
    signature = {
        name: "constexpr" if name in fixed else _type(name, _TYPES[dtype])
        for name in kernel.arg_names
    }
    name = f"{kernel.__name__} {dim} {_TYPES[dtype]} {precision}" + " dropout" * drops
    return Variant(name, kernel, signature, fixed, _options(tiles))


def _type(argument: str, short: str) -> str:
    if argument in INTEGERS:
        return "i32"
    if argument in _FLOATS:
        return "fp32"
    if argument == "sums":
        return "*fp32"
    return "*i64" if argument in _SEEDS else f"*{short}"


def _options(tiles: Tiles) -> dict[str, int]:
    return {"num_warps": tiles.warps, "num_stages": tiles.stages}
