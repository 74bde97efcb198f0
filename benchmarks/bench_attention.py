"""`cross_attention` against SDPA, eager forms and torch.compile of one, float32 on the CPU.

    pytest benchmarks/bench_attention.py --benchmark-only

Times are median/minimum in ms. SDPA has heads in the batch dimension, which its backward prefers.
"eager" is the fastest of four forms a row: bmm (scale folded into q), baddbmm (scale inside the
product), in place (baddbmm, softmax and its gradient written over their input, backward by hand)
and exp (softmax from its parts, for very short rows); "compiled" is torch.compile of bmm. The
ratio is the fastest of all others over ours, by medians, with that of the minima in brackets.
GF/s are ours, at the 4 (forward), 10 (backward) or 14 (both) Lq Lk D flops a head that
recomputation needs. Extra MiB is what the resident set grows by at its peak, results and native
scratch included, for ours / SDPA / that eager form / compiled.
"""

from __future__ import annotations

import math

import pytest
import torch
from _measure import Comparison, Table, compare, compare_passes, table
from _passes import Form, agree, compiled, fastest_cell, memory_cell, passes
from torch import Tensor
from torch.nn import functional as F

from clmer._native import _C
from clmer.ops.attention.op import cross_attention

# (heads, Lq, Lk, D)
SHORT = [
    (1536, 50, 50, 16),
    (3072, 40, 40, 16),
    (1536, 60, 60, 32),
    (1920, 70, 70, 8),
    (1536, 40, 3, 16),
    (1536, 5, 70, 8),
]
LONG = (64, 1024, 1024, 64)
FUSION = [(1920, 50, 50, 8), (1536, 20, 20, 8)]  # CLMER's own, presets paper and cpu
TINY = (1, 5, 5, 8)
FLOPS = {"forward": 4, "backward": 10, "both": 14}
TITLE = "cross_attention, float32: ms median/minimum"
COMPARISONS: dict[tuple[tuple[int, ...], str], Comparison] = {}


# --- contenders: q [heads, Lq, D], k and v [heads, Lk, D] -----------------------------------------
def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


