"""`sosfiltfilt` on torch tensors: `sosfilt` forwards, then backwards, on any device.

`clmer.signal.sosfiltfilt` is the one for NumPy arrays, with a CPU kernel of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clmer.ops._dispatch import has_values
from clmer.ops.bandpass.op import check_tensors, sosfilt

_PADTYPES = ("odd", "even", "constant", None)


def sosfiltfilt(
    x: Tensor,
    sos: Tensor,
    *,
    padtype: str | None = "odd",
    padlen: int | None = None,
    impl: str | None = None,
) -> Tensor:
    """Filter along the last dimension forwards and backwards: zero phase, the gain squared.

    As `scipy.signal.sosfiltfilt`: the signal is extended at both ends, and each way starts in the
    steady state of its first sample. What passes between the two ways is float64.

    Args:
        x: [..., T], float32, float64, bfloat16 or float16.
        sos: [S, 6] float64, as in `sosfilt`.
        padtype: "odd" (about the end point), "even", "constant" or None (no extension).
        padlen: samples added at both ends, less than T. None gives 3 (2 S + 1): SciPy's default for
            sections with both poles and zeros (it counts those at the origin, and on a GPU a look
            at sos would wait for the device).
        impl: as in `sosfilt`.

    Returns:
        y [..., T] of x's dtype, with gradients for x and sos.

    Raises:
        ValueError: as `sosfilt`; an unknown padtype; T not above padlen; a pole at z = 1 (looked
            for on the CPU only).

    Source: Gustafsson, Determining the initial states in forward-backward filtering, 1996.
    """
    if padtype not in _PADTYPES:
        raise ValueError(f"padtype: found {padtype!r}, expected one of {_PADTYPES}")
    check_tensors(x, sos)
    if x.dim() < 1 or sos.dim() != 2 or sos.shape[1] != 6:
        raise ValueError(
            f"found x {tuple(x.shape)} and sos {tuple(sos.shape)}, expected [..., T] and [S, 6]"
        )
    edge = 0 if padtype is None else 3 * (2 * sos.shape[0] + 1) if padlen is None else padlen
    if not 0 <= edge < x.shape[-1]:
        raise ValueError(
            f"padlen: found {edge}, expected at least 0 and less than T, {x.shape[-1]}"
        )
    steady = steady_state(sos)
    y = _extended(x.to(torch.float64), padtype, edge)
    for _ in range(2):
        y, _end = sosfilt(y, sos, y[..., :1, None] * steady, impl=impl)
        y = y.flip(-1)
    return y[..., edge : edge + x.shape[-1]].to(x.dtype)


def steady_state(sos: Tensor) -> Tensor:
    """The states [S, 2] that leave an input of ones as it is: `scipy.signal.sosfilt_zi`.

    With g the gain of a section at 0 Hz, its output is g, so z0 = g - b0 and
    z1 = z0 (1 + a1) - (b1 - a1 b0), times the gains before it.
    """
    b0, b1, b2, _, a1, a2 = sos.unbind(1)
    c1, c2 = b1 - a1 * b0, b2 - a2 * b0
    pole = 1 + a1 + a2
    if has_values(pole) and bool((pole == 0).any()):
        raise ValueError(
            "sos: found a pole at z = 1, where a constant input has no steady state to start from; "
            "filter with sosfilt and a state of your own"
        )
    z0 = (c1 + c2) / pole
    gain = ((b0 + b1 + b2) / pole).cumprod(0)
    before = torch.cat((torch.ones_like(gain[:1]), gain[:-1]))
    return torch.stack((z0, (1 + a1) * z0 - c1), -1) * before[:, None]


def _extended(x: Tensor, padtype: str | None, edge: int) -> Tensor:
    """The signal with `edge` samples before it and behind it."""
    if edge == 0:
        return x
    first, last = x[..., :1], x[..., -1:]
    if padtype == "constant":
        left, right = (end.expand(*x.shape[:-1], edge) for end in (first, last))
    else:
        left, right = x[..., 1 : edge + 1].flip(-1), x[..., -edge - 1 : -1].flip(-1)
        if padtype == "odd":
            left, right = 2 * first - left, 2 * last - right
    return torch.cat((left, x, right), -1)
