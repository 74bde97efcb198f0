"""`lfilter` and `filtfilt` as SciPy has them: filters that are given as polynomials b, a.

Up to order 2 a filter is one second-order section, and `clmer.signal.sosfilt`'s recursion is
`lfilter`'s own. Beyond, sections come from the roots of b and a. Those of `scipy.signal.tf2sos` are
up to a million times further from b, a than the direct form's rounding is, so they are improved by
Newton's method in long double, and taken only where they are shown to be the same filter, or nearer
to it than the direct form, see `_sections`. Everything else SciPy's direct form computes: short
signals of higher order, and those that begin from a zi, which is the direct form's own.
"""

from __future__ import annotations

from functools import lru_cache
from operator import index
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from clmer.signal.offline import sosfilt, sosfiltfilt

Array = NDArray[Any]
lfilter_zi = scipy.signal.lfilter_zi
# Bound here: `replacing_scipy` puts others in their place.
_lfilter, _filtfilt = scipy.signal.lfilter, scipy.signal.filtfilt
#: By how much sections may be off, as a share of the largest possible output.
_TOLERANCE = 64 * float(np.finfo(np.float64).eps)
#: Samples in which a response must die down for its sections to be compared with it.
_LONGEST = 1 << 15
_STEPS = 4
#: Samples from which the sections of higher orders are looked for, which takes some milliseconds.
_WORTH = 1 << 17


def lfilter(
    b: ArrayLike, a: ArrayLike, x: ArrayLike, axis: int = -1, zi: ArrayLike | None = None
) -> Array | tuple[Array, Array]:
    """`scipy.signal.lfilter`: a_0 y_t = sum_k b_k x_t-k - sum_{k > 0} a_k y_t-k along an axis.

    Args:
        b: numerator, 1-D.
        a: denominator, 1-D, a_0 other than 0.
        x: [..., T, ...], strides and integers as in `sosfilt`.
        axis: the time axis of x.
        zi: initial state, x's shape with `axis` replaced by max(len(a), len(b)) - 1.

    Returns:
        y of x's shape, and the final state if zi was given. The dtype is the common one of all
        operands; float32 is filtered in float64 and rounded once.

    Raises:
        ValueError: SciPy's, for malformed b, a, x and zi.
        NotImplementedError: SciPy's, for a dtype that is no number.
    """
    state = None if zi is None else np.asarray(zi)
    sos = _as_sections(b, a, x, axis, state)
    if sos is None:
        return _scipy(b, a, x, axis, zi)
    x = np.asarray(x)
    dtype = np.result_type(np.asarray(b), np.asarray(a), x, *([] if state is None else [state]))
    y = np.empty_like(x, dtype, subok=False)
    if state is None:
        y[...] = sosfilt(sos, x, axis)
        return y
    order = max(np.size(a), np.size(b)) - 1
    shape = list(x.shape)
    shape[axis] = order
    if state.shape != tuple(shape) or order == 0:
        return _scipy(b, a, x, axis, zi)
    pad = [(0, 0)] * x.ndim
    pad[axis] = (0, 2 - order)
    after = sosfilt(sos, x, axis, np.pad(state, pad)[None])
    kept = [slice(None)] * x.ndim
    kept[axis] = slice(order)
    y[...] = after[0]
    return y, after[1][0][tuple(kept)].astype(dtype)


def _scipy(*arguments: Any) -> Array | tuple[Array, Array]:
    found: Array | tuple[Array, Array] = _lfilter(*arguments)
    return found


def filtfilt(
    b: ArrayLike,
    a: ArrayLike,
    x: ArrayLike,
    axis: int = -1,
    padtype: str | None = "odd",
    padlen: int | None = None,
    method: str = "pad",
    irlen: int | None = None,
) -> Array:
    """`scipy.signal.filtfilt`: zero phase, forwards then backwards.

    Args:
        b: numerator, 1-D.
        a: denominator, 1-D.
        x: [..., T, ...].
        axis: the time axis of x.
        padtype: "odd", "even", "constant" or None.
        padlen: samples added at both ends, less than T; None gives 3 max(len(a), len(b)).
        method: "pad", or "gust" (Gustafsson's, which SciPy computes).
        irlen: for "gust", the length of the response.

    Returns:
        y of x's shape, of the operands' common dtype.

    Raises:
        ValueError: SciPy's: malformed b, a and x, T not above padlen, an unknown padtype or method.
        LinAlgError: SciPy's, for a pole at z = 1.
    """
    sos = _as_sections(b, a, x, axis, None) if method == "pad" else None
    if sos is None or padtype not in ("odd", "even", "constant", None):
        found: Array = _filtfilt(b, a, x, axis, padtype, padlen, method, irlen)
        return found
    x = np.asarray(x)
    edge = 3 * max(np.size(a), np.size(b)) if padlen is None else index(padlen)
    y = sosfiltfilt(sos, x, axis, padtype, edge)
    return y.astype(np.result_type(np.asarray(b), np.asarray(a), x), copy=False)


