"""How many of the intervals over people hold the true score: the table of docs/protocols.md.

    python benchmarks/interval_coverage.py

Generated people: an accuracy each, beta-distributed (a + b = 20: at a mean of 0.7 its sd over
people is 0.10), 40 to 240 windows each, half of each class, right or wrong by that accuracy. 20,000
data sets per cell.
"""

from __future__ import annotations

import platform

import numpy as np
import scipy
from conftest import machine

from clmer.evaluation.intervals import METHOD, person_intervals

PEOPLE = (3, 4, 6, 10, 20, 36)
MEANS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def simulate(
    people: int,
    mean: float,
    rng: np.random.Generator,
    *,
    tests: int,
    windows: tuple[int, int] = (40, 240),
    spread: float = 20.0,
) -> np.ndarray:
    """Confusion matrices [tests, P, 2, 2] of people whose accuracy is beta-distributed.

    Args:
        people: P.
        mean: accuracy over all people.
        rng: of every draw.
        tests: number of data sets.
        windows: fewest and most of a person.
        spread: a + b of the beta distribution; the smaller, the more people differ.
    """
    right = rng.beta(mean * spread, (1 - mean) * spread, (tests, people))
    count = rng.integers(windows[0], windows[1] + 1, (tests, people))
    true = np.stack([count // 2, count - count // 2], axis=-1)
    hit = rng.binomial(true, right[..., None])
    counts = np.empty((tests, people, 2, 2))
    for k in (0, 1):
        counts[..., k, k], counts[..., k, 1 - k] = hit[..., k], true[..., k] - hit[..., k]
    return counts


def coverage(counts: np.ndarray, truth: float, name: str = "balanced_accuracy") -> float:
    """Percent of the data sets whose interval holds the truth."""
    low, high = person_intervals(counts)[name]
    return 100 * float(((low <= truth) & (truth <= high)).mean())


def main() -> None:
    """One row per number of people, one column per mean accuracy."""
    print(f"{METHOD}: percent that hold the true balanced accuracy")
    print(f"{machine()}; Python {platform.python_version()}, NumPy {np.__version__}", end="")
    print(f", SciPy {scipy.__version__}\n")
    print("| people | " + " | ".join(f"{mean:g}" for mean in MEANS) + " |")
    print("|" + "---|" * (len(MEANS) + 1))
    for people in PEOPLE:
        cells = []
        for number, mean in enumerate(MEANS):
            rng = np.random.default_rng([people, number])
            cells.append(f"{coverage(simulate(people, mean, rng, tests=20_000), mean):.1f}")
        print(f"| {people} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
