"""Filters that keep their state between chunks: a few microseconds a push, gaps in hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import scipy.signal
import torch
from numpy.typing import ArrayLike, NDArray

from clmer._native import _C
from clmer.signal.design import butter_bandpass, notch
from clmer.signal.offline import READABLE, filter_last, validate_sos

Array = NDArray[Any]
#: What happens to samples that are not finite, see `Stream`.
Gaps = Literal["raise", "hold", "reset"]


class Stream:
    """A causal cascade that keeps its state between chunks of any length.

    Every channel starts from the steady state of its first sample, so that an offset makes no
    transient. Any chunking gives the same bits as one pass.

    Args:
        sos: [S, 6] with sos[:, 3] all ones, S <= 64.
        scale: every sample is multiplied by it first: uV a count of the headset's converter.
        gaps: what becomes of samples that are NaN or infinite (a lost packet), which would stay in
            the state for ever. "raise": a ValueError, nothing is filtered; "hold": the channel's
            last finite sample is repeated; "reset": they give NaN, and behind them the channel
            starts anew. Before a channel's first finite sample both give NaN.

    Attributes:
        lost: [C] int64, samples that were not finite, by channel.
    """

    def __init__(self, sos: ArrayLike, *, scale: float = 1.0, gaps: Gaps = "raise") -> None:
        if not math.isfinite(scale) or scale == 0:
            raise ValueError(f"scale: found {scale}, expected a finite number other than 0")
        if gaps not in ("raise", "hold", "reset"):
            raise ValueError(f"gaps: found {gaps!r}, expected 'raise', 'hold' or 'reset'")
        self.sos = validate_sos(sos)
        if not 1 <= len(self.sos) <= 64:
            raise ValueError(f"sos: found {len(self.sos)} sections, expected 1 to 64")
        self.scale, self.gaps = float(scale), gaps
        self._zi = scipy.signal.sosfilt_zi(self.sos)  # [S, 2]
        self.reset()

    def reset(self) -> None:
        """Forget the state: the next push starts anew, with any number of channels."""
        self._channels = -1
        self._begin(0)
        self._channels = -1

    def _begin(self, channels: int) -> None:
        self._channels = channels
        self._state = np.zeros((channels, len(self.sos), 2))
        self._last = np.zeros(channels)  # the newest finite sample
        self._started = np.zeros(channels, bool)
        self._running = False  # whether all channels have started
        self.lost = np.zeros(channels, np.int64)

    def push(self, chunk: ArrayLike) -> Array:
        """Filter the next samples of every channel.

        Args:
            chunk: [C, n] real, any strides; C stays what it was at the first push. 16- and 32-bit
                integers are read as they are.

        Returns:
            [C, n], float32 for float32 and float64 for all else.

        Raises:
            ValueError: another number of channels, not two dimensions, complex numbers; a sample
                that is not finite under gaps="raise". The state is then what it was.
        """
        if (
            self._running
            and type(chunk) is np.ndarray
            and chunk.dtype in READABLE
            and chunk.ndim == 2
            and chunk.shape[0] == self._channels
        ):
            y = _C.push_array(
                chunk, self.sos, self._state, self._last, self.scale, torch.get_num_threads()
            )
            if y is not None:
                return y
        return self._push_carefully(chunk)

    def _push_carefully(self, chunk: ArrayLike) -> Array:
        """Checks, starts and gaps: channel by channel, from one gap to the next."""
        x = np.asarray(chunk)
        if x.dtype.kind not in "biuf":
            raise ValueError(f"push: found dtype {x.dtype}, expected real numbers")
        channels = "C" if self._channels < 0 else self._channels
        if x.ndim != 2 or channels not in ("C", x.shape[0]):
            raise ValueError(f"push: found shape {x.shape}, expected [{channels}, n]")
        finite = np.isfinite(x)
        if self.gaps == "raise" and not finite.all():
            channel, sample = np.argwhere(~finite)[0]
            raise ValueError(
                f"push: found {x[channel, sample]} in channel {channel}, sample {sample} of the "
                "chunk, expected finite numbers; gaps='hold' repeats the last finite sample, "
                "gaps='reset' starts the channel anew behind a gap"
            )
        if self._channels < 0:
            self._begin(len(x))
        self.lost += (~finite).sum(1)
        x = x.astype(np.float32 if x.dtype == np.float32 else np.float64)
        for channel, good in enumerate(finite):
            self._push_channel(channel, x[channel], good)
        self._running = bool(self._started.all())
        return x

    def _push_channel(self, channel: int, x: Array, good: NDArray[np.bool_]) -> None:
        """Filter one channel [n] in place."""
        turns = [0, *(np.flatnonzero(np.diff(good)) + 1), len(x)]
        for start, stop in zip(turns, turns[1:], strict=False):
            part = x[start:stop]
            if start == stop:
                continue
            if not good[start]:
                if self.gaps == "reset" or not self._started[channel]:
                    part[:] = np.nan
                    self._started[channel] = False
                    continue
                part[:] = self._last[channel] / self.scale
            elif not self._started[channel]:
                self._state[channel] = self._zi * (self.scale * float(part[0]))
                self._started[channel] = True
            self._last[channel] = self.scale * float(part[-1])
            filter_last(self.sos, part, part, self._state[channel], self.scale)

    def state_dict(self) -> dict[str, Array]:
        """All that `load_state_dict` needs to continue in another process; copies."""
        return {
            "sos": self.sos.copy(),
            "state": self._state.copy(),
            "last": self._last.copy(),
            "started": self._started.copy(),
            "lost": self.lost.copy(),
        }

    def load_state_dict(self, saved: Mapping[str, ArrayLike]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: it belongs to another filter.
        """
        if not np.array_equal(np.asarray(saved["sos"]), self.sos):
            raise ValueError(
                f"load_state_dict: found the state of another filter ({np.shape(saved['sos'])}), "
                f"expected one with these {len(self.sos)} sections"
            )
        state = np.array(saved["state"], np.float64)
        self._begin(len(state))
        self._state[...] = state
        self._last[...] = saved["last"]
        self._started[...] = saved["started"]
        self._running = bool(self._started.all()) and len(state) > 0
        self.lost[...] = saved["lost"]


