"""Coefficients of filters as second-order sections, and the change of rate."""

from __future__ import annotations

import warnings
from fractions import Fraction
from operator import index
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

#: The largest term of a ratio of rates: the filter's length grows with it.
_TERMS = 100_000
#: Samples by which a signal may be off at its end.
_DRIFT = 0.05


def butter_bandpass(
    low: float | None, high: float | None, fs: float, order: int = 4
) -> NDArray[np.float64]:
    """Butterworth band-, high- or low-pass as second-order sections.

    Args:
        low: lower -3 dB edge in Hz; None gives a low-pass.
        high: upper -3 dB edge in Hz; None gives a high-pass.
        fs: sampling rate in Hz.
        order: order of the prototype, 1 or more (a band-pass has twice as many poles).

    Returns:
        sos [S, 6] float64.

    Raises:
        ValueError: both edges None, not 0 < low < high < fs / 2, or an order below 1.
    """
    low, high = (None if edge is None else float(edge) for edge in (low, high))
    fs = float(fs)
    if index(order) < 1:
        raise ValueError(f"butter_bandpass: found order {order}, expected 1 or more")
    edges = [edge for edge in (low, high) if edge is not None]
    if not edges or any(not 0 < edge < fs / 2 for edge in edges) or edges != sorted(set(edges)):
        raise ValueError(
            f"butter_bandpass: found low {low}, high {high} Hz at fs {fs} Hz, expected "
            f"0 < low < high < {fs / 2}; None leaves one side open"
        )
    kind = "bandpass" if len(edges) == 2 else "lowpass" if low is None else "highpass"
    cut = edges if len(edges) == 2 else edges[0]
    return np.asarray(scipy.signal.butter(order, cut, kind, fs=fs, output="sos"))


def notch(freq: float, fs: float, q: float = 30.0, harmonics: int = 1) -> NDArray[np.float64]:
    """A notch at a mains frequency and its harmonics below fs / 2.

    Args:
        freq: centre in Hz, 50 or 60.
        fs: sampling rate in Hz.
        q: centre over -3 dB width.
        harmonics: how many multiples of freq to remove, the first included.

    Returns:
        sos [S, 6] float64, a section a frequency.

    Raises:
        ValueError: freq not inside (0, fs / 2), fewer than one harmonic, or a q that is no finite
            number > 0.
    """
    # Plain numbers: multiples of NumPy's small integers, as MATLAB files give them, wrap around.
    freq, fs, q, harmonics = float(freq), float(fs), float(q), index(harmonics)
    if not 0 < q < np.inf:
        raise ValueError(f"notch: found q {q}, expected a finite number > 0")
    if not 0 < freq < fs / 2 or harmonics < 1:
        raise ValueError(
            f"notch: found freq {freq} Hz, harmonics {harmonics} at fs {fs} Hz, expected "
            f"0 < freq < {fs / 2} and harmonics >= 1"
        )
    centres = [k * freq for k in range(1, harmonics + 1) if k * freq < fs / 2]
    return np.vstack([scipy.signal.tf2sos(*scipy.signal.iirnotch(c, q, fs)) for c in centres])


def steady_state(sos: NDArray[np.float64]) -> NDArray[np.float64]:
    """`scipy.signal.sosfilt_zi` for all sections at once: 10 us where that takes 100.

    The states that leave an input of ones as it is. With g the gain of a section at 0 Hz, its
    output is g, so z0 = g - b0 and z1 = z0 (1 + a1) - (b1 - a1 b0), times the gains before it.

    Args:
        sos: [S, 6] with a0 = 1.

    Returns:
        zi [S, 2].

    Raises:
        LinAlgError: SciPy's, for a pole at z = 1: such a section has no steady state.
    """
    b, a1, a2 = sos[:, :3], sos[:, 4], sos[:, 5]
    c1, c2 = b[:, 1] - a1 * b[:, 0], b[:, 2] - a2 * b[:, 0]
    pole = 1 + a1 + a2
    if (pole == 0).any():
        raise np.linalg.LinAlgError(
            f"sos: found a pole at z = 1 in section {np.flatnonzero(pole == 0)[0]}, where a "
            "constant input has no steady state to start from (SciPy: Singular matrix); give "
            "sosfilt a zi instead"
        )
    z0 = (c1 + c2) / pole
    gains = np.cumprod(np.concatenate(([1.0], b.sum(1)[:-1] / pole[:-1])))
    return np.stack((z0, (1 + a1) * z0 - c1), -1) * gains[:, None]


