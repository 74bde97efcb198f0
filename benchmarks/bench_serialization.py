"""Serialised faces against pictures: one training step of the fusion, time and memory.

    pytest benchmarks/bench_serialization.py --benchmark-only        # -k small: seconds

The paper's Tables VIII-X compare three ways to show a face beside the physiology: landmarks and
action units (three modalities, six pairs), MobileViT-S features and a downsampled picture (two
modalities, two pairs each). It gives no token layout for the last: both natural ones are here. A
step is `clmer.train`'s (on a GPU one captured graph): batch, forward, backward, clipping and Adam
on tokens that are there, batch and sizes the paper's, without contrastive features. Times are
median/minimum in ms, all forms in turn. Extra MiB is the peak of the resident set above the step's
start; on a GPU the allocator's, of the step as it is: a captured one allocates when it is captured
and nothing when it is replayed. "of Serialization" are this machine's ratios, "paper" those of
its Table X, 300 epochs on one GPU. What comes before a step and is paid once, by preparation, is in
a table of its own, by window; OpenFace, which both serialisation and aligned pictures need, is not
in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from _measure import Comparison, Table, compare, digits, extra_memory, table

from clmer.data.face.images import SIDE, downsampled
from clmer.data.face.windows import FaceWindows
from clmer.data.mobilevit import MobileViTFeatures, embedder
from clmer.data.recording import FaceSeries
from clmer.experiments.paper import COSTS, SERIALIZATION
from clmer.nn import Fusion
from clmer.pipeline.stages.classifiers import CLIP, fusion_losses
from clmer.pipeline.stages.step import GraphedStep, TrainStep, adam
from clmer.pipeline.targets import cross_entropy

#: (tokens, features) of the visual modalities, one-second windows, 25 frames a second.
FORMS: dict[str, dict[str, tuple[int, int]]] = {
    "Serialization": {"landmarks": (3, 1700), "au": (2, 425)},
    "MobileViT-S": {"mobilevit": (16, 640)},
    "Downsampling, pixels": {"pixels": (1024, 3)},
    "Downsampling, rows": {"pixel-rows": (32, 96)},
}
#: Physiology and the fusion's sizes; the rest is `Fusion`'s default, the paper's.
SETTINGS: dict[str, tuple[int, tuple[int, int], int, dict[str, int]]] = {
    "DEAP": (64, (40, 128), 9, {"token_length": 50}),
    "AMIGOS short": (64, (17, 128), 4, {"token_length": 15}),
    "small": (
        *(16, (40, 128), 2),
        dict(token_length=20, dim=32, heads=4, cross_layers=2, memory_layers=1),
    ),
}
#: Forms by the names that the paper's costs have.
PRINTED = {"Serialization": SERIALIZATION, "MobileViT": "mobilevit", "Downsampling": "downsampling"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS, BEFORE = "one training step of the fusion: ms median/minimum", "before the step: ms a window"


def step_of(
    form: str, setting: str, device: str = DEVICE, *, graph: bool | None = None
) -> tuple[Callable[[], object], dict[str, int]]:
    """A training step on random tokens, captured on a GPU, and what the model counts.

    Args:
        form: of the face.
        setting: the batch, and the model's sizes.
        device: where it runs.
        graph: capture it; None: on a GPU.
    """
    graph = device == "cuda" if graph is None else graph
    batch, physio, classes, sizes = SETTINGS[setting]
    torch.manual_seed(0)
    inputs = {"physio": physio, **FORMS[form]}
    model = Fusion(inputs, classes, **sizes).to(device)
    optimizer = adam(model, lr=1e-3, graph=graph)
    tokens = {name: torch.randn(batch, *size, device=device) for name, size in inputs.items()}
    y = torch.randint(classes, (batch,), device=device)

    weight = torch.ones(classes, device=device)
    losses = fusion_losses(model, tokens, cross_entropy(y, weight))
    train = TrainStep(model, optimizer, losses, clip=CLIP)
    run = GraphedStep(train, batch) if graph else train
    rows, generator = torch.arange(batch, device=device), torch.Generator(device)

    def step() -> None:
        run(rows, generator)
        if device == "cuda":
            torch.cuda.synchronize()

    count = sum(p.numel() for p in model.parameters())
    return step, {"modalities": len(inputs), "parameters": count}


def peak(step: Callable[[], object], device: str = DEVICE) -> float | None:
    """Extra MiB of a step that is not captured: a graph's replay allocates nothing.

    Raises:
        ValueError: the allocator saw nothing, so that this was no such step.
    """
    if device != "cuda":
        return extra_memory(step)
    step()  # the optimiser's moments are there from then on
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before
    if extra <= 0:
        raise ValueError("peak: the step allocated nothing, expected one that is not captured")
    return extra / 2**20


def memory_of(form: str, setting: str, device: str = DEVICE) -> float | None:
    """Extra MiB of a form's step."""
    return peak(step_of(form, setting, device, graph=False)[0], device)


