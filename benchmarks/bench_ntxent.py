"""`nt_xent` against the strongest eager forms, forward and backward, float32 on the CPU.

    pytest benchmarks/bench_ntxent.py --benchmark-only

Times are median/minimum in ms; the ratio is the fastest eager form over ours, by medians, with that
of the minima in brackets. GF/s are ours, at the M^2 D (forward) or 4 M^2 D (both) flops that the
symmetric form needs (M = 2N).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from _measure import compare, table
from torch import Tensor
from torch.nn import functional as F

from clmer.ops.ntxent import nt_xent, nt_xent_reference

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


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize("dim", [32, 128])
@pytest.mark.parametrize("n", [64, 256, 1024])
def test_speed(benchmark, n: int, dim: int, backward: bool) -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(n, dim, requires_grad=True) for _ in range(2))

    def step(form: Callable[[Tensor, Tensor], Tensor]) -> None:
        a.grad = b.grad = None
        with torch.set_grad_enabled(backward):
            loss = form(a, b)
        if backward:
            loss.backward()

    runs = {name: lambda form=form: step(form) for name, form in FORMS.items()}
    result = benchmark.pedantic(compare, (runs,), rounds=1)
    flops = (4 if backward else 1) * (2 * n) ** 2 * dim
    table("nt_xent, float32: ms median/minimum").rows.append(
        {
            "N, D": f"{n}, {dim}",
            "pass": "both" if backward else "forward",
            **{name: result.cell(name) for name in FORMS},
            "ratio": result.ratio_cell(),
            **result.rate_cells(flops),
        }
    )
    benchmark.extra_info |= result.extra(gflops=result.rate(flops))
