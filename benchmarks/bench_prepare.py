"""Preparing full-size DEAP beside the same steps in MNE and NumPy.

    pytest benchmarks/bench_prepare.py --benchmark-only

Two generated people in DEAP's true sizes (40 trials, 40 channels, 8064 samples): read the `.dat`,
filter 4-45 Hz without a phase, drop the baseline, make 1-s windows, write float32. The files have
128 Hz, so there is nothing to resample. Ours flushes what it writes to the disk, as every store is;
the other side leaves that to the system. Deleting what was written is not timed.

MNE's side is written in the ways that can be fastest: `filter_data(method="iir")` for a person at
once or trial by trial, one job or one per processor (in threads, since SciPy's loops release the
GIL; processes, joblib's default, would be sent the data and are far slower). Pickles are read with
encoding="bytes", which spares latin1's detour over str. All windows are compared before the timing.

The time of 32 people is extrapolated from two: twice, then 15 times more, less what a data set
costs before its first recording, which one second of two trials shows. Peak memory is that of a
process that does nothing but prepare the two.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import joblib
import mne
import numpy as np
import pytest
from _measure import Comparison, compare_passes, milliseconds, table

from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.synthetic import write_deap

PEOPLE, ALL_PEOPLE = 2, 32
LIMIT_MIB = 4096
#: Our filter's: SciPy extends by 27 samples, MNE left alone by as long as the filter rings.
IIR = {"order": 4, "ftype": "butter", "output": "sos", "padlen": 27}
#: MNE's side: (a person at once, jobs).
WAYS = {
    "MNE + NumPy, a person at once": (True, 1),
    "a person at once, threads": (True, os.cpu_count()),
    "trial by trial": (False, 1),
    "trial by trial, threads": (False, os.cpu_count()),
}

PEAK = """
import sys
from pathlib import Path
from _measure import high_water
from clmer.data import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare

root, cache, before = Path(sys.argv[1]), Path(sys.argv[2]), high_water()
physio = PrepareOptions(modalities=("physio",), filter="paper")
prepare(DATASETS["deap"], root, physio, cache=cache, progress=False)
print(before, high_water())
"""


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def prepare_here(root: Path, cache: Path) -> Store:
    deap = DATASETS["deap"]
    physio = PrepareOptions(modalities=("physio",), filter="paper")
    return prepare(deap, root, physio, cache=cache, progress=False)


def timed_here(root: Path) -> float:
    with tempfile.TemporaryDirectory(dir=root.parent) as cache:
        return milliseconds(lambda: prepare_here(root, Path(cache)))


def prepare_there(root: Path, out: Path, at_once: bool, jobs: int) -> None:
    windows = []
    for path in sorted(root.glob("data_preprocessed_python/s*.dat")):
        with path.open("rb") as file:
            data = pickle.load(file, encoding="bytes")[b"data"]
        for trials in [data] if at_once else data[:, None]:
            flat = trials.reshape(-1, trials.shape[-1])
            options = {"method": "iir", "iir_params": IIR, "n_jobs": jobs, "verbose": "error"}
            with joblib.parallel_config("threading"):
                flat = mne.filter.filter_data(flat, 128.0, 4.0, 45.0, **options)
            kept = flat.reshape(trials.shape)[..., 3 * 128 :]
            windowed = kept.reshape(-1, 40, 60, 128).transpose(0, 2, 1, 3)  # [trials, 60, 40, 128]
            windows.append(windowed.astype(np.float32).reshape(-1, 40, 128))
    np.save(out, np.concatenate(windows))


def timed_there(root: Path, at_once: bool, jobs: int) -> float:
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        out = Path(folder) / "windows.npy"
        return milliseconds(lambda: prepare_there(root, out, at_once, jobs))


def check_equal(root: Path, scratch: Path) -> None:
    """Both sides' windows, to float32's rounding."""
    ours = prepare_here(root, scratch / "check").array("physio")
    for at_once, jobs in WAYS.values():
        prepare_there(root, scratch / "windows.npy", at_once, jobs)
        theirs = np.load(scratch / "windows.npy", mmap_mode="r")
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.abs(ours).max())


def peak_mib(root: Path, scratch: Path) -> tuple[float, float]:
    """Resident set of a process at its peak: after the imports, and in the end."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", PEAK, str(root), str(scratch / "peak")]
    run = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=True, text=True
    )
    before, after = map(float, run.stdout.split())
    return before, after


def flush_alone(scratch: Path) -> None:
    """What the disk takes for the two people's windows."""
    with (scratch / "flushed").open("wb") as file:
        for _ in range(PEOPLE * 40):
            file.write(bytes(60 * 40 * 128 * 4))
        file.flush()
        os.fsync(file.fileno())


def summary(
    result: Comparison, fixed_ms: float, flush_ms: float, before: float, after: float
) -> list[str]:
    two = result.medians["ours"]
    more = ALL_PEOPLE // PEOPLE - 1
    seconds = {
        name: (took + more * (took - (fixed_ms if name == "ours" else 0.0))) / 1e3
        for name, took in result.medians.items()
    }
    fastest = min((name for name in seconds if name != "ours"), key=seconds.__getitem__)
    return [
        "",
        f"32 people: ours {two / 1e3:.2f} + {more} x ({two / 1e3:.2f} - {fixed_ms / 1e3:.2f}) = "
        f"{seconds['ours']:.1f} s; {fastest}: {seconds[fastest]:.1f} s",
        f"writing and flushing as many bytes alone: {flush_ms:.0f} ms",
        f"peak memory {after:.0f} MiB, of which imports {before:.0f}; limit {LIMIT_MIB}",
    ]


def test_prepare(benchmark, scratch: Path) -> None:
    root = write_deap(scratch / "deap", people=PEOPLE, seconds=60, fps=5)
    small = write_deap(scratch / "small", people=1, trials=2, seconds=1, fps=5)
    check_equal(root, scratch)
    before, after = peak_mib(root, scratch)
    runs = {"ours": lambda: {"": timed_here(root)}}
    runs |= {name: lambda way=way: {"": timed_there(root, *way)} for name, way in WAYS.items()}
    result = benchmark.pedantic(compare_passes, (runs, 9), rounds=1)[""]
    fixed_ms = median(timed_here(small) for _ in range(5))
    flush_ms = median(milliseconds(lambda: flush_alone(scratch)) for _ in range(5))
    own = table("preparing two people of full-size DEAP, physio: ms median/minimum")
    own.rows.append({name: result.cell(name) for name in runs} | {"ratio": result.ratio_cell()})
    own.summary = lambda: summary(result, fixed_ms, flush_ms, before, after)
    benchmark.extra_info |= result.extra(fixed_ms=fixed_ms, flush_ms=flush_ms, peak_mib=after)
    assert after < LIMIT_MIB