@pytest.mark.parametrize("setting", SETTINGS)
def test_step(benchmark, setting):
    steps = {form: step_of(form, setting) for form in FORMS}
    runs = {form: step for form, (step, _) in steps.items()}
    found: list[Comparison] = []
    benchmark.pedantic(lambda: found.append(compare(runs, 5, DEVICE)), rounds=1)
    times, memory = found[0], {form: memory_of(form, setting) for form in FORMS}
    results: Table = table(STEPS)
    results.summary = summary
    for form, (_, counts) in steps.items():
        results.rows.append(
            {
                "setting": setting,
                "face": form,
                "pairs": str(counts["modalities"] * (counts["modalities"] - 1)),
                "parameters": f"{counts['parameters'] / 1e6:.2f} M",
                "step": times.cell(form),
                "of Serialization": f"{relative(times.medians, form)} {times.void}".rstrip(),
                "extra MiB": "" if memory[form] is None else digits(memory[form]),
                "of its memory": "" if memory[form] is None else relative(memory, form),
                "paper: time, memory": paper_ratios(form, setting),
            }
        )
    share = times.medians["Serialization"] / times.medians["MobileViT-S"]
    benchmark.extra_info.update(times.extra(memory_mib=memory, over_mobilevit=share))


def relative(values: dict[str, float], form: str) -> str:
    ours = values["Serialization"]
    return f"{values[form] / ours:.2f}" if ours else "-"


def paper_ratios(form: str, setting: str) -> str:
    """The paper's seconds and MiB over those of its serialised faces."""
    costs = COSTS.get({"DEAP": "deap", "AMIGOS short": "amigos-short"}.get(setting, ""))
    if costs is None:
        return ""
    ours, whole = costs[PRINTED[re.split("[-,]", form)[0]]], costs[SERIALIZATION]
    return f"{ours.seconds / whole.seconds:.2f}, {ours.memory_mib / whole.memory_mib:.2f}"


def summary() -> list[str]:
    return ["", *(__doc__ or "").strip().splitlines()[4:]]


# --- what preparation pays once ------------------------------------------------------------------
def face_minute(fps: float = 50.0, seconds: int = 60) -> FaceSeries:
    """A minute of tracked face, as DEAP has them."""
    rng, n = np.random.default_rng(0), int(seconds * fps)
    return FaceSeries(
        fps,
        rng.standard_normal((n, 68, 3)).astype(np.float32),
        rng.random((n, 17), dtype=np.float32),
        np.ones((n, 17), dtype=np.float32),
        np.ones(n, dtype=bool),
    )


def test_before(benchmark):
    # All of it on the CPU, where preparation runs.
    images = np.random.default_rng(0).integers(0, 255, (60, SIDE, SIDE, 3), dtype=np.uint8)
    face, times = face_minute(), np.arange(60)[:, None] + np.arange(25) / 25
    embed = embedder()
    runs = {
        "Serialization: cut and resampled": lambda: FaceWindows.cut(
            face, times, ("landmarks", "au")
        ),
        "Downsampling: 112 x 112 to 32 x 32": lambda: downsampled(images),
        "MobileViT-S: 112 x 112 to 16 x 640": lambda: embed(images),
    }
    found: list[Comparison] = []
    benchmark.pedantic(lambda: found.append(compare(runs, least=3)), rounds=1)
    count = sum(p.numel() for p in MobileViTFeatures().network.parameters())
    for name in runs:
        note = f"{count / 1e6:.1f} M frozen parameters" if name.startswith("Mobile") else ""
        cell = found[0].cell(name, unit=1 / len(images))
        table(BEFORE).rows.append({"what": name, "ms a window": cell, "": note})
    benchmark.extra_info.update(found[0].extra())
