"""A training step of the fusion on a GPU: forms of one model, and serialised faces beside pictures.

    pytest benchmarks/bench_step_gpu.py --benchmark-only             # skipped without a GPU

`rows()` is what tools/gpu_check.sh calls. A step is `clmer.train`'s, one captured graph, the
paper's sizes, float32 as torch multiplies it by default. The first row sets it beside the forms of
_step_forms.py, as they are and captured; "ours, sublayers" has its sublayers in Triton, which
`Fusion` takes when they are measured to be faster. The others set it beside pictures
(bench_serialization.py), all captured, so that their ratio is the pictures' time over ours. The
floor is the step's products over the rate of a large one: 3 x the forward's flops, counted on the
plain form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from _measure import digits, table
from _measure_gpu import medians, product_rate
from _step_forms import PlainFusion, SublayerFusion, eager, fused, looped, sdpa
from bench_serialization import FORMS, SETTINGS, peak
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clmer.nn import Fusion
from clmer.pipeline.stages.classifiers import CLIP, fusion_losses
from clmer.pipeline.stages.step import GraphedStep, TrainStep, adam
from clmer.pipeline.targets import cross_entropy

TITLE = "one training step of the fusion on a GPU: ms, median"
SHAPES = ("DEAP", "AMIGOS short")
MAIN = "L 50, d 40, 5 + 3 layers"


class Problem:
    """Random tokens and labels, and steps of models on them."""

    def __init__(
        self, inputs: dict[str, tuple[int, int]], batch: int, classes: int, device: str = "cuda"
    ) -> None:
        self.batch = batch
        torch.manual_seed(0)
        self.x = {name: torch.randn(batch, *size, device=device) for name, size in inputs.items()}
        self.y = torch.randint(classes, (batch,), device=device)
        self.weight = torch.ones(classes, device=device)
        self.rows, self.generator = torch.arange(batch, device=device), torch.Generator(device)

    def step(self, model: nn.Module, graph: bool, amp: bool = False) -> Callable[[], object]:
        losses = fusion_losses(model, self.x, cross_entropy(self.y, self.weight))
        step = TrainStep(model, adam(model, lr=1e-3, graph=graph), losses, clip=CLIP, amp=amp)
        run = GraphedStep(step, self.batch) if graph else step
        run(self.rows, self.generator)  # the capture
        return lambda: run(self.rows, self.generator)

    def flops(self, model: Fusion) -> int:
        """Of a training step's products."""
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            PlainFusion(copy.deepcopy(model), eager)(self.x)
        return 3 * counter.get_total_flops()


def row(case: str, ours: float, others: dict[str, float], floor: float, **extra: Any) -> dict:
    """In the schema of tools/gpu_report.py."""
    return {
        "op": "training step",
        "case": case,
        "dtype": "float32",
        "ours_ms": ours,
        "contenders": others,
        "floor_ms": floor,
        "floor_kind": "flops",
        "ratio": min(others.values()) / ours,
        "extra": extra,
    }


def forms_row(rate: float) -> dict[str, Any]:
    """Ours captured, against the usual loop and the plain stacked forms."""
    problem = Problem({"physio": (40, 128), **FORMS["Serialization"]}, 64, 2)
    ours = Fusion({name: tuple(t.shape[1:]) for name, t in problem.x.items()}, 2, memory_layers=3)
    makers: dict[str, Callable[[], nn.Module]] = {
        "ours": lambda: copy.deepcopy(ours),
        "ours, sublayers": lambda: SublayerFusion(copy.deepcopy(ours), fused, "triton"),
        "loop": lambda: looped(copy.deepcopy(ours)),
        "SDPA": lambda: PlainFusion(copy.deepcopy(ours), sdpa),
        "eager": lambda: PlainFusion(copy.deepcopy(ours), eager),
    }
    runs = {}
    for name, make in makers.items():
        runs[name] = problem.step(make().cuda(), False)
        runs[f"{name} graph"] = problem.step(make().cuda(), True)
    runs["ours bf16"] = problem.step(makers["ours"]().cuda(), False, amp=True)
    runs["ours bf16 graph"] = problem.step(makers["ours"]().cuda(), True, amp=True)
    memory = {name: peak(run) for name, run in runs.items() if "graph" not in name}
    times = medians(runs, rounds=11)
    others = {name: time for name, time in times.items() if not name.startswith("ours")}
    floor = 1e3 * problem.flops(ours.cuda()) / rate
    extra = {"ms": times, "extra_mib": memory}
    return row(f"batch 64, DEAP, {MAIN}", times["ours graph"], others, floor, **extra)


def faces_row(setting: str, rate: float) -> dict[str, Any]:
    """Serialised faces against pictures, captured; Table X's question."""
    batch, physio, classes, sizes = SETTINGS[setting]
    runs, floors, memory = {}, {}, {}
    for form, face in FORMS.items():
        inputs: dict[str, tuple[int, int]] = {"physio": physio, **face}
        problem = Problem(inputs, batch, classes)
        model = Fusion(inputs, classes, **sizes).cuda()  # type: ignore[arg-type]
        memory[form] = peak(problem.step(model, False))
        floors[form] = 1e3 * problem.flops(model) / rate
        runs[form] = problem.step(model, True)
    times = medians(runs, rounds=11)
    ours = times.pop("Serialization")
    extra = {"over_mobilevit": ours / times["MobileViT-S"], "floors_ms": floors, "mib": memory}
    return row(f"batch {batch}, {setting}, faces", ours, times, floors["Serialization"], **extra)


def rows() -> Iterator[dict[str, Any]]:
    """The forms, then each of the paper's shapes."""
    rate = product_rate(torch.float32)
    yield forms_row(rate)
    for setting in SHAPES:
        yield faces_row(setting, rate)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("setting", ["", *SHAPES], ids=lambda setting: setting or "forms")
def test_speed(benchmark, setting: str) -> None:
    def measured() -> dict[str, Any]:
        rate = product_rate(torch.float32)
        return faces_row(setting, rate) if setting else forms_row(rate)

    found = benchmark.pedantic(measured, rounds=1)
    others = {name: digits(each) for name, each in found["contenders"].items()}
    table(TITLE).rows.append(
        {"case": found["case"], "ours": digits(found["ours_ms"]), **others}
        | {"ratio": digits(found["ratio"]), "floor": digits(found["floor_ms"])}
    )
    benchmark.extra_info |= found
