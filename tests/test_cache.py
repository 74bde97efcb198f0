"""Stores: whole or absent, whatever happens to the build."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clmer.data.cache import Modality, StoreWriter, build, open_store
from clmer.data.origin import differences, fingerprint, listed
from clmer.data.recording import DataError


def fill_with(value: float = 0.0, people: int = 2) -> Callable[[StoreWriter], None]:
    def fill(writer: StoreWriter) -> None:
        for person in range(people):
            writer.append(
                {
                    "eeg": np.arange(24.0).reshape(3, 2, 4) + value + person,
                    "au": np.full((3, 1, 5), person, dtype=np.float32),
                },
                subject=f"s{person}",
                group=f"g{person}",
                recording=f"s{person}/long-trial-name"[: 8 + 4 * person],
                stimulus="v1",
                start_s=np.arange(3.0),
                labels={"valence": 1.0 + person, "label": "rest" if person else "work"},
            )
        writer.finish(
            fingerprint="f" * 64,
            parameters={"window_s": 1.0},
            sources=[["a.dat", 2, 3, "00"]],
            modalities=[Modality("eeg", 2, 4.0, ("C3", "C4")), Modality("au", 2, 5.0, ("AU01_r",))],
            window_s=1.0,
            report={"windows": len(writer), "notes": ["µ"]},
        )

    return fill


def never(writer: StoreWriter) -> None:
    raise AssertionError("built again")


def visible(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if not p.name.endswith(".lock"))


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    eeg = store.array("eeg")
    assert isinstance(eeg, np.memmap)
    assert eeg.dtype == np.float32
    expected = np.arange(24.0).reshape(3, 2, 4)
    assert np.array_equal(eeg, np.concatenate([expected, expected + 1]))
    assert store.array("au").shape == (6, 1, 5)
    windows = store.windows
    assert len(windows) == 6
    assert windows.recording.tolist() == ["s0/long-"] * 3 + ["s1/long-tria"] * 3
    assert windows.start_s.tolist() == [0.0, 1.0, 2.0] * 2
    assert windows.labels["valence"].tolist() == [1.0] * 3 + [2.0] * 3
    assert windows.labels["label"].tolist() == ["work"] * 3 + ["rest"] * 3
    assert windows.window_s == 1.0
    assert list(store.modalities) == ["eeg", "au"]
    assert store.modalities["eeg"] == Modality("eeg", 2, 4.0, ("C3", "C4"))
    assert store.report == {"windows": 6, "notes": ["µ"]}
    assert store.fingerprint == "f" * 64


def test_a_store_is_marked_private(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    assert "do not commit" in (store.path / "NOTICE").read_text()
    assert (store.path / ".gitignore").read_text() == "*\n"


def test_a_finished_store_is_reused_and_another_key_is_not(tmp_path: Path) -> None:
    build(tmp_path, "toy", "a" * 64, fill_with())
    build(tmp_path, "toy", "a" * 64, never)
    other = build(tmp_path, "toy", "b" * 64, fill_with(5.0))
    assert other.array("eeg")[0, 0, 0] == 5.0
    assert len(visible(tmp_path)) == 2


def test_the_fingerprint_follows_parameters_and_files(tmp_path: Path) -> None:
    file = tmp_path / "a.dat"
    file.write_bytes(b"12")
    old = listed(tmp_path, [file])
    first = fingerprint({"window_s": 1.0, "filter": "type"}, old)
    assert first == fingerprint({"filter": "type", "window_s": 1.0}, old)
    assert first != fingerprint({"filter": "type", "window_s": 2.0}, old)
    stat = file.stat()
    file.write_bytes(b"123")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    longer = listed(tmp_path, [file])
    file.write_bytes(b"12")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    later = listed(tmp_path, [file])
    named = listed(tmp_path.parent, [file])
    file.write_bytes(b"21")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    exchanged = listed(tmp_path, [file])
    every = (old, longer, later, named, exchanged)
    assert len({fingerprint({"filter": "type"}, each) for each in every}) == 5
    assert listed(tmp_path, [tmp_path])[0][-1] == ""


def test_what_makes_two_stores_differ_is_said() -> None:
    before = {
        "format": 2,
        "parameters": {"window_s": 1.0, "filter": "type"},
        "sources": [["a.dat", 2, 10**18, "0a"], ["b.dat", 5, 7, "0b"], ["c.dat", 1, 1, "0c"]],
    }
    assert differences(before, before) == []
    after = {
        "format": 3,
        "parameters": {"window_s": 2.0, "filter": "type", "labels": "self"},
        "sources": [
            ["a.dat", 2, 10**18 + 10**6, "0a"],
            ["b.dat", 6, 7, "0b"],
            ["d.dat", 1, 1, "0c"],
        ],
    }
    labels, window, gone, new, touched, longer, form = differences(before, after)
    assert labels == "labels was None, is 'self'"
    assert window == "window_s was 1.0, is 2.0"
    assert (gone, new) == ("c.dat is gone", "d.dat is new")
    assert touched.startswith("a.dat has the same size and another time of change (2001-09-0")
    assert longer == "b.dat had 5 bytes, has 6"
    assert form == "stores had format 2, have 3"


_KILLED = """
import sys, time
from pathlib import Path
from clmer.data.cache import build
from test_cache import append_one, fill_with

def fill(writer):
    {before}(writer)
    print("ready", flush=True)
    time.sleep(60)

