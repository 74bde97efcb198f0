"""Hand-made features of each window by the type of its channels: what the linear floor reads.

| type of channel | per channel | per modality |
|---|---|---|
| eeg, ieeg | log power in 5 bands, log standard deviation | correlations of its channels |
| eog, emg | log power in 5 bands, log standard deviation | - |
| ecg, ppg | mean and sd of the beat intervals, RMSSD, heart rate, whether beats were found | - |
| gsr | level, slope, sd, peaks per minute, their mean height | - |
| acc, gyro, magn, other | mean, sd, min, max, energy, quantiles, log spectrum | correlations |
| resp, temp | mean, sd, slope, log spectrum | - |
| face series (landmarks, action units, ...) | mean, sd, min, max, slope | - |

A window's features depend on that window alone. NaN stands where one is not known (too few beats, a
flat or missing channel); what reads them imputes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from clmer.data.face.windows import FACE_ROWS, IMAGES
from clmer.data.store.store import Modality
from clmer.features.bands import band_power, log_spectrum
from clmer.features.beats import beat_intervals
from clmer.features.moments import correlations, face_moments, log_sd, moments, slow_moments
from clmer.features.skin import skin_conductance

__all__ = ["feature_names", "is_missing", "window_features"]

#: Features [N, C] of [N, C, T] windows by name.
Named = dict[str, np.ndarray]
#: Windows handled at a time: bounds the memory of the spectra.
CHUNK = 512


def _rhythms(x: np.ndarray, fs: float) -> Named:
    return band_power(x, fs) | log_sd(x)


def _brain(x: np.ndarray, fs: float) -> Named:
    return _rhythms(x, fs) | correlations(x)


def _motion(x: np.ndarray, fs: float) -> Named:
    return moments(x) | log_spectrum(x, fs) | correlations(x)


def _slow(x: np.ndarray, fs: float) -> Named:
    return slow_moments(x, fs) | log_spectrum(x, fs)


#: The features of a type of channel.
BY_TYPE: Mapping[str, Callable[[np.ndarray, float], Named]] = {
    **dict.fromkeys(("eeg", "ieeg"), _brain),
    **dict.fromkeys(("eog", "emg"), _rhythms),
    **dict.fromkeys(("ecg", "ppg"), beat_intervals),
    "gsr": skin_conductance,
    **dict.fromkeys(("acc", "gyro", "magn", "other"), _motion),
    **dict.fromkeys(("resp", "temp"), _slow),
    "face": face_moments,
}
#: Types of channels that vary in every window.
RHYTHMIC = {"eeg", "ieeg", "eog", "emg", "ecg", "ppg", "acc", "gyro", "magn"}
#: A window of at most this many samples per channel, or values in all, is its own features.
FEW_SAMPLES, FEW_VALUES = 15, 64


def window_features(x: np.ndarray, modality: Modality) -> np.ndarray:
    """The features of windows.

    Args:
        x: [N, C, T], prepared and not standardised.
        modality: whose they are; its kinds decide the features. Where it has none its name does
            ("eeg", "ecg", "gsr"); what has neither is motion.

    Returns:
        [N, F] float64, in the order of `feature_names`; NaN where a value is not known, and
        throughout where the modality is missing.

    Raises:
        ValueError: x is not [N, C, T] of the modality's channels.
    """
    if x.ndim != 3 or x.shape[1] != len(modality.channels):
        expected = f"[N, {len(modality.channels)}, T] windows"
        raise ValueError(f"features of {modality.name!r}: expected {expected}, found {x.shape}")
    chunks = [x[i : i + CHUNK] for i in range(0, max(len(x), 1), CHUNK)]
    out = np.concatenate([np.hstack([*_named(part, modality).values()]) for part in chunks])
    out[is_missing(x, modality)] = np.nan
    return out


def feature_names(modality: Modality, samples: int) -> tuple[str, ...]:
    """Names of the columns of `window_features` for windows of `samples` samples."""
    blank = np.zeros((1, len(modality.channels), samples))
    return tuple(_named(blank, modality))


def is_missing(x: np.ndarray, modality: Modality) -> np.ndarray:
    """Windows in which a signal is not there, [N] bool: all zeros, or flat where a rhythm must be.

    Args:
        x: [N, C, T].
        modality: whose windows. A face is never missing: windows without one are left out before.
    """
    if modality.name in FACE_ROWS or x.shape[-1] == 1:
        return np.zeros(len(x), dtype=bool)
    zero = ~x.any(axis=(1, 2))
    kinds = set(modality.kinds or [_type_of(modality.name)])
    flat = (x == x[..., :1]).all(axis=(1, 2)) if kinds <= RHYTHMIC else zero
    return np.asarray(zero | flat)


def _named(x: np.ndarray, modality: Modality) -> Named:
    """Columns [N, 1] by name, of a chunk."""
    x = np.asarray(x, dtype=np.float64)
    samples, channels = x.shape[-1], np.array(modality.channels, dtype=object)
    if modality.name in IMAGES or samples <= FEW_SAMPLES or x[0].size <= FEW_VALUES:
        flat = x.reshape(len(x), -1)
        names = [f"{channel} sample {t + 1}" for channel in channels for t in range(samples)]
        return {name: flat[:, i, None] for i, name in enumerate(names)}
    kinds = np.array(modality.kinds or [_type_of(modality.name)] * len(channels))
    out: Named = {}
    for kind in dict.fromkeys(kinds.tolist()):
        own, named = channels[kinds == kind], BY_TYPE[kind](x[:, kinds == kind], modality.fs)
        for name, values in named.items():
            if values.shape[1] == len(own):
                out |= {f"{c} {name}": values[:, i, None] for i, c in enumerate(own)}
            else:
                out[f"{kind} {name}"] = values
    return out


def _type_of(name: str) -> str:
    """The type of the channels of a modality without kinds."""
    if name in FACE_ROWS:
        return "face"
    return name if name in BY_TYPE else "other"
