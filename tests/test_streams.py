"""Commands under daemons and cron: standard streams closed, or nobody reading them any more."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clmer.errors import DataError
from clmer.predict.command import _check_encoding
from clmer.streams import Nowhere, for_streams, is_nowhere

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
TRAIN = (
    "{python} -m clmer.train manifest --root {data} --protocol shuffled --threads 1 --repeats 1 "
    "--epochs-fusion 1 --no-permuted --no-contrastive --ablation none --cache {data}/cache "
    "--out {data}/{name}"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people's EEG, and a run on it."""
    folder = tmp_path_factory.mktemp("streams")
    rng = np.random.default_rng(0)
    lines = ["subject,trial,label,modality,path,rate"]
    for number in range(2):
        np.save(folder / f"{number}.npy", rng.normal(0, 10, (2, 1280)).astype("f4"))
        lines.append(f"p{number},1,{'ab'[number]},eeg,{number}.npy,128")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    assert shell(folder, TRAIN, "run").returncode == 0
    return folder


def shell(
    data: Path, command: str, name: str = "", redirect: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command in a shell of its own, which closes what `redirect` says."""
    line = command.format(python=sys.executable, data=data, name=name)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} {redirect}"],
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.parametrize(
    ("name", "redirect"), [("out", ">&-"), ("err", "2>&-"), ("all", "<&- >&- 2>&-")]
)
def test_training_goes_on_with_closed_streams(data: Path, name: str, redirect: str) -> None:
    done = shell(data, TRAIN, name, redirect)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert ("balanced acc" in done.stdout) == (redirect == "2>&-")
    found, whole = (
        json.loads((data / each / "results.json").read_text())["models"] for each in (name, "run")
    )
    assert found == whole
    # Nothing printed lands in a file that took the number of a closed stream.
    for line in (data / name / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("command", "redirect"),
    [
        ("clmer report {data}/run --out {data}/r.html --cache {data}/cache", ">&- 2>&-"),
        (
            "clmer inspect manifest --root {data} --out {data}/i.html --cache {data}/c",
            ">&-",
        ),
        (
            "clmer inspect manifest --root {data} --out {data}/i.html --cache {data}/d",
            "2>&-",
        ),
        ("clmer experiments table4 --synthetic --people 2 --list", ">&- 2>&-"),
        ("clmer predict {data}/run {data}/0.npy --rate 128 --out {data}/p.csv", ">&- 2>&-"),
    ],
    ids=["report", "inspect-out", "inspect-err", "experiments", "predict"],
)
def test_other_commands_take_closed_streams(data: Path, command: str, redirect: str) -> None:
    done = shell(data, f"{{python}} -m {command}", redirect=redirect)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("command", "redirect"),
    [
        ("clmer video {data}/none.mp4 --out {data}/faces --with openface", ">&-"),
        ("clmer video {data}/none.mp4 --out {data}/faces --with openface", "2>&-"),
        ("clmer report {data}/none", "2>&-"),
        ("clmer train manifest --root {data}/none", ">&- 2>&-"),
    ],
    ids=["video-out", "video-err", "report", "train"],
)
def test_errors_keep_their_exit_code(data: Path, command: str, redirect: str) -> None:
    done = shell(data, f"{{python}} -m {command}", redirect=redirect)
    assert done.returncode == 2, done.stderr
    assert ("clmer: " in done.stderr) == (redirect == ">&-")
    assert not done.stdout  # an error is never taken for output


@pytest.mark.slow
def test_predictions_are_not_lost_in_a_closed_output(data: Path) -> None:
    line = "{python} -m clmer predict {data}/run {data}/0.npy --rate 128"
    done = shell(data, line, redirect=">&-")
    assert done.returncode == 2
    assert "closed standard output" in done.stderr
    assert "Name a file" in done.stderr
    # Notes for standard error do not end in the table where that is closed.
    table = shell(data, line, redirect="2>&-").stdout
    assert table.startswith("time_s,class,")
    assert all(len(row.split(",")) == 4 for row in table.splitlines())


@pytest.mark.parametrize(
    "command",
    [
        "{python} -m clmer experiments table4 --synthetic --list",
        "{python} -m clmer experiments --help",
    ],
)
def test_a_reader_that_goes_ends_a_command_quietly(data: Path, command: str) -> None:
    done = shell(data, command, redirect="| true")
    assert done.returncode in (0, 141)  # 0 where argparse had printed before the reader went
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is full")
def test_a_full_disk_behind_the_output_is_said(data: Path) -> None:
    done = shell(data, "{python} -m clmer experiments table4 --synthetic --list", "", ">/dev/full")
    assert done.returncode == 2
    assert done.stderr == "clmer: standard output: No space left on device\n"


def test_closed_streams_inside_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    @for_streams
    def main(argv: object = None) -> int:
        print("out")
        print("err", file=sys.stderr)
        seen.append((is_nowhere(sys.stdout), is_nowhere(sys.stderr)))
        return 3

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert is_nowhere(sys.stdout)
    assert main() == 3
    assert seen == [(True, True)]
    assert isinstance(sys.stdout, Nowhere)
    assert not is_nowhere(sys.__stdout__)


def test_a_library_without_standard_error_trains_and_prepares_quietly(data: Path) -> None:
    script = (
        "import sys; sys.stdout = sys.stderr = None\n"
        "import numpy as np\n"
        "from clmer import CLMERClassifier\n"
        "x = np.random.default_rng(0).normal(size=(24, 2, 64)); y = np.arange(24) % 2\n"
        "CLMERClassifier(epochs_fusion=1).fit(x, y)\n"
        "open(sys.argv[1], 'w').write('done')\n"
    )
    (data / "lib.py").write_text(script)
    done = shell(data, "{python} {data}/lib.py {data}/lib.txt")
    assert done.returncode == 0, done.stderr
    assert (data / "lib.txt").read_text() == "done"


def _stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_messages_reach_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @for_streams
    def say(argv: object = None) -> int:
        print("0.81 ± 0.02, André 東 \udcff")
        return 0

    out = _stream(encoding)
    monkeypatch.setattr("sys.stdout", out)
    assert say() == 0
    assert out.errors == "strict"
    said = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    wanted = {"ascii": "+- 0.02, Andr\\xe9 \\u6771", "latin-1": "± 0.02, André \\u6771"}
    assert said == f"0.81 {wanted.get(encoding, '± 0.02, André 東')} \\udcff\n"


def test_a_table_is_never_written_in_other_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", _stream("ascii"))
    _check_encoding("time_s,class\n0,low\n")
    with pytest.raises(DataError, match=r"`out`: found a standard output of ascii.*Name a file"):
        _check_encoding("time_s,class\n0,gelöst\n")
