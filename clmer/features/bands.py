"""Power in frequency bands: of EEG by its rhythms, of other signals in steps of log frequency."""

from __future__ import annotations

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
#: Edges of `log_spectrum` in Hz: walking and breathing, hands, tremor.
EDGES = (0.2, 0.8, 1.6, 2.4, 3.2, 4.8, 6.4, 9.6, 12.8, 20.0, 25.0)


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


def log_spectrum(x: np.ndarray, fs: float) -> dict[str, np.ndarray]:
    """Log10 of the mean power density between `EDGES` (Welch, Hann segments of 3 s at most).

    A band between two bins of the spectrum gets the nearest bin; bands above fs / 2 are left out.

    Args:
        x: [N, C, T].
        fs: sampling rate in Hz.

    Returns:
        [N, C] by band.
    """
    segment = min(x.shape[-1], round(3 * fs))
    frequency, density = signal.welch(x, fs, nperseg=segment, axis=-1)
    out = {}
    for a, b in zip(EDGES, EDGES[1:], strict=False):
        if b > fs / 2:
            break
        inside = np.flatnonzero((frequency >= a) & (frequency < b))
        if not len(inside):
            inside = np.abs(frequency - (a + b) / 2).argmin(keepdims=True)
        power = density[..., inside].mean(-1)
        out[f"log power {a:g}-{b:g} Hz"] = np.log10(np.maximum(power, POWER_FLOOR))
    return out
