"""What a whole training takes on a GPU: the paper's DEAP run, and its Table X.

    pytest benchmarks/bench_job_gpu.py --benchmark-only              # skipped without a GPU

`rows()` is what tools/gpu_check.sh calls. An epoch is one of `fit_split`, the function that `clmer
train` calls for a split, on noise of DEAP's shape: 12,000 one-second windows, as many as Table XI's
accuracies stand for, 70 / 15 / 15 %, batch 64, nine classes; the faster of two epochs after a first
one. Rows are epochs of both stages, captured (`--graph`) beside as called, then the hours of
`--preset paper` for one task over the paper's five orders, 500 + 300 epochs each: as measured for
12,000 windows, and in proportion for the 52,800 of 22 people. Table X's rows are training steps of
stage 2 without contrastive features, captured, times the steps of 300 epochs over 8,400 windows;
memory is the allocator's peak of a step as called, model and optimiser included, and beside it what
it had reserved from the device. "1,024 tokens" leaves a picture its pixels as tokens, not unified;
the physiology is brought to as many, since pairs are stacked. The floor is the products over the
rate of a large one, 3 x the forward's flops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from _measure import digits, table
from _measure_gpu import medians, product_rate
from _stage1_forms import DEAP, modalities
from bench_serialization import FORMS
from bench_stage1_gpu import flops as stage_1_flops
from bench_step_gpu import Problem
from torch import nn

from clmer.data.splits import Split
from clmer.experiments.paper import COSTS, SERIALIZATION
from clmer.nn import Fusion
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.models import CONTRASTIVE
from clmer.pipeline.presets import build
from clmer.pipeline.tokenizer import WindowArrays
from clmer.train.steps import Stopwatch

TITLE = "whole trainings on a GPU"
WINDOWS, ALL_WINDOWS, BATCH, CLASSES = 12_000, 52_800, 64, 9
ORDERS, EPOCHS = 5, (500, 300)


# --- epochs ---------------------------------------------------------------------------------------
def split_of(windows: int) -> Split:
    """70 / 15 / 15 % of the rows."""
    parts = np.split(np.arange(windows), [int(0.7 * windows), int(0.85 * windows)])
    return Split("order 1", *parts, 0, "")


def epoch_seconds(config: ModelConfig, windows: int, device: str) -> dict[str, float]:
    """Seconds of an epoch of stage 1 and of stage 2, by a split of that many windows."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal((windows, channels, length), dtype=np.float32)
        for name, (_, channels, length, _) in DEAP.items()
    }
    few = replace(config, epochs_contrastive=3, epochs_fusion=3, patience=0)
    watch = Stopwatch()
    fit_split(
        few,
        WindowArrays(modalities(), arrays),
        np.arange(windows) % CLASSES,
        split_of(windows),
        classes=tuple(str(i) for i in range(CLASSES)),
        device=device,
        recorder=watch,
    )
    found = {stage.split("/", 1)[1]: seconds for stage, seconds in watch.seconds().items()}
    fusion = next(seconds for stage, seconds in found.items() if stage != CONTRASTIVE)
    return {"stage 1": found[CONTRASTIVE], "stage 2": fusion}


def hours(epochs: dict[str, float], windows: int = WINDOWS) -> float:
    """Of one task over the paper's orders, from seconds of epochs of 12,000 windows."""
    each = EPOCHS[0] * epochs["stage 1"] + EPOCHS[1] * epochs["stage 2"]
    return ORDERS * each * windows / WINDOWS / 3600


def report_row(
    op: str, case: str, ours: float, others: dict[str, float], floor: float, **extra: Any
) -> dict[str, Any]:
    """In the schema of tools/gpu_report.py; all times in ms."""
    return {
        "op": op,
        "case": case,
        "dtype": "float32",
        "ours_ms": ours,
        "contenders": others,
        "floor_ms": floor,
        "floor_kind": "flops",
        "ratio": min(others.values()) / ours if others else None,
        "extra": extra,
    }


def job_rows(captured: dict[str, float], called: dict[str, float], floors: dict[str, float]):
    """Epochs of both stages, and the hours of the whole.

    Args:
        captured: seconds of an epoch.
        called: the same without graphs.
        floors: ms of the products of an epoch.
    """
    for stage, seconds in captured.items():
        case = f"{stage}, paper preset, DEAP, an epoch of {WINDOWS:,} windows"
        others = {"as called": 1e3 * called[stage]}
        yield report_row("whole job", case, 1e3 * seconds, others, floors[stage])
    floor = ORDERS * (EPOCHS[0] * floors["stage 1"] + EPOCHS[1] * floors["stage 2"])
    for windows in (WINDOWS, ALL_WINDOWS):
        took = {how: hours(each, windows) for how, each in (("g", captured), ("c", called))}
        case = (
            f"--preset paper, DEAP, one task, five orders, {windows:,} windows: {took['g']:.2f} h"
        )
        others = {"as called": 3.6e6 * took["c"]}
        share = windows / WINDOWS
        yield report_row(
            "whole job", case, 3.6e6 * took["g"], others, share * floor, hours=took["g"]
        )


