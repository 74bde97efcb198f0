"""`sosfilt` on a GPU beside torchaudio's, CuPy's and a convolution by FFT in plain PyTorch.

    pytest benchmarks/bench_bandpass_gpu.py --benchmark-only         # skipped without a GPU

`rows()` is what tools/gpu_check.sh calls. A contender whose output is not that of ours is an error,
but for torchaudio's, whose sections are float32: its worst difference stands in the row.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from _measure import digits, table
from _measure_gpu import captured, copy_rate, medians
from torch import Tensor

import clmer
from clmer.signal import butter_bandpass

SHAPES = [(1280, 8064), (32, 1_000_000)]
SOS = torch.from_numpy(butter_bandpass(4, 45, 128))
TITLE = "sosfilt on a GPU: ms, median"
_TOLERANCE = 1e-5  # of float32 outputs of order 1


def convolution(x: Tensor, sos: Tensor) -> Callable[[], Tensor]:
    """Plain PyTorch without a loop over time: a product of spectra, in float64."""
    time = x.shape[-1]
    impulse = torch.zeros(1, time, dtype=torch.float64, device=x.device)
    impulse[0, 0] = 1
    spectrum = torch.fft.rfft(clmer.sosfilt(impulse, sos)[0], 2 * time)

    def run() -> Tensor:
        product = torch.fft.rfft(x.double(), 2 * time) * spectrum
        return torch.fft.irfft(product, 2 * time)[:, :time].to(x.dtype)

    return run


def torchaudios(x: Tensor, sos: Tensor) -> Callable[[], Tensor]:
    """lfilter, section by section, unclamped."""
    from torchaudio.functional import lfilter

    sections = sos.to(x.dtype)

    def run() -> Tensor:
        y = x
        for row in sections:
            y = lfilter(y, row[3:], row[:3], clamp=False)
        return y

    return run


def cupys(x: Tensor, sos: Tensor) -> Callable[[], Tensor]:
    """cupyx.scipy.signal.sosfilt, on float64 sections."""
    import cupy
    from cupyx.scipy.signal import sosfilt

    own, sections = cupy.from_dlpack(x), cupy.from_dlpack(sos)
    return lambda: torch.from_dlpack(sosfilt(sections, own)).to(x.dtype)


def contenders(x: Tensor, sos: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Those at hand."""
    found = {"FFT": convolution(x, sos)}
    for name, package, make in (("torchaudio", "torchaudio", torchaudios), ("CuPy", "cupy", cupys)):
        if importlib.util.find_spec(package):
            found[name] = make(x, sos)
    return found


def row(shape: tuple[int, int], rate: float) -> dict[str, Any]:
    """One shape, float32."""
    x, sos = torch.randn(shape, device="cuda"), SOS.cuda()
    target = torch.empty_like(x)
    ours = lambda: clmer.sosfilt(x, sos)  # noqa: E731
    others = contenders(x, sos)
    want = ours()[0]
    differences = {name: (run() - want).abs().max().item() for name, run in others.items()}
    for name, difference in differences.items():
        if name != "torchaudio" and not difference < _TOLERANCE:
            raise ValueError(f"{name} differs from ours by {difference}")
    slow = {name: run for name, run in others.items() if name != "FFT"}
    runs = {"ours": ours, "graph": captured(ours), "copy": lambda: target.copy_(x)}
    times = medians(runs | {"FFT": others["FFT"]})
    times |= medians(slow, rounds=2, warm_up=0)  # warmed up by the check; seconds, some of them
    moved = 2 * x.numel() * x.element_size()
    theirs = {name: times[name] for name in others}
    return {
        "op": "bandpass",
        "case": f"{shape[0]} x {shape[1]}, 4 sections",
        "dtype": "float32",
        "ours_ms": times["ours"],
        "contenders": theirs,
        "floor_ms": 1e3 * moved / rate,
        "floor_kind": "bytes",
        "ratio": min(theirs.values()) / times["ours"],
        "extra": {
            "graph_ms": times["graph"],
            "copy_ms": times["copy"],
            "share_of_copy": times["copy"] / times["graph"],
            "differences": differences,
        },
    }


def rows() -> list[dict[str, Any]]:
    """The issue's shapes."""
    rate = copy_rate()
    return [row(shape, rate) for shape in SHAPES]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_speed(benchmark, shape: tuple[int, int]) -> None:
    found = benchmark.pedantic(lambda: row(shape, copy_rate()), rounds=1)
    table(TITLE).rows.append(cells(found))
    benchmark.extra_info |= found


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row as the table shows it."""
    others = {name: digits(each) for name, each in row["contenders"].items()}
    ours = {"case": row["case"], "ours": digits(row["ours_ms"])}
    return {**ours, **others, "ratio": digits(row["ratio"]), "floor": f"{row['floor_ms']:.4f}"}
