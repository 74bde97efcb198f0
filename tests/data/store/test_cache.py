"""Stores: whole or absent, whatever happens to the build."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clmer.data.store import store
from clmer.data.store.origin import differences, fingerprint, listed
from clmer.data.store.store import Modality, open_store
from clmer.data.store.writer import StoreWriter, build
from clmer.errors import DataError


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
    folder, kept = listed(tmp_path, [tmp_path]), tmp_path.stat().st_mtime_ns
    file.write_bytes(b"1234")  # which leaves the folder's own time as it was
    assert tmp_path.stat().st_mtime_ns == kept
    assert listed(tmp_path, [tmp_path]) != folder


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
from clmer.data.store.writer import build
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
from clmer.data.store.store import open_store
from clmer.data.store.prepare import prepare
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


@pytest.mark.slow
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
    assert "`cache`" in str(caught.value)
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
    with pytest.raises(DataError, match="`cache`"):
        build(tmp_path / "file", "toy", "k" * 64, fill_with())


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    os.truncate(store.path / "eeg.npy", 300)
    with pytest.raises(DataError, match="Delete the folder"):
        store.array("eeg")
    (store.path / "store.json").write_text("{")
    with pytest.raises(DataError, match="Delete the folder"):
        open_store(store.path)


Change = Callable[[bytes], bytes]
_WRONG: dict[str, tuple[str, Change, str]] = {
    "table cut": ("windows.npz", lambda b: b[:-10], "windows"),
    "table flipped": ("windows.npz", lambda b: flipped(b, len(b) // 2), "windows"),
    "table empty": ("windows.npz", lambda b: b"", "windows"),
    "table of zeros": ("windows.npz", lambda b: bytes(len(b)), "windows"),
    "table is an array": ("windows.npz", lambda b: npy(np.zeros(3)), "subject"),
    "table of other columns": ("windows.npz", lambda b: npz(start_s=np.zeros(6)), "subject"),
    "array empty": ("eeg.npy", lambda b: b"", "array"),
    "array cut": ("eeg.npy", lambda b: b[:-4], "array"),
    "array longer": ("eeg.npy", lambda b: b + b"0000", "size"),
    "array is a zip": ("eeg.npy", lambda b: npz(x=np.zeros(3)), "array"),
    "array of doubles": ("eeg.npy", lambda b: npy(np.zeros((6, 2, 4))), "dtype"),
    "array by columns": ("eeg.npy", lambda b: npy(np.zeros((6, 2, 4), "f4", "F")), "dtype"),
    "array of fewer windows": ("eeg.npy", lambda b: npy(np.zeros((5, 2, 4), "f4")), "shape"),
    "array of no samples": ("eeg.npy", lambda b: npy(np.zeros((6, 2, 0), "f4")), "shape"),
    "description empty": ("store.json", lambda b: b"", "JSON"),
    "description {}": ("store.json", lambda b: b"{}", "format"),
    "description []": ("store.json", lambda b: b"[]", "format"),
    "description null": ("store.json", lambda b: b"null", "format"),
    "description in UTF-16": ("store.json", lambda b: b.decode().encode("utf-16"), "JSON"),
    "description deep": ("store.json", lambda b: b"[" * 100_000, "JSON"),
    "no window_s": ("store.json", lambda b: b.replace(b"window_s", b"window_x"), "window_s"),
    "no modality": ("store.json", lambda b: changed(b, modalities=[]), "modalities"),
    "modality twice": ("store.json", lambda b: b.replace(b'"au"', b'"eeg"'), "modalities"),
    "modality of text": ("store.json", lambda b: changed(b, modalities=["eeg"]), "modalities[0]"),
    "tokens of text": ("store.json", lambda b: b.replace(b'"tokens": 2', b'"tokens": "2"'), "ns"),
    "report of text": ("store.json", lambda b: changed(b, report="none"), "report"),
    "later format": ("store.json", lambda b: changed(b, format=99), "99, of a later version"),
    "earlier format": ("store.json", lambda b: changed(b, format=1), "1, of an earlier version"),
    "later field": ("store.json", lambda b: changed(b, colour=1), "colour: found a field that"),
    "later field of a modality": (
        "store.json",
        lambda b: b.replace(b'"tokens"', b'"new": 1, "tokens"', 1),
        "modalities[0].new: found a field that this version does not know; a later version",
    ),
}


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


def changed(content: bytes, **fields: object) -> bytes:
    return json.dumps(json.loads(content) | fields).encode()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**columns: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **columns)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("case", _WRONG)
def test_what_is_wrong_with_a_store_is_named_with_the_way_out(tmp_path: Path, case: str) -> None:
    name, change, field = _WRONG[case]
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    file = store.path / name
    good = file.read_bytes()
    assert change(good) != good
    file.write_bytes(change(good))
    for again in (build, open_store):
        with pytest.raises(DataError) as caught:
            again(tmp_path, "toy", "k" * 64, never) if again is build else again(store.path)
        assert caught.value.path == file
        assert field in str(caught.value).removeprefix(str(file))
        assert f"Delete the folder {store.path} and run again" in str(caught.value)
    shutil.rmtree(store.path)  # the way out
    assert len(build(tmp_path, "toy", "k" * 64, fill_with()).windows) == 6


@pytest.mark.parametrize("name", ["store.json", "windows.npz", "eeg.npy"])
def test_a_file_that_is_gone_is_named(tmp_path: Path, name: str) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    (store.path / name).unlink()
    with pytest.raises(DataError, match=f"{name}.*No such file.*Delete the folder"):
        open_store(store.path)
    (store.path / name).mkdir()
    with pytest.raises(DataError, match=name):
        open_store(store.path)


def test_columns_of_a_later_version_and_of_other_types_are_named(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    table = dict(np.load(store.path / "windows.npz"))
    for column, value, found in (
        ("colour", np.zeros(6), "colour.*later version"),
        ("start_s", np.zeros(5), "6 windows|5 windows"),
        ("start_s", np.arange(6), "start_s.*int64"),
        ("subject", np.arange(6.0), "subject.*float64"),
        ("label:valence", np.zeros((6, 2)), "label:valence"),
    ):
        (store.path / "windows.npz").write_bytes(npz(**table | {column: value}))
        with pytest.raises(DataError, match=found):
            open_store(store.path)


def test_any_changed_byte_of_the_table_is_seen_or_without_effect(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    files = {"windows.npz": len((store.path / "windows.npz").read_bytes()), "eeg.npy": 256}
    named: list[Path] = []
    for name, length in files.items():
        file = store.path / name
        good = file.read_bytes()
        for at in range(0, length, 1 if length < 1000 else 3):
            for bad in (flipped(good, at), good[:at]):
                file.write_bytes(bad)
                try:
                    again = open_store(store.path)
                except DataError as error:
                    named.append(error.path)
                else:
                    assert again.windows.subject.tolist() == store.windows.subject.tolist()
                    assert again.windows.start_s.tolist() == store.windows.start_s.tolist()
                    assert (again.array("eeg") == store.array("eeg")).all()
        file.write_bytes(good)
    assert set(named) == {store.path / name for name in files}
    assert len(named) > sum(files.values()) / 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_may_not_be_read_is_not_to_be_deleted(tmp_path: Path) -> None:
    store = build(tmp_path, "toy", "k" * 64, fill_with())
    (store.path / "windows.npz").chmod(0)
    with pytest.raises(DataError, match="Permission denied.*Allow reading"):
        open_store(store.path)


def test_a_file_in_the_stores_place_is_named(tmp_path: Path) -> None:
    (tmp_path / f"toy-{'k' * 16}").write_text("")
    with pytest.raises(DataError, match="found no folder.*Delete it and run again"):
        build(tmp_path, "toy", "k" * 64, fill_with())


def test_recordings_that_do_not_match_are_a_programming_error(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    append_one(writer)
    row = {"subject": "s", "group": "s", "recording": "r", "stimulus": "v", "labels": {}}
    with pytest.raises(ValueError, match=r"expected \(1, 2, 4\)"):
        writer.append({"eeg": np.ones((1, 3, 4))}, start_s=np.zeros(1), **row)  # type: ignore[arg-type]
    writer.close()


@pytest.mark.parametrize("name", ["store.json", "windows.npz"])
def test_more_than_a_store_can_hold_is_not_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(tmp_path, "toy", "a" * 64, fill_with()).path
    with zipfile.ZipFile(path / "windows.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", b"\0" * 2**22)  # 4 KiB on the disk
    with (path / "store.json").open("a") as file:
        file.write(" " * 2**22)
    if name == "windows.npz":
        (path / "store.json").write_text((path / "store.json").read_text().rstrip())
    monkeypatch.setattr(store, "MOST_BYTES", 2**22)
    with pytest.raises(
        DataError, match=rf"{name}: size: found 4 MiB, more than 4.*Delete the fold"
    ):
        open_store(path)