build(Path(sys.argv[1]), "toy", "k" * 64, fill)
"""


def append_one(writer: StoreWriter) -> None:
    row = {"subject": "s", "group": "s", "recording": "r", "stimulus": "v", "labels": {}}
    writer.append({"eeg": np.ones((1, 2, 4))}, start_s=np.zeros(1), **row)  # type: ignore[arg-type]


@pytest.mark.parametrize("before", ["fill_with(9.0)", "append_one"])
def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path, before: str) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    script = _KILLED.format(before=before)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=100)
    assert [name for name in visible(tmp_path) if not name.startswith(".")] == []
    assert len(visible(tmp_path)) == 1  # the temporary folder
    store = build(tmp_path, "toy", "k" * 64, fill_with(1.0))
    assert store.array("eeg")[0, 0, 0] == 1.0
    assert visible(tmp_path) == [store.path.name]


def test_a_build_of_a_data_set_with_a_longer_name_is_left_alone(tmp_path: Path) -> None:
    own, other = (
        tmp_path / f".deap-{'1' * 16}.building",
        tmp_path / f".deap-raw-{'2' * 16}.building",
    )
    own.mkdir()
    other.mkdir()
    build(tmp_path, "deap", "k" * 64, fill_with())
    assert not own.exists()
    assert other.is_dir()


_RANDOM_KILLS = """
import faulthandler, os, random, signal, sys, threading, time, traceback
from pathlib import Path
from clmer.data import DATASETS
from clmer.data.cache import open_store
from clmer.data.prepare import prepare
from clmer.data.synthetic import write_deap

faulthandler.dump_traceback_later(500, exit=True)
cache = Path(sys.argv[1])
root = write_deap(cache / "data", people=1, trials=3, seconds=2)

def fork():
    # This process never builds: a child that is killed can hold what both share for ever, such as
    # the semaphore that tqdm makes at its first bar; and no thread of it may run at a fork.
    assert threading.active_count() == 1
    child = os.fork()
    if child == 0:
        try:
            prepare(DATASETS["deap"], root, cache=cache, progress=False)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return child

def ended(child):
    deadline = time.monotonic() + 100
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            sys.exit("a build, or the end of a killed one, takes more than 100 s")
        time.sleep(0.001)
    return found[1]

def build():
    start = time.monotonic()
    assert ended(fork()) == 0
    return time.monotonic() - start

duration = build()
[path] = cache.glob("deap-*")
whole = open_store(path).array("physio").copy()
random.seed(0)
kills = absent = 0
start = time.monotonic()
while kills < 100 and (kills < 20 or time.monotonic() - start < 60):
    if time.monotonic() - start > 300:
        sys.exit(f"{kills} kills in 300 s, expected 20: a build takes {duration:.1f} s here")
    os.rename(path, cache / "gone")
    for file in (cache / "gone").iterdir():
        file.unlink()
    (cache / "gone").rmdir()
    child = fork()
    time.sleep(random.uniform(0, 1.5 * duration))
    os.kill(child, signal.SIGKILL)
    ended(child)
    kills += 1
    if path.exists():
        assert (open_store(path).array("physio") == whole).all()
    else:
        absent += 1
        duration = build()
build()
assert (open_store(path).array("physio") == whole).all()
left = sorted(path.name for path in cache.iterdir())
assert left == [".deap.lock", "data", path.name], left
print(kills, "kills:", absent, "absent")
"""


def test_killed_at_random_moments_a_store_is_whole_or_absent(tmp_path: Path) -> None:
    """100 kills, or as many as a slow disk allows in a minute, but 20."""
    (tmp_path / "cache").mkdir()
    command = [sys.executable, "-c", _RANDOM_KILLS, str(tmp_path / "cache")]
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(tmp_path / "said", "w+") as said:  # a pipe would wait for children, too
        run = subprocess.run(command, env=env, stdout=said, stderr=said, timeout=600)
    printed = (tmp_path / "said").read_text()
    assert run.returncode == 0, printed
    kills, absent = int(printed.split()[-4]), int(printed.split()[-2])
    assert kills // 10 <= absent < kills, printed  # both happened


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fill(writer: StoreWriter) -> None:
        fill_with()(writer)
        raise DataError("a.dat", "data", "nonsense", "data")

    with pytest.raises(DataError, match="nonsense"):
        build(tmp_path, "toy", "k" * 64, fill)
    assert visible(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is full")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, share: float) -> None:
    def fill(writer: StoreWriter) -> None:
        writer.share_done = share
        (writer.folder / "eeg.npy").symlink_to("/dev/full")
        fill_with()(writer)

    with pytest.raises(DataError, match="free space") as caught:
        build(tmp_path, "toy", "k" * 64, fill)
    assert caught.value.path == tmp_path
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert "--cache" in str(caught.value)
    assert ("about" in str(caught.value)) == bool(share)
    assert visible(tmp_path) == []


def test_the_size_needed_is_estimated_from_the_share_done(tmp_path: Path) -> None:
    def fill(writer: StoreWriter) -> None:
        writer.bytes_written, writer.share_done = 100 * 2**20, 0.25
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="about 400 MiB"):
        build(tmp_path, "toy", "k" * 64, fill)


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--cache"):
        build(tmp_path / "file", "toy", "k" * 64, fill_with())


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    os.truncate(store.path / "eeg.npy", 300)
    with pytest.raises(DataError, match="Delete the folder"):
        store.array("eeg")
    (store.path / "store.json").write_text("{")
    with pytest.raises(DataError, match="Delete the folder"):
        open_store(store.path)


def test_recordings_that_do_not_match_are_a_programming_error(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    append_one(writer)
    row = {"subject": "s", "group": "s", "recording": "r", "stimulus": "v", "labels": {}}
    with pytest.raises(ValueError, match=r"expected \(1, 2, 4\)"):
        writer.append({"eeg": np.ones((1, 3, 4))}, start_s=np.zeros(1), **row)  # type: ignore[arg-type]
    writer.close()
