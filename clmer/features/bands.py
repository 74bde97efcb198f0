"""Power in frequency bands: of EEG by its rhythms, of other signals in steps of log frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import signal

#: EEG bands in Hz.
BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
#: Smallest power that is told from silence, far below that of an EEG in volts.
POWER_FLOOR = 1e-20
#: Edges in Hz for `log_spectrum`: of EEG; of walking and breathing, hands, tremor.
BRAIN = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 20, 25, 30, 37, 45)
MOTION = (0.2, 0.8, 1.6, 2.4, 3.2, 4.8, 6.4, 9.6, 12.8, 20.0, 25.0)


def band_power(
    x: np.ndarray, fs: float, band: tuple[float, float] | None = None
) -> dict[str, np.ndarray]:
    """Log10 power in each EEG band (Welch, Hann segments of 2 s or the whole window).

    Args:
        x: [N, C, T].
        fs: sampling rate in Hz.
        band: range kept by preparation; bands narrower than 1 Hz after clipping are left out.

    Returns:
        [N, C] by band.
    """
    low, high = band or (0.0, fs / 2)
    clipped = {name: (max(a, low), min(b, high, fs / 2)) for name, (a, b) in BANDS.items()}
    kept = {name: (a, b) for name, (a, b) in clipped.items() if b - a >= 1.0}
    segment = min(x.shape[-1], round(2 * fs))
    frequency, density = signal.welch(x, fs, nperseg=segment, axis=-1)
    inside = [(frequency >= a) & (frequency < b) for a, b in kept.values()]
    if not kept:
        return {}
    power = density @ np.array(inside, dtype=np.float64).T * (fs / segment)  # [N, C, bands]
    logs = np.log10(np.maximum(power, POWER_FLOOR))
    return {f"log power {name}": logs[..., i] for i, name in enumerate(kept)}


def log_spectrum(x: np.ndarray, fs: float, edges: Sequence[float]) -> dict[str, np.ndarray]:
    """Log10 of the mean power density between edges (Welch, Hann segments of 3 s at most).

    A band without a bin of a short window's spectrum is left out, and so are those above fs / 2.

    Args:
        x: [N, C, T].
        fs: sampling rate in Hz.
        edges: in Hz, ascending.

    Returns:
        [N, C] by band.
    """
    segment = min(x.shape[-1], round(3 * fs))
    frequency, density = signal.welch(x, fs, nperseg=segment, axis=-1)
    out = {}
    for a, b in zip(edges, edges[1:], strict=False):
        inside = (frequency >= a) & (frequency < b)
        if b <= fs / 2 and inside.any():
            power = density[..., inside].mean(-1)
            out[f"log power {a:g}-{b:g} Hz"] = np.log10(np.maximum(power, POWER_FLOOR))
    return out
