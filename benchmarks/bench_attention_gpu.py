"""`cross_attention` on a GPU: six pairs of short heads against SDPA, torch.compile, FlexAttention.

    pytest benchmarks/bench_attention_gpu.py --benchmark-only

Skipped without a GPU. A run is forward and backward, timed by CUDA events, all contenders in turn;
cells are median/minimum in ms. Ours are "triton" and "cuda", each also replayed from a CUDA graph;
the ratio is the fastest other one's to the faster of ours. The floor is what must move (Q, K, V
read twice, dO read, O, dQ, dK, dV written) over the bandwidth of a large copy, measured beside it.
A backend of SDPA that refuses a shape is named with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import pytest
import torch
from _measure import digits, table
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from clmer.ops.attention import cross_attention

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

PAIRS, BATCH, HEADS, DIM = 6, 64, 4, 16
LENGTHS = (40, 50, 64)
DTYPES = (torch.bfloat16, torch.float32)
BACKENDS = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH")
OURS = ("triton", "cuda")
TITLE = "cross_attention on a GPU, forward + backward: ms median/minimum"
Form = Callable[[Tensor, Tensor, Tensor], Tensor]


# --- contenders: q, k, v [pairs, batch, heads, L, D] --------------------------------------------
def six_calls(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    pairs = zip(q.unbind(), k.unbind(), v.unbind(), strict=True)
    return torch.stack([F.scaled_dot_product_attention(*pair) for pair in pairs])


def batched(form: Callable[..., Tensor]) -> Form:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return form(*(t.flatten(0, 1) for t in (q, k, v))).unflatten(0, (PAIRS, BATCH))

    return call


def backend(name: str) -> Form:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(getattr(SDPBackend, name)):
            return batched(F.scaled_dot_product_attention)(q, k, v)

    return call


def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q * q.shape[-1] ** -0.5 @ k.mT, -1) @ v


def contenders() -> dict[str, Form]:
    """Ours first."""
    torch._dynamo.reset()
    return {
        **{impl: partial(cross_attention, impl=impl) for impl in OURS},
        "six SDPA calls": six_calls,
        **{f"SDPA {name.split('_')[0].lower()}": backend(name) for name in BACKENDS},
        "compiled": torch.compile(eager, dynamic=False, fullgraph=True),
        "FlexAttention": batched(torch.compile(flex_attention, dynamic=False)),
    }


# --- time ---------------------------------------------------------------------------------------
def milliseconds(run: Callable[[], object], calls: int = 20) -> float:
    """Of one call, between two events around many."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def interleaved(runs: dict[str, Callable[[], object]], rounds: int = 15) -> dict[str, list[float]]:
    for run in runs.values():
        milliseconds(run)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(milliseconds(run))
    return times


def copy_bandwidth() -> float:
    """Bytes a millisecond, read and written, of a copy of 256 MiB."""
    source = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    least = min(milliseconds(lambda: target.copy_(source)) for _ in range(9))
    return 2 * source.numel() / least


def captured(run: Callable[[], object]) -> Callable[[], None]:
    """A replay of it, which holds what it was captured with."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measure(length: int, dtype: torch.dtype) -> dict[str, Any]:
    """One row: times in ms, the floor, and why a contender did not run."""
    torch.manual_seed(0)
    shape = (PAIRS, BATCH, HEADS, length, DIM)
    qkv = tuple(torch.randn(shape, device="cuda", dtype=dtype).requires_grad_() for _ in range(3))
    grad = torch.randn(shape, device="cuda", dtype=dtype)
    wanted = torch.autograd.grad(eager(*qkv), qkv, grad)
    runs: dict[str, Callable[[], object]] = {}
    refused: dict[str, str] = {}
    for name, form in contenders().items():
        run = lambda form=form: torch.autograd.grad(form(*qkv), qkv, grad)  # noqa: E731
        try:
            found = run()
        except RuntimeError as error:  # a backend of SDPA that does not take the shape or dtype
            if name in OURS:
                raise
            refused[name] = str(error).splitlines()[0]
            continue
        tolerance = 5e-2 if dtype == torch.bfloat16 else 1e-3
        for each, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(each, other, rtol=tolerance, atol=tolerance, msg=name)
        runs[name] = run
    times = interleaved({**runs, **{f"{name} graph": captured(run) for name, run in runs.items()}})
    # Forward: Q, K, V, O. Backward: Q, K, V, dO, dQ, dK, dV.
    floor = 11 * grad.numel() * grad.element_size() / copy_bandwidth()
    return {
        "device": torch.cuda.get_device_name(),
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "medians_ms": {name: median(each) for name, each in times.items()},
        "minima_ms": {name: min(each) for name, each in times.items()},
        "floor_ms": floor,
        "refused": refused,
    }


def report_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `measure` in the schema of tools/gpu_report.py; ours is the faster form's."""
    medians, length = row["medians_ms"], row["shape"][-2]
    ours = min(medians[impl] for impl in OURS)
    theirs = {name: each for name, each in medians.items() if name.split()[0] not in OURS}
    return {
        "op": "attention",
        "case": f"{PAIRS} x {BATCH} x {HEADS} heads, {length} x {length}, {DIM}, both passes",
        "dtype": row["dtype"],
        "ours_ms": ours,
        "contenders": theirs,
        "floor_ms": row["floor_ms"],
        "floor_kind": "bytes",
        "ratio": min(theirs.values()) / ours,
        "extra": row,
    }


def rows() -> list[dict[str, Any]]:
    """Every shape and dtype, for tools/gpu_check.sh."""
    return [report_row(measure(length, dtype)) for dtype in DTYPES for length in LENGTHS]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_speed(benchmark, length: int, dtype: torch.dtype) -> None:
    row = benchmark.pedantic(measure, (length, dtype), rounds=1)
    medians, minima, report = row["medians_ms"], row["minima_ms"], report_row(row)
    graph = min(medians[f"{impl} graph"] for impl in OURS)
    table(TITLE).rows.append(
        {
            "L, dtype": f"{length}, {row['dtype']}",
            **{name: f"{digits(medians[name])}/{digits(minima[name])}" for name in medians},
            **dict.fromkeys(row["refused"], "refused"),
            "ratio": digits(report["ratio"]),
            "floor": f"{row['floor_ms']:.4f}",
            "graph / floor": digits(graph / row["floor_ms"]),
        }
    )
    benchmark.extra_info |= row
