"""`nt_xent` against eager forms, torch.compile of them and other libraries, float32 on the CPU.

    pytest benchmarks/bench_ntxent.py --benchmark-only

Times are median/minimum in ms, for all G batches. "eager" is the fastest of the three usual forms,
each with 1 / tau folded into the rows: cross-entropy, logsumexp, exp-sum (which subtracts no
maximum: right at tau = 0.2, infinite at 0.01). "by hand" keeps e^s and uses the symmetry in a
backward of its own: 2 products in place of 3, by someone who derived the gradient. "one by one" is
exp-sum called for each batch; the others take all at once. "compiled" is torch.compile of exp-sum.
pytorch-metric-learning and lightly take one batch at a time; the former's masks grow with N^3 and
end at N = 64. The ratio is the fastest of all others over ours, by medians, with that of the minima
in brackets. GF/s are ours at the M^2 D (forward), 3 M^2 D (backward) or 4 M^2 D (both) flops that
the symmetric form needs, M = 2N. Extra MiB is what the resident set grows by at its peak, for ours
/ that eager form / by hand / compiled; the up to 16 MiB that ours keeps from call to call are not
in it. The top-1 accuracy has a table of its own: beside the loss alone `accuracy=True`, and the
loss with a second similarity matrix, each also as a multiple of the former.
"""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch
from _measure import (
    Comparison,
    Table,
    compare_passes,
    digits,
    extra_memory,
    product_rate,
    table,
)
from _passes import Form, agree, compiled, fastest_cell, memory_cell, passes
from torch import Tensor
from torch.nn import functional as F

from clmer.ops.ntxent.op import nt_xent

# (G, N, D)
SHAPES = [(3, 64, 32), (3, 256, 100), (1, 1024, 128), (1, 4096, 128)]
LARGE = (1, 32768, 128)
TAU = 0.2
FLOPS = {"forward": 1, "backward": 3, "both": 4}
TITLE = "nt_xent, float32: ms median/minimum"
ACCURACY = "nt_xent with its top-1 accuracy, float32: ms median/minimum"
COMPARISONS: dict[tuple[tuple[int, ...], str], Comparison] = {}


def ours(a: Tensor, b: Tensor) -> Tensor:
    return nt_xent(a, b, TAU)


# --- contenders: views [G, N, D] -> loss [G] ------------------------------------------------------
def scaled_rows(a: Tensor, b: Tensor) -> Tensor:
    """Unit rows with 1 / tau folded into both factors, so that s is a bare product."""
    return F.normalize(torch.cat((a, b), -2), dim=-1) * TAU**-0.5


def similarities(z: Tensor) -> Tensor:
    s = torch.bmm(z, z.mT)
    s.diagonal(dim1=-2, dim2=-1).fill_(-math.inf)
    return s


def mean_positive(z: Tensor) -> Tensor:
    first, second = z.chunk(2, -2)
    return (first * second).sum(-1).mean(-1)


