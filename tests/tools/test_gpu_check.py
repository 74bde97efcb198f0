"""tools/gpu_check.sh without a GPU: Python, cmake and compute-sanitizer are stand-ins that log."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "gpu_check.sh"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="tools/ is not beside the tests")

#: Each notes its start and end; $SLOW and $FAIL say what takes long and what fails.
STAND_IN = r"""#!/usr/bin/env bash
what="$(basename "$0") $*"
case $what in
  *get_device_capability*) echo 90; exit ;;
  *"import xdist"*) exit 1 ;;
esac
echo "start $what" >>"$LOG"
[[ -n $SLOW && $what =~ $SLOW ]] && sleep 20 || sleep 0.05
case $what in
  *"gpu_report.py rows"*) echo "[]" >"${@: -1}" ;;
  *"gpu_report.py write"*) mkdir -p "$3"; printf '%s\n' "$@" >"$3/report" ;;
esac
echo "end $what" >>"$LOG"
[[ -n $FAIL && $what =~ $FAIL ]] && exit 3
exit 0
"""


class Ran:
    """What a run printed, logged and reported."""

    def __init__(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.said = done.returncode, done.stdout
        self.log = (folder / "log").read_text().splitlines()
        report = folder / "out" / "report"
        words = report.read_text().splitlines() if report.exists() else []
        self.checks = dict(w.split("=", 1) for a, w in zip(words, words[1:]) if a == "--check")  # noqa: B905
        self.rows = [Path(w).stem for a, w in zip(words, words[1:]) if a == "--rows"]  # noqa: B905

    def at(self, pattern: str) -> list[int]:
        """Lines of the log that a pattern finds."""
        return [i for i, line in enumerate(self.log) if re.search(pattern, line)]


def run(tmp_path: Path, *, limit: int = 540, slow: str = "", fail: str = "") -> Ran:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python", "cmake", "compute-sanitizer"):
        (tools / name).write_text(STAND_IN)
        (tools / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": "python", "OUT": str(tmp_path / "out"), "LOG": str(tmp_path / "log"),
        "LIMIT": str(limit), "SLOW": slow, "FAIL": fail,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", SCRIPT], env=environment, capture_output=True, text=True, timeout=120
    )
    return Ran(tmp_path, done)


def test_everything_in_its_order(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.code == 0, ran.said
    assert set(ran.checks.values()) == {"passed"}
    assert {"build", "tests marked gpu", "memcheck", "racecheck"} < set(ran.checks)
    files = {path.stem for path in (ROOT / "benchmarks").glob("bench_*_gpu.py")}
    assert set(ran.rows) == files, "a benchmark is missing from `order`, or none has its name"
    assert ran.rows[0] == "bench_job_gpu"
    assert ran.log[-1].startswith("end python tools/gpu_report.py write")


def test_nothing_is_measured_while_tests_run(tmp_path: Path) -> None:
    ran = run(tmp_path)
    tests = ran.at("^end .*(-m gpu|-m sanitizer)")
    assert len(tests) == 3
    assert max(tests) < min(ran.at("^start .*gpu_report.py rows"))
    measured = [line.split()[0] for line in ran.log if "gpu_report.py rows" in line]
    assert measured == ["start", "end"] * (len(measured) // 2), "two benchmarks at once"


@pytest.mark.parametrize("which", ["-m gpu", "-m sanitizer", "rows .*step"])
def test_what_fails_is_in_the_report_and_the_rest_goes_on(tmp_path: Path, which: str) -> None:
    ran = run(tmp_path, fail=which)
    assert ran.code == 1
    failed = {name for name, outcome in ran.checks.items() if outcome == "failed"}
    assert (
        failed
        == {
            "-m gpu": {"tests marked gpu"},
            "-m sanitizer": {"memcheck", "racecheck"},
            "rows .*step": {"bench_step_gpu"},
        }[which]
    )
    assert "bench_bandpass_gpu" in ran.rows


def test_a_build_that_fails_is_reported(tmp_path: Path) -> None:
    ran = run(tmp_path, fail="cmake --build")
    assert ran.code == 1
    assert ran.checks == {"build": "failed"}
    assert not ran.at("-m gpu|gpu_report.py rows")


def test_the_report_is_written_in_time(tmp_path: Path) -> None:
    """A benchmark that hangs takes the time of those behind it, not the report's."""
    ran = run(tmp_path, limit=36, slow="rows .*step")
    assert ran.code == 1
    assert ran.checks["bench_step_gpu"] == "failed: ran out of time"
    assert ran.checks["bench_bandpass_gpu"] == "failed: ran out of time"
    assert "no time is left for" in ran.said
    assert ran.rows == ["bench_job_gpu"]
    assert ran.checks["tests marked gpu"] == "passed"
