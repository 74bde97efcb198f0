"""Generated EEG of people at rest and at a task, as `mne.io.Raw`: stands in for your recordings."""

from __future__ import annotations

import mne
import numpy as np
from scipy.signal import lfilter

CHANNELS = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "O1", "O2")
FS = 128.0
#: How large the rhythm of about 10 Hz is in each state, and in each channel.
STATES = {"rest": 1.0, "task": 0.4}
_BACK = np.array([0.3, 0.3, 0.4, 0.4, 0.6, 0.6, 1.0, 1.0])[:, None]


def eeg(person: int, recording: int, strength: float, seconds: float, seed: int = 0) -> np.ndarray:
    """EEG [8, seconds FS] in uV.

    A person has gains and a rhythm of their own; in every recording the electrodes sit a little
    differently.

    Args:
        person: whose it is.
        recording: which of theirs.
        strength: of the rhythm, about 0 to 1.
        seconds: how long.
        seed: another one gives other people.
    """
    own = np.random.default_rng([seed, person])
    rate, size = own.normal(10, 0.5), own.lognormal(2.5, 0.2)
    gain = own.lognormal(0, 0.2, (len(CHANNELS), 1))
    now = np.random.default_rng([seed, person, recording])
    seat = now.lognormal(0, 0.2, (len(CHANNELS), 1))
    time = np.arange(round(seconds * FS)) / FS
    noise = lfilter([1], [1, -0.9], now.normal(0, 4, (len(CHANNELS), len(time))))
    waxing = 1 + 0.5 * np.sin(2 * np.pi * 0.1 * time + now.uniform(0, 6))
    rhythm = size * waxing * np.sin(2 * np.pi * rate * time + now.uniform(0, 6))
    return seat * gain * (noise + strength * _BACK * rhythm)


def raw_of(data: np.ndarray) -> mne.io.RawArray:
    """EEG [8, T] in uV as a Raw, whose unit is V."""
    info = mne.create_info(list(CHANNELS), FS, "eeg")
    return mne.io.RawArray(data * 1e-6, info, verbose="error")


def study(people: int, seconds: float, seed: int = 0) -> list[tuple[str, str, mne.io.RawArray]]:
    """(person, state, recording) of each: everyone at rest and at a task."""
    return [
        (f"P{person + 1:02d}", state, raw_of(eeg(person, number, strength, seconds, seed)))
        for person in range(people)
        for number, (state, strength) in enumerate(STATES.items())
    ]


def rated_study(
    people: int, trials: int, seconds: float, seed: int = 0
) -> list[tuple[str, float, mne.io.RawArray]]:
    """(person, rating of 1 to 9, recording) of each: the calmer, the larger the rhythm."""
    ratings = np.random.default_rng(seed).uniform(1, 9, (people, trials)).round(1)
    return [
        (f"P{person + 1:02d}", rating, raw_of(eeg(person, number, rating / 9, seconds, seed)))
        for person, row in enumerate(ratings.tolist())
        for number, rating in enumerate(row)
    ]


def windows_of(data: np.ndarray, seconds: float = 2) -> np.ndarray:
    """EEG [8, T] as windows [N, 8, seconds FS]."""
    length = round(seconds * FS)
    count = data.shape[1] // length
    return data[:, : count * length].reshape(len(data), count, length).swapaxes(0, 1)
