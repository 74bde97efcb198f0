"""The main job from the command line: results, repeatability, kills, refusals."""

import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.train_cases import SMALL

import clmer
from clmer.cli import main
from clmer.data.synthetic import write_deap
from clmer.pipeline.ranks import Ranks, _runs

REPO = Path(clmer.__file__).parents[1]


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    """A generated DEAP of 2 people x 12 trials x 2 s, and a cache for its store."""
    folder = tmp_path_factory.mktemp("deap")
    write_deap(folder / "data", people=2, trials=12, seconds=2)
    return folder


def command(deap, out, *extra):
    data = ["deap", "--root", str(deap / "data"), "--cache", str(deap / "cache")]
    return ["train", *data, "--out", str(out), *SMALL, *extra]


def run(deap, out, *extra):
    return main(command(deap, out, *extra))


def start(deap, out, *extra):
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    line = [sys.executable, "-m", "clmer.train", *command(deap, out, *extra)[1:]]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def lines(out):
    path = out / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def kill_after(process, out, count):
    deadline = time.monotonic() + 120
    while len(lines(out)) < count:
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=100)


@pytest.fixture(scope="module")
def whole(deap):
    assert run(deap, deap / "whole") == 0
    return deap / "whole"


def test_under_block_a_recording_has_one_permuted_label(tmp_path):
    """Every split tests a part of each recording; its parts are scored as one."""
    write_deap(tmp_path / "data", people=2, trials=4, seconds=30)
    data = ["deap", "--root", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    options = ["--protocol", "block", "--repeats", "0", "--modalities", "physio"]
    options += ["--epochs-contrastive", "1", "--epochs-fusion", "1", "--ablation", "none"]
    out = tmp_path / "run"
    assert main(["train", *data, "--out", str(out), *SMALL, *options]) == 0
    results = json.loads((out / "results.json").read_text())
    assert "permuted labels" in {model["name"] for model in results["models"]}


def test_a_run_leaves_what_it_promises(whole):
    results = json.loads((whole / "results.json").read_text())
    names = [model["name"] for model in results["models"]]
    assert names[0] == "physio+landmarks+au"
    assert {"permuted labels", "majority", "band power + LR: physio+landmarks+au"} < set(names)
    assert results["shared_groups"] == 0
    assert any(note.startswith("stage 1: ") for note in results["notes"])
    config = json.loads((whole / "config.json").read_text())
    assert config["config"]["data"]
    assert config["environment"]["torch"]
    stages = [json.loads(line)["stage"] for line in lines(whole)]
    assert stages[:3] == ["split1/contrastive"] * 3
    assert {"split1/physio+landmarks+au", "split1/permuted"} < set(stages)
    assert (whole / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert len((whole / "predictions.csv").read_text().splitlines()) > 10
    assert list((whole / "events").iterdir())
    assert not (whole / "checkpoint").exists()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(deap, whole):
    assert run(deap, deap / "again") == 0
    assert run(deap, deap / "other", "--seed", "1") == 0
    wanted = (whole / "results.json").read_bytes()
    assert (deap / "again" / "results.json").read_bytes() == wanted
    assert (deap / "other" / "results.json").read_bytes() != wanted


@pytest.mark.slow
def test_killed_in_either_stage_and_resumed_it_ends_with_the_same_bytes(deap, whole):
    out = deap / "killed"
    kill_after(start(deap, out), out, 2)  # contrastive
    kill_after(start(deap, out, "--resume"), out, 5)  # fusion
    assert run(deap, out, "--resume") == 0
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert (out / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert lines(out) == lines(whole)


def test_an_interrupt_leaves_a_run_that_continues(deap, whole, monkeypatch, capsys):
    import clmer.pipeline.run.folder

    logged = clmer.pipeline.run.folder.Run.log

    def interrupted(self, line):
        logged(self, line)
        if len(lines(self.folder)) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(clmer.pipeline.run.folder.Run, "log", interrupted)
    assert run(deap, deap / "interrupted") == 130
    assert "--resume continues" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(deap, deap / "interrupted", "--resume") == 0
    assert lines(deap / "interrupted") == lines(whole)


def test_stages_can_be_left_out(deap):
    assert run(deap, deap / "raw", "--no-contrastive", "--no-permuted") == 0
    notes = json.loads((deap / "raw" / "results.json").read_text())["notes"]
    assert not any(note.startswith("stage 1: ") for note in notes)
    assert run(deap, deap / "encoders", "--no-fusion") == 0
    assert "models" not in json.loads((deap / "encoders" / "results.json").read_text())


@pytest.mark.parametrize("encoders", ["frozen", "finetune"])
def test_a_table_with_and_without_stage_1(deap, encoders):
    out = deap / f"stages-{encoders}"
    options = ["--ablation", "stages", "--encoders", encoders, "--no-permuted"]
    assert run(deap, out, *options, "--objective", "pooled") == 0
    results = json.loads((out / "results.json").read_text())
    names = {model["name"] for model in results["models"]}
    assert {"physio+landmarks+au", "random encoders", "no encoders"} < names
    pairs = [{row["a"], row["b"]} for row in results["comparisons"]]
    assert {"physio+landmarks+au", "random encoders"} in pairs
    assert (out / "models" / "split1" / "random-encoders.safetensors").is_file()
    assert run(deap, deap / f"none-{encoders}", "--no-contrastive", "--no-permuted") == 0
    without = json.loads((deap / f"none-{encoders}" / "results.json").read_text())
    hand = "features + LR: physio+landmarks+au"
    assert _model(results, hand) == _model(without, hand)  # which knows nothing of stage 1


def _model(results, name):
    return next(model for model in results["models"] if model["name"] == name)


def test_a_finished_or_foreign_folder_is_refused(deap, whole, capsys):
    assert run(deap, whole) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(deap, whole, "--resume", "--seed", "7") == 2
    assert "seed: this folder has 0, now 7" in capsys.readouterr().err
    foreign = deap / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("")
    assert run(deap, foreign) == 2
    assert "other files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--token-length", "0"], "--token-length: found 0, expected at least 1"),
        (["--batch-size", "0"], "--batch-size: found 0, expected at least 1"),
        (["--dim", "9"], "--dim: found 9, expected a multiple of --heads 2"),
        (["--task", "joy"], "--task joy"),
        (["--protocol", "subject"], "--protocol subject"),
        (["--modalities", "physio,smell"], "smell"),
        (["--no-contrastive", "--no-fusion"], "nothing to train"),
        (["--device", "cuda:7"], "sees no CUDA device"),
        (["--device", "abacus"], "found 'abacus'"),
        (["--control", "none"], "add --synthetic"),
        (["--window", "-1"], "expected above 0"),
        (["--stride", "inf"], "expected above 0"),
        (["--seed", "4294967296"], "--seed: found 4294967296"),
        (["--generator-seed", "3"], "--generator-seed: these shape generated data"),
        (["--modalities", "face"], "expected some of landmarks, au, gaze, hog"),
    ],
)
def test_options_that_cannot_be_met_exit_2(deap, extra, message, capsys):
    if "cuda" in message.lower() and __import__("torch").cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    out = deap / "refused"
    assert run(deap, out, *extra) == 2
    assert message in capsys.readouterr().err
    assert not (out / "results.json").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--control", "one:smell"], "--control: found 'one:smell'"),
        (["--people", "0"], "--people: found 0, expected 1 to 99"),
        (["--generator-seed", "-1"], "--generator-seed: found -1"),
    ],
)
def test_a_generator_that_cannot_be_had_exits_2(tmp_path, extra, message, capsys):
    line = ["train", "deap", "--synthetic", "--cache", str(tmp_path), "--out", str(tmp_path / "o")]
    assert main([*line, *extra]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_can_hold_a_run(deap):
    out = deap / "empty"
    out.mkdir()
    (out / ".gitignore").write_text("*\n")  # as a run leaves it that was killed at once
    assert run(deap, out, "--no-fusion", "--modalities", "au") == 0
    (deap / "file").write_text("")
    assert run(deap, deap / "file") == 2


def test_a_batch_of_one_trains(deap):
    extra = ["--no-contrastive", "--no-permuted", "--batch-size", "1", "--modalities", "au"]
    assert run(deap, deap / "one", *extra) == 0


def test_generated_recordings_of_one_type_train_without_a_bound(tmp_path):
    line = ["train", "deap", "--synthetic", "--people", "1", "--modalities", "gsr", *SMALL]
    line += ["--no-contrastive", "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "o")]
    assert main(line) == 0
    assert json.loads((tmp_path / "o" / "results.json").read_text())["bayes"] == {}


def test_a_full_disk_leaves_no_run_folder_or_one_that_continues(deap, monkeypatch, capsys):
    import clmer.pipeline.run.folder
    import clmer.pipeline.run_files
    import clmer.storage

    def full(path, content, *, durable=True):
        if path.name == name:
            raise clmer.storage.unwritable(path, OSError(28, "No space left on device"))
        written(path, content, durable=durable)

    written = clmer.storage.write_file
    monkeypatch.setattr(clmer.pipeline.run.folder, "write_file", full)
    monkeypatch.setattr(clmer.pipeline.run_files, "write_file", full)
    out, options = deap / "full", ["--no-fusion", "--modalities", "au"]
    name = "config.json"
    assert run(deap, out, *options) == 2
    assert "config.json: writing: found No space left" in capsys.readouterr().err
    assert not out.exists()
    name = "split1.safetensors"
    assert run(deap, out, *options) == 2
    assert "checkpoint/split1.safetensors: writing" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(deap, out, *options, "--resume") == 0


def test_a_damaged_checkpoint_is_named(deap, capsys):
    out, options = deap / "damaged", ["--no-fusion", "--modalities", "au"]
    assert run(deap, out, *options) == 0
    path = out / "models" / "split1" / "contrastive.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert run(deap, out, *options, "--resume") == 2
    assert "contrastive.safetensors: safetensors: found" in capsys.readouterr().err
    path.unlink()
    assert run(deap, out, *options, "--resume") == 0


def test_an_interrupt_during_preparation_says_so(deap, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("clmer.train.job.prepare", interrupted)
    assert run(deap, deap / "early") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (deap / "early").exists()


def test_without_data_it_says_where_it_looked_and_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CLMER_DATA", str(tmp_path))
    assert main(["train", "deap"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "deap") in said
    assert "--synthetic" in said
    assert "eecs.qmul.ac.uk" in said or "EULA" in said
    assert main(["train", "deap", "--root", str(tmp_path / "nowhere")]) == 2
    assert main(["train", "deap", "--root", str(tmp_path)]) == 2
    assert main(["train", "eegmat", "--synthetic"]) == 2


# --- torchrun: two processes do what one would ---------------------------------------------------
def torchrun(deap, out, *extra):
    """The job on two local processes."""
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    line += ["-m", "clmer.train", *command(deap, out, *extra)[1:]]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(process):
    """What a process printed that has to end well, and in time."""
    try:
        printed = process.communicate(timeout=300)[0].decode()
    except subprocess.TimeoutExpired as error:
        process.terminate()  # torchrun passes it on
        pytest.fail(f"still running after 300 s; it printed {(error.output or b'').decode()}")
    assert process.returncode == 0, printed
    return printed


def contrastive(out):
    """The losses of every epoch of the contrastive stage."""
    read = map(json.loads, lines(out))
    return [
        [value for key, value in line.items() if key not in ("stage", "epoch")]
        for line in read
        if line["stage"].endswith("contrastive")
    ]


@pytest.fixture(scope="module")
def shared(deap):
    process = torchrun(deap, deap / "shared")
    return deap / "shared", finished(process)


@pytest.mark.slow
def test_two_processes_train_what_one_does(whole, shared):
    out, printed = shared
    one, two = (torch.tensor(contrastive(each), dtype=torch.float64) for each in (whole, out))
    assert one.shape == two.shape == (3, 4)
    # The first step sees the same weights; Adam then amplifies gradients that are only rounding.
    torch.testing.assert_close(two, one, rtol=2e-3, atol=0)
    torch.testing.assert_close(two[0], one[0], rtol=1e-4, atol=0)
    assert printed.count("preset cpu on cpu, 2 processes") == 1  # one of the two speaks
    assert "rank 1" not in printed
    results = [json.loads((each / "results.json").read_text()) for each in (whole, out)]
    assert [m["name"] for m in results[0]["models"]] == [m["name"] for m in results[1]["models"]]
    assert not (out / "checkpoint").exists()


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bytes(deap, shared):
    out = deap / "shared-killed"
    process = torchrun(deap, out)
    deadline = time.monotonic() + 120
    while len(lines(out)) < 2:
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on; no process handles it
    process.wait(timeout=100)
    finished(torchrun(deap, out, "--resume"))
    for name in ("results.json", "predictions.csv", "metrics.jsonl"):
        assert (out / name).read_bytes() == (shared[0] / name).read_bytes()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds a rank's process in /proc")
def test_the_rank_that_was_killed_is_named(deap):
    out = deap / "shared-lost"
    process = torchrun(deap, out, "--epochs-contrastive", "200")
    deadline = time.monotonic() + 120
    while len(lines(out)) < 1:
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for found in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            parent = found.with_name("stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == process.pid and b"\0RANK=1\0" in b"\0" + found.read_bytes():
                os.kill(int(found.parent.name), signal.SIGKILL)
    printed = process.communicate(timeout=100)[0].decode()
    assert process.returncode != 0
    # torchrun ends the others, or they miss the rank before it does.
    assert re.search(r"(clmer, rank 0: stopped|interrupted): rank 1 ended \(killed", printed), (
        printed
    )
    assert f"{out} is usable: the same command with --resume continues" in printed


def test_a_process_that_has_ended_is_gone():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    while not Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
        time.sleep(0.01)
    here = platform.node()
    processes = ((here, os.getpid()), (here, ended.pid), ("elsewhere", ended.pid))
    assert Ranks(count=3, processes=processes).gone() == [1]
    ended.wait()
    assert Ranks(count=3, processes=processes).gone() == [1]
    assert Ranks(count=1, processes=processes[:1]).gone(wait_s=0.1) == []


def test_a_process_runs_until_its_last_thread_has_let_go_of_its_locks():
    """The first thread of a killed process is a zombie while others still hold its open files."""
    code = (
        "import os, sys, threading, time\n"
        "def leave(): time.sleep(0.5); os._exit(0)\n"
        "threading.Thread(target=leave).start()\n"
        "import ctypes; ctypes.CDLL(None).pthread_exit(None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    stat = Path(f"/proc/{process.pid}/stat")
    while not stat.read_text().rpartition(")")[2].startswith(" Z"):
        time.sleep(0.001)
    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 2
    assert _runs(process.pid)
    process.wait()
    assert not _runs(process.pid)


def test_more_ranks_than_splits_need_a_stage_to_share(deap):
    out = deap / "alone"
    process = torchrun(deap, out, "--no-contrastive")
    printed = process.communicate(timeout=100)[0].decode()
    assert process.returncode != 0
    assert "clmer, rank 0: torchrun: found 2 processes for 1 split(s)" in printed
    assert "--no-contrastive" in printed
    assert not out.exists()


TWO = ("--repeats", "2", "--modalities", "physio,au")


@pytest.fixture(scope="module")
def two_splits(deap):
    assert run(deap, deap / "two", *TWO) == 0
    return deap / "two"


def same(one, other):
    """Whether two folders hold the same scores, predictions and log, byte for byte."""
    for name in ("results.json", "predictions.csv", "metrics.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_two_processes_train_two_splits_to_the_bytes_of_one(deap, two_splits):
    out = deap / "two-at-once"
    printed = finished(torchrun(deap, out, *TWO))
    same(out, two_splits)
    assert printed.count("preset cpu on cpu, 2 processes") == 1
    assert "rank 1" not in printed
    assert not (out / "checkpoint").exists()
    for split in ("split1", "split2"):
        names = {path.name for path in (out / "models" / split).iterdir()}
        assert names == {path.name for path in (two_splits / "models" / split).iterdir()}
    assert clmer.load(out).splits.keys() == {"split1", "split2"}


def processes_of(out):
    """torchrun and its ranks that write into a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(out).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_killed_with_two_splits_in_progress_it_ends_with_the_same_bytes(deap, two_splits):
    out = deap / "two-killed"
    process = torchrun(deap, out, *TWO)
    deadline = time.monotonic() + 120
    while len({json.loads(line)["stage"][:6] for line in lines(out)}) < 2:
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    ranks = processes_of(out)
    for rank in ranks:
        os.kill(rank, signal.SIGKILL)
    process.wait(timeout=100)
    # A process that ends loses its command line first; its last thread lets go of the lock.
    while processes_of(out) or any(_runs(rank) for rank in ranks):
        time.sleep(0.01)
    # One process continues what two began, and two what one did.
    assert run(deap, out, *TWO, "--resume") == 0
    same(out, two_splits)
    (out / "results.json").unlink()
    (out / "models" / "split2" / "permuted.safetensors").unlink()
    finished(torchrun(deap, out, *TWO, "--resume"))
    same(out, two_splits)
