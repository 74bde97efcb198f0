"""Passes of the native core over NumPy arrays: one behind the other, or in blocks of time at once.

A vector holds one sample of several rows. Where rows are few and long, time is cut into blocks that
are filtered as if they were rows. The state a block needs is the one that its predecessor ends in,
which is not known yet; but a stable filter forgets, so the block is run in from a state of zeros
over the samples before it, so many that what older ones would add lies far below rounding: by the
cascade's own response, in which poles that lie together decay much later than one of them would.
That costs a share of `1 / _LEAST_RUN_INS` at most, and no block waits.

The number of blocks follows from the shape and the filter alone, not from the threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clmer._native import _C
from clmer.signal.design import steady_state

Array = NDArray[Any]
Sections = NDArray[np.float64]
#: What the kernels read without a copy first.
READABLE = frozenset(map(np.dtype, ("f4", "f8", "i2", "i4")))
#: What one pass of the kernels takes; longer cascades take several.
MAX_SECTIONS = 64
_EXTENSIONS = {"odd": 0, "even": 1, "constant": 2, None: 2}
_FEW_ROWS = 16  # rows that do not fill two threads' vectors several times over
_BLOCK_ROWS = 64  # what blocks make of them: enough for the vectors of 8 threads
_LEAST_SAMPLES = 1 << 16  # of all rows: fewer are done before blocks are laid out
_LEAST_RUN_INS = 4  # a block is that many times as long as its run-in
_FORGOTTEN = 90.0  # nepers: exp(-90) is 2^-130; samples may be 2^70 times the filtered ones
_own = local()


@contextmanager
def threads_of_a_pass(count: int) -> Iterator[None]:
    """Let passes called from this thread take `count` threads instead of torch's number.

    For a pool whose workers filter side by side; `torch.set_num_threads` would hold for everyone.
    """
    before = getattr(_own, "count", None)
    _own.count = count
    try:
        yield
    finally:
        _own.count = before


def thread_count() -> int:
    """Threads that a pass called from this thread takes."""
    return getattr(_own, "count", None) or torch.get_num_threads()


def filter_into(
    sos: NDArray[np.float64],
    x: Array,
    axis: int,
    y: Array | None,
    zi: Array,
    zf: Array,
    scale: float = 1.0,
) -> None:
    """Filter x times scale along an axis >= 0 into y (which may be x) from zi; zf may be zi.

    States are [S, ..., 2, ...], float64, or complex128 where y is complex. Where y is None the
    states are all that is wanted; x is then real, and S <= 64.
    """
    if y is None:
        threads = thread_count()
        _C.sosfilt_array(_readable(x, zf.dtype), axis, sos, zi, zf, None, scale, threads)
        return
    for first in range(0, len(sos), MAX_SECTIONS):
        part = slice(first, first + MAX_SECTIONS)
        source = _readable(x, y.dtype) if first == 0 else y
        factor, threads = scale if first == 0 else 1.0, thread_count()
        for own, before, behind, to in _real_parts(source, zi[part], zf[part], y):
            _C.sosfilt_array(own, axis, sos[part], before, behind, to, factor, threads)


def _real_parts(*arrays: Array) -> list[tuple[Array, ...]]:
    """Real and imaginary parts, which real coefficients filter each on their own, as views."""
    if arrays[-1].dtype.kind != "c":
        return [arrays]
    return [tuple(a.real for a in arrays), tuple(a.imag for a in arrays)]


def _readable(x: Array, dtype: np.dtype[Any]) -> Array:
    """Returns x itself where a kernel reads it, complex where y is, else a copy, nothing lost."""
    if dtype.kind == "c":
        fits = x.dtype in (np.complex64, np.complex128) and x.dtype.isnative
    else:
        fits = x.dtype in READABLE
    if fits and x.flags.aligned and _steps_whole(x):
        return x
    return x.astype(np.result_type(x, dtype))  # y may be narrower than x: it is rounded once


def _steps_whole(x: Array) -> bool:
    unit = x.itemsize // 2 if x.dtype.kind == "c" else x.itemsize
    return all(step % unit == 0 for step in x.strides)


def from_rest(sos: Sections, x: Array, axis: int, y: Array, scale: float = 1.0) -> None:
    """Filter x times scale along an axis >= 0 into y (which may be x) from a state of zeros."""
    shape = list(x.shape)
    shape[axis] = 2
    state = np.zeros((len(sos), *shape), np.complex128 if y.dtype.kind == "c" else np.float64)
    if block_count(sos, _rows(x, axis), x.shape[axis])[0] == 1:
        filter_into(sos, x, axis, y, state, state, scale)
        return
    for own, before, to in _real_parts(_readable(x, y.dtype), state, y):
        ends = (np.moveaxis(own, axis, -1), np.moveaxis(to, axis, -1))
        in_blocks(sos, *ends, np.moveaxis(before, axis + 1, -1), scale)


def both_ways(sos: Sections, x: Array, axis: int, y: Array, padtype: str | None, edge: int) -> None:
    """Filter x along an axis >= 0 forwards and backwards into y, from ends extended by `edge`."""
    zi = steady_state(sos)
    for own, to in _real_parts(_readable(x, y.dtype), y):
        if block_count(sos, _rows(own, axis), own.shape[axis])[0] > 1:
            ends = (np.moveaxis(own, axis, -1), np.moveaxis(to, axis, -1))
            _both_ways_in_blocks(sos, *ends, padtype, edge)
        else:
            extension, threads = _EXTENSIONS[padtype], thread_count()
            _C.sosfiltfilt_array(own, axis, sos, zi, to, extension, edge, threads)


def block_count(sos: Sections, rows: int, time: int) -> tuple[int, int]:
    """Into how many blocks of time to cut, 1 for none, and the samples of a block's run-in."""
    if rows == 0 or rows > _FEW_ROWS or rows * time < _LEAST_SAMPLES or len(sos) > MAX_SECTIONS:
        return 1, 0
    longest = time // (_LEAST_RUN_INS * 2)
    run_in = forgetting_samples(sos.tobytes(), 1 << longest.bit_length())
    if run_in > longest:
        return 1, 0
    return min(-(-_BLOCK_ROWS // rows), time // (_LEAST_RUN_INS * int(run_in))), int(run_in)


@lru_cache(64)
def forgetting_samples(sections: bytes, most: int) -> float:
    """How many samples bring what is left of older ones below rounding; inf beyond `most`.

    That is where all states have less than exp(-`_FORGOTTEN`) of their peak to come, after an
    impulse. So multiplicity is counted: S equal sections decay as t^(2S - 1) r^t. States are taken
    a quarter of the slowest pole's time apart, each from the one before by a power of the cascade's
    transition, whose triangular form keeps the sections' poles what they are.

    Args:
        sections: the bytes of sos [S, 6], float64.
        most: samples.
    """
    sos = np.frombuffer(sections).reshape(-1, 6)
    slowest = _radius(sos)
    if not np.isfinite(sos).all() or not slowest < 1:
        return np.inf
    time = -1 / np.log(max(slowest, 0.5))  # in which the slowest pole decays by 1 neper
    if _FORGOTTEN * time > most:
        return np.inf
    squarings = max(int(np.log2(time / 4)), 0)
    state, step = _impulse(_level(sos))
    for _ in range(squarings):
        step = step @ step
    count, sizes = int(4 * _FORGOTTEN), [np.abs(state).reshape(-1, 2).max(1)]
    while count << squarings <= 4 * most:
        while len(sizes) < count:
            state = step @ state
            sizes.append(np.abs(state).reshape(-1, 2).max(1))
        every = np.array(sizes)  # [count, S]
        left = every[::-1].cumsum(0)[::-1] * (1 << squarings)
        if (every.max(0) == 0)[_holds_state(sos)].any() or not np.isfinite(left).all():
            return np.inf
        steps = int((left > every.max(0) * np.exp(-_FORGOTTEN)).any(1).sum())
        if 2 * steps <= count:  # and as many behind them show no more
            run_in = (steps + 1) << squarings
            return float(run_in) if run_in <= most else np.inf
        count *= 2
    return np.inf


def _holds_state(sos: Sections) -> NDArray[np.bool_]:
    """Which sections are more than a gain."""
    gain = sos[:, :1]
    return (sos[:, 1:3] != gain * sos[:, 4:]).any(1)


def _radius(sos: Sections) -> float:
    """The largest modulus of a pole."""
    a1, a2 = sos[:, 4], sos[:, 5]
    root = np.sqrt(np.asarray(a1 * a1 - 4 * a2, complex))
    return float(np.abs(np.stack((-a1 + root, -a1 - root))).max() / 2)


def _level(sos: Sections) -> Sections:
    """Sections of about unit gain where they amplify most, lest many leave the range of numbers."""
    root = np.sqrt(np.asarray(sos[:, 4] ** 2 - 4 * sos[:, 5], complex))
    angles = np.angle(-sos[:, 4] + root)
    at = np.exp(-1j * np.stack((angles, 0 * angles, 0 * angles + np.pi)))  # 1 / z
    above, below = ((c[:, 0] + at * (c[:, 1] + at * c[:, 2])) for c in (sos[:, :3], sos[:, 3:]))
    gain = np.abs(above / below).max(0)
    level = sos.copy()
    level[:, :3] /= np.where(gain > 0, gain, 1.0)[:, None]
    return level


def _impulse(sos: Sections) -> tuple[Array, Array]:
    """The state [2S] that an impulse leaves, and the transition [2S, 2S] over one more sample."""
    size = 2 * len(sos)
    before = np.eye(size, size + 1)  # the last column: no state, but an input of 1
    after = np.empty_like(before)
    v = np.zeros(size + 1)
    v[-1] = 1.0
    for k, (b0, b1, b2, _, a1, a2) in enumerate(sos):
        y = b0 * v + before[2 * k]
        after[2 * k] = b1 * v - a1 * y + before[2 * k + 1]
        after[2 * k + 1] = b2 * v - a2 * y
        v = y
    return after[:, -1], after[:, :-1]


def in_blocks(sos: Sections, x: Array, y: Array, state: Array, scale: float = 1.0) -> None:
    """Filter x [..., T] into y (which may be x) from state [S, ..., 2], brought up to date.

    In blocks of time where that pays, otherwise in one pass. The arrays are real.
    """
    time, axis = x.shape[-1], x.ndim - 1
    blocks, run_in = block_count(sos, _rows(x, axis), time)
    if blocks == 1:
        filter_into(sos, x, axis, y, state, state, scale)
        return
    length = time // blocks
    before = _cut(x[..., length - run_in : blocks * length - run_in], blocks - 1)[..., :run_in]
    starts = np.zeros((len(sos), *x.shape[:-1], blocks, 2))
    starts[..., 0, :] = state
    run_ins = starts[..., 1:, :]
    filter_into(sos, before, axis + 1, None, run_ins, run_ins, scale)
    whole = blocks * length
    body, out = _cut(x[..., :whole], blocks), _cut(y[..., :whole], blocks)
    filter_into(sos, body, axis + 1, out, starts, starts, scale)
    _spread(out, starts)
    state[...] = starts[..., -1, :]
    filter_into(sos, x[..., whole:], axis, y[..., whole:], state, state, scale)


def _spread(y: Array, ends: Array) -> None:
    """What is not finite stays in a filter: all blocks behind such an end [S, ..., blocks, 2]."""
    broken = np.logical_or.accumulate(~np.isfinite(ends).all((0, -1)), -1)
    if broken.any():
        behind = np.zeros_like(broken)
        behind[..., 1:] = broken[..., :-1]
        y[behind] = np.nan
        ends[:, behind] = np.nan


def _both_ways_in_blocks(sos: Sections, x: Array, y: Array, padtype: str | None, edge: int) -> None:
    """The signal is [..., T] and real. Its extended form is never built: three parts in turn."""
    axis = x.ndim - 1
    zi = steady_state(sos).reshape(len(sos), *[1] * axis, 2)
    left, right = _extensions(x, padtype, edge)
    state = zi * (left if edge else x)[..., :1]
    filter_into(sos, left, axis, None, state, state)
    forwards = y if y.dtype == np.float64 else np.empty(x.shape)  # it may be filtered in place
    in_blocks(sos, x, forwards, state)
    filter_into(sos, right, axis, right, state, state)
    state = zi * (right if edge else forwards)[..., -1:]
    filter_into(sos, right[..., ::-1], axis, None, state, state)
    in_blocks(sos, forwards[..., ::-1], y[..., ::-1], state)


def _extensions(x: Array, padtype: str | None, edge: int) -> tuple[Array, Array]:
    """What stands before x and behind it, [..., edge] each, float64."""
    first, last = x[..., :1].astype(np.float64), x[..., -1:].astype(np.float64)
    if padtype in ("constant", None) or edge == 0:
        return first.repeat(edge, -1), last.repeat(edge, -1)
    mirrored = x[..., edge:0:-1], x[..., -2 : -edge - 2 : -1]
    left, right = (part.astype(np.float64) for part in mirrored)
    return (left, right) if padtype == "even" else (2 * first - left, 2 * last - right)


def _cut(x: Array, blocks: int) -> Array:
    """A view [..., blocks, T / blocks] of x [..., T]."""
    length, step = x.shape[-1] // blocks, x.strides[-1]
    shape, strides = (*x.shape[:-1], blocks, length), (*x.strides[:-1], length * step, step)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=x.flags.writeable)


def _rows(x: Array, axis: int) -> int:
    return x.size // x.shape[axis] if x.shape[axis] else 0
