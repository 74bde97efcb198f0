"""The size of modules and folders, and what parts of the package may not know."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import ROOT

PACKAGE = ROOT / "clmer"


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_modules_and_folders_are_small() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 150
    long = [p for p in files if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []
    full = {folder: n for folder, n in Counter(p.parent for p in files).items() if n > 14}
    assert full == {}


def test_data_knows_no_model() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (PACKAGE / "data").rglob("*.py")
        for name in imports(path)
        if name.startswith(("torch.nn", "clmer.nn", "clmer.baselines", "clmer.pipeline"))
    ]
    assert wrong == []


def test_the_pipeline_knows_no_command_line() -> None:
    below = [
        p for name in ("pipeline", "data", "nn", "ops") for p in (PACKAGE / name).rglob("*.py")
    ]
    wrong = [str(p) for p in below if any(name.startswith("argparse") for name in imports(p))]
    assert wrong == []


@pytest.mark.parametrize("module", ["clmer.predict.command", "clmer.pipeline.split.model"])
def test_inference_brings_no_training_machinery(module: str) -> None:
    heavy = ("torch.utils.tensorboard", "clmer.pipeline.fit", "clmer.pipeline.stages.loop")
    heavy += ("matplotlib",)
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_clmer_brings_the_rest_when_it_is_asked_for() -> None:
    code = (
        "import sys, clmer; assert 'clmer.nn' not in sys.modules; "
        "clmer.nn.Bandpass, clmer.signal.notch, clmer.ops.nt_xent, clmer.data.load; "
        "import torch; torch.ops.clmer.nt_xent; assert 'nn' in dir(clmer)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
