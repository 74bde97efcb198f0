"""The features of the plain baselines: log band power, beat intervals, else mean and sd."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clmer.features.bands import band_power
from clmer.features.beats import rr_intervals

#: Windows handled at a time: bounds the memory of the spectra.
CHUNK = 1024


def classic_features(
    x: np.ndarray,
    fs: float,
    kind: str,
    *,
    band: tuple[float, float] | None = None,
    kinds: Sequence[str] | None = None,
) -> np.ndarray:
    """Features of each window.

    Args:
        x: [N, C, T] windows.
        fs: sampling rate in Hz.
        kind: the modality. "eeg": log band powers. "ecg": RR intervals. "physio": each channel by
            its own type. "landmarks", "au" and all others: mean and standard deviation of each row
            over the window.
        band: (low, high) in Hz that preparation kept in EEG; bands are clipped to it. None: all.
        kinds: C signal types (`clmer.data.recording.KINDS`) for "physio". None: every channel gets
            band powers, mean and standard deviation.

    Returns:
        [N, F] float64; NaN where a window has too few heart beats (the classifier imputes them).
    """
    if x.ndim != 3:
        raise ValueError(f"features of {kind!r}: expected [N, C, T] windows, found {x.shape}")
    if kinds is not None and len(kinds) != x.shape[1]:
        raise ValueError(f"features of {kind!r}: {len(kinds)} kinds for {x.shape[1]} channels")
    chunks = [x[i : i + CHUNK] for i in range(0, max(len(x), 1), CHUNK)]
    return np.concatenate(
        [_chunk(np.asarray(part, dtype=np.float64), fs, kind, band, kinds) for part in chunks]
    )


def _chunk(
    x: np.ndarray,
    fs: float,
    kind: str,
    band: tuple[float, float] | None,
    kinds: Sequence[str] | None,
) -> np.ndarray:
    if kind != "physio":
        return _by_type(x, fs, kind, band)
    if kinds is None:
        return np.hstack([_powers(x, fs, band), _moments(x)])
    rows = np.asarray(kinds)
    order = dict.fromkeys(kinds)
    return np.hstack([_by_type(x[:, rows == k], fs, k, band) for k in order])


def _by_type(x: np.ndarray, fs: float, kind: str, band: tuple[float, float] | None) -> np.ndarray:
    if kind == "eeg":
        return _powers(x, fs, band)
    if kind in ("eog", "emg"):
        return _powers(x, fs, None)
    if kind == "ecg":
        found = [rr_intervals(x[:, channel], fs)[:, :4] for channel in range(x.shape[1])]
        return np.hstack(found)
    return _moments(x)


def _moments(x: np.ndarray) -> np.ndarray:
    return np.hstack([x.mean(axis=-1), x.std(axis=-1)])


def _powers(x: np.ndarray, fs: float, band: tuple[float, float] | None) -> np.ndarray:
    """[N, C * bands], channel-major."""
    powers = [*band_power(x, fs, band).values()]
    return np.stack(powers, -1).reshape(len(x), -1) if powers else np.empty((len(x), 0))
