"""The sublayer ops on a GPU, forward and backward, against eager PyTorch and its compiler.

    pytest benchmarks/bench_sublayer_gpu.py --benchmark-only

`rows()` is what tools/gpu_check.sh calls. Ours is `impl="triton"`; "eager" has all S layers in one
`baddbmm` a product, "compiled" is torch.compile of it, both with `F.dropout`. p = 0.1 wherever an
op has dropout. Times are medians in ms between CUDA events around calls that follow each other, all
contenders in turn, as called and replayed from a CUDA graph. The floor is the larger of two: what
must move (inputs read twice, outputs and gradients written once, the gradients that come in read
once) over the rate of a large copy, and 6 flops a weight and row over that of a large product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from statistics import median
from typing import Any

import pytest
import torch
from _measure import digits, table
from _measure_gpu import captured, copy_rate, milliseconds, product_rate
from bench_sublayer import OPS, SHAPES, P, stacked, tensors
from torch import Tensor
from torch.nn import functional as F

from clmer.ops import feed_forward, merge_heads, project_heads

TITLE = "sublayers on a GPU, forward + backward: ms, median"
DTYPES = (torch.float32, torch.bfloat16)
#: Of bench_sublayer: CLMER's pairs in both presets, its self-attention layers.
SIZES = SHAPES[:3]
Forms = dict[str, Callable[..., Any]]


def forms(name: str, heads: int) -> Forms:
    """Ours first."""
    ours: Forms = {
        "project_heads": lambda *t: project_heads(*t, heads, impl="triton"),
        "merge_heads": partial(merge_heads, dropout_p=P, impl="triton"),
        "feed_forward": partial(feed_forward, hidden_dropout_p=P, dropout_p=P, impl="triton"),
    }
    eager = partial(OPS[name].other, stacked, F.dropout, P, heads)
    compiled = torch.compile(eager, dynamic=False, fullgraph=True)
    return {"ours": ours[name], "eager": eager, "compiled": compiled}


def floor(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], copied: float, multiplied: float
) -> tuple[float, str]:
    """The least ms of a forward and a backward, and what sets it.

    Args:
        inputs: rows [S, B, ...] and, behind them, weights [S, ...]; of three dimensions.
        outputs: of the op.
        copied: bytes a second.
        multiplied: flops a second.
    """
    size = inputs[0].element_size()
    moved = size * (3 * sum(t.numel() for t in inputs) + 2 * sum(t.numel() for t in outputs))
    layers, batch, length, _ = inputs[0].shape
    per_row = sum(t.shape[1] * t.shape[2] for t in inputs if t.dim() == 3 and t.shape[1] > 1)
    times = {"bytes": moved / copied, "flops": 6 * layers * batch * length * per_row / multiplied}
    kind = max(times, key=lambda each: times[each])
    return 1e3 * times[kind], kind


def measured(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Any]:
    """One op at one size: times as called and captured, and the floor."""
    torch._dynamo.reset()
    drawn, _ = tensors(name, shape)
    inputs = [t.detach().to("cuda", dtype).requires_grad_() for t in drawn]
    runs: dict[str, Callable[[], object]] = {}
    for which, form in forms(name, shape[4]).items():
        outs = form(*inputs)
        outs = (outs,) if isinstance(outs, Tensor) else tuple(outs)
        grads = [torch.randn_like(out) for out in outs]
        runs[which] = lambda form=form, grads=grads: torch.autograd.grad(
            form(*inputs), inputs, grads
        )
        runs[which]()
    runs |= {f"{which} graph": captured(run) for which, run in runs.items()}
    times: dict[str, list[float]] = {which: [] for which in runs}
    for _ in range(11):
        for which, run in runs.items():
            times[which].append(milliseconds(run))
    least, kind = floor(inputs, outs, copy_rate(), product_rate(dtype))
    return {
        "op": name,
        "shape": list(shape),
        "dtype": str(dtype).removeprefix("torch."),
        "median_ms": {which: median(each) for which, each in times.items()},
        "floor_ms": least,
        "floor_kind": kind,
    }


def report_row(row: dict[str, Any], graphs: bool) -> dict[str, Any]:
    """A row of `measured` in the schema of tools/gpu_report.py."""
    ending = " graph"
    medians = {
        name.removesuffix(ending): each
        for name, each in row["median_ms"].items()
        if name.endswith(ending) == graphs
    }
    ours = medians.pop("ours")
    sizes = "S {}, B {}, L {}, d {}, h {}, H {}".format(*row["shape"])
    return {
        "op": row["op"],
        "case": f"{sizes}, {'captured' if graphs else 'called'}",
        "dtype": row["dtype"],
        "ours_ms": ours,
        "contenders": medians,
        "floor_ms": row["floor_ms"],
        "floor_kind": row["floor_kind"],
        "ratio": min(medians.values()) / ours,
        "extra": row,
    }


def rows() -> Iterator[dict[str, Any]]:
    """Every op, size and dtype, for tools/gpu_check.sh."""
    for dtype, size, name in product(DTYPES, SIZES, OPS):
        row = measured(name, size, dtype)
        yield from (report_row(row, graphs) for graphs in (True, False))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SIZES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("name", OPS)
def test_speed(benchmark, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    row = benchmark.pedantic(measured, (name, shape, dtype), rounds=1)
    for graphs in (False, True):
        found = report_row(row, graphs)
        others = {each: digits(ms) for each, ms in found["contenders"].items()}
        table(TITLE).rows.append(
            {"op": name, "case": found["case"], "dtype": found["dtype"]}
            | {"ours": digits(found["ours_ms"]), **others, "ratio": digits(found["ratio"])}
            | {"floor": f"{found['floor_ms']:.4f} ({found['floor_kind']})"}
        )
    benchmark.extra_info |= row
