"""Skin conductance: its level, and the responses that stand out of it."""

from __future__ import annotations

import numpy as np
from scipy import signal

from clmer.features.moments import slow_moments

#: A response lasts longer than this: what is faster is smoothed away (seconds).
SMOOTH_S = 0.5
#: A response rises by at least this share of the window's standard deviation.
LEAST_RISE = 0.5


def skin_conductance(x: np.ndarray, fs: float) -> dict[str, np.ndarray]:
    """Level, slope, standard deviation, responses per minute and their mean height.

    A response is a maximum of the smoothed signal whose prominence is at least `LEAST_RISE`
    standard deviations of its window.

    Args:
        x: [N, C, T].
        fs: sampling rate in Hz.

    Returns:
        [N, C] by name; the height is 0 without a response.
    """
    width = max(min(round(SMOOTH_S * fs), x.shape[-1]), 1)
    smooth = signal.oaconvolve(x, np.full((1, 1, width), 1 / width), mode="valid", axes=-1)
    rate, height = np.zeros(x.shape[:2]), np.zeros(x.shape[:2])
    minutes = smooth.shape[-1] / fs / 60
    for at in np.ndindex(*x.shape[:2]):
        least = LEAST_RISE * smooth[at].std()
        if least > 0:
            _, found = signal.find_peaks(smooth[at], prominence=least)
            rises = found["prominences"]
            rate[at] = len(rises) / minutes
            height[at] = rises.mean() if len(rises) else 0.0
    return slow_moments(x, fs) | {"responses per minute": rate, "response height": height}