def floors_of(rate: float) -> dict[str, float]:
    """Ms of the products of an epoch's steps at that rate, of validation none."""
    steps = len(split_of(WINDOWS).train) / BATCH
    sizes = {
        n: (tokens, channels * length // tokens)
        for n, (tokens, channels, length, _) in DEAP.items()
    }
    fusion = Problem(sizes, BATCH, CLASSES).flops(Fusion(sizes, CLASSES).cuda())
    return {"stage 1": 1e3 * steps * stage_1_flops() / rate, "stage 2": 1e3 * steps * fusion / rate}


# --- Table X --------------------------------------------------------------------------------------
class Face(NamedTuple):
    """A form of the face, the tokens that all are unified to, and the paper's name of it."""

    inputs: dict[str, tuple[int, int]]
    token_length: int
    paper: str


FACES = {
    "Serialization": Face(FORMS["Serialization"], 50, SERIALIZATION),
    "MobileViT-S": Face(FORMS["MobileViT-S"], 50, "mobilevit"),
    "Downsampling, pixels": Face(FORMS["Downsampling, pixels"], 50, "downsampling"),
    "Downsampling, rows": Face(FORMS["Downsampling, rows"], 50, "downsampling"),
    "Downsampling, 1,024 tokens": Face(FORMS["Downsampling, pixels"], 1024, "downsampling"),
}


def paper_steps() -> int:
    """Steps of 300 epochs over the training part of 12,000 windows."""
    return EPOCHS[1] * math.ceil(len(split_of(WINDOWS).train) / BATCH)


def whole_memory(step: Callable[[], object]) -> dict[str, float]:
    """MiB on the device at a step's peak: allocated, and reserved by the allocator."""
    step()  # the optimiser's moments are there from then on
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    peaks = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return dict(zip(("allocated", "reserved"), (peak / 2**20 for peak in peaks), strict=True))


def face_row(name: str, ms: float, memory: dict[str, float], floor: float) -> dict[str, Any]:
    """One form of Table X: a step, and 300 epochs of them beside the paper's."""
    paper, seconds = COSTS["deap"][FACES[name].paper], ms * paper_steps() / 1e3
    case = (
        f"{name}, DEAP: 300 epochs {seconds:,.0f} s (paper {paper.seconds:,}), "
        f"{memory['allocated']:,.0f} MiB (paper {paper.memory_mib:,})"
    )
    extra = {"seconds": seconds, "mib": memory, "paper": [paper.seconds, paper.memory_mib]}
    return report_row("Table X", case, ms, {}, floor, **extra)


def fusion_of(name: str) -> tuple[Fusion, dict[str, tuple[int, int]]]:
    """A form's model, and its inputs; what has as many tokens as all get keeps its own."""
    face = FACES[name]
    inputs: dict[str, tuple[int, int]] = {"physio": (40, 128), **face.inputs}
    model = Fusion(inputs, CLASSES, token_length=face.token_length)
    for modality, (tokens, _) in inputs.items():
        if tokens == face.token_length:
            model.unify[modality].tokens = nn.Identity()
    return model, inputs


def measured_face(name: str, rate: float) -> dict[str, Any]:
    """A form's row, with the device to itself, so that its peak is its own."""
    torch.cuda.empty_cache()
    model, inputs = fusion_of(name)
    problem = Problem(inputs, BATCH, CLASSES)
    memory = whole_memory(problem.step(model.cuda(), False))
    floor = 1e3 * problem.flops(model) / rate
    run = problem.step(model, True)
    return face_row(name, medians({name: run}, rounds=7)[name], memory, floor)


def rows() -> Iterator[dict[str, Any]]:
    """Table X, epochs and hours; last what may want more memory than there is."""
    rate = product_rate(torch.float32)
    *small, large = FACES
    for name in small:
        yield measured_face(name, rate)
    config = build("deap", {"preset": "paper", "device": "cuda", "protocol": "shuffled"})
    captured = epoch_seconds(replace(config, graph=True), WINDOWS, "cuda")
    called = epoch_seconds(config, WINDOWS, "cuda")
    yield from job_rows(captured, called, floors_of(rate))
    yield measured_face(large, rate)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_speed(benchmark) -> None:
    found = benchmark.pedantic(lambda: [*rows()], rounds=1)
    for row in found:
        ratio = "" if row["ratio"] is None else digits(row["ratio"])
        cells = {"what": row["op"], "case": row["case"], "ms": digits(row["ours_ms"])}
        table(TITLE).rows.append({**cells, "as called / captured": ratio})
    benchmark.extra_info |= {"rows": found}