class Bandpass(Stream):
    """A causal Butterworth band-pass that keeps its state between chunks.

    Args:
        low, high: -3 dB edges in Hz; None leaves a side open.
        fs: sampling rate in Hz.
        order: of the prototype.
        scale: see `Stream`.
        gaps: see `Stream`.
    """

    def __init__(
        self,
        low: float | None,
        high: float | None,
        fs: float,
        order: int = 4,
        *,
        scale: float = 1.0,
        gaps: Gaps = "raise",
    ) -> None:
        super().__init__(butter_bandpass(low, high, fs, order), scale=scale, gaps=gaps)


class Notch(Stream):
    """A causal notch at a mains frequency that keeps its state between chunks.

    Args:
        freq: 50 or 60 Hz.
        fs: sampling rate in Hz.
        q: centre over width.
        harmonics: how many multiples to remove.
        scale: see `Stream`.
        gaps: see `Stream`.
    """

    def __init__(
        self,
        freq: float,
        fs: float,
        q: float = 30.0,
        harmonics: int = 1,
        *,
        scale: float = 1.0,
        gaps: Gaps = "raise",
    ) -> None:
        super().__init__(notch(freq, fs, q, harmonics), scale=scale, gaps=gaps)


class Chain(Stream):
    """Several filters as one cascade, in one pass over the data.

    Args:
        filters: streams whose sections follow one another; their own state, scale and gaps do not
            count.
        scale: see `Stream`.
        gaps: see `Stream`.
    """

    def __init__(self, *filters: Stream, scale: float = 1.0, gaps: Gaps = "raise") -> None:
        if not filters:
            raise ValueError("Chain: found no filter, expected one or more")
        super().__init__(np.vstack([each.sos for each in filters]), scale=scale, gaps=gaps)
