"""`sosfilt` beside SciPy's, MNE's and torchaudio's, offline, zero-phase and streaming, on the CPU.

    pytest benchmarks/bench_bandpass.py --benchmark-only

Times are median/minimum in ms; the ratio is SciPy's over ours, by medians. "fresh" allocates its
output as SciPy does, "given" writes into an array that exists. SciPy's float32 rows have float32
sections. GB/s are what ours reads and writes, and their share of a plain copy of the same array
into one that exists. A push is NumPy in, NumPy out, 32 channels: p50 / p99 / p99.9 in us, against
scipy.signal.sosfilt with zi.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import scipy.signal
import torch
from _measure import MAX_DRIFT, compare, digits, table

from clmer import signal

FS = 128.0
SOS = signal.butter_bandpass(4, 45, FS)
SHAPES = [(32, 8064), (1280, 8064), (4, 1_000_000)]
Runs = Mapping[str, Callable[[], object]]


def add_row(
    benchmark, what: str, runs: Runs, x: np.ndarray, passes: int = 1, out_bytes: int = 0
) -> None:
    """One row: ours, SciPy, and whoever else is in `runs`; the output is of x's size or given."""
    target = np.zeros_like(x)
    timed = {**runs, "copy": lambda: np.copyto(target, x)}
    result = benchmark.pedantic(compare, (timed, 7 if x.size > 1e6 else 25), rounds=1)
    ours = result.medians["ours"]
    moved = {"ours": x.nbytes + (out_bytes or x.nbytes), "copy": 2 * x.nbytes}
    traffic = {name: moved[name] / result.medians[name] / 1e6 for name in moved}
    others = {name: result.cell(name) if name in runs else "" for name in ("MNE", "torchaudio")}
    ratio = result.medians["SciPy"] / ours
    void = f" VOID: drift {result.drift:.0%}" if result.drift > MAX_DRIFT else ""
    own = table("sosfilt, 4 sections: ms median/minimum")
    own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[4:]]
    own.rows.append(
        {
            "what": what,
            "ours": result.cell("ours"),
            "SciPy": result.cell("SciPy"),
            **others,
            "ratio": f"{ratio:.2f}{void}",
            "ns a sample and section": f"{1e6 * ours / (x.size * len(SOS) * passes):.3f}",
            "GB/s, of copy": f"{traffic['ours']:.1f}, {traffic['ours'] / traffic['copy']:.0%}",
        }
    )
    benchmark.extra_info |= result.extra(ratio_to_scipy=ratio)


def cascade_of_torchaudio(x: np.ndarray) -> dict[str, Callable[[], object]]:
    """Its lfilter, section by section, unclamped, where torchaudio is installed."""
    if not importlib.util.find_spec("torchaudio"):
        return {}
    from torchaudio.functional import lfilter

    tensor, sections = torch.from_numpy(x), torch.from_numpy(SOS.astype(x.dtype))

    def run() -> torch.Tensor:
        y = tensor
        for b, a in zip(sections[:, :3], sections[:, 3:], strict=True):
            y = lfilter(y, a, b, clamp=False)
        return y

    return {"torchaudio": run}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("output", ["fresh", "given", "fresh, [T, C]"])
def test_offline(benchmark, shape: tuple[int, int], dtype: type, output: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    sos, y = SOS.astype(dtype), np.zeros_like(x)
    by_time = np.ascontiguousarray(x.T)
    ours = {
        "fresh": lambda: signal.sosfilt(sos, x),
        "given": lambda: signal.sosfilt(sos, x, out=y),
        "fresh, [T, C]": lambda: signal.sosfilt(sos, by_time, axis=0),
    }
    theirs = {
        "fresh": lambda: scipy.signal.sosfilt(sos, x),
        "given": lambda: scipy.signal.sosfilt(sos, x),  # it has no such form
        "fresh, [T, C]": lambda: scipy.signal.sosfilt(sos, by_time, axis=0),
    }
    more = cascade_of_torchaudio(x) if output == "fresh" else {}
    runs = {"ours": ours[output], "SciPy": theirs[output], **more}
    add_row(benchmark, f"{shape[0]} x {shape[1]}, {x.dtype}, {output}", runs, x)


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_phase(benchmark, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: signal.sosfiltfilt(SOS, x),
        "SciPy": lambda: scipy.signal.sosfiltfilt(SOS, x),
    }
    if importlib.util.find_spec("mne"):
        from mne.filter import filter_data

        options = {"method": "iir", "verbose": "error", "copy": True}
        runs["MNE"] = lambda: filter_data(x, FS, 4, 45, **options)  # extended by 81 instead of 27
    add_row(benchmark, f"zero phase {shape[0]} x {shape[1]}, float64", runs, x, passes=2)


def test_counts(benchmark) -> None:
    """16-bit counts with a scale, against what they take otherwise: a converted copy first."""
    x = np.random.default_rng(0).integers(-30_000, 30_000, (32, 8064)).astype(np.int16)
    runs = {
        "ours": lambda: signal.sosfilt(SOS, x, scale=0.51),
        "SciPy": lambda: scipy.signal.sosfilt(SOS, x * 0.51),
    }
    add_row(benchmark, "32 x 8064, int16 counts, scale", runs, x, out_bytes=8 * x.size)


@pytest.mark.parametrize("samples", [1, 8, 16, 128])
def test_push(benchmark, samples: int) -> None:
    x = np.random.default_rng(0).standard_normal((32, samples))
    stream = signal.Bandpass(4, 45, FS)
    stream.push(x)
    zi = np.zeros((len(SOS), 32, 2))
    runs = {
        "ours": lambda: stream.push(x),
        "SciPy": lambda: scipy.signal.sosfilt(SOS, x, zi=zi),
    }

    def latencies() -> dict[str, np.ndarray]:
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(20):  # in turn, a thousand at a time
            for name, run in runs.items():
                for _ in range(1000 if name == "ours" else 200):
                    start = time.perf_counter_ns()
                    run()
                    taken[name].append((time.perf_counter_ns() - start) / 1000)
        return {name: np.percentile(each, (50, 99, 99.9)) for name, each in taken.items()}

    found = benchmark.pedantic(latencies, rounds=1)
    table("push of 32 channels, float64: us p50 / p99 / p99.9").rows.append(
        {
            "samples": str(samples),
            **{name: " / ".join(map(digits, each)) for name, each in found.items()},
            "ratio of p50": f"{found['SciPy'][0] / found['ours'][0]:.1f}",
        }
    )
    benchmark.extra_info |= {name: each.tolist() for name, each in found.items()}
