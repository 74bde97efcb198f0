"""Each example of `examples/`: from its folder to predictions, every command as it stands."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.places import ROOT

FOLDER = ROOT / "examples"
#: `live_loop` needs a trained run: `tests/live/test_live_example.py`.
NAMES = sorted(
    path.stem
    for path in FOLDER.glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8") and path.stem != "live_loop"
)
#: What the extras of an example bring.
EXTRAS = {"bids_tree": ["mne_bids"], "xdf_with_markers": ["pyxdf"], "videos": ["mediapipe", "av"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_it_stands(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in EXTRAS.get(name, []):
        pytest.importorskip(package, reason=f"{name} needs an extra")
    if name == "videos":
        find_face_model(monkeypatch)
    monkeypatch.setenv("CLMER_CACHE", "set by the example")  # so that it is not afterwards
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path / "study")])
    import_module(name).main()
    lines = capsys.readouterr().out.splitlines()
    typed = [line.split()[2] for line in lines if line.startswith("$ clmer ")]
    assert typed == ["manifest", "inspect", "train", "report", "predict"]
    made = tmp_path / "study-results"
    assert (made / "inspect.html").is_file()
    assert (made / "report.html").is_file()
    rows = (made / "predictions.csv").read_text().splitlines()
    assert rows[0].startswith("time_s,")
    assert len(rows) > 4


def find_face_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$CLMER_FACE_MODEL`, or the one among the real recordings."""
    if "CLMER_FACE_MODEL" not in os.environ:
        folder = Path(os.environ.get("CLMER_DATA", ROOT.parent / "shared" / "data"))
        monkeypatch.setenv("CLMER_FACE_MODEL", str(folder / "face" / "face_landmarker.task"))
    if not Path(os.environ["CLMER_FACE_MODEL"]).is_file():
        pytest.skip("no face model: set CLMER_FACE_MODEL to run this test")


def test_there_is_an_example_of_each_kind() -> None:
    listed = re.findall(r"^\| `(\w+)\.py`", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == NAMES
    assert len(NAMES) >= 11
