"""`clmer._C_test`: the part of the native core that only the tests call, and no package holds.

A build leaves it in the clone's `clmer/`, whichever `clmer` is installed (csrc/testing/).
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clmer._native import _capsule

FOLDER = Path(__file__).resolve().parents[2] / "clmer"
NAME = "clmer._C_test"


def load() -> ModuleType:
    """The module; where it was not built the tests of the file that asks for it are skipped."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    paths = [FOLDER / f"_C_test{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    path = next((each for each in paths if each.is_file()), None)
    if path is None:
        pytest.skip(
            f"{NAME} is not in {FOLDER}: `pip install .` in the clone builds it, "
            "unless CMAKE_ARGS has -DCLMER_TEST_MODULE=OFF",
            allow_module_level=True,
        )
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.set_exchange_api(_capsule)
    sys.modules[NAME] = module
    return module
