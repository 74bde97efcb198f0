"""Filters that keep their state between chunks: a few microseconds a push, gaps in hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import get_num_threads

from clmer._native import _C
from clmer.signal.design import butter_bandpass, notch, steady_state
from clmer.signal.offline import validate_sos
from clmer.signal.passes import MAX_SECTIONS, filter_into

Array = NDArray[Any]
#: What happens to samples that are not finite, see `Stream`.
Gaps = Literal["raise", "hold", "reset"]
_SAVED = ("state", "last", "started", "in_gap", "lost", "gap_count")


class Stream:
    """A causal cascade that keeps its state between chunks of any length.

    Every channel starts from the steady state of its first sample, so that an offset makes no
    transient. Any chunking gives the same bits as one pass.

    Args:
        sos: [S, 6] with sos[:, 3] all ones, S <= 64, real.
        gaps: what becomes of samples that are NaN or infinite (a lost packet), which would stay in
            the state for ever. "raise": a ValueError, nothing is filtered; "hold": the channel's
            last finite sample is repeated; "reset": they give NaN, and behind them the channel
            starts anew. Before a channel's first finite sample both give NaN.
        scale: every sample is multiplied by it on the way in, such as uV a count.
        fs: sampling rate in Hz where it is known; `Chain` compares.

    Attributes:
        lost: [C] int64, samples that were not finite, by channel.
        gap_count: [C] int64, the gaps they made; one that spans chunks counts once.
    """

    lost: NDArray[np.int64]
    gap_count: NDArray[np.int64]

    def __init__(
        self, sos: ArrayLike, *, gaps: Gaps = "raise", scale: float = 1.0, fs: float | None = None
    ) -> None:
        if gaps not in ("raise", "hold", "reset"):
            raise ValueError(f"gaps: found {gaps!r}, expected 'raise', 'hold' or 'reset'")
        if not np.isfinite(scale) or scale == 0:
            raise ValueError(f"scale: found {scale}, expected a finite number other than 0")
        sections = validate_sos(sos)
        if not 1 <= len(sections) <= MAX_SECTIONS:
            raise ValueError(f"sos: found {len(sections)} sections, expected 1 to {MAX_SECTIONS}")
        if sections.dtype.kind == "c":
            raise ValueError(f"sos: found {sections.dtype}, expected real coefficients")
        self.sos = np.ascontiguousarray(sections, np.float64)
        self.gaps: Gaps = gaps
        self.scale = float(scale)
        self.fs = fs
        self._zi = steady_state(self.sos)  # [S, 2]
        self.reset()

    def reset(self) -> None:
        """Forget state and counts: the next push starts anew, with any number of channels."""
        self._begin(0)
        self._channels = -1  # not known

    def _begin(self, channels: int) -> None:
        self._channels = channels
        self._state = np.zeros((len(self.sos), 2, channels))
        self._last = np.zeros(channels)  # the newest finite sample
        self._started = np.zeros(channels, bool)
        self._in_gap = np.zeros(channels, bool)
        self.lost = np.zeros(channels, np.int64)
        self.gap_count = np.zeros(channels, np.int64)
        self._cascade = _C.Cascade(self.sos, self._state, self._last, self.scale)
        self._settle()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_cascade"}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)
        self._cascade = _C.Cascade(self.sos, self._state, self._last, self.scale)

    def _settle(self) -> None:
        """Whether a chunk of finite samples needs no more than the kernel."""
        self._running = bool(self._started.all()) and not self._in_gap.any()

    def push(self, chunk: ArrayLike) -> Array:
        """Filter the next samples of every channel.

        Args:
            chunk: [C, n] real, any strides, channels first: what a device gives as [n, C] is
                `chunk.T`. C stays what it was at the first push. 16- and 32-bit integers are read
                as they are.

        Returns:
            [C, n], float32 for float32 and float64 for all else.

        Raises:
            ValueError: another number of channels, not two dimensions, complex numbers; a sample
                that is not finite under gaps="raise". The state is then what it was.
        """
        if self._running:
            y = self._cascade.push(chunk, get_num_threads())
            if y is not None:
                return y
        return self._push_carefully(chunk)

    def _push_carefully(self, chunk: ArrayLike) -> Array:
        """Checks and starts; where there are gaps, channel by channel from one to the next."""
        x = np.asarray(chunk)
        if x.dtype.kind not in "biuf":
            raise ValueError(f"push: found dtype {x.dtype}, expected real numbers")
        channels = "C" if self._channels < 0 else self._channels
        if x.ndim != 2 or channels not in ("C", x.shape[0]):
            known = "" if self._channels < 0 else ", channels as at the first push"
            raise ValueError(
                f"push: found shape {x.shape}, expected [{channels}, n]{known}; of a chunk "
                "[samples, channels], as many devices give it, push chunk.T"
            )
        x = x.astype(np.float32 if x.dtype.kind == "f" and x.itemsize == 4 else np.float64)
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
        if x.shape[1] > 0:
            self._count(finite)
            self._filter(x, finite)
            self._settle()
        return x

    def _count(self, finite: NDArray[np.bool_]) -> None:
        before = np.concatenate((~self._in_gap[:, None], finite[:, :-1]), 1)
        self.gap_count += (before & ~finite).sum(1)
        self.lost += (~finite).sum(1)
        self._in_gap = ~finite[:, -1]

    def _filter(self, x: Array, finite: NDArray[np.bool_]) -> None:
        """Filter [C, n] in place, n > 0."""
        if not finite.all():
            for channel, good in enumerate(finite):
                self._filter_channel(channel, x[channel : channel + 1], good)
            return
        new = np.flatnonzero(~self._started)
        self._state[:, :, new] = self._zi[:, :, None] * (x[new, 0] * np.float64(self.scale))
        self._started[new] = True
        self._last[...] = x[:, -1]
        self._run(x, slice(None))

    def _filter_channel(self, channel: int, x: Array, good: NDArray[np.bool_]) -> None:
        """Filter one channel [1, n] in place, from one gap to the next."""
        turns = [0, *(np.flatnonzero(np.diff(good)) + 1), len(good)]
        for start, stop in zip(turns, turns[1:], strict=False):
            part = x[:, start:stop]
            if not good[start]:
                if self.gaps == "reset" or not self._started[channel]:
                    part[:] = np.nan
                    self._started[channel] = False
                    continue
                part[:] = self._last[channel]
            elif not self._started[channel]:
                self._state[:, :, channel] = self._zi * (np.float64(part[0, 0]) * self.scale)
                self._started[channel] = True
            self._last[channel] = part[0, -1]
            self._run(part, slice(channel, channel + 1))

    def _run(self, x: Array, channels: slice) -> None:
        state = self._state[:, :, channels].transpose(0, 2, 1)  # [S, C, 2]
        filter_into(self.sos, x, 1, x, state, state, self.scale)

    def state_dict(self) -> dict[str, Array]:
        """All that `load_state_dict` needs to continue in another process: copies, for np.savez."""
        saved = {name: getattr(self, name if name in vars(self) else f"_{name}") for name in _SAVED}
        return {"sos": self.sos.copy()} | {name: array.copy() for name, array in saved.items()}

    def load_state_dict(self, saved: Mapping[str, ArrayLike]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: it belongs to another filter, or is not whole.
        """
        missing = {"sos", *_SAVED} - set(saved)
        if missing:
            names = ", ".join(sorted(missing))
            raise ValueError(f"load_state_dict: found no {names}, expected what state_dict gave")
        if not np.array_equal(np.asarray(saved["sos"]), self.sos):
            raise ValueError(
                f"load_state_dict: found the state of another filter ({np.shape(saved['sos'])}), "
                f"expected one with these {len(self.sos)} sections"
            )
        self._begin(np.shape(saved["last"])[0])
        for name in _SAVED:
            own = getattr(self, name if name in vars(self) else f"_{name}")
            own[...] = saved[name]
        if self._channels == 0:
            self._channels = -1
        self._settle()


