"""A run's folder: what it refuses to go on with, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from clmer.config import ConfigError
from clmer.runs import DATA, Run, check_folder

ORIGIN = {
    "format": 2,
    "parameters": {"window_s": 1.0},
    "sources": [["s01.dat", 100, 10**18, "s01"], ["s02.dat", 100, 10**18, "s02"]],
}
CONFIG = {"seed": 0, "data": "a" * 64}


def test_a_touched_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run(folder, CONFIG, {}, ORIGIN)
    Run(folder, CONFIG, {}, ORIGIN, resume=True)
    touched = ORIGIN | {
        "sources": [["s01.dat", 100, 10**18, "s01"], ["s02.dat", 100, 10**18 + 10**9, "s02"]]
    }
    with pytest.raises(ConfigError, match=r"--resume.*the data: s02\.dat has the same size") as e:
        Run(folder, CONFIG | {"data": "b" * 64}, {}, touched, resume=True)
    assert "s01" not in str(e.value)
    many = ORIGIN | {"sources": [[f"{i}.dat", 1, 1, ""] for i in range(10)]}
    with pytest.raises(ConfigError, match=r"seed: this folder has 0, now 1; the data: .*7 more"):
        Run(folder, {"seed": 1, "data": "b" * 64}, {}, many, resume=True)


def test_a_folder_killed_while_it_was_made_is_taken(tmp_path: Path) -> None:
    (tmp_path / DATA).write_text("{}")
    check_folder(tmp_path, resume=False)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="other files in it"):
        check_folder(tmp_path, resume=False)
