"""Files whole or not there, and locks that die with their holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clmer.storage import lock

HOLD = """
import sys, time
from pathlib import Path
from clmer.storage import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", [".", "x.lock"])
def test_a_lock_is_held_by_one_process_and_given_back_by_its_death(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), lock(path, wait=False):
        pass
    holder.kill()
    holder.wait()
    with lock(path, wait=False, said="waiting"):
        pass
    assert "waiting" not in capsys.readouterr().err
