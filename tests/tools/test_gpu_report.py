"""The report of tools/gpu_check.sh, on made-up rows and a made-up machine."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "gpu_report.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="tools/ is not beside the tests")
MACHINE = {
    "device": "Made-up GPU (96 GB)",
    "versions": {"torch": "9.9"},
    "copy_gb_s": 1000.0,
    "product_tflop_s": {"float32": 10.0},
}


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("gpu_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(**change):
    row = {
        "op": "made-up",
        "case": "2 x 3",
        "dtype": "float32",
        "ours_ms": 2.0,
        "contenders": {"slow": 8.0, "slower": 16.0},
        "floor_ms": 1.0,
        "floor_kind": "bytes",
        "ratio": 4.0,
        "extra": {"graph_ms": 1.5},
    }
    return row | change


def test_a_run_is_written_twice(tool, tmp_path):
    rows = [made_up(), made_up(case="alone", contenders={}, ratio=None)]
    checks = {"tests": "passed", "memcheck": "skipped: no tool", "racecheck": "failed"}
    run = tool.report(MACHINE, "abc", checks, rows)
    page, text = tool.write(run, tmp_path / "results")
    assert page.name == f"made-up-gpu-96-gb-{run['date']}.json"
    assert json.loads(page.read_text()) == run
    table = text.read_text()
    assert "Commit abc" in table
    assert "| racecheck | failed |" in table
    row = "| made-up | 2 x 3 | float32 | 2 | slow 8, slower 16 | 4.00 | 1 (bytes) | 2.00 |"
    assert row in table
    assert "| made-up | alone | float32 | 2 | none |  | 1 (bytes) | 2.00 |" in table
    assert "not measured" not in table


def test_without_rows_it_says_not_measured(tool):
    assert "not measured" in tool.markdown(tool.report(MACHINE, "abc", {}, []))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": 1}, "found keys"),
        ({"ours_ms": "2"}, "ours_ms: found '2'"),
        ({"ours_ms": float("nan")}, "milliseconds above 0"),
        ({"contenders": {"slow": 0.0}}, "slow: found 0.0"),
        ({"floor_kind": "watts"}, "floor_kind"),
        ({"ratio": None}, "ratio: expected None without contenders"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(tool, tmp_path, change, message):
    benchmark = tmp_path / "bench_made_up_gpu.py"
    benchmark.write_text(f"from math import nan\ndef rows():\n    return [{made_up(**change)!r}]\n")
    with pytest.raises(ValueError, match=f"bench_made_up_gpu.py: .*{message}"):
        list(tool.rows_of(benchmark))


def test_rows_pass_through_a_file(tool, tmp_path):
    benchmark = tmp_path / "bench_made_up_gpu.py"
    benchmark.write_text(f"def rows():\n    return [{made_up()!r}]\n")
    tool.main(["rows", str(benchmark), str(tmp_path / "rows.json")])
    assert json.loads((tmp_path / "rows.json").read_text()) == [made_up()]


def test_the_command_line_takes_checks_and_rows_in_turn(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "machine", lambda: MACHINE)
    folder, files = tmp_path / "results", [tmp_path / name for name in ("one.json", "two.json")]
    for case, file in zip("ab", files, strict=True):
        file.write_text(json.dumps([made_up(case=case)]))
    checks = ["--check", "tests=passed", "--check", "memcheck=skipped: no tool"]
    tool.main(["write", str(folder), *checks, "--rows", str(files[0]), "--rows", str(files[1])])
    page, text = (Path(line) for line in capsys.readouterr().out.split())
    assert [row["case"] for row in json.loads(page.read_text())["rows"]] == ["a", "b"]
    assert "| memcheck | skipped: no tool |" in text.read_text()


def measured_rows():
    """What the benchmarks measure, made up, and its ratio as called and captured: by file."""
    times = {"triton": 2.0, "cuda": 1.0, "SDPA flash": 4.0, "empty": 0.1}
    times |= {"triton graph": 1.5, "cuda graph": 0.5, "SDPA flash graph": 3.0}
    attention = {"shape": (6, 64, 4, 50, 16), "dtype": "float32", "medians_ms": times}
    alone = {"op": "nt_xent", "shape": [1, 8, 4], "dtype": "torch.bfloat16", "pass": "both"}
    alone |= {"median_ms": {"ours": 2.0, "ours graph": 1.0}, "floor_ms": 0.5}
    beside = {"ours": 2.0, "eager": 6.0, "ours graph": 1.0, "eager graph": 2.0}
    yield "bench_attention_gpu", attention | {"floor_ms": 0.25}, (4.0, 6.0)
    yield "bench_ntxent_gpu", alone, (None, None)
    yield "bench_ntxent_gpu", alone | {"median_ms": beside}, (3.0, 2.0)


@pytest.mark.parametrize(("name", "measured", "ratios"), list(measured_rows()))
def test_benchmarks_report_in_the_schema(tool, monkeypatch, name, measured, ratios):
    monkeypatch.syspath_prepend(tool.BENCHMARKS)
    for graphs, ratio in zip((False, True), ratios, strict=True):
        row = importlib.import_module(name).report_row(measured, graphs)
        tool.check_row(row, name)
        assert row["ratio"] == ratio


def test_an_outcome_has_a_known_name(tool):
    with pytest.raises(ValueError, match="tests: found 'fine'"):
        tool.report(MACHINE, "abc", {"tests": "fine"}, [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device is at hand")
def test_without_a_gpu_the_script_measures_nothing(tmp_path):
    environment = os.environ | {"OUT": str(tmp_path / "results")}
    script = ROOT / "tools" / "gpu_check.sh"
    done = subprocess.run(
        ["bash", script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "nothing was checked, nothing measured" in done.stdout
    assert not (tmp_path / "results").exists()
