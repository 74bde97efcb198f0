"""What a signal is like where its recording went wrong: cut off at a limit, full of mains hum."""

from __future__ import annotations

import numpy as np
from scipy import signal as sps

#: Part of a channel's range below its limit with which the samples at the limit are compared.
_NEAR = 0.02
#: Fewer different values are a coarse converter, or a line of markers, which rest at their ends.
_VALUES = 64
#: Frequencies of the mains in Hz, and how far from them their hum is looked for.
MAINS, _WIDTH = (50.0, 60.0), 1.0
#: Power below, in Hz, is drift.
_LOWEST = 1.0
#: Seconds, out of the recording's middle, that hum is looked for in; shorter ones tell nothing.
_LONGEST_S, _SHORTEST_S = 30.0, 4.0


def clipped_share(x: np.ndarray) -> float:
    """The share of a channel's samples that stand at its largest or smallest value.

    0 where a value close to it is as frequent, as in a slow signal of a coarse converter.

    Args:
        x: [T] samples.
    """
    if not len(x):
        return 0.0
    share = 0.0
    for end, inward in ((x.max(), -1.0), (x.min(), 1.0)):
        at = x == end
        width = _NEAR * float(np.ptp(x))
        near = (inward * (x - end) > 0) & (inward * (x - end) <= width)
        runs = at[1:] & at[:-1]
        if runs.any() and at.sum() > near.sum() and len(np.unique(x[::7])) >= _VALUES:
            share += float(at.mean())
    return share


def hum_of(x: np.ndarray, fs: float) -> tuple[np.ndarray, float]:
    """The share of the mains in a signal's power, and their frequency.

    From `_LOWEST` Hz on, by Welch's method over windows of 2 s.

    Args:
        x: [C, T] samples.
        fs: per second.

    Returns:
        [C] shares, 0 where the rate is too low or the signal too short to tell; and the one of
        `MAINS` that has more.
    """
    known = [mains for mains in MAINS if mains + _WIDTH < fs / 2]
    if not known or x.shape[1] < _SHORTEST_S * fs:
        return np.zeros(len(x)), MAINS[0]
    count = min(x.shape[1], int(_LONGEST_S * fs))
    first = (x.shape[1] - count) // 2
    middle = np.asarray(x[:, first : first + count], np.float64)
    f, power = sps.welch(middle, fs, nperseg=int(2 * fs), detrend="linear")
    total = power[:, f >= _LOWEST].sum(1)
    shares = np.stack([power[:, np.abs(f - mains) <= _WIDTH].sum(1) for mains in known])
    shares = shares / np.where(total > 0, total, 1.0)
    best = int(shares.max(1).argmax())
    return shares[best], known[best]
