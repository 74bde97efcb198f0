"""Fixtures that every test shares."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # processes that share the cores, before torch counts them
    _count = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(_count, 1)))

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.face_cases import Table, text
from support.places import ROOT

import clmer
from clmer._native import _C


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where torch finds no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="marked gpu: torch.cuda.is_available() is false here")
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def clmer_data() -> Path:
    """The folder of real recordings: `$CLMER_DATA`, or ../shared/data beside the repository."""
    path = Path(os.environ.get("CLMER_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real recordings: {path} is missing; set CLMER_DATA to run this test")
    return path


@pytest.fixture(params=clmer.build_info()["simd_levels"])
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every SIMD level of the build that this processor has, in force for the test."""
    before = clmer.build_info()["simd_in_use"]
    if not _C.set_simd_level(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    _C.set_simd_level(before)


@pytest.fixture(autouse=True)
def poison_empty() -> Iterator[None]:
    """Fill fresh floating tensors with NaN (integers with their maximum): forgotten elements show.

    Torch's own switch reaches `torch.empty`, `torch.empty_like`, and what the native core allocates
    through DLPack, which a replaced `torch.empty` would not; `torch.compile` and `opcheck` know it.
    It also asks torch for deterministic algorithms: a test of those must turn it off again.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before, warn_only=warn_only)


@pytest.fixture
def face_csv(tmp_path: Path) -> Callable[[Table | str | bytes], Path]:
    """Write a face table, or its text, into the test's folder."""

    def write(content: Table | str | bytes) -> Path:
        path = tmp_path / "a.csv"
        content = text(content) if isinstance(content, dict) else content
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
