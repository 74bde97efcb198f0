"""Statistics of the samples of a window, per channel."""

from __future__ import annotations

import numpy as np

#: Shares of the samples below the quantiles.
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_TINY = 1e-12


def moments(x: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, standard deviation, extremes, energy and quantiles of [N, C, T], each [N, C]."""
    below = np.quantile(x, QUANTILES, axis=-1)
    return {
        "mean": x.mean(-1),
        "sd": x.std(-1),
        "min": x.min(-1),
        "max": x.max(-1),
        "energy": np.square(x).mean(-1),
        **{f"quantile {q:g}": part for q, part in zip(QUANTILES, below, strict=True)},
    }


def slow_moments(x: np.ndarray, fs: float) -> dict[str, np.ndarray]:
    """Mean, standard deviation and slope (units per second) of [N, C, T], each [N, C]."""
    return {"mean": x.mean(-1), "sd": x.std(-1), "slope": slope(x, fs)}


def face_moments(x: np.ndarray, fs: float) -> dict[str, np.ndarray]:
    """Mean, standard deviation, extremes and slope of face series [N, C, T], each [N, C]."""
    return slow_moments(x, fs) | {"min": x.min(-1), "max": x.max(-1)}


def log_sd(x: np.ndarray) -> dict[str, np.ndarray]:
    """Log10 of the standard deviation of [N, C, T], [N, C]."""
    return {"log sd": np.log10(np.maximum(x.std(-1), _TINY))}


def slope(x: np.ndarray, fs: float) -> np.ndarray:
    """Slope of the least-squares line through each window of [N, C, T], per second, [N, C]."""
    time = (np.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2) / fs
    return np.asarray(x @ time / max(float(time @ time), _TINY))
