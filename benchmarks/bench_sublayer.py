"""The sublayer ops against eager forms and torch.compile of them, float32 on the CPU.

    pytest benchmarks/bench_sublayer.py --benchmark-only

Times are median/minimum in ms, for all S layers. "eager" is the fastest of the usual forms:
"stacked" has all S layers in one `baddbmm` a product, "one by one" an `F.linear` a layer; both
reuse memory where autograd lets them (`relu_`, `add_`). With dropout, p = 0.1 wherever the op has
one, each comes twice: with `F.dropout`, and with 16 random bits per element (`clmer.nn.dropout`),
the cheaper mask. "compiled" is torch.compile of the stacked form with `F.dropout`. All compute the
same without dropout. The ratio is the fastest of all others over ours, by medians, with that of the
minima in brackets. GF/s are ours, of the products alone. Extra MiB is what the resident set grows
by at its peak, for ours / that eager form / compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from _measure import Table, compare_passes, table
from _passes import Form, agree, compiled, fastest_cell, memory_cell, passes
from torch import Tensor
from torch.nn import functional as F

from clmer.nn.dropout import drop
from clmer.ops import feed_forward, merge_heads, project_heads

# S, B, L, d, h, hidden: CLMER's pairs (both presets) and modalities, and one wide layer
SHAPES = [
    (6, 64, 20, 32, 4, 128),
    (6, 64, 50, 40, 5, 160),
    (3, 64, 50, 80, 5, 320),
    (1, 32, 128, 256, 8, 1024),
]
P = 0.1
PRODUCTS = {"forward": 1, "backward": 2, "both": 3}
TITLE = "sublayers, float32: ms median/minimum"
Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
Mask = Callable[[Tensor, float], Tensor]


# --- contenders -----------------------------------------------------------------------------------
def normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def stacked(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias, x.flatten(1, -2), weight).view(*x.shape[:-1], -1)


def one_by_one(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    layers = zip(x, weight, bias, strict=True)
    return torch.stack([F.linear(rows, w.T, b[0]) for rows, w, b in layers])


def project(
    linear: Linear, mask: Mask, p: float, heads: int, x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    y = linear(normed(x), weight, bias).unflatten(3, (3, heads, -1))
    return y.permute(3, 0, 1, 4, 2, 5).unbind()


def merge(
    linear: Linear, mask: Mask, p: float, _: int, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    y = linear(y.transpose(2, 3).flatten(3), weight, bias)
    return (mask(y, p) if p else y).add_(x)


def feed(
    linear: Linear, mask: Mask, p: float, _: int, x: Tensor,
    weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor,
) -> Tensor:  # fmt: skip
    hidden = linear(normed(x), weight1, bias1).relu_()
    y = linear(mask(hidden, p) if p else hidden, weight2, bias2)
    return (mask(y, p) if p else y).add_(x)


class Op(NamedTuple):
    """Ours with a probability, and the other way of writing it."""

    ours: Callable[..., Form]
    other: Callable[..., Tensor | tuple[Tensor, ...]]


OPS = {
    "project_heads": Op(lambda p, heads: lambda *t: project_heads(*t, heads), project),
    "merge_heads": Op(lambda p, heads: partial(merge_heads, dropout_p=p), merge),
    "feed_forward": Op(
        lambda p, heads: partial(feed_forward, hidden_dropout_p=p, dropout_p=p), feed
    ),
}


def eager(op: Op, p: float, heads: int) -> dict[str, Form]:
    linears = {"stacked": stacked, "one by one": one_by_one}
    masks: dict[str, Mask] = {"F.dropout": F.dropout, "16 bits": drop} if p else {"": drop}
    return {
        f"{name}, {which}" if which else name: partial(op.other, linear, mask, p, heads)
        for name, linear in linears.items()
        for which, mask in masks.items()
    }


# --- one op and shape -----------------------------------------------------------------------------
def tensors(name: str, shape: tuple[int, ...]) -> tuple[tuple[Tensor, ...], Tensor | tuple]:
    """Inputs, and the gradients that come in."""
    s, b, length, d, heads, hidden = shape
    torch.manual_seed(0)
    x, y = torch.randn(s, b, length, d), torch.randn(s, b, heads, length, d // heads)
    rows: tuple[Tensor, ...] = (x, y) if name == "merge_heads" else (x,)
    sizes = {"project_heads": [(d, 3 * d)], "merge_heads": [(d, d)]}
    weights: list[Tensor] = []
    for inputs, outputs in sizes.get(name, [(d, hidden), (hidden, d)]):
        weights.append(torch.randn(s, inputs, outputs) * inputs**-0.5)
        weights.append(torch.randn(s, 1, outputs))
    grad = tuple(torch.randn_like(y) for _ in range(3)) if name == "project_heads" else x * 1
    return tuple(t.requires_grad_() for t in (*rows, *weights)), grad


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize(
    ("name", "p"), [(name, p) for p in (0.0, P) for name in OPS if not (p and name[0] == "p")]
)
def test_speed(benchmark, name: str, p: float, shape: tuple[int, ...]) -> None:
    op, heads = OPS[name], shape[4]
    inputs, grad = tensors(name, shape)
    grad = grad if isinstance(grad, tuple) else grad.detach()
    dry = {"ours": op.ours(0.0, heads), **eager(op, 0.0, heads)}
    agree(dry, dry["stacked"], inputs, grad)
    usual = eager(op, p, heads)
    forms = {"ours": op.ours(p, heads), **usual}
    forms |= compiled(usual["stacked, F.dropout" if p else "stacked"])
    runs = {each: partial(passes, form, inputs, grad) for each, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 25), rounds=1)
    weights = sum(t.shape[1] * t.shape[2] for t in inputs if t.dim() == 3 and t.shape[1] > 1)
    for which, result in results.items():
        flops = PRODUCTS[which] * 2 * inputs[0].shape[:3].numel() * weights
        fastest, cell = fastest_cell(result, [*usual])
        shown = [forms[each] for each in ("ours", fastest, "compiled") if each in forms]
        own_table().rows.append(
            {
                "op": f"{name}, p = {p}" if p else name,
                "S, B, L, d, h, H": ", ".join(map(str, shape)),
                "pass": which,
                "ours": result.cell("ours"),
                "eager": cell,
                "compiled": result.cell("compiled") if "compiled" in forms else "",
                "ratio": result.ratio_cell(),
                **result.rate_cells(flops),
                "extra MiB": memory_cell(which, shown, inputs, grad),
            }
        )
        benchmark.extra_info[which] = result.extra(gflops=result.rate(flops))


def own_table() -> Table:
    own = table(TITLE)
    own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[4:]]
    return own
