"""`cross_attention` on a GPU: six pairs of short heads against SDPA, torch.compile, FlexAttention.

    pytest benchmarks/bench_attention_gpu.py --benchmark-only

Skipped without a GPU. A run is forward and backward, timed by CUDA events, all contenders in turn;
cells are median/minimum in ms. Ours are "triton" and "cuda". All run as they are called, which at
these sizes is the CPU's time, and replayed from a CUDA graph, which is the kernels'; a ratio is the
fastest other one's to the faster of ours, either way. "empty" is an autograd.Function that computes
nothing: the least that a call through Python can take. The floor is what must move (Q, K, V
read twice, dO read, O, dQ, dK, dV written) over the bandwidth of a large copy, measured beside it.
A backend of SDPA that refuses a shape is named with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from statistics import median
from typing import Any

import pytest
import torch
from _measure import digits, table
from _measure_gpu import captured, copy_rate, milliseconds
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from clmer.ops.attention.op import cross_attention

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


class Empty(torch.autograd.Function):
    """What any operation written in Python takes."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return q.view_as(q)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return grad, grad, grad


# --- time ---------------------------------------------------------------------------------------
def interleaved(runs: dict[str, Callable[[], object]], rounds: int = 15) -> dict[str, list[float]]:
    for run in runs.values():
        milliseconds(run)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(milliseconds(run))
    return times


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
    graphs = {f"{name} graph": captured(run) for name, run in runs.items()}
    empty = lambda: torch.autograd.grad(Empty.apply(*qkv), qkv, grad)  # noqa: E731
    times = interleaved({**runs, "empty": empty, **graphs})
    # Forward: Q, K, V, O. Backward: Q, K, V, dO, dQ, dK, dV.
    floor = 11 * grad.numel() * grad.element_size() / (copy_rate() / 1e3)
    return {
        "device": torch.cuda.get_device_name(),
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "medians_ms": {name: median(each) for name, each in times.items()},
        "minima_ms": {name: min(each) for name, each in times.items()},
        "floor_ms": floor,
        "refused": refused,
    }


def report_row(row: dict[str, Any], graphs: bool) -> dict[str, Any]:
    """A row of `measure` in the schema of tools/gpu_report.py; ours is the faster form's."""
    length, ending = row["shape"][-2], " graph"
    medians = {
        name.removesuffix(ending): each
        for name, each in row["medians_ms"].items()
        if name.endswith(ending) == graphs and name != "empty"
    }
    ours = min(medians[impl] for impl in OURS)
    theirs = {name: each for name, each in medians.items() if name not in OURS}
    how = "captured" if graphs else "called"
    return {
        "op": "attention",
        "case": f"{PAIRS} x {BATCH} x {HEADS} heads, {length} x {length}, {DIM}, {how}",
        "dtype": row["dtype"],
        "ours_ms": ours,
        "contenders": theirs,
        "floor_ms": row["floor_ms"],
        "floor_kind": "bytes",
        "ratio": min(theirs.values()) / ours,
        "extra": row,
    }


def rows() -> Iterator[dict[str, Any]]:
    """Every shape and dtype, for tools/gpu_check.sh."""
    for dtype, length in product(DTYPES, LENGTHS):
        row = measure(length, dtype)
        yield from (report_row(row, graphs) for graphs in (False, True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_speed(benchmark, length: int, dtype: torch.dtype) -> None:
    row = benchmark.pedantic(measure, (length, dtype), rounds=1)
    medians, minima = row["medians_ms"], row["minima_ms"]
    called, replayed = (report_row(row, graphs) for graphs in (False, True))
    table(TITLE).rows.append(
        {
            "L, dtype": f"{length}, {row['dtype']}",
            **{name: f"{digits(medians[name])}/{digits(minima[name])}" for name in medians},
            **dict.fromkeys(row["refused"], "refused"),
            "ratio": digits(called["ratio"]),
            "graph ratio": digits(replayed["ratio"]),
            "floor": f"{row['floor_ms']:.4f}",
            "graph / floor": digits(replayed["ours_ms"] / row["floor_ms"]),
        }
    )
    benchmark.extra_info |= row
