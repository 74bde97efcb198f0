"""`cross_attention` against SDPA and the strongest eager form, float32 on the CPU.

    pytest benchmarks/bench_attention.py --benchmark-only -s

A row gives median and minimum of each; the ratio compares minima with the faster of SDPA and eager.
The rate is of the 4 (forward) or 14 (both) Lq Lk D flops a head that recomputation needs.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from _measure import compare
from torch import Tensor
from torch.nn import functional as F

from clmer.ops.attention import cross_attention

# (heads, Lq, Lk, D): DEAP's fusion step first, a long one last.
SHAPES = [
    (1920, 50, 50, 8),
    (1536, 20, 20, 8),
    (1536, 50, 50, 16),
    (3072, 40, 40, 16),
    (1536, 60, 60, 32),
    (1920, 70, 70, 8),
    (1536, 40, 3, 16),
    (1536, 5, 70, 8),
    (16, 1024, 1024, 64),
]


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    return torch.bmm(torch.softmax(scores, -1), v)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_attention": cross_attention,
    "SDPA": sdpa,
    "eager": eager,
}


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_speed(benchmark, shape: tuple[int, int, int, int], backward: bool) -> None:
    heads, rows, keys, dim = shape
    torch.manual_seed(0)
    q, k, v = (torch.randn(heads, n, dim, requires_grad=True) for n in (rows, keys, keys))
    grad = torch.randn(heads, rows, dim)

    def step(form: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        with torch.set_grad_enabled(backward):
            out = form(q, k, v)
        if backward:
            torch.autograd.grad(out, (q, k, v), grad)

    runs = {name: lambda form=form: step(form) for name, form in FORMS.items()}
    result = benchmark.pedantic(compare, (runs,), rounds=1)
    flops = (14 if backward else 4) * heads * rows * keys * dim
    passes = "both" if backward else "forward"
    print(result.line(f"{heads} heads, {rows} x {keys}, D {dim}, {passes}", flops))
    benchmark.extra_info |= result.extra(flops)
