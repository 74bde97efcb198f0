"""README and docs: names that exist, examples that run, figures and tables that are current."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.edf_files import noise, write_edf
from support.places import ROOT

import clmer
from clmer.data.registry import DATASETS
from clmer.data.store.prepare import prepare

DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ is not beside the tests")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)


def is_there(name: str) -> bool:
    """Whether a dotted name that begins with `clmer` is a module, or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_of_the_package_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"(?<![\w/.@-])clmer(?:\.\w+)+", text)):
        if name.startswith(("clmer._C", "clmer.kernels")):  # not built, or without a GPU
            continue
        assert is_there(name), name
    for module, names in re.findall(r"^\s*from (clmer[\w.]*) import ([\w, ]+)", text, re.M):
        for name in names.split(","):
            assert is_there(f"{module}.{name.strip()}"), f"{module}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_in_the_docs_compiles(page: Path) -> None:
    for code in _PYTHON.findall(page.read_text(encoding="utf-8")):
        compile(code, page.name, "exec")


@pytest.mark.parametrize("figure", ["model", "leakage"])
def test_figures_are_what_their_script_draws(figure: str) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        script = importlib.import_module(f"draw_{figure}")
    finally:
        sys.path.pop(0)
    assert script.FILE.read_text(encoding="utf-8") == script.draw()


def test_the_options_are_those_of_the_code() -> None:
    script = ROOT / "tools" / "option_table.py"
    code = f"import runpy; print(runpy.run_path({str(script)!r})['page'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "docs/options.md is out of date: python tools/option_table.py"
    assert (DOCS / "options.md").read_text(encoding="utf-8") == done.stdout, said


def test_the_layers_are_those_of_the_contract() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("\nlayers = [\n")[1]
    layers = re.findall(r'"(.*)",', contract.split("]")[0])
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"\n\n((?:    [\w, ]+\n)+)\n", text.split("**Direction of imports.**")[1])
    wanted = [layer.replace("clmer.", "").split(" | ") for layer in layers]
    assert [line.strip().split(", ") for line in shown.splitlines()] == wanted


@pytest.fixture(scope="module")
def architecture() -> dict[str, dict[str, Any]]:
    """What the examples of docs/architecture.md leave, by heading."""
    found = {}
    for part in (DOCS / "architecture.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        names: dict[str, Any] = {"__name__": __name__}  # of a module, for dataclasses
        for code in _PYTHON.findall(part):
            exec(compile(code, "architecture.md", "exec"), names)
        found[part.split("\n")[0]] = names
    return found


def test_adding_a_data_set(
    architecture: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("p01_calm", "p01_angry", "p02_calm")):
        data = noise(4, 10, 128, seed=number)
        write_edf(tmp_path / f"{name}.edf", ["Fz", "Cz", "Pz", "ECG"], list(data), 128.0)
    row = architecture["Add a data set"]["row"]
    store = prepare(row, tmp_path, cache=tmp_path / "cache", progress=False)
    assert store.array("eeg").shape == (30, 3, 128)
    assert set(store.windows.labels["label"]) == {"calm", "angry"}
    monkeypatch.setitem(DATASETS, row.name, row)
    dataset = clmer.data.load("mystudy", tmp_path, cache=tmp_path / "cache")
    assert len(dataset) == 30


def test_adding_a_format(architecture: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Fz ECG\n1 2\n3 4\n5 6\n")
    signal = architecture["Add a file format"]["read_columns"](path, 128.0)
    assert signal.kinds == ("eeg", "ecg")
    np.testing.assert_array_equal(signal.data, [[1, 3, 5], [2, 4, 6]])


def test_adding_a_model(architecture: dict[str, dict[str, Any]]) -> None:
    row = architecture["Add a model"]["row"]
    shapes = {"eeg": (5, 8), "au": (2, 6)}
    model = row.build(shapes, 3, None, 128.0)
    logits = model({name: torch.randn(4, *shape) for name, shape in shapes.items()})
    assert logits.shape == (4, 3)


@pytest.mark.parametrize(("page", "word"), [("use", "fit_split"), ("sublayer", "encoder_layer")])
def test_examples_of_training_and_of_sublayers_run(
    page: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    (code,) = (code for code in _PYTHON.findall(text) if word in code)
    exec(compile(code, page, "exec"), {"__name__": __name__})
