"""What the benchmarks measure with: memory of a step that allocates, a rate of the same device."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The benchmarks, imported from their folder and forgotten again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("_measure", "bench_serialization", "bench_bandpass_gpu", "bench_step_gpu")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in set(sys.modules) - before:
        del sys.modules[name]


class Allocator:
    """A GPU's allocator: what torch.cuda says of it, and a way to take and give back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 1000 << 20
        for name, answer in {
            "synchronize": lambda: None,
            "reset_peak_memory_stats": self.reset,
            "memory_allocated": lambda: self.now,
            "max_memory_allocated": lambda: self.most,
        }.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    def reset(self) -> None:
        self.most = self.now

    def take(self, mib: int) -> None:
        self.now += mib << 20
        self.most = max(self.most, self.now)


def test_a_step_s_memory_is_above_what_was_there(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator, calls = Allocator(monkeypatch), []

    def step() -> None:
        calls.append(1)
        if len(calls) == 1:
            allocator.take(500)  # the optimiser's moments, which stay
        allocator.take(300)
        allocator.take(-300)

    assert modules.bench_serialization.peak(step, "cuda") == 300
    assert len(calls) == 2


def test_a_replay_that_allocates_nothing_is_refused(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    Allocator(monkeypatch)
    with pytest.raises(ValueError, match="allocated nothing, expected one that is not captured"):
        modules.bench_serialization.peak(lambda: None, "cuda")


def test_memory_is_that_of_a_step_that_is_not_captured(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = modules.bench_serialization
    asked = []

    def step_of(form: str, setting: str, device: str, *, graph: bool) -> tuple[object, dict]:
        asked.append(graph)
        return (lambda: allocator.take(7)), {}

    allocator = Allocator(monkeypatch)
    monkeypatch.setattr(bench, "step_of", step_of)
    assert bench.memory_of("MobileViT-S", "small", "cuda") == 7
    assert asked == [False]


def test_shares_of_nothing_are_not_computed(modules: SimpleNamespace) -> None:
    relative = modules.bench_serialization.relative
    assert relative({"Serialization": 2.0, "x": 3.0}, "x") == "1.50"
    assert relative({"Serialization": 0.0, "x": 0.0}, "x") == "-"


def test_a_row_is_void_by_the_rate_of_its_own_device(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, asked = modules._measure, []
    rates = iter((100.0, 50.0))
    monkeypatch.setattr(measure, "product_rate", lambda device: asked.append(device) or next(rates))
    found = measure.compare({"ours": lambda: None, "other": lambda: None}, 1, "cuda")
    assert asked == ["cuda", "cuda"]
    assert found.void == "VOID: drift 50%"


def test_the_product_runs_on_that_device(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, waited, whole = [], [], torch.randn
    monkeypatch.setitem(modules._measure.PRODUCT, "cuda", 32)

    def randn(*size: int, device: str) -> torch.Tensor:
        made.append((size, device))
        return whole(*size)

    monkeypatch.setattr(torch, "randn", randn)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    assert modules._measure.product_rate("cuda") > 0
    assert made == [((32, 32), "cuda")]
    assert len(waited) == 10  # one to warm up, nine timed: each waits for the GPU


@pytest.mark.parametrize("name", ["bench_bandpass_gpu", "bench_step_gpu"])
def test_the_gpu_s_rows_are_benchmarks_too(modules: SimpleNamespace, name: str) -> None:
    module: ModuleType = getattr(modules, name)
    marks = {mark.name for mark in module.test_speed.pytestmark}
    assert marks == {"parametrize", "skipif"}


def test_a_row_of_a_filter_is_shown(modules: SimpleNamespace) -> None:
    row = {"case": "2 x 3", "ours_ms": 2.0, "contenders": {"FFT": 8.0}, "ratio": 4.0}
    shown = modules.bench_bandpass_gpu.cells(row | {"floor_ms": 0.5})
    assert shown == {
        "case": "2 x 3",
        "ours": "2.00",
        "FFT": "8.00",
        "ratio": "4.00",
        "floor": "0.5000",
    }
