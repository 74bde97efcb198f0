"""`sosfilt` against SciPy's, offline, zero-phase and streaming, on the CPU.

    pytest benchmarks/bench_bandpass.py --benchmark-only

Times are median/minimum in ms; the ratio is SciPy's over ours, by medians. Beside them ns a sample
and section of ours, and our read + write traffic next to that of a plain copy in the same minute.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
import torch
from _measure import MAX_DRIFT, compare, digits, table

import clmer
from clmer import signal

FS = 128.0
SOS = signal.butter_bandpass(4, 45, FS)
COEFFICIENTS = torch.from_numpy(SOS)


def report(
    benchmark, what: str, runs: dict[str, Callable[[], object]], x: np.ndarray, passes: int
) -> None:
    copy = np.empty_like(x)
    result = benchmark.pedantic(compare, (runs | {"copy": lambda: np.copyto(copy, x)},), rounds=1)
    ours = result.medians["sosfilt"]
    ns = 1e6 * ours / (x.size * len(SOS) * passes)
    traffic = {name: 2 * x.nbytes / result.medians[name] / 1e6 for name in ("sosfilt", "copy")}
    ratio = result.medians["SciPy"] / ours
    void = f" VOID: drift {result.drift:.0%}" if result.drift > MAX_DRIFT else ""
    table("sosfilt, 4 sections: ms median/minimum").rows.append(
        {
            "what": what,
            "sosfilt": result.cell("sosfilt"),
            "SciPy": result.cell("SciPy"),
            "ratio": f"{ratio:.2f}{void}",
            "ns a sample and section": digits(ns),
            "GB/s, of copy's": f"{traffic['sosfilt']:.1f}, {traffic['copy']:.1f}",
        }
    )
    benchmark.extra_info |= result.extra(ratio=ratio, ns=ns)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(32, 8064), (1280, 8064), (4, 1_000_000)])
def test_offline(benchmark, shape: tuple[int, int], dtype: type) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    tensor = torch.from_numpy(x)
    runs = {
        "sosfilt": lambda: clmer.sosfilt(tensor, COEFFICIENTS),
        "SciPy": lambda: scipy.signal.sosfilt(SOS, x),
    }
    report(benchmark, f"offline {shape} {x.dtype}", runs, x, 1)


def test_zero_phase(benchmark) -> None:
    x = np.random.default_rng(0).standard_normal((32, 8064))
    runs = {
        "sosfilt": lambda: signal.sosfiltfilt(SOS, x),
        "SciPy": lambda: scipy.signal.sosfiltfilt(SOS, x),
    }
    report(benchmark, "zero phase (32, 8064) float64", runs, x, 2)


@pytest.mark.parametrize("samples", [1, 8, 128])
def test_streaming(benchmark, samples: int) -> None:
    x = np.random.default_rng(0).standard_normal((32, samples))
    stream = signal.Bandpass(4, 45, FS)
    stream.push(x)
    zi = np.zeros((len(SOS), 32, 2))
    runs = {
        "sosfilt": lambda: stream.push(x),
        "SciPy": lambda: scipy.signal.sosfilt(SOS, x, zi=zi),
    }
    report(benchmark, f"push of {samples} samples, 32 channels", runs, x, 1)
