"""`nt_xent` against the strongest eager forms, forward and backward, float32 on the CPU.

    pytest benchmarks/bench_ntxent.py --benchmark-only -s

All contenders run in turn, round after round, in one process; a row gives median and minimum. The
ratio compares minima with the fastest eager form. The rate is of the 4 M^2 D flops that the
symmetric form needs (M = 2N), beside a large matrix product's in the same minute; where that one
drifts by more than 15 % between start and end the row is void.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clmer.ops.ntxent import nt_xent, nt_xent_reference

ROUNDS = 7
TAU = 0.2


def scaled_rows(a: Tensor, b: Tensor) -> Tensor:
    """Unit rows with 1 / tau folded into both factors, so that s is a bare product."""
    return F.normalize(torch.cat((a, b)), dim=-1) * TAU**-0.5


def exp_sum(a: Tensor, b: Tensor) -> Tensor:
    """No maximum is subtracted: right for tau = 0.2, overflows at 0.01."""
    z = scaled_rows(a, b)
    n = a.shape[0]
    positive = (z[:n] * z[n:]).sum(-1)
    total = (z @ z.T).exp().sum(-1) - (z * z).sum(-1).exp()
    return total.log().mean() - positive.mean()


def cross_entropy(a: Tensor, b: Tensor) -> Tensor:
    z = scaled_rows(a, b)
    n = a.shape[0]
    s = (z @ z.T).fill_diagonal_(-math.inf)
    return F.cross_entropy(s, torch.arange(2 * n).roll(n))


FORMS = {
    "nt_xent": lambda a, b: nt_xent(a, b, TAU),
    "exp-sum": exp_sum,
    "cross-entropy": cross_entropy,
    "reference": lambda a, b: nt_xent_reference(a, b, TAU),
}


def milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def product_rate() -> float:
    """GF/s of a 1024-cubed float32 product: the best of nine."""
    x = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(milliseconds(lambda: x @ x) for _ in range(9)) / 1e6


def interleaved(a: Tensor, b: Tensor, backward: bool) -> dict[str, list[float]]:
    def step(form: Callable[[Tensor, Tensor], Tensor]) -> None:
        a.grad = b.grad = None
        with torch.set_grad_enabled(backward):
            loss = form(a, b)
        if backward:
            loss.backward()

    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for turn in range(ROUNDS + 1):
        for name, form in FORMS.items():
            took = milliseconds(lambda form=form: step(form))  # type: ignore[misc]
            if turn:
                times[name].append(took)
    return times


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize("dim", [32, 128])
@pytest.mark.parametrize("n", [64, 256, 1024])
def test_speed(benchmark, n: int, dim: int, backward: bool) -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(n, dim, requires_grad=True) for _ in range(2))
    before = product_rate()
    times = benchmark.pedantic(interleaved, (a, b, backward), rounds=1)
    after = product_rate()
    drift = abs(after / before - 1)
    best = {name: min(each) for name, each in times.items()}
    ratio = min(t for name, t in best.items() if name != "nt_xent") / best["nt_xent"]
    rate = (4 if backward else 1) * (2 * n) ** 2 * dim / best["nt_xent"] / 1e6
    columns = ", ".join(f"{k} {median(v):.2f}/{best[k]:.2f}" for k, v in times.items())
    passes = "both" if backward else "forward"
    void = f"  VOID: the product's rate drifted by {drift:.0%}" if drift > 0.15 else ""
    print(
        f"\nN {n} D {dim} {passes}, ms median/min: {columns}; "
        f"{ratio:.2f}x; {rate:.0f} of {min(before, after):.0f} GF/s{void}"
    )
    benchmark.extra_info |= {"ratio": ratio, "gflops": rate, "drift": drift, "minima_ms": best}