def ringing_samples(sos: NDArray[np.float64], most: int = 100_000) -> int:
    """How long the impulse response stays above a thousandth of its peak, in samples.

    Counted as `mne.filter.estimate_ringing_samples` does, by thousands: the last sample above the
    threshold before the first thousand that has none.

    Args:
        sos: [S, 6] with a0 = 1.
        most: what to return, with a warning, where it does not die down by then.
    """
    x, zi = np.zeros(1000), np.zeros((len(sos), 2))
    x[0] = 1
    peak, last = 0.0, 1000
    for start in range(0, most, 1000):
        h, zi = scipy.signal.sosfilt(sos, x, zi=zi)
        x[0] = 0
        peak = max(peak, np.abs(h).max())
        above = np.flatnonzero(np.abs(h) > 0.001 * peak)
        if len(above) == 0:
            return start - 1000 + last
        last = int(above[-1])
    warnings.warn(f"the filter still rings after {most} samples", stacklevel=2)
    return most


def resample(x: ArrayLike, fs_in: float, fs_out: float, axis: int = -1) -> NDArray[Any]:
    """Resample to another rate by SciPy's anti-aliased polyphase filter.

    Args:
        x: [..., T, ...].
        fs_in: rate of x in Hz.
        fs_out: wanted rate in Hz.
        axis: the time axis.

    Returns:
        x at fs_out, ceil(T fs_out / fs_in) samples long.

    Raises:
        ValueError: a rate that is no finite number > 0, or a ratio that no fraction of terms up to
            100,000 comes near to.
    """
    x, fs_in, fs_out = np.asarray(x), float(fs_in), float(fs_out)
    ratio = rate_ratio(fs_in, fs_out, x.shape[axis])
    if ratio == 1:
        return x
    return np.asarray(
        scipy.signal.resample_poly(x, ratio.numerator, ratio.denominator, axis=axis, padtype="line")
    )


def rate_ratio(fs_in: float, fs_out: float, count: int) -> Fraction:
    """fs_out / fs_in, or the simplest fraction near it over which `count` samples do not drift.

    A device's clock is not a round number (600.614990234375 Hz; 3906 us): after all samples the
    ratio is off by at most `_DRIFT` of one.

    Raises:
        ValueError: a rate that is no finite number > 0, or no such fraction of terms up to 100,000.
    """
    if not (0 < fs_in < np.inf and 0 < fs_out < np.inf):
        raise ValueError(f"resample: found rates {fs_in} and {fs_out} Hz, expected finite ones > 0")
    if fs_in == fs_out:
        return Fraction(1)
    exact = Fraction(fs_out).limit_denominator(10**9) / Fraction(fs_in).limit_denominator(10**9)
    flip = exact > 1  # bound the larger term
    near = 1 / exact if flip else exact
    for terms in (1000, 10_000, _TERMS):  # the ratio of usual rates itself is among the first
        simple = near.limit_denominator(terms)
        if simple > 0 and abs(simple / near - 1) * count * max(Fraction(1), exact) <= _DRIFT:
            return 1 / simple if flip else simple
    raise ValueError(
        f"resample: {fs_in} Hz to {fs_out} Hz is the ratio {exact}, expected one near a fraction "
        f"of terms up to {_TERMS}; round the rates"
    )
