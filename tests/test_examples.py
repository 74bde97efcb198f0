"""Each example of `examples/`: from its folder to predictions, every command as it stands."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.places import ROOT

FOLDER = ROOT / "examples"
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if "__main__" in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_it_stands(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path / "study")])
    import_module(name).main()
    typed = [line.split()[2] for line in capsys.readouterr().out.splitlines() if line[:2] == "$ "]
    assert typed == ["manifest", "inspect", "train", "report", "predict"]
    made = tmp_path / "study-results"
    assert (made / "inspect.html").is_file()
    assert (made / "report.html").is_file()
    rows = (made / "predictions.csv").read_text().splitlines()
    assert rows[0].startswith("time_s,")
    assert len(rows) > 5


def test_there_is_an_example_of_each_kind() -> None:
    assert len(NAMES) >= 6
