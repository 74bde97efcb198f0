"""Filters for NumPy users, with SciPy's signatures and result dtypes, on `clmer.ops.sosfilt`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import scipy.signal
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray

from clmer.ops.bandpass import sosfilt as _sosfilt_op

Array = NDArray[Any]


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
        ValueError: both edges None, or not 0 < low < high < fs / 2.
    """
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
        ValueError: freq not inside (0, fs / 2), or fewer than one harmonic.
    """
    if not 0 < freq < fs / 2 or harmonics < 1:
        raise ValueError(
            f"notch: found freq {freq} Hz, harmonics {harmonics} at fs {fs} Hz, expected "
            f"0 < freq < {fs / 2} and harmonics >= 1"
        )
    centres = [k * freq for k in range(1, harmonics + 1) if k * freq < fs / 2]
    return np.vstack([scipy.signal.tf2sos(*scipy.signal.iirnotch(c, q, fs)) for c in centres])


def sosfilt(
    sos: ArrayLike, x: ArrayLike, axis: int = -1, zi: ArrayLike | None = None
) -> Array | tuple[Array, Array]:
    """`scipy.signal.sosfilt`: filter x along an axis by cascaded second-order sections.

    Args:
        sos: [S, 6] with sos[:, 3] all ones.
        x: [..., T, ...] real.
        axis: the time axis of x.
        zi: [S, ..., 2, ...] initial state: x's shape with `axis` replaced by 2, after S.

    Returns:
        y of x's shape, and the final state in zi's shape if zi was given. The dtype is the common
        one of sos, x and zi.

    Raises:
        ValueError: SciPy's errors for malformed sos and zi.
    """
    sections, x = _validate_sos(sos), np.asarray(x)
    operands = [sections, x] if zi is None else [sections, x, np.asarray(zi)]
    dtype = np.result_type(*operands)
    if dtype.char not in "fd":
        raise NotImplementedError(f"sosfilt: found dtype {dtype}, expected float32 or float64")
    rows = np.moveaxis(x, axis, -1)
    state = None
    if zi is not None:
        expected = list(x.shape)
        expected[axis] = 2
        if list(np.shape(zi)) != [sections.shape[0], *expected]:
            raise ValueError(
                f"Invalid zi shape. With axis={axis!r}, an input with shape {x.shape!r}, and an "
                f"sos array with {sections.shape[0]} sections, zi must have shape "
                f"{(sections.shape[0], *expected)!r}, got {np.shape(zi)!r}."
            )
        ours = np.moveaxis(np.moveaxis(np.asarray(zi, np.float64), axis % x.ndim + 1, -1), 0, -2)
        state = _tensor(ours, np.float64)
    y, out = _sosfilt_op(_tensor(rows, dtype), _tensor(sections, np.float64), state)
    filtered = np.moveaxis(y.numpy(), -1, axis)
    if zi is None:
        return filtered
    final = np.moveaxis(np.moveaxis(out.numpy(), -2, 0), -1, axis % x.ndim + 1)
    return filtered, final.astype(dtype, copy=False)


def _tensor(x: Array, dtype: DTypeLike) -> torch.Tensor:
    """A tensor of x; what torch would not take or warns of (read-only, foreign bytes) is copied."""
    return torch.from_numpy(np.require(x, np.dtype(dtype).newbyteorder("="), ["C", "W"]))


def sosfiltfilt(
    sos: ArrayLike,
    x: ArrayLike,
    axis: int = -1,
    padtype: str | None = "odd",
    padlen: int | None = None,
) -> Array:
    """`scipy.signal.sosfiltfilt`: zero phase, forwards then backwards, from padded ends.

    Args:
        sos: [S, 6] with sos[:, 3] all ones.
        x: [..., T, ...] real.
        axis: the time axis of x.
        padtype: "odd", "even", "constant" or None.
        padlen: samples added at both ends, less than T - 1; None gives SciPy's default.

    Returns:
        y of x's shape.

    Raises:
        ValueError: T not above padlen, or an unknown padtype.
    """
    sections, x = _validate_sos(sos), np.asarray(x)
    if padlen is None:
        zeros_at_origin = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
        padlen = 3 * (2 * len(sections) + 1 - int(zeros_at_origin))
    edge, padded = _pad(x, axis, padtype, padlen)
    zi = scipy.signal.sosfilt_zi(sections)
    shape = [1] * x.ndim
    shape[axis] = 2
    zi = zi.reshape([len(sections), *shape])
    first = np.take(padded, [0], axis)
    y, _ = sosfilt(sections, padded, axis, _start(zi, first, axis))
    y = np.flip(y, axis)
    y, _ = sosfilt(sections, y, axis, _start(zi, np.take(y, [0], axis), axis))
    y = np.flip(y, axis)
    if edge == 0:
        return y
    return np.take(y, np.arange(edge, y.shape[axis] - edge), axis)


def _start(zi: Array, first: Array, axis: int) -> Array:
    """The steady state zi [S, ..., 2, ...] scaled by each row's first sample."""
    return zi * np.expand_dims(first, 0)


