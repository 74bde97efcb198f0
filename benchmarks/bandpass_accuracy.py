"""The error of `clmer.signal.sosfilt` against long double, as a multiple of SciPy's.

    python benchmarks/bandpass_accuracy.py

Largest error over largest error, the least and the most of six draws of noise (8 x 5000, sd 20).
"""

from __future__ import annotations

import numpy as np
import scipy.signal

from clmer import signal

FILTERS = [
    (4, 45, 128), (1, 45, 500), (0.1, 45, 512), (0.5, 40, 1000), (8, 12, 256), (49, 51, 512),
    (1, None, 250), (None, 30, 250),
]  # fmt: skip


def ratio(sos: np.ndarray, x: np.ndarray) -> float:
    """Our largest error over SciPy's."""
    truth = scipy.signal.sosfilt(sos.astype(np.longdouble), x.astype(np.longdouble))
    ours, theirs = (
        np.abs(form(sos, x) - truth).max() for form in (signal.sosfilt, scipy.signal.sosfilt)
    )
    return float(ours / theirs)


def main() -> None:
    """One line a filter."""
    rng = np.random.default_rng(0)
    for low, high, fs in FILTERS:
        sos = signal.butter_bandpass(low, high, fs)
        cells = []
        for offset in (0, 4200):
            found = [ratio(sos, 20 * rng.standard_normal((8, 5000)) + offset) for _ in range(6)]
            cells.append(f"offset {offset}: {min(found):.2f} to {max(found):.2f}")
        print(f"{low} to {high} Hz at {fs} Hz; " + "; ".join(cells))


if __name__ == "__main__":
    main()
