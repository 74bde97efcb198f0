"""Batches of prepared windows out of the page cache, beside a plain copy of as many bytes.

    pytest benchmarks/bench_windows.py --benchmark-only

4800 windows of DEAP's size ([40, 128] float32, 20 KiB; two people's) in batches of 64. `loader`
gives batches that are the caller's own, a copy in order or a gather of shuffled rows;
`dataset[a:b]` gives views of the page cache, which cost nothing until they are read: summed they
are read once. The share is that of a plain `copy_` of all windows into memory that exists, by the
same threads: a million windows per second are 20.5 GB/s read and 20.5 GB/s written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from _measure import compare, table

import clmer.data
from clmer.data.store.dataset import WindowDataset
from clmer.data.synthetic import write_deap

BATCH = 64


@pytest.fixture(scope="module")
def dataset() -> Iterator[WindowDataset]:
    with tempfile.TemporaryDirectory() as folder:
        root = write_deap(Path(folder) / "deap", people=2, seconds=60, fps=5)
        yield clmer.data.load("deap", root, modalities=("physio",), cache=Path(folder) / "cache")


def views(dataset: WindowDataset) -> Iterator[dict[str, torch.Tensor]]:
    for at in range(0, len(dataset), BATCH):
        yield dataset[at : at + BATCH]


def take(batches: Iterator[dict[str, torch.Tensor]], use: Callable[[torch.Tensor], object]) -> None:
    for batch in batches:
        use(batch["physio"])


def test_batches(benchmark, dataset: WindowDataset) -> None:
    whole = dataset.arrays["physio"]
    target = torch.empty_like(whole)
    shuffled, in_order = dataset.loader(BATCH, shuffle=True), dataset.loader(BATCH)
    runs = {
        "shuffled": lambda: take(iter(shuffled), id),
        "in order": lambda: take(iter(in_order), id),
        "views": lambda: take(views(dataset), id),
        "views, summed": lambda: take(views(dataset), torch.sum),
        "plain copy": lambda: target.copy_(whole),
    }
    result = benchmark.pedantic(compare, (runs,), rounds=1)
    own = table("windows of DEAP's size [40, 128] in batches of 64")
    for name, took in result.medians.items():
        rate = len(dataset) / took / 1e3  # million per second
        cells = {"batches": name, "million windows/s": f"{rate:.2f}"}
        if not name.startswith("views"):
            cells["GB/s read"] = f"{rate * 1e-3 * whole[0].nbytes:.1f}"
            cells["of plain copy"] = f"{result.medians['plain copy'] / took:.0%}"
        own.rows.append(cells | {"": result.void})
    benchmark.extra_info |= result.extra()
