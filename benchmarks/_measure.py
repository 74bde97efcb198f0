"""Side-by-side timing that says when it is worth nothing, and the tables of a run.

All contenders run in turn, round after round, in one process; a turn is as many calls as fill 5 ms,
so that a short one is timed as in a loop, not on the caches and sleeping threads that another left.
Beside them stands the rate of a large matrix product, before and after: where it drifts by more
than 15 % something else was running, and the row is void. conftest.py prints TABLES when all
benchmarks are done.
"""

from __future__ import annotations

import ctypes
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

MAX_DRIFT = 0.15
TURN = 5.0  # ms


def milliseconds(run: Callable[[], object]) -> float:
    """Wall clock of one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


#: Side of the square product whose rate is the machine's, by device: milliseconds of it.
PRODUCT = {"cpu": 1024, "cuda": 8192}


def product_rate(device: str = "cpu") -> float:
    """GF/s of a large float32 product where the contenders run: the best of nine."""
    side = PRODUCT[device]
    x = torch.randn(side, side, device=device)

    def product() -> None:
        x @ x
        if device == "cuda":
            torch.cuda.synchronize()

    product()  # the first one on a GPU also chooses a kernel
    return 2 * side**3 / min(milliseconds(product) for _ in range(9)) / 1e6


@dataclass(frozen=True)
class Comparison:
    """Times of every contender in ms, the first being ours, and the product's rate around them."""

    times: dict[str, list[float]]
    before: float
    after: float

    @property
    def drift(self) -> float:
        """Relative change of the product's rate."""
        return abs(self.after / self.before - 1)

    @property
    def product(self) -> float:
        """The product's rate in GF/s: the higher of the two."""
        return max(self.before, self.after)

    @property
    def medians(self) -> dict[str, float]:
        """Each contender's median."""
        return {name: median(each) for name, each in self.times.items()}

    @property
    def minima(self) -> dict[str, float]:
        """Each contender's minimum."""
        return {name: min(each) for name, each in self.times.items()}

    @property
    def ratio(self) -> float:
        """How many times ours the fastest other one takes, by medians."""
        return ratio(self.medians)

    def cell(self, name: str, unit: float = 1.0) -> str:
        """Median/minimum of one contender."""
        return f"{digits(self.medians[name] * unit)}/{digits(self.minima[name] * unit)}"

    def ratio_cell(self) -> str:
        """The ratio by medians, that by minima, and whether the row counts."""
        return f"{self.ratio:.2f} ({ratio(self.minima):.2f}) {self.void}".rstrip()

    @property
    def void(self) -> str:
        """Why the row does not count, or nothing."""
        return f"VOID: drift {self.drift:.0%}" if self.drift > MAX_DRIFT else ""

    def rate_cells(self, flops: float) -> dict[str, str]:
        """Our rate by the median, and its share of the product's."""
        rate = self.rate(flops)
        return {"GF/s": f"{rate:.0f}", "of product": f"{rate / self.product:.0%}"}

    def rate(self, flops: float) -> float:
        """Our GF/s by the median."""
        return flops / next(iter(self.medians.values())) / 1e6

    def extra(self, **more: object) -> dict[str, object]:
        """The same for pytest-benchmark's JSON."""
        return {
            "ratio": self.ratio,
            "drift": self.drift,
            "product_gflops": self.product,
            "medians_ms": self.medians,
            "minima_ms": self.minima,
            **more,
        }


def ratio(times: Mapping[str, float]) -> float:
    """The fastest of the others over the first."""
    ours, *others = times.values()
    return min(others) / ours


def digits(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def compare(
    runs: Mapping[str, Callable[[], object]], least: int = 7, device: str = "cpu"
) -> Comparison:
    """Time `runs` (ours first) in turn; on a GPU each waits for it, and so does the product."""
    timed = {name: lambda run=run: {"": milliseconds(run)} for name, run in runs.items()}
    return compare_passes(timed, least, device=device)[""]


def compare_passes(
    runs: Mapping[str, Callable[[], Mapping[str, float]]],
    least: int = 7,
    seconds: float = 3.0,
    most: int = 51,
    device: str = "cpu",
) -> dict[str, Comparison]:
    """The same for runs that time themselves and return ms a pass: a Comparison a pass.

    One round is not counted; then as many as fit into `seconds`, between `least` and `most`.
    """
    for run in runs.values():
        run()
    times: dict[str, dict[str, list[float]]] = {}
    before = product_rate(device)
    start, rounds = time.perf_counter(), 0
    while rounds < least or (rounds < most and time.perf_counter() - start < seconds):
        for name, run in runs.items():
            begun = time.perf_counter()
            while True:
                for which, took in run().items():
                    times.setdefault(which, {}).setdefault(name, []).append(took)
                if 1e3 * (time.perf_counter() - begun) >= TURN:
                    break
        rounds += 1
    after = product_rate(device)
    return {which: Comparison(each, before, after) for which, each in times.items()}


# --- memory -------------------------------------------------------------------------------------
def extra_memory(run: Callable[[], object], calls: int = 3) -> float | None:
    """Peak of the process's resident set above what it held before the call, MiB; None off Linux.

    The kernel's high-water mark sees torch's allocator and native scratch alike. Free heap is
    given back before, so that reused pages count; results count, buffers that libraries keep from
    call to call do not. The middle one of `calls`.
    """
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    peaks = []
    for _ in range(calls):
        if trim is not None:
            trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return None
        before = high_water()
        run()
        peaks.append(high_water() - before)
    return median(peaks)


def high_water() -> float:
    """Peak of this process's resident set in MiB; NaN off Linux."""
    if sys.platform != "linux":
        return float("nan")
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(found[1]) / 1024 if found else float("nan")


# --- tables -------------------------------------------------------------------------------------
@dataclass
class Table:
    """Rows of one benchmark, and what to say under them once all are there."""

    rows: list[dict[str, str]] = field(default_factory=list)
    summary: Callable[[], list[str]] = list

    def markdown(self) -> list[str]:
        """Header, rule, rows: aligned, so that it reads as it stands."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = [columns, *([row.get(name, "") for name in columns] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines]
        return [text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]]


#: Title -> table, in the order of their first row.
TABLES: dict[str, Table] = {}


def table(title: str) -> Table:
    """The run's table of that title."""
    return TABLES.setdefault(title, Table())
