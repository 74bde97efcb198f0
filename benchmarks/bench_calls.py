"""What a small call costs, and where: attention and NT-Xent as called, float32, one thread.

    OMP_NUM_THREADS=1 pytest benchmarks/bench_calls.py --benchmark-only

Minima over rounds, in us. "as called" is the public function, without gradients and with both
passes; SDPA and the eager form stand beside it. The parts of ours: "kernel" is the slope of the
native call over the batch; "tensors" what is left of the native call, which is DLPack views, room
for the results and the release of the interpreter's lock (of it, "allocation" is as many
`torch.empty`); "Function" is a `torch.autograd.Function` of as many arguments that does nothing,
and `torch.autograd.grad` through it; "Python" the rest: checks, dispatch, saved tensors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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
LARGER = 8  # times the batch, for the kernel's slope
ROUNDS, CALLS = 15, 200
TITLE = "a small call, float32: us"


def microseconds(call: Callable[[], object]) -> float:
    """Of one call: the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - start)
    return 1e6 * best / CALLS


# --- attention ------------------------------------------------------------------------------------
def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v


def attention_operands(batch: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, *ATTENTION[1:]) for _ in range(4)]


def native_attention(batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The native forward and backward on operands of that batch."""
    q, k, v, grad = attention_operands(batch)
    terms: tuple[Any, ...] = (None, None, None, None, 0.0, q.shape[-1] ** -0.5, False)
    out, lse = _C.attention_forward(q, k, v, *terms, True, None, None, 1)
    return (
        lambda: _C.attention_forward(q, k, v, *terms, False, None, None, 1),
        lambda: _C.attention_backward(grad, q, k, v, out, lse, *terms, None, None, None, None, 1),
    )


# --- nt_xent --------------------------------------------------------------------------------------
def loss(a: Tensor, b: Tensor) -> Tensor:
    return nt_xent(a, b, TAU)


def eager_loss(a: Tensor, b: Tensor) -> Tensor:
    z = F.normalize(torch.cat((a, b), -2), dim=-1) * TAU**-0.5
    total = torch.bmm(z, z.mT).exp().sum(-1) - (z * z).sum(-1).exp()
    first, second = z.chunk(2, -2)
    return total.log().mean(-1) - (first * second).sum(-1).mean(-1)


def native_loss(groups: int) -> tuple[Callable[[], object], Callable[[], object]]:
    torch.manual_seed(0)
    a, b = (torch.randn(groups, *NT_XENT[1:]) for _ in range(2))
    ones = torch.ones(groups)
    _, stats = _C.nt_xent_forward(a, b, TAU, True, False, 1)
    return (
        lambda: _C.nt_xent_forward(a, b, TAU, True, False, 1),
        lambda: _C.nt_xent_backward(ones, a, b, TAU, stats, True, 1),
    )


# --- parts ----------------------------------------------------------------------------------------
def kernel_and_rest(
    small: Callable[[], object], large: Callable[[], object]
) -> tuple[float, float]:
    """The kernel's share of a native call, by the slope over the batch, and what is left."""
    first = microseconds(small)
    kernel = (microseconds(large) - first) / (LARGER - 1)
    return kernel, first - kernel


def empty_function(inputs: list[Tensor], out: Tensor) -> Callable[[], object]:
    """Forward and backward of a Function of these inputs whose results exist already."""
    grads = tuple(torch.zeros_like(t) for t in inputs)
    grad_out = torch.zeros_like(out)

    class Empty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Tensor:
            ctx.save_for_backward(*tensors)
            return out.view_as(out)

        @staticmethod
        def backward(ctx: Any, _: Tensor) -> tuple[Tensor, ...]:
            _ = ctx.saved_tensors
            return grads

    return lambda: torch.autograd.grad(Empty.apply(*inputs), inputs, grad_out)


def both(form: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(form(*inputs), inputs, grad)


def add_rows(
    what: str,
    forms: dict[str, Callable[..., Tensor]],
    inputs: list[Tensor],
    native: Callable[[int], tuple[Callable[[], object], Callable[[], object]]],
    batch: int,
) -> dict[str, dict[str, float]]:
    """Two rows: the forward without gradients, and both passes."""
    ours, *_ = forms.values()
    wanting = [t.clone().requires_grad_() for t in inputs]
    grad = torch.ones_like(ours(*inputs))
    small, large = native(batch), native(LARGER * batch)
    kernels, rests = zip(*map(kernel_and_rest, small, large), strict=True)
    room = microseconds(lambda: torch.empty(inputs[0].shape))
    parts = {
        "forward": {"kernel": kernels[0], "tensors": rests[0], "allocation": room, "Function": 0.0},
        "both": {
            "kernel": sum(kernels),
            "tensors": sum(rests),
            "allocation": (2 + len(inputs)) * room,  # output, statistics, gradients
            "Function": microseconds(empty_function(wanting, ours(*inputs))),
        },
    }
    for which, row in parts.items():
        for name, form in forms.items():
            call = (
                (lambda form=form: form(*inputs))
                if which == "forward"
                else both(form, wanting, grad)
            )
            row[name] = microseconds(call)
        row["Python"] = row["ours"] - row["kernel"] - row["tensors"] - row["Function"]
        order = ("ours", "kernel", "tensors", "allocation", "Function", "Python", *list(forms)[1:])
        own = table(TITLE)
        own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[4:]]
        own.rows.append({"call": what, "pass": which} | {name: digits(row[name]) for name in order})
    return parts


def test_attention(benchmark) -> None:  # type: ignore[no-untyped-def]
    forms = {"ours": cross_attention, "SDPA": F.scaled_dot_product_attention, "eager": eager}
    inputs = attention_operands(ATTENTION[0])[:3]
    what = "cross_attention {} x {} x {} x {}".format(*ATTENTION)
    run = (what, forms, inputs, native_attention, ATTENTION[0])
    benchmark.extra_info |= benchmark.pedantic(add_rows, run, rounds=1)


def test_nt_xent(benchmark) -> None:  # type: ignore[no-untyped-def]
    forms = {"ours": loss, "eager": eager_loss}
    torch.manual_seed(0)
    inputs = [torch.randn(NT_XENT) for _ in range(2)]
    what = "nt_xent {} x {} x {}".format(*NT_XENT)
    run = (what, forms, inputs, native_loss, NT_XENT[0])
    benchmark.extra_info |= benchmark.pedantic(add_rows, run, rounds=1)