def _as_sections(
    b: ArrayLike, a: ArrayLike, x: ArrayLike, axis: int, zi: Array | None
) -> Array | None:
    """Sections [S, 6] float64 that are this filter, None where SciPy has to compute it.

    None as well for whatever is malformed: SciPy says so in its own words.
    """
    b, a, x = np.atleast_1d(b), np.atleast_1d(a), np.asarray(x)
    operands = [each for each in (b, a, x, zi) if each is not None]
    if any(each.dtype.kind not in "biufc" for each in operands):
        return None
    if not -x.ndim <= axis < x.ndim:
        return None
    if b.ndim != 1 or a.ndim != 1 or not b.size or not a.size or "c" in b.dtype.kind + a.dtype.kind:
        return None
    if np.result_type(*operands).char not in "fdFD":
        return None
    if max(b.size, a.size) > 3 and (zi is not None or x.size < _WORTH):
        return None
    return _sections(b.astype(np.float64).tobytes(), a.astype(np.float64).tobytes())


@lru_cache(128)
def _sections(numerator: bytes, denominator: bytes) -> Array | None:
    """Sections of b, a, or None where they are not the same filter up to rounding.

    With h the response of b, a to an impulse, in long double, and d what the response of the
    sections, in double, differs from it, no output is off by more than sum |d_t| max |x|, while
    outputs reach sum |h_t| max |x|. The ratio of the two sums must be below `_TOLERANCE`, or below
    that of SciPy's direct form in double. The response must die down as well: poles on and outside
    the unit circle are left to the direct form.
    """
    b, a = (np.frombuffer(each, np.float64) for each in (numerator, denominator))
    if a[0] == 0 or not np.isfinite([*b, *a]).all():
        return None
    order = max(len(b), len(a)) - 1
    if order <= 2:
        sos = np.zeros((1, 6))
        sos[0, : len(b)], sos[0, 3 : 3 + len(a)] = b / a[0], a / a[0]
        return sos
    if len(a) == 1 or np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        return None  # no recursion to speed up, or nothing finer to compare with
    with np.errstate(all="ignore"):
        poles = np.abs(np.roots(a))
        if not len(poles) or not poles.max() < 1.0:
            return None
        length = 100 + np.log(_TOLERANCE / 64) / np.log(max(poles.max(), 0.5)) * 2
        if length > _LONGEST:
            return None
        impulse = np.zeros(int(length))
        impulse[0] = 1
        wide = [each.astype(np.longdouble) / a[0] for each in (b, a)]
        h = _lfilter(*wide, impulse.astype(np.longdouble))
        size = np.abs(h).sum()
        if not np.isfinite(size):
            return None
        direct = np.abs(_lfilter(b, a, impulse) - h).sum()
        found = _candidates(b, a, *wide)
        off = [np.abs(sosfilt(each, impulse) - h).sum() for each in found]
    best = int(np.argmin(np.nan_to_num(off, nan=np.inf)))
    return found[best] if off[best] <= max(_TOLERANCE * size, direct) else None


def _candidates(b: Array, a: Array, numerator: Array, denominator: Array) -> list[Array]:
    """Sections from the roots; with better poles; with better zeros too."""
    plain = np.ascontiguousarray(scipy.signal.tf2sos(b, a))
    poles, both = plain.copy(), plain.copy()
    poles[:, 3:] = both[:, 3:] = _improved(plain[:, 3:], denominator, False)
    both[:, :3] = _improved(plain[:, :3], numerator, True)
    return [each for each in (plain, poles, both) if np.isfinite(each).all()]


def _improved(factors: Array, product: Array, scaled: bool) -> Array:
    """Quadratic factors [S, 3] nearer to a polynomial, by a few of Newton's steps in long double.

    Args:
        factors: the factors, constant terms first.
        product: what they should multiply to, long double.
        scaled: whether the first factor's first coefficient is free; all others are 1 (or 0).
    """
    factors = factors.astype(np.longdouble)
    count = len(factors)
    goal = np.zeros(2 * count + 1, np.longdouble)
    goal[: len(product)] = product
    free = [(k, j) for k in range(count) for j in range(3) if j or (scaled and not k)]
    for _ in range(_STEPS):
        others = [_product(np.delete(factors, k, 0)) for k in range(count)]
        slopes = np.zeros((len(goal), len(free)))
        for column, (k, j) in enumerate(free):
            slopes[j : j + len(others[k]), column] = others[k]
        missing = (goal - _product(factors)).astype(np.float64)
        step = np.linalg.lstsq(slopes, missing, rcond=1e-13)[0]
        for (k, j), by in zip(free, step, strict=True):
            factors[k, j] += by
    return factors.astype(np.float64)


def _product(factors: Array) -> Array:
    whole = np.ones(1, np.longdouble)
    for factor in factors:
        whole = np.convolve(whole, factor)
    return whole
