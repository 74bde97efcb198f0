"""One training step of the fusion model against the same model as others would write it.

    pytest benchmarks/bench_step.py --benchmark-only                  # minutes
    pytest benchmarks/bench_step.py --benchmark-only -k small         # seconds, for CI

A step is forward, backward, clipping and Adam, batch 64, DEAP's shapes (tokens 40, 3 and 2),
float32 on the CPU, dropout on. "loop" has a Python loop over pairs, `nn.MultiheadAttention`,
`nn.LayerNorm`, `nn.Linear`, `nn.Dropout` and the default Adam; "SDPA" and "eager" are stacked in
plain PyTorch (baddbmm, `F.dropout`, fused Adam) with SDPA or attention written out; "compiled" is
torch.compile of the latter, in a test of its own since compiling takes minutes. All have the same
weights, and without dropout the same logits. Times are median/minimum in ms, contenders in turn;
the ratios are of medians, those of the minima in brackets. Extra MiB is what the resident set grows
by at its peak, in the order of the columns.
"""

from __future__ import annotations

import copy
import shutil
import time
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from _measure import Comparison, Table, compare_passes, extra_memory, table
from _step_forms import PlainFusion, eager, looped, sdpa
from torch import Tensor, nn

from clmer.nn import Fusion

SHAPES = {"physio": (40, 128), "landmarks": (3, 1700), "au": (2, 425)}
#: Batch, and `Fusion`'s sizes.
SIZES: dict[str, tuple[int, dict[str, int]]] = {
    "small": (
        16,
        {"token_length": 10, "dim": 16, "heads": 2, "cross_layers": 1, "memory_layers": 1},
    ),
    "cpu preset": (
        64,
        {"token_length": 20, "dim": 32, "heads": 4, "cross_layers": 2, "memory_layers": 1},
    ),
    "L 50, d 40, 5 + 3 layers": (64, {"memory_layers": 3}),
    "L 50, d 40, 5 + 5 layers": (64, {}),
}
PASSES = ("forward", "backward", "optimiser", "step")
STACKED = ("SDPA", "eager")


@dataclass
class Contender:
    """A model, its optimiser and what they train on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    x: dict[str, Tensor]
    y: Tensor

    def step(self) -> dict[str, float]:
        """One training step; ms a pass."""
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self.model(self.x), self.y)
        middle = time.perf_counter()
        loss.backward()
        end = time.perf_counter()
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.8)
        self.optimizer.step()
        last = time.perf_counter()
        spans = (middle - start, end - middle, last - end, last - start)
        return {name: 1e3 * span for name, span in zip(PASSES, spans, strict=True)}


def contenders(size: str) -> dict[str, Contender]:
    """Ours first; all from the same weights."""
    batch, options = SIZES[size]
    torch.manual_seed(0)
    x = {name: torch.randn(batch, *shape) for name, shape in SHAPES.items()}
    y = torch.randint(0, 2, (batch,))
    ours = Fusion(SHAPES, 2, **options)  # type: ignore[arg-type]
    models: dict[str, nn.Module] = {
        "ours": ours,
        "loop": looped(copy.deepcopy(ours)),
        "SDPA": PlainFusion(copy.deepcopy(ours), sdpa),
        "eager": PlainFusion(copy.deepcopy(ours), eager),
    }
    agree(models, x)
    made = {}
    for name, model in models.items():
        fused: Any = {} if name == "loop" else {"fused": True}
        made[name] = Contender(model, torch.optim.Adam(model.parameters(), 1e-3, **fused), x, y)
    return made


def agree(models: dict[str, nn.Module], x: dict[str, Tensor]) -> None:
    """What computes something else has no place in a table."""
    with torch.no_grad():
        logits = {name: model.eval()(x) for name, model in models.items()}
    for name, model in models.items():
        torch.testing.assert_close(logits[name], logits["ours"], rtol=1e-3, atol=1e-4, msg=name)
        model.train()


def versus(result: Comparison, others: tuple[str, ...]) -> str:
    """How many times ours the fastest of these takes: by medians (and by minima)."""
    by = [min(t[name] for name in others) / t["ours"] for t in (result.medians, result.minima)]
    return f"{by[0]:.2f} ({by[1]:.2f}) {result.void}".rstrip()


def add_rows(
    size: str, results: dict[str, Comparison], memory: dict[str, str], benchmark: Any
) -> None:
    names = list(next(iter(results.values())).times)
    for which, result in results.items():
        shown = result.medians["ours"] / results["step"].medians["ours"]
        row = {"size": size, "pass": which, "share": f"{shown:.0%}"}
        row |= {name: result.cell(name) for name in names}
        if "loop" in names:
            row["loop / ours"] = versus(result, ("loop",))
        row["stacked / ours"] = versus(result, tuple(n for n in names if n not in ("ours", "loop")))
        row["extra MiB"] = " / ".join(memory.values()) if which == "step" else ""
        own_table().rows.append(row)
        benchmark.extra_info[which] = result.extra()


def own_table() -> Table:
    own = table("One training step, float32: ms median/minimum")
    own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[5:]]
    return own


@pytest.mark.parametrize("size", SIZES)
def test_step(benchmark, size: str) -> None:
    forms = contenders(size)
    runs = {name: form.step for name, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 5), rounds=1)
    peaks = {name: extra_memory(form.step) for name, form in forms.items()}
    memory = {name: "?" if peak is None else f"{peak:.0f}" for name, peak in peaks.items()}
    add_rows(size, results, memory, benchmark)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on the CPU")
def test_compiled(benchmark) -> None:
    """torch.compile of the stacked form: compiling and its first step are not timed."""
    size = "L 50, d 40, 5 + 3 layers"
    forms = contenders(size)
    forms = {"ours": forms["ours"], "compiled": forms["eager"]}
    forms["compiled"].model = torch.compile(forms["compiled"].model, dynamic=False)
    runs = {name: form.step for name, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 5), rounds=1)
    add_rows(f"{size}: compiled", results, {}, benchmark)
