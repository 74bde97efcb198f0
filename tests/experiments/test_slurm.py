"""Cells as jobs of Slurm, whose commands are scripts that run them here."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support.slurm_commands import write_slurm

from clmer import cli
from clmer.errors import ConfigError
from clmer.experiments import runner, slurm
from clmer.experiments.cells import Cell
from clmer.experiments.runner import DONE, FAILED, MISSING, run_cells
from clmer.experiments.slurm import Slurm


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with the jobs' states, and Slurm's commands on the path."""
    write_slurm(tmp_path / "bin")
    (tmp_path / "slurm").mkdir()
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_POLL_S", 0.2)
    return tmp_path / "slurm"


def run(tmp_path, monkeypatch, programs, *options):
    """Cells as Python programs instead of training jobs."""
    monkeypatch.setattr(runner, "finished", lambda cell, folder: False)
    monkeypatch.setattr(
        runner, "command", lambda cell, *_: [sys.executable, "-c", programs[cell.name]]
    )
    cells = [
        Cell(name, "deap", "va9", "trial", {}, tmp_path, config=object())  # type: ignore[arg-type]
        for name in programs
    ]
    place = Slurm.parse(["time=60", *options], tmp_path / "submitit", 0)
    return run_cells(cells, tmp_path / "cells", submit=place.run)


def waited(path):
    """The file's text, once it has one."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def gone(process):
    """Whether a process ends within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_cells_are_one_array_whose_outcomes_come_back(cluster, tmp_path, monkeypatch, capsys):
    programs = {
        "good": "import os; print('gone well in', os.environ['SLURM_ARRAY_TASK_ID'])",
        "bad": "import sys; print('one'); print('two'); sys.exit(3)",
    }
    outcomes = run(tmp_path, monkeypatch, programs, "partition=gpu", "gres=gpu:1", "exclusive")
    assert outcomes["good"].status == DONE
    assert (outcomes["bad"].status, outcomes["bad"].message) == (FAILED, "one two")
    script = (cluster / "script").read_text()
    for line in ("array=0-1%2", "time=60", "partition=gpu", "gres=gpu:1", "signal=USR2@90"):
        assert f"#SBATCH --{line}\n" in script
    assert "#SBATCH --exclusive\n" in script
    assert "gone well in 0" in (tmp_path / "cells" / "good.log").read_text()
    assert (tmp_path / "cells" / "bad.log").read_text().endswith("one\ntwo\n")
    said = capsys.readouterr().out
    assert re.search(r"cell 2/2: bad: Slurm job 77_1 \(.*bad.log\)", said)
    assert "  bad: failed (3): one two\n" in said
    assert re.search(r"  good: done in \d+ s\n", said)


def processes_of(group):
    """Those of a job but its script's shell, which Slurm leaves alone."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            number = int(entry.name)
            if os.getpgid(number) == group and not (entry / "cmdline").read_text().startswith("b"):
                yield number


@pytest.mark.slow
@pytest.mark.parametrize("first", [(), (signal.SIGTERM,)])
def test_a_job_that_is_preempted_is_requeued_and_continues(cluster, tmp_path, monkeypatch, first):
    count, folder = tmp_path / "count", tmp_path / "cells" / "a"
    program = (
        "import os, time; from pathlib import Path; "
        f"Path({str(folder)!r}).mkdir(exist_ok=True); count = Path({str(count)!r}); "
        "done = count.exists(); count.open('a').write('x'); time.sleep(0 if done else 60)"
    )

    def preempt():
        waited(count)
        group = int(waited(cluster / "77" / "pgid"))
        for number in (*first, signal.SIGUSR2):  # to every process of the job, as Slurm does
            for process in sorted(processes_of(group), reverse=True):
                os.kill(process, number)
                time.sleep(0.5)

    thread = threading.Thread(target=preempt)
    thread.start()
    outcome = run(tmp_path, monkeypatch, {"a": program})["a"]
    thread.join()
    assert outcome.status == DONE
    assert count.read_text() == "xx"
    assert not (tmp_path / "cells" / "a.usage.json").exists()  # not made in one piece


@pytest.mark.slow
def test_a_job_that_ends_without_a_result_is_a_failure(cluster, tmp_path, monkeypatch):
    program = f"import os, signal; os.kill(os.getppid(), signal.SIGKILL); print({'it'!r})"
    monkeypatch.setattr("submitit.SlurmJob._results_timeout_s", 0)
    outcome = run(tmp_path, monkeypatch, {"a": program})["a"]
    assert outcome.status == FAILED
    assert re.search(r"Slurm job 77 ended without a result; it printed .*77_0_log", outcome.message)


@pytest.mark.slow
def test_an_interrupt_cancels_the_jobs(cluster, tmp_path, monkeypatch):
    path = tmp_path / "began"
    program = f"import os, time; open({str(path)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def interrupted(jobs, poll_frequency):
        waited(path)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(slurm, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, monkeypatch, {"a": program, "b": "pass"})
    assert (cluster / "cancelled").read_text().split() == ["77_0", "77_1"]
    assert gone(int(path.read_text()))


def test_a_cell_that_runs_elsewhere_is_left_alone(cluster, tmp_path, monkeypatch):
    (tmp_path / "cells").mkdir()
    with (tmp_path / "cells" / "a.log").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = run(tmp_path, monkeypatch, {"a": "raise SystemExit('it ran')"})["a"]
    assert (outcome.status, outcome.message) == (MISSING, "another process runs it")


def test_what_sbatch_refuses_is_an_option_that_cannot_be_used(cluster, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="sbatch: .*invalid partition specified: nowhere"):
        run(tmp_path, monkeypatch, {"a": "pass", "b": "pass"}, "partition=nowhere")


@pytest.mark.parametrize("time", ["12:00:00", "0", "x"])
def test_a_jobs_time_is_in_minutes(cluster, tmp_path, time):
    with pytest.raises(ConfigError, match=f"`slurm` time: found {time}, expected a job's minutes"):
        Slurm.parse([f"time={time}"], tmp_path, 0)


def test_without_slurm_its_use_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = ["table4", "--synthetic", "--cluster", "slurm", "--slurm", "time=9"]
    assert cli.main(["experiments", *line, "--out", str(tmp_path / "out")]) == 2
    assert "--cluster slurm: found no sbatch, srun, sacct" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
