"""A training step of stage 1 on a GPU: captured, as called, and in plain PyTorch.

    pytest benchmarks/bench_stage1_gpu.py --benchmark-only           # skipped without a GPU

`rows()` is what tools/gpu_check.sh calls. A step trains the encoders of DEAP's three modalities
together, the paper preset, batch 64, by the functions that `clmer.train` calls (_stage1_forms.py):
one row of steps captured as one CUDA graph, where the step t that is predicted from stays on the
device, and one of steps as they are called, where t comes to the host. "plain" has the same layers
with SDPA, NT-Xent from the similarity matrix, and t either way. The floor is the products of a step
over the rate of a large one: 3 x the forward's flops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from _measure import digits, table
from _measure_gpu import medians, product_rate
from _stage1_forms import FORMS, models, plain, step_of, windows
from bench_serialization import peak
from torch.utils.flop_counter import FlopCounterMode

TITLE = "one training step of stage 1 on a GPU: ms, median"
BATCH = 64


def flops(batch: int = BATCH, device: str = "cuda") -> int:
    """Of a training step's products, every t as if it were the last one."""
    x = windows(batch, device)
    model, generator = models(x), torch.Generator(device).manual_seed(0)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        for name, part in x.items():
            last = model[name].encoder.steps - model[name].ahead - 1
            plain(model[name], part, generator, int(last))
    return 3 * int(counter.get_total_flops())


def report_row(
    times: dict[str, float], captured: bool, floor_ms: float, **extra: Any
) -> dict[str, Any]:
    """In the schema of tools/gpu_report.py."""
    how = "captured" if captured else "called"
    ending = " captured" if captured else ""
    others = {"plain": times[f"plain{ending}"]}
    ours = times[f"ours{ending}"]
    return {
        "op": "stage 1 step",
        "case": f"batch {BATCH}, DEAP, paper preset, {how}",
        "dtype": "float32",
        "ours_ms": ours,
        "contenders": others,
        "floor_ms": floor_ms,
        "floor_kind": "flops",
        "ratio": min(others.values()) / ours,
        "extra": {"ms": times, **extra},
    }


def rows() -> Iterator[dict[str, Any]]:
    """Captured, then as called; bfloat16 autocast beside."""
    runs: dict[str, Callable[[], object]] = {}
    memory = {}
    for form in FORMS:
        runs[form], _ = step_of(form, captured=False)
        memory[form] = peak(runs[form])
        runs[f"{form} captured"], _ = step_of(form, captured=True)
    runs["ours bf16 captured"], _ = step_of("ours", captured=True, amp=True)
    for run in runs.values():
        run()  # the capture
    times = medians(runs, rounds=15)
    least = 1e3 * flops() / product_rate(torch.float32)
    for captured in (True, False):
        yield report_row(times, captured, least, extra_mib=memory)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_speed(benchmark) -> None:
    found = benchmark.pedantic(lambda: [*rows()], rounds=1)
    for row in found:
        table(TITLE).rows.append(
            {"case": row["case"], "ours": digits(row["ours_ms"])}
            | {name: digits(ms) for name, ms in row["contenders"].items()}
            | {"ratio": digits(row["ratio"]), "floor": f"{row['floor_ms']:.3f}"}
        )
    benchmark.extra_info |= {"rows": found}
