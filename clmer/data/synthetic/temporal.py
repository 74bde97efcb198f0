"""Windows whose label lies in time alone: what pretraining on unlabelled windows can help with.

The label of generated DEAP is in a window's means and powers, which a linear model reads from a few
labels. Here both classes have the same means, powers and spectra in every channel:

    order   two events, a slow and a fast one; the label is which of them comes first
    phase   one oscillation in both channels; the label is whether the second leads or lags

A control for stage 1: with few labels and many windows it should be better than training from a
random start. A view that permutes pieces of time destroys the order of events, and leaves phase.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: What the label may lie in.
KINDS = ("order", "phase")
#: Channels and samples of a window.
CHANNELS, SAMPLES = 2, 128
#: Coefficient of the autoregressive noise, which has variance 1.
_MEMORY = 0.8
#: Events: cycles per sample of the slow and of the fast one, sd in samples, amplitude.
_EVENTS, _WIDTH, _EVENT = (0.06, 0.18), 6.0, 2.5
#: Oscillation: cycles per window from and to, amplitude, and sd in degrees around +-90.
_CYCLES, _OSCILLATION, _SPREAD = (5.0, 12.0), 0.7, 30.0


class TemporalWindows(NamedTuple):
    """Windows [N, 2, 128] float32 and their labels [N], 0 or 1."""

    x: np.ndarray
    y: np.ndarray


def draw_temporal(kind: str, count: int, seed: int = 0) -> TemporalWindows:
    """Draw windows whose label is in the order of events or in a phase.

    Args:
        kind: "order" or "phase".
        count: N; the classes are drawn with equal probability.
        seed: of all random numbers.

    Raises:
        ValueError: another kind, or no windows.
    """
    if kind not in KINDS or count < 1:
        raise ValueError(
            f"draw_temporal: found kind {kind!r} and count {count}, expected "
            f"{' or '.join(KINDS)} and 1 or more"
        )
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    y = rng.integers(2, size=count)
    x = _noise(rng, count) + (_events(rng, y) if kind == "order" else _oscillation(rng, y))
    return TemporalWindows(x.astype(np.float32), y)


def _noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """AR(1) noise of variance 1, stationary from the first sample, [N, 2, 128]."""
    x = rng.standard_normal((count, CHANNELS, SAMPLES))
    x[:, :, 1:] *= np.sqrt(1 - _MEMORY**2)
    for t in range(1, SAMPLES):
        x[:, :, t] += _MEMORY * x[:, :, t - 1]
    return x


def _events(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Two Gabor events in both channels; where y is 1 the fast one comes first."""
    gap = rng.uniform(_WIDTH * 4, SAMPLES - _WIDTH * 6, len(y))
    first = _WIDTH * 2 + rng.uniform(0, 1, len(y)) * (SAMPLES - _WIDTH * 4 - gap)
    places = np.stack([first, first + gap], axis=1)  # [N, 2]
    places = np.where(y[:, None] == 1, places[:, ::-1], places)  # of the slow, of the fast one
    time = np.arange(SAMPLES)
    out = np.zeros((len(y), CHANNELS, SAMPLES))
    for place, cycles in zip(places.T, _EVENTS, strict=True):
        from_centre = time - place[:, None]
        angle = 2 * np.pi * cycles * from_centre[:, None]
        angle = angle + rng.uniform(0, 2 * np.pi, (len(y), CHANNELS, 1))
        hull = np.exp(-0.5 * (from_centre / _WIDTH) ** 2)[:, None]
        out += _EVENT * hull * np.cos(angle)
    return out


def _oscillation(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """One oscillation; channel 1 is a quarter period, about, before (y 1) or behind channel 0."""
    count = len(y)
    cycles = rng.uniform(*_CYCLES, count)[:, None, None]
    start = rng.uniform(0, 2 * np.pi, count)
    ahead = np.radians(np.where(y == 1, 90, -90) + _SPREAD * rng.standard_normal(count))
    phase = np.stack([start, start + ahead], axis=1)[:, :, None]
    return np.asarray(
        _OSCILLATION * np.cos(2 * np.pi * cycles * np.arange(SAMPLES) / SAMPLES + phase)
    )