def _pad(x: Array, axis: int, padtype: str | None, padlen: int) -> tuple[int, Array]:
    if padtype not in (None, "odd", "even", "constant"):
        raise ValueError(
            f"Unknown value '{padtype}' given to padtype. padtype must be 'even', 'odd', "
            "'constant', or None."
        )
    edge = 0 if padtype is None else padlen
    if x.shape[axis] <= edge:
        raise ValueError(
            f"The length of the input vector x must be greater than padlen, which is {edge}."
        )
    if edge == 0:
        return 0, x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (edge, edge)
    if padtype == "constant":
        return edge, np.pad(x, widths, mode="edge")
    return edge, np.pad(
        x, widths, mode="reflect", reflect_type="odd" if padtype == "odd" else "even"
    )


def _validate_sos(sos: ArrayLike) -> NDArray[np.float64]:
    """SciPy's checks, with SciPy's words."""
    sections = np.ascontiguousarray(sos, np.float64)
    if sections.ndim != 2:
        raise ValueError("sos array must be 2D")
    if sections.shape[1] != 6:
        raise ValueError("sos array must be shape (n_sections, 6)")
    if not (sections[:, 3] == 1).all():
        raise ValueError("sos[:, 3] should be all ones")
    return sections


def resample(x: ArrayLike, fs_in: float, fs_out: float, axis: int = -1) -> Array:
    """Resample to another rate by SciPy's anti-aliased polyphase filter.

    Args:
        x: [..., T, ...].
        fs_in: rate of x in Hz.
        fs_out: wanted rate in Hz.
        axis: the time axis.

    Returns:
        x at fs_out, ceil(T fs_out / fs_in) samples long.

    Raises:
        ValueError: a rate that is not positive, or a ratio of terms over 10000.
    """
    x = np.asarray(x)
    if not (fs_in > 0 and fs_out > 0):
        raise ValueError(f"resample: found rates {fs_in} and {fs_out} Hz, expected positive ones")
    if fs_in == fs_out:
        return x
    ratio = (Fraction(fs_out).limit_denominator(10**6)) / Fraction(fs_in).limit_denominator(10**6)
    if max(ratio.numerator, ratio.denominator) > 10_000:
        raise ValueError(
            f"resample: {fs_in} Hz to {fs_out} Hz is the ratio {ratio}, expected terms up to "
            "10000; round the rates"
        )
    return np.asarray(
        scipy.signal.resample_poly(x, ratio.numerator, ratio.denominator, axis=axis, padtype="line")
    )


class _Streaming:
    """A causal cascade that keeps its state between chunks."""

    def __init__(self, sos: NDArray[np.float64]) -> None:
        self.sos = sos
        self._sos = torch.from_numpy(sos)
        self._zi = torch.from_numpy(scipy.signal.sosfilt_zi(sos))
        self._state: torch.Tensor | None = None

    def push(self, chunk: ArrayLike) -> Array:
        """Filter the next samples of every channel.

        Args:
            chunk: [C, n] real; C stays what it was at the first push. Integers become float64.

        Returns:
            [C, n] of the chunk's dtype, or float64. The first push starts from the steady state of
            each channel's first sample, so an offset makes no transient.

        Raises:
            ValueError: another number of channels, not two dimensions, or complex numbers.
        """
        chunk = np.asarray(chunk)
        if chunk.dtype.kind not in "biuf":
            raise ValueError(f"push: found dtype {chunk.dtype}, expected float32 or float64")
        channels = "C" if self._state is None else self._state.shape[0]
        if chunk.ndim != 2 or channels not in ("C", chunk.shape[0]):
            raise ValueError(f"push: found shape {chunk.shape}, expected [{channels}, n]")
        x = _tensor(chunk, chunk.dtype if chunk.dtype.char in "fd" else np.float64)
        if chunk.shape[1] == 0:
            return x.numpy()
        if self._state is None:
            self._state = self._zi * x[:, :1, None].to(torch.float64)
        y, self._state = _sosfilt_op(x, self._sos, self._state)
        return y.numpy()

    def reset(self) -> None:
        """Forget the state: the next push starts anew, with any number of channels."""
        self._state = None


class Bandpass(_Streaming):
    """A causal Butterworth band-pass that keeps its state between chunks.

    Args:
        low, high: -3 dB edges in Hz; None leaves a side open.
        fs: sampling rate in Hz.
        order: of the prototype.
    """

    def __init__(self, low: float | None, high: float | None, fs: float, order: int = 4) -> None:
        super().__init__(butter_bandpass(low, high, fs, order))


class Notch(_Streaming):
    """A causal notch at a mains frequency that keeps its state between chunks.

    Args:
        freq: 50 or 60 Hz.
        fs: sampling rate in Hz.
        q: centre over width.
        harmonics: how many multiples to remove.
    """

    def __init__(self, freq: float, fs: float, q: float = 30.0, harmonics: int = 1) -> None:
        super().__init__(notch(freq, fs, q, harmonics))
