"""What the GPU benchmarks compute beside times, and their rows, without a GPU."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clmer.nn import Fusion
from clmer.pipeline.presets import build

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="benchmarks/ is not beside the tests"
)
NAMES = (
    *("_step_forms", "_stage1_forms", "bench_sublayer_gpu", "bench_stage1_gpu", "bench_job_gpu"),
    "bench_called_gpu",
)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The benchmarks, imported from their folder and forgotten again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def check_row() -> Any:
    """The report's own check of a row."""
    spec = importlib.util.spec_from_file_location("gpu_report", ROOT / "tools" / "gpu_report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check_row


# --- sublayers ------------------------------------------------------------------------------------
def test_a_sublayer_s_floor_is_what_moves_or_is_multiplied(modules: SimpleNamespace) -> None:
    x, weight, bias = torch.empty(2, 3, 4, 5), torch.empty(2, 5, 15), torch.empty(2, 1, 15)
    outs = [torch.empty(2, 3, 1, 4, 5)] * 3
    floor = modules.bench_sublayer_gpu.floor
    moved = 4 * (3 * (120 + 150 + 30) + 2 * 360)
    assert floor([x, weight, bias], outs, 1e6, 1e12) == (pytest.approx(1e3 * moved / 1e6), "bytes")
    flops = 6 * 2 * 12 * 75
    assert floor([x, weight, bias], outs, 1e12, 1e6) == (pytest.approx(1e3 * flops / 1e6), "flops")


def test_sublayer_rows_fit_the_report(modules: SimpleNamespace, check_row: Any) -> None:
    times = {"ours": 2.0, "eager": 6.0, "compiled": 5.0}
    times |= {"ours graph": 1.0, "eager graph": 4.0, "compiled graph": 3.0}
    row = {"op": "feed_forward", "shape": [6, 64, 50, 40, 5, 160], "dtype": "float32"}
    row |= {"median_ms": times, "floor_ms": 0.5, "floor_kind": "bytes"}
    for graphs, ratio in ((False, 2.5), (True, 3.0)):
        found = modules.bench_sublayer_gpu.report_row(row, graphs)
        check_row(found, "bench_sublayer_gpu.py")
        assert found["ratio"] == ratio


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_the_form_with_the_ops_is_the_model(modules: SimpleNamespace, impl: str) -> None:
    forms, shapes = modules._step_forms, {"a": (4, 8), "b": (3, 5), "c": (2, 9)}
    sizes = {"token_length": 6, "dim": 8, "heads": 2, "cross_layers": 2, "memory_layers": 1}
    torch.manual_seed(0)
    model = Fusion(shapes, 2, **sizes).eval()  # type: ignore[arg-type]
    x = {name: torch.randn(3, *shape) for name, shape in shapes.items()}
    for form in (
        forms.SublayerFusion(model, forms.fused, impl),
        forms.PlainFusion(model, forms.eager),
    ):
        torch.testing.assert_close(form.eval()(x), model(x), rtol=1e-4, atol=1e-6)
    dropping = forms.SublayerFusion(model.train(), forms.fused, impl).train()
    assert not torch.equal(dropping(x), dropping(x))


# --- stage 1 --------------------------------------------------------------------------------------
def test_stage_1_in_plain_pytorch_is_stage_1(modules: SimpleNamespace) -> None:
    forms = modules._stage1_forms
    x = forms.windows(6, "cpu")
    model = forms.models(x).eval()
    for name, part in x.items():
        for t in (0, 2):
            for given in (t, torch.tensor(t)):
                drawn = [torch.Generator().manual_seed(1) for _ in range(2)]
                with torch.no_grad():
                    want = model[name](part, drawn[0], t)["loss"]
                    got = forms.plain(model[name], part, drawn[1], given)
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["ours", "plain"])
def test_a_step_of_stage_1_trains(modules: SimpleNamespace, form: str) -> None:
    step, model = modules._stage1_forms.step_of(form, 8, "cpu", captured=False)
    before = [p.detach().clone() for p in model.parameters()]
    assert step()["loss"].isfinite()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_stage_1_rows_fit_the_report(modules: SimpleNamespace, check_row: Any) -> None:
    bench = modules.bench_stage1_gpu
    times = {"ours": 20.0, "plain": 30.0, "ours captured": 4.0, "plain captured": 6.0}
    for captured, ours in ((True, 4.0), (False, 20.0)):
        row = bench.report_row(times, captured, 0.5, extra_mib={"ours": 3.0})
        check_row(row, "bench_stage1_gpu.py")
        assert (row["ours_ms"], row["ratio"]) == (ours, 1.5)
    per_window = bench.flops(4, "cpu") / 4
    assert per_window == pytest.approx(bench.flops(8, "cpu") / 8, rel=0.05)  # but for B x B scores


