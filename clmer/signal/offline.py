"""Whole recordings: `sosfilt` and `sosfiltfilt` as SciPy has them, on the native core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.signal
import torch
from numpy.typing import ArrayLike, NDArray

from clmer._native import _C
from clmer.signal.design import butter_bandpass

if TYPE_CHECKING:
    import mne

Array = NDArray[Any]
#: What the kernels read without a copy first.
READABLE = frozenset(map(np.dtype, ("f4", "f8", "i2", "i4")))
_MAX_SECTIONS = 64


def sosfilt(
    sos: ArrayLike, x: ArrayLike, axis: int = -1, zi: ArrayLike | None = None
) -> Array | tuple[Array, Array]:
    """`scipy.signal.sosfilt`: filter x along an axis by cascaded second-order sections.

    Args:
        sos: [S, 6] with sos[:, 3] all ones.
        x: [..., T, ...]; strides do not matter, and 16- and 32-bit integers are read as they are.
        axis: the time axis of x.
        zi: [S, ..., 2, ...] initial state: x's shape with `axis` replaced by 2, after S.

    Returns:
        y of x's shape, and the final state in zi's shape if zi was given. The dtype is the common
        one of sos, x and zi; state and arithmetic are float64 whatever it is.

    Raises:
        ValueError: SciPy's errors for malformed sos and zi.
        NotImplementedError: a dtype other than single or double precision, real or complex.
    """
    sections, x = validate_sos(sos), np.asarray(x)
    operands = [np.asarray(sos), x] if zi is None else [np.asarray(sos), x, np.asarray(zi)]
    dtype = _result_type("sosfilt", operands)
    lead = np.moveaxis(x, axis, -1).shape[:-1]
    state = np.zeros((*lead, len(sections), 2), np.complex128 if dtype.kind == "c" else np.float64)
    if zi is not None:
        expected = list(x.shape)
        expected[axis] = 2
        if list(np.shape(zi)) != [len(sections), *expected]:
            raise ValueError(
                f"Invalid zi shape. With axis={axis!r}, an input with shape {x.shape!r}, and an "
                f"sos array with {len(sections)} sections, zi must have shape "
                f"{(len(sections), *expected)!r}, got {np.shape(zi)!r}."
            )
        state[...] = np.moveaxis(np.moveaxis(np.asarray(zi), axis % x.ndim + 1, -1), 0, -2)
    y = np.empty_like(x, dtype, order="C", subok=False)
    filter_last(sections, np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1), state)
    if zi is None:
        return y
    final = np.moveaxis(np.moveaxis(state, -2, 0), -1, axis % x.ndim + 1)
    return y, final.astype(dtype, copy=False)


def sosfiltfilt(
    sos: ArrayLike,
    x: ArrayLike,
    axis: int = -1,
    padtype: str | None = "odd",
    padlen: int | Literal["ringing"] | None = None,
) -> Array:
    """`scipy.signal.sosfiltfilt`: zero phase, forwards then backwards, from padded ends.

    Args:
        sos: [S, 6] with sos[:, 3] all ones.
        x: [..., T, ...].
        axis: the time axis of x.
        padtype: "odd", "even", "constant" or None.
        padlen: samples added at both ends, less than T; None gives SciPy's default, "ringing" the
            length in which the filter's ringing dies down, as MNE takes it (T - 1 at most).

    Returns:
        y of x's shape, of sos' and x's common dtype.

    Raises:
        ValueError: T not above padlen, or an unknown padtype.
        NotImplementedError: a dtype other than single or double precision, real or complex.
    """
    sections, x = validate_sos(sos), np.asarray(x)
    dtype = _result_type("sosfiltfilt", [np.asarray(sos), x])
    y = np.empty_like(x, dtype, order="C", subok=False)
    moved, out = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
    edge = _edge(sections, moved.shape[-1], padtype, padlen)
    left, right = _ends(moved, padtype, edge, dtype)
    zi = scipy.signal.sosfilt_zi(sections)  # [S, 2]
    # The padded signal is never built: its three parts pass in turn and hand the state on.
    first = left if edge else moved
    state = first[..., :1, None] * zi
    for source, target in ((left, left), (moved, out), (right, right)):
        filter_last(sections, source, target, state)
    last = right if edge else out
    state = last[..., -1:, None] * zi
    for part in (right[..., ::-1], out[..., ::-1]):
        filter_last(sections, part, part, state)
    return y


def filter_last(
    sos: NDArray[np.float64], x: Array, y: Array, state: Array, scale: float = 1.0
) -> None:
    """Filter scale x along its last axis into y (which may be x); state [..., S, 2] goes along."""
    if y.size == 0:
        return
    if y.dtype.kind == "c":
        for name in ("real", "imag"):
            own = np.ascontiguousarray(getattr(state, name))
            filter_last(sos, getattr(x, name), getattr(y, name), own, scale)
            getattr(state, name)[...] = own
        return
    if state.dtype != np.float64 or not state.flags.c_contiguous:
        own = np.ascontiguousarray(state, np.float64)
        filter_last(sos, x, y, own, scale)
        state[...] = own
        return
    if x.dtype not in READABLE or not x.flags.aligned:
        x = x.astype(y.dtype)
    if x.ndim > 2 and x.flags.c_contiguous and y.flags.c_contiguous:
        x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        state = state.reshape(-1, *state.shape[-2:])
    if x.ndim > 2:
        for each in zip(x, y, state, strict=True):
            filter_last(sos, *each, scale)
        return
    if x.ndim == 1:
        x, y, state = x[None], y[None], state[None]
    for at in range(0, len(sos), _MAX_SECTIONS):
        block = np.ascontiguousarray(state[:, at : at + _MAX_SECTIONS])
        part = sos[at : at + _MAX_SECTIONS]
        source, factor = (x, scale) if at == 0 else (y, 1.0)
        _C.sosfilt_array(source, part, block, y, factor, torch.get_num_threads())
        state[:, at : at + _MAX_SECTIONS] = block


def _result_type(name: str, operands: Sequence[Array]) -> np.dtype[Any]:
    dtype = np.result_type(*operands)
    if dtype.char not in "fdFD":
        raise NotImplementedError(
            f"{name}: found dtype {dtype}, expected float32, float64, complex64 or complex128"
        )
    return dtype


def _edge(
    sections: NDArray[np.float64],
    length: int,
    padtype: str | None,
    padlen: int | Literal["ringing"] | None,
) -> int:
    if padtype not in (None, "odd", "even", "constant"):
        raise ValueError(
            f"Unknown value '{padtype}' given to padtype. padtype must be 'even', 'odd', "
            "'constant', or None."
        )
    if padtype is None:
        edge = 0
    elif padlen == "ringing":
        from mne.filter import estimate_ringing_samples

        edge = min(int(estimate_ringing_samples(sections)), length - 1)
    elif padlen is None:
        at_origin = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
        edge = 3 * (2 * len(sections) + 1 - int(at_origin))
    else:
        edge = padlen
    if length <= edge:
        raise ValueError(
            f"The length of the input vector x must be greater than padlen, which is {edge}."
        )
    return edge


def _ends(x: Array, padtype: str | None, edge: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """What stands before x and behind it, [..., edge] each."""
    first, last = x[..., :1].astype(dtype), x[..., -1:].astype(dtype)
    if padtype == "constant" or edge == 0:
        return first.repeat(edge, -1), last.repeat(edge, -1)
    left, right = (end.astype(dtype) for end in (x[..., edge:0:-1], x[..., -2 : -edge - 2 : -1]))
    return (left, right) if padtype == "even" else (2 * first - left, 2 * last - right)


def validate_sos(sos: ArrayLike) -> NDArray[np.float64]:
    """SciPy's checks, with SciPy's words: sos [S, 6] as contiguous float64."""
    sections = np.asarray(sos)
    if sections.ndim != 2:
        raise ValueError("sos array must be 2D")
    if sections.shape[1] != 6:
        raise ValueError("sos array must be shape (n_sections, 6)")
    if not (sections[:, 3] == 1).all():
        raise ValueError("sos[:, 3] should be all ones")
    if sections.dtype.kind == "c":
        raise NotImplementedError("sos: found complex coefficients, expected real ones")
    return np.ascontiguousarray(sections, np.float64)


def filter_raw(
    raw: mne.io.BaseRaw,
    low: float | None,
    high: float | None,
    *,
    order: int = 4,
    picks: Any = None,
) -> mne.io.BaseRaw:
    """Filter a recording in place, as `raw.filter(low, high, method="iir")` does, zero phase.

    Args:
        raw: an MNE recording; it is loaded if it is not yet. Its annotations are not looked at:
            cut at "edge" annotations first if it was concatenated.
        low: lower -3 dB edge of one pass in Hz; None gives a low-pass.
        high: upper -3 dB edge of one pass in Hz; None gives a high-pass.
        order: of the Butterworth prototype, 4 in MNE.
        picks: channels, as in MNE; None takes its data channels.

    Returns:
        raw.
    """
    sos = butter_bandpass(low, high, raw.info["sfreq"], order)
    raw.load_data(verbose="error")
    filtered: mne.io.BaseRaw = raw.apply_function(
        lambda x: sosfiltfilt(sos, x, padlen="ringing"),
        picks="data" if picks is None else picks,
        channel_wise=False,
        verbose="error",
    )
    return filtered
