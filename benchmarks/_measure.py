"""Side-by-side timing that says when it is worth nothing.

All contenders run in turn, round after round, in one process. Beside them stands the rate of a
large matrix product, before and after: where it drifts by more than 15 % something else was
running, and the row is void.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

MAX_DRIFT = 0.15


def milliseconds(run: Callable[[], object]) -> float:
    """Wall clock of one call."""
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def product_rate() -> float:
    """GF/s of a 1024-cubed float32 product: the best of nine."""
    x = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(milliseconds(lambda: x @ x) for _ in range(9)) / 1e6


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
    def best(self) -> dict[str, float]:
        """Each contender's minimum."""
        return {name: min(each) for name, each in self.times.items()}

    @property
    def ratio(self) -> float:
        """How many times ours the fastest other one takes, by minima."""
        ours, *others = self.best.values()
        return min(others) / ours

    def line(self, what: str, flops: float) -> str:
        """One row: median/minimum of each, the ratio, our rate beside the product's."""
        columns = ", ".join(
            f"{k} {median(v):.2f}/{self.best[k]:.2f}" for k, v in self.times.items()
        )
        rate = flops / next(iter(self.best.values())) / 1e6
        void = f"  VOID: the product's rate drifted by {self.drift:.0%}"
        return (
            f"\n{what}, ms median/min: {columns}; {self.ratio:.2f}x; {rate:.0f} of "
            f"{min(self.before, self.after):.0f} GF/s{void if self.drift > MAX_DRIFT else ''}"
        )

    def extra(self, flops: float) -> dict[str, object]:
        """The same for pytest-benchmark's JSON."""
        ours = next(iter(self.best.values()))
        return {
            "ratio": self.ratio,
            "gflops": flops / ours / 1e6,
            "drift": self.drift,
            "minima_ms": self.best,
        }


def compare(runs: Mapping[str, Callable[[], object]], rounds: int = 7) -> Comparison:
    """Time `runs` (ours first) in turn, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    before = product_rate()
    for turn in range(rounds + 1):
        for name, run in runs.items():
            took = milliseconds(run)
            if turn:
                times[name].append(took)
    return Comparison(times, before, product_rate())