# --- whole trainings ------------------------------------------------------------------------------
def test_epochs_are_those_of_a_split_s_training(modules: SimpleNamespace) -> None:
    config = build("deap", {"preset": "cpu", "protocol": "shuffled"})
    found = modules.bench_job_gpu.epoch_seconds(replace(config, batch=16), 60, "cpu")
    assert set(found) == {"stage 1", "stage 2"}
    assert min(found.values()) > 0


def test_hours_are_five_orders_of_both_stages(modules: SimpleNamespace) -> None:
    job = modules.bench_job_gpu
    epochs = {"stage 1": 2.0, "stage 2": 3.0}
    assert job.hours(epochs) == pytest.approx(5 * (500 * 2 + 300 * 3) / 3600)
    assert job.hours(epochs, 52_800) == pytest.approx(4.4 * job.hours(epochs))
    assert job.paper_steps() == 300 * 132  # 131 whole batches of 64 and one of 16
    split = job.split_of(job.WINDOWS)
    assert [len(part) for part in (split.train, split.val, split.test)] == [8400, 1800, 1800]


def test_job_and_table_rows_fit_the_report(modules: SimpleNamespace, check_row: Any) -> None:
    job = modules.bench_job_gpu
    captured, called = {"stage 1": 1.0, "stage 2": 2.0}, {"stage 1": 3.0, "stage 2": 8.0}
    rows = list(job.job_rows(captured, called, {"stage 1": 10.0, "stage 2": 20.0}))
    rows.append(job.face_row("MobileViT-S", 8.0, {"allocated": 900.0, "reserved": 990.0}, 2.0))
    for row in rows:
        check_row(row, "bench_job_gpu.py")
    assert [row["ratio"] for row in rows[:2]] == [3.0, 4.0]
    assert rows[2]["extra"]["hours"] == pytest.approx(5 * 1100 / 3600)
    assert rows[3]["floor_ms"] == pytest.approx(4.4 * rows[2]["floor_ms"])
    assert "300 epochs 317 s (paper 6,820), 900 MiB (paper 2,534)" in rows[-1]["case"]
    assert [*job.FACES][-1] == "Downsampling, 1,024 tokens"


def test_a_picture_that_is_not_unified_keeps_its_pixels(modules: SimpleNamespace) -> None:
    model, inputs = modules.bench_job_gpu.fusion_of("Downsampling, 1,024 tokens")
    unify = model.unify["pixels"]
    x = torch.randn(2, *inputs["pixels"])
    torch.testing.assert_close(unify(x), unify.features(x) + unify.positions)
    assert model.unify["physio"].tokens.out_features == 1024
    model, _ = modules.bench_job_gpu.fusion_of("Downsampling, pixels")
    assert model.unify["pixels"].tokens.out_features == 50


# --- one call -------------------------------------------------------------------------------------
def test_a_call_s_parts_and_rest_are_its_total(modules: SimpleNamespace, check_row: Any) -> None:
    bench = modules.bench_called_gpu
    call = bench.Call("native", "cpu", (1, 2, 2, 5, 4))
    parts = call.split()
    assert set(parts) == {"function", "checks", "allocation", "launcher", "rest", "total"}
    assert sum(us for name, us in parts.items() if name != "total") == pytest.approx(parts["total"])
    assert parts["function"] > 0
    row = bench.report_row("cuda", parts | {"stream": 1.0}, {"batched SDPA": 50.0}, 0.01)
    check_row(row, "bench_called_gpu.py")
    assert ", stream 1, " in row["case"]


def test_a_timer_waits_for_nothing_it_does_not_time(
    modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU each round begins on an idle device, and ends before its kernels do."""
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("idle"))
    us = modules.bench_called_gpu.microseconds
    us(lambda: events.append("call"), "cuda", rounds=1, calls=2)
    assert events == ["idle", "call", "call"] * 3
