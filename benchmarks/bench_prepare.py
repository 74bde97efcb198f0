"""Preparing full-size DEAP beside the same steps in MNE and NumPy, and reading batches back.

    pytest benchmarks/bench_prepare.py --benchmark-only

Prepare: two generated people in DEAP's true sizes (40 trials, 40 channels, 8064 samples); read the
`.dat`, filter 4-45 Hz without a phase, cut 1-s windows, write float32 to disk. MNE's form reads
with pickle, filters trial by trial with `mne.filter.filter_data(method="iir")`, reshapes and saves
with np.save. Batches: 64 windows [40, 128] out of the page cache, in order (views) and shuffled
(gathered), each summed or not, beside a plain copy of as many bytes.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from _measure import compare, table

import clmer.data
from clmer.data.synthetic import write_deap

BATCH = 64


@pytest.fixture(scope="module")
def deap() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield write_deap(Path(folder) / "deap", people=2, seconds=60, fps=5)


def prepare_here(root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root.parent) as cache:
        options = {"modalities": ("physio",), "filter": "paper", "task": "", "cache": cache}
        clmer.data.load("deap", root, **options)


def prepare_there(root: Path) -> None:
    windows = []
    for path in sorted(root.glob("data_preprocessed_python/s*.dat")):
        with path.open("rb") as file:
            data = pickle.load(file, encoding="latin1")["data"]
        for trial in data:
            x = mne.filter.filter_data(trial, 128.0, 4.0, 45.0, method="iir", verbose="error")
            x = x[:, 3 * 128 :].reshape(40, 60, 128).transpose(1, 0, 2)
            windows.append(x.astype(np.float32))
    with tempfile.TemporaryFile(dir=root.parent) as out:
        np.save(out, np.concatenate(windows))


def test_prepare(benchmark, deap: Path) -> None:
    runs = {"ours": lambda: prepare_here(deap), "MNE + NumPy": lambda: prepare_there(deap)}
    result = benchmark.pedantic(compare, (runs, 5), rounds=1)
    own = table("preparing two people of full-size DEAP, physio: ms median/minimum")
    own.rows.append({name: result.cell(name) for name in runs} | {"ratio": result.ratio_cell()})
    benchmark.extra_info |= result.extra()


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches(benchmark, deap: Path, shuffle: bool) -> None:
    cache = tempfile.mkdtemp(dir=deap.parent)
    dataset = clmer.data.load("deap", deap, modalities=("physio",), cache=cache)
    loader = dataset.loader(BATCH, shuffle=shuffle)
    whole = dataset[0 : len(dataset)]["physio"]
    target = torch.empty_like(whole)

    def epoch(use) -> None:
        for batch in loader:
            use(batch["physio"])

    runs = {
        "ours": lambda: epoch(lambda x: None),
        "ours, each batch summed": lambda: epoch(torch.sum),
        "copy": lambda: target.copy_(whole),
    }
    result = benchmark.pedantic(compare, (runs,), rounds=1)
    shutil.rmtree(cache)
    rate = {name: len(dataset) / time / 1e3 for name, time in result.medians.items()}
    row = {"batches": "shuffled" if shuffle else "in order"}
    row |= {name: f"{value:.2f}" for name, value in rate.items()}
    row["GB/s"] = f"{rate['ours'] * 1e6 * 4 * whole[0].numel() / 1e9:.1f}"
    table("windows of DEAP's size [40, 128] in batches of 64: million a second").rows.append(row)
    benchmark.extra_info |= result.extra()
