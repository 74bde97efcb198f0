"""What a small call costs, and where: attention and NT-Xent as called, float32.

    OMP_NUM_THREADS=1 pytest benchmarks/bench_calls.py --benchmark-only

Minima over rounds, all calls in turn, in us. "ours" is the public function, without gradients and
with both passes; SDPA and an eager form stand beside it. Of ours, "kernel" is the native call less
that of an empty batch; "tensors" is the latter: DLPack views, results, the interpreter's lock;
"Function" a `torch.autograd.Function` of these inputs that does nothing, and `torch.autograd.grad`
through it; "Python" the rest: checks, dispatch, and what our Function does besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from _measure import digits, table
from torch import Tensor
from torch.nn import functional as F

from clmer._native import _C
from clmer.ops.attention.op import cross_attention
from clmer.ops.ntxent.op import nt_xent

ATTENTION = (8, 4, 15, 16)  # B, H, L, D
NT_XENT = (3, 128, 128)  # G, N, D
TAU = 0.2
ROUNDS, CALLS = 25, 100
TITLE = "a small call, float32: us"
Call = Callable[[], object]
Form = Callable[..., Tensor]


def minima(calls: Mapping[str, Call]) -> dict[str, float]:
    """Microseconds of each: its best round, all in turn."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            best[name] = min(best[name], 1e6 * (time.perf_counter() - start) / CALLS)
    return best


# --- attention ------------------------------------------------------------------------------------
def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v


def native_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Call, Call]:
    terms: tuple[Any, ...] = (None, None, None, None, 0.0, q.shape[-1] ** -0.5, False)
    out, lse = _C.attention_forward(q, k, v, *terms, True, None, None, 1)
    results = (None, None, None, None, 1)
    return (
        lambda: _C.attention_forward(q, k, v, *terms, False, None, None, 1),
        lambda: _C.attention_backward(out, q, k, v, out, lse, *terms, *results),
    )


# --- nt_xent --------------------------------------------------------------------------------------
def loss(a: Tensor, b: Tensor) -> Tensor:
    return nt_xent(a, b, TAU)


def eager_loss(a: Tensor, b: Tensor) -> Tensor:
    z = F.normalize(torch.cat((a, b), -2), dim=-1) * TAU**-0.5
    total = torch.bmm(z, z.mT).exp().sum(-1) - (z * z).sum(-1).exp()
    first, second = z.chunk(2, -2)
    return total.log().mean(-1) - (first * second).sum(-1).mean(-1)


def native_loss(a: Tensor, b: Tensor) -> tuple[Call, Call]:
    losses, stats = _C.nt_xent_forward(a, b, TAU, True, False, 1)
    return (
        lambda: _C.nt_xent_forward(a, b, TAU, True, False, 1),
        lambda: _C.nt_xent_backward(losses, a, b, TAU, stats, True, 1),
    )


# --- parts ----------------------------------------------------------------------------------------
def both(form: Form, inputs: list[Tensor], grad: Tensor) -> Call:
    return lambda: torch.autograd.grad(form(*inputs), inputs, grad)


def empty_function(inputs: list[Tensor], out: Tensor) -> Form:
    """A Function of these inputs whose results exist already."""
    grads = tuple(torch.zeros_like(t) for t in inputs)

    class Empty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor:
            ctx.save_for_backward(*tensors)
            return out.view_as(out)

        @staticmethod
        def backward(ctx: Any, _: Tensor) -> tuple[Tensor, ...]:
            assert len(ctx.saved_tensors) == len(grads)
            return grads

    return Empty.apply


def add_rows(
    what: str,
    forms: dict[str, Form],
    inputs: list[Tensor],
    native: Callable[..., tuple[Call, Call]],
) -> dict[str, dict[str, float]]:
    """Two rows: the forward without gradients, and both passes."""
    wanting = [t.clone().requires_grad_() for t in inputs]
    out = forms["ours"](*inputs)
    grad = torch.ones_like(out)
    names = ("forward", "backward")
    calls: dict[str, Call] = dict(zip(names, native(*inputs), strict=True))
    calls |= zip(("no forward", "no backward"), native(*(t[:0] for t in inputs)), strict=True)
    calls["Function"] = both(empty_function(wanting, out), wanting, grad)
    for name, form in forms.items():
        calls[f"{name}, forward"] = lambda form=form: form(*inputs)
        calls[f"{name}, both"] = both(form, wanting, grad)
    took = minima(calls)
    rows = {}
    for which, passes in (("forward", names[:1]), ("both", names)):
        row = {name: took[f"{name}, {which}"] for name in forms}
        row["tensors"] = sum(took[f"no {each}"] for each in passes)
        row["kernel"] = sum(took[each] for each in passes) - row["tensors"]
        row["Function"] = took["Function"] if which == "both" else 0.0
        row["Python"] = row["ours"] - row["kernel"] - row["tensors"] - row["Function"]
        order = ("ours", "kernel", "tensors", "Function", "Python", *list(forms)[1:])
        own = table(TITLE)
        own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[4:]]
        own.rows.append({"call": what, "pass": which} | {name: digits(row[name]) for name in order})
        rows[which] = row
    return rows


def test_attention(benchmark) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    forms = {"ours": cross_attention, "SDPA": F.scaled_dot_product_attention, "eager": eager}
    inputs = [torch.randn(ATTENTION) for _ in range(3)]
    run = ("cross_attention {} x {} x {} x {}".format(*ATTENTION), forms, inputs, native_attention)
    benchmark.extra_info |= benchmark.pedantic(add_rows, run, rounds=1)


def test_nt_xent(benchmark) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    forms = {"ours": loss, "eager": eager_loss}
    inputs = [torch.randn(NT_XENT) for _ in range(2)]
    run = ("nt_xent {} x {} x {}".format(*NT_XENT), forms, inputs, native_loss)
    benchmark.extra_info |= benchmark.pedantic(add_rows, run, rounds=1)
