"""Heart beats and the intervals between them, of an ECG or a pulse wave."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import signal

from clmer.features.bands import POWER_FLOOR

#: RR intervals outside this range (seconds) are missed or doubled beats.
RR_RANGE_S = (0.3, 2.0)
#: Columns of `rr_intervals`.
NAMES = ("mean RR", "sd of RR", "heart rate", "no beats", "RMSSD")


def beat_intervals(x: np.ndarray, fs: float) -> dict[str, np.ndarray]:
    """`rr_intervals` of every channel [N, C, T], as [N, C] by name."""
    found = np.stack([rr_intervals(x[:, c], fs) for c in range(x.shape[1])], axis=1)
    return {name: found[..., i] for i, name in enumerate(NAMES)}


def rr_intervals(x: np.ndarray, fs: float) -> np.ndarray:
    """Heart-beat intervals of a channel.

    Beats are maxima of the smoothed 5-15 Hz energy that reach 30 % of the window's 98th percentile
    and stand 0.3 s apart; each is then placed at the nearest extremum of the 5-15 Hz signal, by a
    parabola between samples (a sample is 8 ms at 128 Hz, heart-rate variability 30-50 ms).

    Args:
        x: [N, T] one channel, either polarity.
        fs: sampling rate in Hz, above 30.

    Returns:
        [N, 5]: mean RR interval (s), its standard deviation (s), heart rate (beats a minute), 1
        where fewer than two beats were found (the others are then NaN) else 0, and the root mean
        square of successive differences (s), NaN with fewer than two intervals.
    """
    out = np.tile([np.nan, np.nan, np.nan, 1.0, np.nan], (len(x), 1))
    if x.shape[-1] < 0.5 * fs or fs <= 30.0:
        return out
    wave = signal.sosfiltfilt(_sections(fs), x, axis=-1)
    upright = wave.max(axis=-1) >= -wave.min(axis=-1)
    wave = np.where(upright[:, None], wave, -wave)
    smooth = signal.windows.hann(max(round(0.12 * fs), 3))
    energy = signal.oaconvolve(wave**2, smooth[None] / smooth.sum(), mode="same", axes=-1)
    height = 0.3 * np.quantile(energy, 0.98, axis=-1)
    for row, (trace, least) in enumerate(zip(energy, height, strict=True)):
        peaks, _ = signal.find_peaks(trace, height=max(least, POWER_FLOOR), distance=0.3 * fs)
        rr = np.diff(_refine(wave[row], peaks, round(0.06 * fs))) / fs
        rr = rr[(rr >= RR_RANGE_S[0]) & (rr <= RR_RANGE_S[1])]
        if len(rr):
            successive = np.sqrt(np.mean(np.diff(rr) ** 2)) if len(rr) > 1 else np.nan
            out[row] = rr.mean(), rr.std(), 60.0 / rr.mean(), 0.0, successive
    return out


@lru_cache
def _sections(fs: float) -> np.ndarray:
    """The band-pass in which QRS complexes have most of their energy."""
    return np.asarray(signal.butter(2, [5.0, 15.0], btype="bandpass", fs=fs, output="sos"))


def _refine(wave: np.ndarray, peaks: np.ndarray, reach: int) -> np.ndarray:
    """Positions, in samples, of the maxima of wave within `reach` samples of the peaks."""
    near = np.clip(peaks[:, None] + np.arange(-reach, reach + 1), 1, len(wave) - 2)
    top = np.take_along_axis(near, wave[near].argmax(axis=1)[:, None], axis=1)[:, 0]
    left, middle, right = wave[top - 1], wave[top], wave[top + 1]
    bend = left - 2 * middle + right
    shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(middle), where=bend < 0)
    return np.asarray(top + np.clip(shift, -0.5, 0.5))
