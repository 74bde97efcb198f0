"""`nt_xent(impl="triton")` on a GPU, forward and backward, against eager PyTorch and its compiler.

    pytest benchmarks/bench_ntxent_gpu.py --benchmark-only
    python benchmarks/bench_ntxent_gpu.py            # rows as JSON

Times are medians in ms between CUDA events, all contenders in turn. The floor is 4 M^2 D flops over
the rate of a large matrix product measured before and after. Extra MiB: peak of allocated memory
above what was there. "graph" is the same replayed from a CUDA graph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest
import torch
from _measure_gpu import captured, milliseconds, product_rate
from bench_ntxent import exp_sum as eager
from torch import Tensor

from clmer.ops.ntxent.op import nt_xent

TAU = 0.2
#: (G, N, D), dtype, whether S fits beside it so that eager PyTorch can run.
CASES = [
    ((1, 32768, 768), torch.bfloat16, False),
    ((3, 128, 128), torch.float32, True),
    ((3, 128, 128), torch.bfloat16, True),
]


def ours(a: Tensor, b: Tensor) -> Tensor:
    return nt_xent(a, b, TAU, impl="triton")


def measured(shape: tuple[int, int, int], dtype: torch.dtype, fits: bool) -> dict[str, Any]:
    """One row: medians, extra memory, floor, ratios."""
    groups, n, dim = shape
    torch.manual_seed(0)
    a, b = (torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True) for _ in range(2))

    def step(form: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(form(a, b).sum(), (a, b))

    runs = {"ours": step(ours)}
    if fits:
        runs |= {"eager": step(eager), "compiled": step(torch.compile(eager, dynamic=False))}
    for run in runs.values():
        run()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    runs["ours"]()
    extra = (torch.cuda.max_memory_allocated() - before) / 2**20
    runs |= {f"{name} graph": captured(run) for name, run in runs.items()}
    rate, calls = product_rate(dtype), 20 if fits else 1
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(15 if fits else 11):
        for name, run in runs.items():
            times[name].append(milliseconds(run, calls))
    rates = rate, product_rate(dtype)
    medians = {name: median(each) for name, each in times.items()}
    floor = 4 * groups * (2 * n) ** 2 * dim / max(rates) * 1e3
    return {
        "op": "nt_xent",
        "shape": list(shape),
        "dtype": str(dtype),
        "pass": "forward + backward",
        "median_ms": medians,
        "extra_mib": extra,
        "matrix_tflops": [each / 1e12 for each in rates],
        "floor_ms": floor,
        "of_floor": medians["ours graph"] / floor,
    }


def report_row(row: dict[str, Any], graphs: bool) -> dict[str, Any]:
    """A row of `measured` in the schema of tools/gpu_report.py."""
    groups, n, dim = row["shape"]
    medians = {
        name.removesuffix(" graph"): each
        for name, each in row["median_ms"].items()
        if name.endswith(" graph") == graphs
    }
    others = {name: each for name, each in medians.items() if name != "ours"}
    how = "captured" if graphs else "called"
    return {
        "op": row["op"],
        "case": f"{groups} x {2 * n} rows of {dim}, {row['pass']}, {how}",
        "dtype": row["dtype"].removeprefix("torch."),
        "ours_ms": medians["ours"],
        "contenders": others,
        "floor_ms": row["floor_ms"],
        "floor_kind": "flops",
        "ratio": min(others.values()) / medians["ours"] if others else None,
        "extra": row,
    }


def rows() -> Iterator[dict[str, Any]]:
    """All cases, for tools/gpu_check.sh."""
    for case in CASES:
        row = measured(*case)
        yield from (report_row(row, graphs) for graphs in (False, True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, c[0])) + str(c[1])[5:])
def test_speed(benchmark, case) -> None:
    benchmark.extra_info |= benchmark.pedantic(measured, case, rounds=1)


if __name__ == "__main__":
    print(json.dumps([*rows()], indent=1))