def bmm(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    return torch.bmm(torch.softmax(scores, -1), v)


def scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def baddbmm(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = scaled_bmm(q, k.transpose(1, 2), q.shape[-1] ** -0.5)
    return torch.bmm(torch.softmax(scores, -1), v)


def exp(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    p = (scores - scores.detach().amax(-1, keepdim=True)).exp()
    return torch.bmm(p, v) / p.sum(-1, keepdim=True)


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        p = scaled_bmm(q, k.transpose(1, 2), q.shape[-1] ** -0.5)
        torch.softmax(p, -1, out=p)
        ctx.save_for_backward(q, k, v, p)
        return torch.bmm(p, v)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, p = ctx.saved_tensors
        ds = torch.bmm(grad, v.transpose(1, 2))
        dv = torch.bmm(p.transpose(1, 2), grad)
        torch.ops.aten._softmax_backward_data.out(ds, p, -1, ds.dtype, grad_input=ds)
        scale = q.shape[-1] ** -0.5
        return scaled_bmm(ds, k, scale), scaled_bmm(ds.transpose(1, 2), q, scale), dv


EAGER: dict[str, Form] = {
    "bmm": bmm,
    "baddbmm": baddbmm,
    "in place": InPlace.apply,
    "exp": exp,
}


def contenders() -> dict[str, Form]:
    """Ours first."""
    return {"ours": cross_attention, "SDPA": sdpa} | EAGER | compiled(bmm)


# --- one shape ----------------------------------------------------------------------------------
def tensors(shape: tuple[int, int, int, int]) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    heads, rows, keys, dim = shape
    torch.manual_seed(0)
    q, k, v = (torch.randn(heads, n, dim, requires_grad=True) for n in (rows, keys, keys))
    return (q, k, v), torch.randn(heads, rows, dim)


@pytest.mark.parametrize("shape", [*SHORT, LONG, *FUSION], ids=lambda s: "x".join(map(str, s)))
def test_speed(benchmark, shape: tuple[int, int, int, int]) -> None:
    heads, rows, keys, dim = shape
    qkv, grad = tensors(shape)
    forms = contenders()
    agree(forms, bmm, qkv, grad)
    runs = {name: lambda form=form: passes(form, qkv, grad) for name, form in forms.items()}
    least = 5 if shape == LONG else 15
    results = benchmark.pedantic(compare_passes, (runs, least), rounds=1)
    for which, result in results.items():
        COMPARISONS[shape, which] = result
        flops = FLOPS[which] * heads * rows * keys * dim
        name, eager = fastest_cell(result, [*EAGER])
        shown = [forms[each] for each in ("ours", "SDPA", name, "compiled") if each in forms]
        own_table().rows.append(
            {
                "heads, Lq x Lk, D": f"{heads}, {rows} x {keys}, {dim}",
                "pass": which,
                "ours": result.cell("ours"),
                "SDPA": result.cell("SDPA"),
                "eager": eager,
                "compiled": result.cell("compiled") if "compiled" in forms else "no C++ compiler",
                "ratio": result.ratio_cell(),
                **result.rate_cells(flops),
                "extra MiB": memory_cell(which, shown, qkv, grad),
            }
        )
        benchmark.extra_info[which] = result.extra(gflops=result.rate(flops))


@pytest.mark.parametrize("which", ["forward", "both"])
def test_overhead(benchmark, which: str) -> None:
    """A problem of no size: what a call costs, in us, with and without torch's exchange API."""
    qkv, grad = tensors(TINY)
    forms = contenders()
    calls = 200

    def many(form: Form) -> None:
        with torch.set_grad_enabled(which == "both"):
            for _ in range(calls):
                out = form(*qkv)
                if which == "both":
                    torch.autograd.grad(out, qkv, grad)

    def without_exchange() -> None:
        _C.set_exchange_api(None)
        try:
            many(cross_attention)
        finally:
            _C.set_exchange_api(exchange)

    exchange = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    runs = {name: lambda form=form: many(form) for name, form in forms.items()}
    result = benchmark.pedantic(compare, (runs, 15), rounds=1)
    slow = compare({"ours": without_exchange, "SDPA": runs["SDPA"]}, 15)
    unit = 1e3 / calls
    for each, label in ((result, "us a call"), (slow, "us, no exchange API")):
        own_table().rows.append(
            {
                "heads, Lq x Lk, D": f"1, 5 x 5, 8: {label}",
                "pass": which,
                "ours": each.cell("ours", unit),
                "SDPA": each.cell("SDPA", unit),
                "eager": fastest_cell(each, [*EAGER], unit)[1] if each is result else "",
                "compiled": each.cell("compiled", unit) if "compiled" in each.times else "",
                "ratio": each.ratio_cell(),
            }
        )
    benchmark.extra_info |= result.extra(calls=calls, without_exchange_ms=slow.medians["ours"])


def own_table() -> Table:
    own = table(TITLE)
    own.summary = summary
    return own


def summary() -> list[str]:
    """Geometric means over the six short shapes, against all others and without the compiler."""
    lines = [""]
    for which in FLOPS:
        found = [COMPARISONS[s, which] for s in SHORT if (s, which) in COMPARISONS]
        if len(found) < len(SHORT):
            return [*lines, "No geometric mean: not all six short shapes ran."]
        eager = [name for name in found[0].medians if name not in ("ours", "compiled")]
        fields = {
            "all others": [*eager, "compiled"],
            "SDPA and four eager forms": eager,
            "SDPA and bmm": ["SDPA", "bmm"],
        }
        for field, names in fields.items():
            ratios = [
                min(each.medians[name] for name in names) / each.medians["ours"] for each in found
            ]
            lines.append(
                f"six short shapes, {which}: {geometric_mean(ratios):.2f}x the fastest of {field} "
                f"(least {min(ratios):.2f})"
            )
    return [*lines, "", *(__doc__ or "").strip().splitlines()[4:]]


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
