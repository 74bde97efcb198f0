"""`Resampler`: another rate, chunk by chunk, from samples that have come by then."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from clmer.signal.design import rate_ratio

Array = NDArray[np.float64]
#: Zero crossings of the kernel on each side: what it costs is so many samples of the lower rate.
_CROSSINGS = 4
#: Seconds over which rates that are no round numbers may not drift.
_LONG_S = 600
#: Output samples worked on at once.
_BLOCK = 4096


class Resampler:
    """Resamples channels causally, and keeps its state between chunks of any length.

        y[n] = sum_j h[n q - j p] x[j],   h a Kaiser-windowed sinc of max(p, q) taps per lobe,

    with p / q = fs_out / fs_in. Output n falls on input time n / fs_out and needs no later sample;
    what it holds is the signal of `delay_s` before. Before the first sample the channel counts as
    constant, so that an offset makes no transient; a constant stays what it is.

    Any chunking gives the same bits as one pass.

    Args:
        fs_in: rate of what is pushed, Hz.
        fs_out: wanted rate, Hz.

    Attributes:
        delay_s: how far the kernel's middle lies behind, `4 / min(fs_in, fs_out)` seconds; 0 where
            the rates are equal.

    Raises:
        ValueError: rates that are no finite numbers > 0, or have no usable ratio.
    """

    def __init__(self, fs_in: float, fs_out: float) -> None:
        ratio = rate_ratio(fs_in, fs_out, round(_LONG_S * fs_in) if np.isfinite(fs_in) else 0)
        self._up, self._down = ratio.numerator, ratio.denominator
        self.delay_s = 0.0 if self._up == self._down else _CROSSINGS / min(fs_in, fs_out)
        self._bank = _polyphase(self._up, self._down)  # [up, taps], newest sample last
        self.reset()

    def reset(self) -> None:
        """Forget the samples so far: the next push starts anew."""
        self._held: Array | None = None  # [C, k] the newest samples, at least taps - 1
        self._first = 0  # number of the first of them
        self._next = 0  # number of the next output

    def push(self, chunk: ArrayLike) -> Array:
        """The output that a chunk [C, n] completes, [C, m] float64.

        Raises:
            ValueError: another number of channels than before.
        """
        x = np.asarray(chunk, np.float64)
        if self._up == self._down or (x.shape[1] == 0 and self._held is None):
            return x
        taps = self._bank.shape[1]
        if self._held is None:
            self._held, self._first = np.repeat(x[:, :1], taps - 1, 1), 1 - taps
        held = np.concatenate((self._held, x), 1)
        stop = -(-(self._first + held.shape[1]) * self._up // self._down)
        places = np.arange(self._next, stop) * self._down
        newest, phase = places // self._up - self._first, places % self._up
        y = np.empty((len(x), len(places)))
        windows = np.lib.stride_tricks.sliding_window_view(held, taps, axis=1)
        for at in range(0, len(places), _BLOCK):
            part = slice(at, at + _BLOCK)
            terms = windows[:, newest[part] - taps + 1] * self._bank[phase[part]]
            y[:, part] = terms.sum(-1)
        self._next = max(self._next, stop)
        keep = held.shape[1] - taps + 1
        self._held, self._first = held[:, keep:].copy(), self._first + keep
        return y


@lru_cache(maxsize=32)
def _polyphase(up: int, down: int) -> Array:
    """[up, taps] coefficients of each phase, those of the newest sample last, each summing to 1.

    Every resampler of the same rates has the same array, which is read-only.
    """
    if up == down:
        return np.ones((1, 1))
    half = _CROSSINGS * max(up, down)
    h = scipy.signal.firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0))
    taps = -(-len(h) // up)
    bank = np.pad(h, (0, taps * up - len(h))).reshape(taps, up).T[:, ::-1]
    bank = np.ascontiguousarray(bank / bank.sum(1, keepdims=True))
    bank.setflags(write=False)
    return bank