class Bandpass(Stream):
    """A causal Butterworth band-pass that keeps its state between chunks.

    Args:
        low, high: -3 dB edges in Hz; None leaves a side open.
        fs: sampling rate in Hz.
        order: of the prototype.
        gaps, scale: see `Stream`.
    """

    def __init__(
        self,
        low: float | None,
        high: float | None,
        fs: float,
        order: int = 4,
        *,
        gaps: Gaps = "raise",
        scale: float = 1.0,
    ) -> None:
        sos = butter_bandpass(low, high, fs, order)
        super().__init__(sos, gaps=gaps, scale=scale, fs=fs)


class Notch(Stream):
    """A causal notch at a mains frequency that keeps its state between chunks.

    Args:
        freq: 50 or 60 Hz.
        fs: sampling rate in Hz.
        q: centre over width.
        harmonics: how many multiples to remove.
        gaps, scale: see `Stream`.
    """

    def __init__(
        self,
        freq: float,
        fs: float,
        q: float = 30.0,
        harmonics: int = 1,
        *,
        gaps: Gaps = "raise",
        scale: float = 1.0,
    ) -> None:
        super().__init__(notch(freq, fs, q, harmonics), gaps=gaps, scale=scale, fs=fs)


class Chain(Stream):
    """Several filters as one cascade, in one pass over the data.

    Args:
        filters: streams whose sections follow one another; their own state is not touched.
        gaps, scale: see `Stream`; those of the filters do not matter.

    Raises:
        ValueError: no filter, or filters for different rates.
    """

    def __init__(self, *filters: Stream, gaps: Gaps = "raise", scale: float = 1.0) -> None:
        if not filters:
            raise ValueError("Chain: found no filter, expected one or more")
        rates = sorted({each.fs for each in filters if each.fs is not None})
        if len(rates) > 1:
            raise ValueError(f"Chain: found filters for {rates} Hz, expected one rate")
        sos = np.vstack([each.sos for each in filters])
        super().__init__(sos, gaps=gaps, scale=scale, fs=rates[0] if rates else None)