def cross_entropy(a: Tensor, b: Tensor) -> Tensor:
    s = similarities(scaled_rows(a, b))
    groups, m, _ = s.shape
    target = torch.arange(m).roll(m // 2).repeat(groups)
    return F.cross_entropy(s.flatten(0, 1), target, reduction="none").view(groups, m).mean(-1)


def logsumexp(a: Tensor, b: Tensor) -> Tensor:
    z = scaled_rows(a, b)
    return similarities(z).logsumexp(-1).mean(-1) - mean_positive(z)


def exp_sum(a: Tensor, b: Tensor) -> Tensor:
    z = scaled_rows(a, b)
    total = torch.bmm(z, z.mT).exp().sum(-1) - (z * z).sum(-1).exp()
    return total.log().mean(-1) - mean_positive(z)


class Symmetric(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        e = torch.bmm(z, z.mT).exp_()
        e.diagonal(dim1=-2, dim2=-1).zero_()
        total = e.sum(-1)
        ctx.save_for_backward(z, e, total)
        return total.log().mean(-1) - mean_positive(z)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        z, e, total = ctx.saved_tensors
        share = total.reciprocal()[..., None]
        # W z = diag(share) e z + e diag(share) z: two thin products would read e twice
        w = torch.mul(e, share + share.mT)
        factor = (grad / z.shape[-2])[:, None, None]
        return (torch.bmm(w, z) - 2 * z.roll(z.shape[-2] // 2, -2)) * factor


def by_hand(a: Tensor, b: Tensor) -> Tensor:
    return Symmetric.apply(scaled_rows(a, b))


def each_group(loss: Form) -> Form:
    """A call a batch, as losses that know one batch are used."""

    def losses(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([loss(*views) for views in zip(a, b, strict=True)])

    return losses


def one_by_one(a: Tensor, b: Tensor) -> Tensor:
    groups = zip(a.split(1), b.split(1), strict=True)
    return torch.cat([exp_sum(*views) for views in groups])


EAGER: dict[str, Form] = {
    "cross-entropy": cross_entropy,
    "logsumexp": logsumexp,
    "exp-sum": exp_sum,
}


def libraries(n: int) -> dict[str, Form]:
    """Other people's losses, where they are installed and their masks fit into memory."""
    found: dict[str, Form] = {}
    if n <= 64 and importlib.util.find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning import losses

        metric = losses.SelfSupervisedLoss(losses.NTXentLoss(TAU))
        found["metric-learning"] = each_group(metric)
    if importlib.util.find_spec("lightly"):
        from lightly.loss import NTXentLoss

        found["lightly"] = each_group(NTXentLoss(TAU))
    return found


# --- one shape ----------------------------------------------------------------------------------
def views(shape: tuple[int, int, int]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    torch.manual_seed(0)
    a, b = (torch.randn(shape, requires_grad=True) for _ in range(2))
    return (a, b), torch.ones(shape[0])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_speed(benchmark, shape: tuple[int, int, int]) -> None:
    groups, n, dim = shape
    inputs, grad = views(shape)
    forms = {"ours": ours} | EAGER | {"by hand": by_hand} | compiled(exp_sum) | libraries(n)
    if groups > 1:
        forms["one by one"] = one_by_one
    agree(forms, cross_entropy, inputs, grad)
    runs = {name: lambda form=form: passes(form, inputs, grad) for name, form in forms.items()}
    least = 5 if n > 1024 else 25
    results = benchmark.pedantic(compare_passes, (runs, least), rounds=1)
    for which, result in results.items():
        COMPARISONS[shape, which] = result
        flops = FLOPS[which] * groups * (2 * n) ** 2 * dim
        name, eager = fastest_cell(result, [*EAGER])
        shown = [forms[each] for each in ("ours", name, "by hand", "compiled") if each in forms]
        others = {
            each: result.cell(each) if each in forms else ""
            for each in ("by hand", "one by one", "compiled", "metric-learning", "lightly")
        }
        own_table().rows.append(
            {
                "G, N, D": ", ".join(map(str, shape)),
                "pass": which,
                "ours": result.cell("ours"),
                "eager": eager,
                **others,
                "ratio": result.ratio_cell(),
                **result.rate_cells(flops),
                "extra MiB": memory_cell(which, shown, inputs, grad),
            }
        )
        benchmark.extra_info[which] = result.extra(gflops=result.rate(flops))


# --- the top-1 accuracy beside the loss -----------------------------------------------------------
def with_accuracy(a: Tensor, b: Tensor) -> Tensor:
    loss, _ = nt_xent(a, b, TAU, accuracy=True)
    return loss


def with_second_matrix(a: Tensor, b: Tensor) -> Tensor:
    """The accuracy as a loop has it whose loss does not say it."""
    with torch.no_grad():
        s = similarities(scaled_rows(a, b))
        m = s.shape[-1]
        (s.argmax(-1) == torch.arange(m).roll(m // 2)).float().mean(-1)
    return nt_xent(a, b, TAU)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_accuracy(benchmark, shape: tuple[int, int, int]) -> None:
    inputs, grad = views(shape)
    forms = {"loss alone": ours, "accuracy": with_accuracy, "second matrix": with_second_matrix}
    agree(forms, ours, inputs, grad)
    runs = {name: lambda form=form: passes(form, inputs, grad) for name, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 25), rounds=1)
    for which in ("forward", "both"):
        result = results[which]
        row = {"G, N, D": ", ".join(map(str, shape)), "pass": which}
        row |= {name: result.cell(name) for name in forms}
        for name in ("accuracy", "second matrix"):
            by = (each[name] / each["loss alone"] for each in (result.medians, result.minima))
            row[f"{name} / alone"] = "{:.2f} ({:.2f})".format(*by)
        table(ACCURACY).rows.append(row | {"": result.void})
        benchmark.extra_info[which] = result.extra()


def test_large(benchmark) -> None:
    """Where the matrix alone would take 16 GiB: ours, once forward and once backward."""
    inputs, grad = views(LARGE)
    groups, n, dim = LARGE
    before = product_rate()
    times: dict[str, float] = {}

    def run() -> None:
        times.update(passes(ours, inputs, grad))

    peak = benchmark.pedantic(extra_memory, (run, 1), rounds=1)
    after = product_rate()
    for which, took in times.items():
        result = Comparison({"ours": [took]}, before, after)
        own_table().rows.append(
            {
                "G, N, D": ", ".join(map(str, LARGE)),
                "pass": which,
                "ours": result.cell("ours"),
                "eager": f"S alone: {groups * (2 * n) ** 2 * 4 / 2**30:.0f} GiB",
                "ratio": result.void,
                **result.rate_cells(FLOPS[which] * groups * (2 * n) ** 2 * dim),
                "extra MiB": "" if peak is None or which != "both" else digits(peak),
            }
        )
    benchmark.extra_info |= {"ms": times, "extra_mib": peak}


def own_table() -> Table:
    own = table(TITLE)
    own.summary = summary
    return own


def summary() -> list[str]:
    """Against the three eager forms alone, without the compiler and derivations by hand."""
    lines = [""]
    for (shape, which), each in COMPARISONS.items():
        if which == "both":
            fields = {f"the fastest of {', '.join(EAGER)}": [*EAGER]}
            if "one by one" in each.medians:
                fields["exp-sum one by one"] = ["one by one"]
            for field, names in fields.items():
                times = min(each.medians[name] for name in names) / each.medians["ours"]
                lines.append(f"{', '.join(map(str, shape))}, both: {times:.2f}x {field}")
    return [*lines, "", *(__doc__ or "").strip().splitlines()[4:]]
