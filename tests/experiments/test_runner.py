"""Runs as processes: made once, continued, failed, interrupted, locked; the command as a whole."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time

import pytest

from clmer import cli
from clmer.data.synthetic import write_deap
from clmer.errors import DataError
from clmer.experiments import cells, make, runner
from clmer.experiments.cells import Cell
from clmer.experiments.runner import DONE, FAILED, MISSING, Outcome, Training, run_cells
from clmer.experiments.shards import without_torchrun

SMALL = ["--folds", "3", "--threads", "1", "--width", "4", "--dim", "8", "--heads", "2"]
SMALL += ["--cross-layers", "1", "--single-layers", "1", "--epochs-fusion", "2", "--repeats", "1"]


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deap")
    write_deap(folder / "data", people=2, trials=12, seconds=2)
    return folder


def table(deap, *extra):
    """Table IV of one modality: a run without and one with contrastive learning."""
    line = ["table4", "--dataset", "deap", "--root", str(deap / "data"), "--modalities", "au"]
    line += ["--cache", str(deap / "cache"), "--out", str(deap / "out"), "--task", "valence"]
    return cli.main(["experiments", *line, "--epochs-contrastive", "1", *SMALL, *extra])


@pytest.fixture(scope="module")
def made(deap):
    assert table(deap, "--jobs", "2") == 0
    return sorted(path for path in (deap / "out" / "cells").iterdir() if path.is_dir())


@pytest.mark.slow
def test_runs_are_made_and_written(deap, made):
    assert len(made) == 2
    stem = deap / "out" / "table4-deap-synthetic-trial"
    for suffix in (".csv", ".md", ".html"):
        assert "fusion with CL" in stem.with_suffix(suffix).read_text()
    usage = json.loads(made[0].with_name(f"{made[0].name}.usage.json").read_text())
    assert usage["seconds"] > 0
    assert 50 < usage["peak_rss_mib"] < 50_000
    log = made[0].with_name(f"{made[0].name}.log").read_text()
    assert "--resume" in log
    assert "expected training time" in log


def test_finished_runs_are_not_made_again(deap, made, monkeypatch, capsys):
    def refused(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(runner.subprocess, "Popen", refused)
    assert table(deap) == 0
    assert capsys.readouterr().out.count("already finished") == 2


def test_a_failed_run_ends_no_other_process_of_torchrun(deap, monkeypatch, capsys, tmp_path):
    def failed(cells, folder, **_):
        return {cell.name: Outcome(FAILED, "it fell") for cell in cells}

    monkeypatch.setattr(make, "run_cells", failed)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    (tmp_path / "out").mkdir()
    out = ("--out", str(tmp_path / "out"))
    assert table(deap, *out) == 1  # torchrun does not choose the shard
    assert table(deap, *out, "--shard", "auto") == 0
    assert capsys.readouterr().err.count("2 of 2 runs failed") == 2


@pytest.mark.slow
def test_an_unfinished_run_continues_and_a_failed_one_leaves_the_rest(deap, made, capsys):
    whole = (made[0] / "results.json").read_bytes()
    epochs = (made[0] / "metrics.jsonl").read_bytes()
    (made[0] / "results.json").unlink()  # as if killed before the last step
    assert table(deap, "--task", "joy,valence", "--jobs", "3") == 1
    assert (made[0] / "results.json").read_bytes() == whole
    assert (made[0] / "metrics.jsonl").read_bytes() == epochs
    said = capsys.readouterr()
    assert not made[0].with_name(f"{made[0].name}.usage.json").exists()  # not in one piece
    assert "2 of 4 runs failed" in said.err
    assert "--task joy: found no such label" in said.err
    text = (deap / "out" / "table4-deap-synthetic-trial.md").read_text()
    assert "| fusion with CL | au | joy | failed |" in text
    assert "fusion with CL, au, joy: failed: clmer: " in text


def test_other_recordings_are_another_run(deap, made, monkeypatch):
    from clmer.train import job as train

    cell = next(iter(_cells(deap, made[0].name)))
    assert cells.finished(cell, made[0])
    other = train.prepared(cell.config, cell.cache)[1]
    monkeypatch.setattr(
        train, "prepared", lambda *_: (None, type(other)(**{**vars(other), "fingerprint": "0"}))
    )
    assert not cells.finished(cell, made[0])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("results.json", b"{", r"results.json: JSON: found"),
        ("results.json", b'{"bayes": {}}', r"results.json: models: found nothing"),
        ("config.json", b"[]", r"config.json: content: found \[\]"),
    ],
)
def test_a_damaged_run_fails_and_the_rest_is_shown(deap, made, file, content, message, capsys):
    whole = (made[0] / file).read_bytes()
    (made[0] / file).write_bytes(content)
    assert table(deap) == 1
    (made[0] / file).write_bytes(whole)
    err = capsys.readouterr().err
    assert len(re.findall(message, err)) == 1
    assert "1 of 2 runs failed" in err
    text = (deap / "out" / "table4-deap-synthetic-trial.md").read_text()
    assert len(re.findall(rf"failed: .*{message}", text)) == 1
    assert re.search(r"\| fusion with(out)? CL \| au \| valence \| \d", text)


def _cells(deap, name):
    from clmer.cli.options.experiments import read_words
    from clmer.experiments.cells import Setup, plan
    from clmer.experiments.specs import EXPERIMENTS

    options = read_words(["--cache", str(deap / "cache"), "--epochs-contrastive", "1", *SMALL])
    setup = Setup({"root": str(deap / "data")}, "", 1, ("valence",), ("au",), (), options)
    cells = plan(EXPERIMENTS["table4"], "deap", setup, ("",)).cells
    return [cells[name]]


def test_list_starts_nothing(deap, capsys):
    assert table(deap, "--list", "--out", str(deap / "listed")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("python -m clmer.train deap --root ") for line in lines)
    assert not (deap / "listed").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["table4", "--dataset", "deap", "--root", "/nowhere"], "--root: found no folder"),
        (["table4", "--synthetic", "--bogus"], "unrecognized arguments: --bogus"),
        (["table4", "--synthetic", "--no-fusion"], "--no-fusion"),
        (["table4", "--synthetic", "--dim", "9"], "--dim: found 9"),
        (["table4", "--synthetic", "--shard", "4/3"], "--shard: found '4/3'"),
        (["table4", "--synthetic", "--jobs", "0"], "--jobs"),
        (["table4", "--synthetic", "--slurm", "time=9"], "--slurm time=9: is for --cluster slurm"),
        (["table4", "--synthetic", "--cluster", "slurm"], "--slurm time: found nothing"),
        (["leakage", "--dataset", "deap", "--synthetic", "--task", "va4,va9"], "for leakage"),
        (["all", "--dataset", "deap", "--synthetic", "--task", "va4,va9"], "for fig4, leakage"),
        (["fig4", "--synthetic", "--task", "va4,va9"], "--task: found va4, va9, expected one"),
        (["leakage", "--dataset", "deap", "--synthetic", "--protocol", "trial"], "--protocol"),
        (["leakage", "--synthetic"], "say on which recordings"),
        (["all", "--root", "/tmp"], "--root: one folder for deap, amigos-short"),
    ],
)
def test_what_cannot_be_used_exits_2(line, message, capsys, tmp_path):
    assert cli.main(["experiments", *line, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_drawings_are_said_to_be_drawings(capsys, tmp_path):
    assert cli.main(["experiments", "fig1", "--out", str(tmp_path / "out")]) == 0
    assert "docs/model.md" in capsys.readouterr().out


# --- processes that only pretend to train -------------------------------------------------------
def pretend(monkeypatch, program):
    """Cells run a Python program instead of a training job."""
    monkeypatch.setattr(runner, "finished", lambda cell, folder: False)
    monkeypatch.setattr(runner, "command", lambda *_: [sys.executable, "-c", program])


def cell(name, tmp_path):
    return Cell(name, "deap", "va9", "trial", {}, tmp_path, config=object())  # type: ignore[arg-type]


def test_a_failure_says_its_last_lines_and_the_rest_goes_on(tmp_path, monkeypatch):
    program = (
        "import sys; print('one'); print('two'); sys.stderr.write('10%\\r90%\\n'); sys.exit(3)"
    )
    pretend(monkeypatch, program)
    outcomes = run_cells([cell("a", tmp_path), cell("b", tmp_path)], tmp_path / "cells")
    assert {name: o.status for name, o in outcomes.items()} == {"a": FAILED, "b": FAILED}
    assert "90%" in outcomes["a"].message
    assert "10%" not in outcomes["a"].message
    pretend(monkeypatch, "pass")
    assert run_cells([cell("a", tmp_path)], tmp_path / "cells")["a"].status == DONE
    refused = Cell("c", "deap", "va9", "trial", {}, tmp_path, None, "--dim: found 9")
    outcome = run_cells([refused], tmp_path / "cells")["c"]
    assert (outcome.status, outcome.message) == (FAILED, "--dim: found 9")


def test_a_run_that_cannot_be_read_stops_no_other(tmp_path, monkeypatch):
    pretend(monkeypatch, "pass")

    def finished(cell, folder):
        if cell.name == "b":
            raise DataError(folder, "results.json", "{", "JSON")
        return False

    monkeypatch.setattr(runner, "finished", finished)
    cells = [cell(name, tmp_path) for name in "abc"]
    outcomes = run_cells(cells, tmp_path / "cells", jobs=2)
    assert [outcomes[name].status for name in "abc"] == [DONE, FAILED, DONE]
    assert "results.json: found {, expected JSON" in outcomes["b"].message


def test_at_most_so_many_run_at_a_time(tmp_path, monkeypatch):
    running, most = set(), []
    start, ended = Training.start, Training.ended

    def started(self, **options):
        running.add(self.name)
        most.append(len(running))
        return start(self, **options)

    def stopped(self):
        outcome = ended(self)
        if outcome is not None:
            running.discard(self.name)
        return outcome

    monkeypatch.setattr(Training, "start", started)
    monkeypatch.setattr(Training, "ended", stopped)
    pretend(monkeypatch, "import time; time.sleep(0.2)")
    run_cells([cell(str(i), tmp_path) for i in range(5)], tmp_path / "cells", jobs=2)
    assert max(most) == 2


def test_an_interrupt_stops_what_runs(tmp_path, monkeypatch):
    path = str(tmp_path / "began")
    program = f"import os, time; open({path!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    pretend(monkeypatch, program)

    def interrupted(seconds):
        deadline = time.monotonic() + 60
        while not ((tmp_path / "began").exists() and (tmp_path / "began").read_text()):
            assert time.monotonic() < deadline
            os.sched_yield()
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_cells([cell("a", tmp_path), cell("b", tmp_path)], tmp_path / "cells")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "began").read_text()), 0)
    assert not (tmp_path / "cells" / "b.log").exists()


def test_a_run_of_another_process_is_left_alone(tmp_path, monkeypatch):
    pretend(monkeypatch, "raise SystemExit('it ran')")
    (tmp_path / "cells").mkdir()
    with (tmp_path / "cells" / "a.log").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = run_cells([cell("a", tmp_path)], tmp_path / "cells")["a"]
    assert (outcome.status, outcome.message) == (MISSING, "another process runs it")


def test_a_run_is_no_rank_of_torchrun_and_has_its_gpu():
    torchrun = {"RANK": "5", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x", "HOME": "/home/me"}
    made = without_torchrun(torchrun)
    assert made == {"HOME": "/home/me", "CUDA_VISIBLE_DEVICES": "1"}
    made = without_torchrun({**torchrun, "CUDA_VISIBLE_DEVICES": "4,7"})
    assert made["CUDA_VISIBLE_DEVICES"] == "7"
    assert without_torchrun({"HOME": "/home/me"}) == {"HOME": "/home/me"}
