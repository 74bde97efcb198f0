"""Whole recordings: `sosfilt` and `sosfiltfilt` as SciPy has them, on the native core."""

from __future__ import annotations

from operator import index
from typing import Any, Literal

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from clmer.signal.design import ringing_samples
from clmer.signal.passes import (
    MAX_SECTIONS,
    both_ways,
    filter_into,
    from_rest,
)

Array = NDArray[Any]
# Bound here: `clmer.signal.replacing_scipy` puts others in their place.
scipy_sosfilt, scipy_sosfiltfilt = scipy.signal.sosfilt, scipy.signal.sosfiltfilt
_PADTYPES = ("odd", "even", "constant", None)


def sosfilt(
    sos: ArrayLike,
    x: ArrayLike,
    axis: int = -1,
    zi: ArrayLike | None = None,
    *,
    scale: float = 1.0,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """`scipy.signal.sosfilt`: filter x along an axis by cascaded second-order sections.

    Args:
        sos: [S, 6] with sos[:, 3] all ones.
        x: [..., T, ...]; strides do not matter, and 16- and 32-bit integers are read as they are.
        axis: the time axis of x.
        zi: [S, ..., 2, ...] initial state: x's shape with `axis` replaced by 2, after S.
        scale: x is multiplied by it on the way in, such as uV a count; not SciPy's.
        out: where y goes, of its shape and dtype, any strides, and it may be x; not SciPy's.

    Returns:
        y of x's shape, and the final state in zi's shape if zi was given. The dtype is the common
        one of sos, x and zi. State and arithmetic are float64 whatever it is; long double, object
        and complex coefficients, which the kernels do not have, SciPy itself computes.

        With zi, any chunking gives the same bits as one pass. Without, few long rows may be cut
        into blocks of time that are filtered side by side (`clmer.signal.passes`): then the last
        bits may differ from those of one pass.

    Raises:
        ValueError: SciPy's errors for malformed sos, x and zi; an `out` that does not fit.
        NotImplementedError: SciPy's, for a dtype that is no number.
    """
    sections, x = validate_sos(sos), _validate_x(x)
    given = None if zi is None else np.asarray(zi)
    operands = [sections, x] if given is None else [sections, x, given]
    dtype = _result_type(operands)
    shape = _state_shape(len(sections), x, axis)
    if given is not None and given.shape != shape:
        raise ValueError(
            f"Invalid zi shape. With axis={axis!r}, an input with shape {x.shape!r}, and an sos "
            f"array with {len(sections)} sections, zi must have shape {shape!r}, got "
            f"{given.shape!r}."
        )
    axis %= x.ndim
    y = _output(x, dtype, out)
    if not _has_kernel(dtype, sections):
        found = scipy_sosfilt(sections, x * scale if scale != 1.0 else x, axis, given)
        y[...] = found if given is None else found[0]
        return y if given is None else (y, found[1])
    if given is None:
        from_rest(_f64(sections), x, axis, y, scale)
        return y
    state = given.astype(np.complex128 if dtype.kind == "c" else np.float64)
    filter_into(_f64(sections), x, axis, y, state, state, scale)
    return y, state.astype(dtype, copy=False)


def sosfiltfilt(
    sos: ArrayLike,
    x: ArrayLike,
    axis: int = -1,
    padtype: str | None = "odd",
    padlen: int | Literal["ringing"] | None = None,
    *,
    out: Array | None = None,
) -> Array:
    """`scipy.signal.sosfiltfilt`: zero phase, forwards then backwards, from padded ends.

    Args:
        sos: [S, 6] with sos[:, 3] all ones, S <= 64.
        x: [..., T, ...], strides and integers as in `sosfilt`.
        axis: the time axis of x.
        padtype: "odd", "even", "constant" or None.
        padlen: samples added at both ends, less than T; None gives SciPy's default, "ringing" the
            length in which the filter's ringing dies down, as MNE takes it (T - 1 at most).
        out: where y goes, of its shape and dtype, any strides, and it may be x; not SciPy's. Where
            y is float64 it may be float32: the results are rounded once, at the end.

    Returns:
        y of x's shape, of sos' and x's common dtype. What passes between the two directions is
        float64 whatever it is; the dtypes that `sosfilt` leaves to SciPy are left to it here too.

    Raises:
        ValueError: SciPy's errors: malformed sos, T not above padlen, an unknown padtype, a pole at
            z = 1, from which there is no steady state to start (`LinAlgError`); an `out` that does
            not fit.
        NotImplementedError: SciPy's, for a dtype that is no number.
    """
    sections, x = validate_sos(sos), _validate_x(x)
    dtype = _result_type([sections, x])
    axis = range(x.ndim)[axis]
    edge = _edge(sections, x.shape[axis], padtype, padlen)
    narrow = isinstance(out, np.ndarray) and (dtype, out.dtype) == (np.float64, np.float32)
    y = _output(x, np.dtype(np.float32) if narrow else dtype, out)
    if not _has_kernel(dtype, sections) or len(sections) > MAX_SECTIONS:
        y[...] = scipy_sosfiltfilt(sections, x, axis, padtype, edge)
        return y
    both_ways(_f64(sections), x, axis, y, padtype, edge)
    return y


def _output(x: Array, dtype: np.dtype[Any], out: Array | None) -> Array:
    if out is None:
        return np.empty_like(x, dtype, subok=False)
    if not isinstance(out, np.ndarray) or out.shape != x.shape or out.dtype != dtype:
        found = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else repr(type(out))
        raise ValueError(f"out: found {found}, expected an array {x.shape} {dtype}")
    if not out.flags.writeable:
        raise ValueError("out: found a read-only array, expected one that can be written")
    if np.may_share_memory(out, x):
        same = out.ctypes.data == x.ctypes.data and out.strides == x.strides
        if not same or out.dtype != x.dtype:
            raise ValueError("out: found an array that overlaps x, expected x itself or another")
    return out


def _result_type(operands: list[Array]) -> np.dtype[Any]:
    dtype = np.result_type(*operands)
    if dtype.char not in "fdgFDGO":
        raise NotImplementedError(f"input type '{dtype}' not supported")
    return dtype


def _has_kernel(dtype: np.dtype[Any], sections: Array) -> bool:
    return dtype.char in "fdFD" and sections.dtype.kind != "c" and len(sections) > 0


def _state_shape(sections: int, x: Array, axis: int) -> tuple[int, ...]:
    shape = list(x.shape)
    shape[axis] = 2
    return (sections, *shape)


def _f64(sections: Array) -> NDArray[np.float64]:
    return np.ascontiguousarray(sections, np.float64)


def _edge(
    sections: Array, length: int, padtype: str | None, padlen: int | Literal["ringing"] | None
) -> int:
    if padtype not in _PADTYPES:
        raise ValueError(
            f"Unknown value '{padtype}' given to padtype. padtype must be 'even', 'odd', "
            "'constant', or None."
        )
    if padtype is None:
        edge = 0
    elif padlen == "ringing":
        edge = max(min(ringing_samples(_f64(sections)), length - 1), 0)
    elif padlen is None:
        at_origin = min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
        edge = 3 * (2 * len(sections) + 1 - int(at_origin))
    else:
        edge = max(index(padlen), 0)  # SciPy takes a negative one for none
    if length <= edge:
        raise ValueError(
            f"The length of the input vector x must be greater than padlen, which is {edge}."
        )
    return edge


def _validate_x(x: ArrayLike) -> Array:
    array = np.asarray(x)
    if array.ndim == 0:
        raise ValueError("x must be at least 1-D")
    return array


def validate_sos(sos: ArrayLike) -> Array:
    """SciPy's checks, with SciPy's words: sos [S, 6], of its own dtype."""
    sections = np.atleast_2d(np.asarray(sos))
    if sections.ndim != 2:
        raise ValueError("sos array must be 2D")
    if sections.shape[1] != 6:
        raise ValueError("sos array must be shape (n_sections, 6)")
    if not (sections[:, 3] == 1).all():
        raise ValueError("sos[:, 3] should be all ones")
    return sections
