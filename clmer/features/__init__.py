"""Hand-made features of each window by the type of its channels: what the linear floor reads.

| type of channel | per channel | between channels |
|---|---|---|
| eeg, ieeg | log spectrum 1-45 Hz, log sd | correlations; log-covariance, a block of its own |
| eog, emg | log power in 5 bands, log sd | - |
| ecg, ppg | mean and sd of the beat intervals, RMSSD, heart rate, whether there were beats | - |
| gsr | level, slope, sd, responses per minute, their mean height | - |
| acc, gyro, magn, other | mean, sd, extremes, energy, quantiles, log spectrum | as eeg |
| resp, temp | mean, sd, slope, log spectrum | - |
| face series (landmarks, action units, ...) | mean, sd, extremes, slope | - |

A type's features are a block, or two: a linear model can be fitted to each and the answers stacked.
A window's features depend on that window alone. NaN stands where one is not known (too few beats, a
missing signal); what reads them imputes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from clmer.data.choices import IMAGES
from clmer.data.face.windows import FACE_ROWS
from clmer.data.store.store import Modality
from clmer.features.bands import BRAIN, MOTION, band_power, log_spectrum
from clmer.features.beats import beat_intervals
from clmer.features.covariance import correlations, log_covariance
from clmer.features.moments import face_moments, log_sd, moments, slow_moments
from clmer.features.skin import skin_conductance

__all__ = ["feature_blocks", "feature_names", "is_missing", "joint_block", "window_features"]

#: Features of [N, C, T] windows by name: [N, C], [N, 1], or [N, k] by k names.
Named = Mapping[Any, np.ndarray]
#: Windows handled at a time: bounds the memory of the spectra.
CHUNK = 512


def _brain(x: np.ndarray, fs: float) -> Named:
    return log_spectrum(x, fs, BRAIN) | log_sd(x) | correlations(x)


def _muscle(x: np.ndarray, fs: float) -> Named:
    return band_power(x, fs) | log_sd(x)


def _motion(x: np.ndarray, fs: float) -> Named:
    return moments(x) | log_spectrum(x, fs, MOTION) | correlations(x)


def _slow(x: np.ndarray, fs: float) -> Named:
    return slow_moments(x, fs) | log_spectrum(x, fs, MOTION)


#: The features of a type of channel.
BY_TYPE: Mapping[str, Callable[[np.ndarray, float], Named]] = {
    **dict.fromkeys(("eeg", "ieeg"), _brain),
    **dict.fromkeys(("eog", "emg"), _muscle),
    **dict.fromkeys(("ecg", "ppg"), beat_intervals),
    "gsr": skin_conductance,
    **dict.fromkeys(("acc", "gyro", "magn", "other"), _motion),
    **dict.fromkeys(("resp", "temp"), _slow),
    "face": face_moments,
}
#: Types of channels whose log-covariance is a second block.
WITH_COVARIANCE = ("eeg", "ieeg", "acc", "gyro", "magn", "other")
#: Types whose channels are of one body, so that those of several modalities vary together.
MOTIONS = {"acc", "gyro", "magn", "other"}
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
    return np.hstack([*feature_blocks(x, modality).values()])


def feature_names(modality: Modality, samples: int) -> tuple[str, ...]:
    """Names of the columns of `window_features` for windows of `samples` samples."""
    blocks = _named(np.zeros((1, len(modality.channels), samples)), modality)
    found = (name for columns in blocks.values() for name in columns)
    return tuple(each for n in found for each in ((n,) if isinstance(n, str) else n))


def feature_blocks(x: np.ndarray, modality: Modality) -> dict[str, np.ndarray]:
    """`window_features` apart, [N, F] of each block: a type of channel, or its log-covariance.

    Raises:
        ValueError: as `window_features`.
    """
    if x.ndim != 3 or x.shape[1] != len(modality.channels):
        expected = f"[N, {len(modality.channels)}, T] windows"
        raise ValueError(f"features of {modality.name!r}: expected {expected}, found {x.shape}")
    chunks = [_named(x[i : i + CHUNK], modality) for i in range(0, max(len(x), 1), CHUNK)]
    missing = is_missing(x, modality)
    out = {}
    for block in chunks[0]:
        out[block] = np.concatenate([np.hstack([*chunk[block].values()]) for chunk in chunks])
        out[block][missing] = np.nan
    return out


def joint_block(
    windows: Mapping[str, np.ndarray], modalities: Mapping[str, Modality]
) -> np.ndarray | None:
    """Log-covariance [N, F] of the channels of all modalities of motion together.

    NaN where one of them is missing; None where there are not several of one rate and length.

    Args:
        windows: [N, C, T] by modality.
        modalities: by name.
    """
    names = [
        name
        for name, each in modalities.items()
        if set(each.kinds or [_type_of(name)]) <= MOTIONS and windows[name].shape[-1] > FEW_SAMPLES
    ]
    if len(names) < 2 or len({(modalities[n].fs, windows[n].shape[-1]) for n in names}) > 1:
        return None
    together = np.concatenate([windows[name] for name in names], axis=1, dtype=np.float64)
    found = log_covariance(together)
    if not found:
        return None
    out = np.hstack([*found.values()])
    for name in names:
        out[is_missing(windows[name], modalities[name])] = np.nan
    return out


def is_missing(x: np.ndarray, modality: Modality) -> np.ndarray:
    """Windows in which a signal is not there, [N] bool: all zeros, or flat where a rhythm must be.

    Args:
        x: [N, C, T].
        modality: whose windows. A face is never missing: windows without one are left out before.
    """
    sign = sign_of_missing(modality, x.shape[-1])
    if sign == "none":
        return np.zeros(len(x), dtype=bool)
    held = x[..., :1] if sign == "flat" else 0
    return np.asarray((x == held).all(axis=(1, 2)))


def sign_of_missing(modality: Modality, samples: int) -> str:
    """What a window that lacks a modality looks like: "zeros", "flat" (zeros are), or "none"."""
    if modality.name in FACE_ROWS or samples == 1:
        return "none"
    kinds = set(modality.kinds or [_type_of(modality.name)])
    return "flat" if kinds <= RHYTHMIC else "zeros"


def _named(x: np.ndarray, modality: Modality) -> dict[str, Named]:
    """Columns [N, 1] by block and name, of a chunk."""
    x = np.asarray(x, dtype=np.float64)
    samples, channels = x.shape[-1], np.array(modality.channels, dtype=object)
    if modality.name in IMAGES or samples <= FEW_SAMPLES or x[0:1].size <= FEW_VALUES:
        flat = x.reshape(len(x), -1)
        names = [f"{channel} sample {t + 1}" for channel in channels for t in range(samples)]
        return {"samples": {name: flat[:, i, None] for i, name in enumerate(names)}}
    kinds = np.array(modality.kinds or [_type_of(modality.name)] * len(channels))
    out: dict[str, Named] = {}
    for kind in dict.fromkeys(kinds.tolist()):
        own, part = channels[kinds == kind], x[:, kinds == kind]
        block: dict[Any, np.ndarray] = {}
        out[kind] = block
        for name, values in BY_TYPE[kind](part, modality.fs).items():
            if isinstance(name, tuple):
                block[_prefixed(kind, name)] = values
            elif values.shape[1] == len(own):
                block |= {f"{c} {name}": values[:, i, None] for i, c in enumerate(own)}
            else:
                block[f"{kind} {name}"] = values
        if kind in WITH_COVARIANCE and (found := log_covariance(part)):
            out[f"{kind} covariance"] = {_prefixed(kind, n): v for n, v in found.items()}
    return out


@lru_cache
def _prefixed(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{kind} {name}" for name in names)


def _type_of(name: str) -> str:
    """The type of the channels of a modality without kinds."""
    if name in FACE_ROWS:
        return "face"
    return name if name in BY_TYPE else "other"
