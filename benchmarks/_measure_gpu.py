"""Timing on a GPU: CUDA events, contenders in turn, a cold second-level cache; and the floors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

import torch

Run = Callable[[], object]
_CACHE_BYTES = 1 << 28  # more than any second-level cache
_COPY_BYTES = 1 << 30


class Timer:
    """Milliseconds of single calls, each after a write that leaves the cache without its data."""

    def __init__(self) -> None:
        self.flush = torch.empty(_CACHE_BYTES, dtype=torch.uint8, device="cuda")

    def __call__(self, run: Run) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)


def medians(runs: Mapping[str, Run], rounds: int = 21, warm_up: int = 2) -> dict[str, float]:
    """Median ms of every contender, all in turn round after round; the first ones do not count."""
    timer = Timer()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + warm_up):
        for name, run in runs.items():
            took = timer(run)
            if round_ >= warm_up:
                times[name].append(took)
    return {name: median(each) for name, each in times.items()}


def milliseconds(run: Run, calls: int = 20) -> float:
    """Of one call, between two events around many: of calls that follow each other."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def captured(run: Run) -> Run:
    """The call as a CUDA graph: what it takes without the launches' cost on the CPU."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def copy_rate() -> float:
    """Bytes a second, read and written, of a copy of 1 GiB on the device."""
    source = torch.zeros(_COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / (1e-3 * medians({"copy": lambda: target.copy_(source)})["copy"])


def product_rate(dtype: torch.dtype) -> float:
    """Operations a second of an 8192-cubed product of that type."""
    a = torch.randn(8192, 8192, device="cuda").to(dtype)
    return 2 * 8192**3 / (1e-3 * medians({"product": lambda: a @ a}, rounds=7)["product"])
