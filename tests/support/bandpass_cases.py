"""What the GPU's form of `sosfilt` is held against: on the CPU (its host form) and on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from support import native
from torch import Tensor

from clmer._native import _C
from clmer.signal import butter_bandpass

SOS = torch.from_numpy(butter_bandpass(4, 45, 128))
#: (form, warps of a tile): a tile is 1024 samples a warp.
FORMS = [("sequential", 1), ("tiled", 1), ("tiled", 4), ("split", 1), ("split", 2)]
#: Around the ends of segments (32), warps (1024) and tiles.
LENGTHS = [1, 31, 32, 33, 1023, 1024, 1025, 2049, 4100]


def section(radius: float, angle: float) -> list[float]:
    """A section with poles there."""
    return [1.0, 0.2, 0.1, 1.0, -2 * radius * np.cos(angle), radius * radius]


#: Filters that a join could spoil: slow, nearly equal poles; poles on the unit circle and beyond.
HARD = {
    "0.1 Hz at 512": butter_bandpass(0.1, 45, 512),
    "0.01 Hz at 1000": butter_bandpass(0.01, 45, 1000),
    "0.5 Hz at 2000": butter_bandpass(0.5, 40, 2000),
    "near Nyquist": butter_bandpass(200, 255.9, 512),
    "radius 1": np.array([section(1.0, 0.3), section(0.4, 1.0)]),
    "radius 1.0005": np.array([section(1.0005, 0.3), section(0.4, 1.0)]),
    "radius 1.01": np.array([section(1.01, 2.0), section(0.4, 1.0)]),
    "integrators": np.array([[1.0, 0, 0, 1, -2, 1]] * 2),
    "alternating": np.array([[1.0, 0, 0, 1, 2, 1], section(0.4, 1.0)]),
}


def sections(count: int) -> Tensor:
    """That many, of the band-pass over and over."""
    return SOS.repeat(-(-count // len(SOS)), 1)[:count].contiguous()


def operands(
    rows: int, time: int, count: int, dtype: torch.dtype = torch.float64, offset: float = 0
) -> tuple[Tensor, Tensor]:
    """Samples [rows, time] and a state [rows, count, 2]."""
    torch.manual_seed(time)
    x = (torch.randn(rows, time, dtype=torch.float64) + offset).to(dtype)
    return x, torch.randn(rows, count, 2, dtype=torch.float64)


def by(
    x: Tensor,
    sos: Tensor,
    state: Tensor,
    form: str,
    warps: int,
    adjoint: bool = False,
    walk: int = 1,
) -> tuple[Tensor, Tensor]:
    """The GPU's algorithm in the form given, where the tensors are; parts of `walk` tiles."""
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    return native.load().sosfilt_by(x, sos, state, adjoint, form, warps, walk, stream)


def scipys(x: Tensor, sos: Tensor, state: Tensor, real: type) -> tuple[np.ndarray, np.ndarray]:
    """SciPy with coefficients and state of that type: y [..., T] and [..., S, 2]."""
    zi = np.moveaxis(state.numpy(), -2, 0).astype(real)
    y, zf = scipy.signal.sosfilt(sos.numpy().astype(real), x.numpy().astype(real), -1, zi)
    return y, np.moveaxis(zf, 0, -2)


def assert_as_good_as_scipy(
    found: tuple[Tensor, Tensor], x: Tensor, sos: Tensor, state: Tensor, or_one_pass: bool = False
) -> None:
    """At most twice SciPy's error against long double, with the project's floor.

    Or twice that of one pass of the sequential kernel, where it is the larger: filters that are not
    stable amplify whatever rounding comes first.
    """
    found, (x, sos, state) = [t.cpu() for t in found], (x.cpu(), sos.cpu(), state.cpu())
    theirs = scipys(x, sos, state, np.float64)
    exact = scipys(x, sos, state, np.longdouble)
    one_pass = _C.sosfilt(x, sos, state, False, 1, 0)
    for ours, other, pass_, truth in zip(found, theirs, one_pass, exact, strict=True):
        error = np.abs(other.astype(ours.numpy().dtype) - truth).max()
        if or_one_pass:
            error = max(error, np.abs(pass_.numpy() - truth).max())
        floor = 8 * torch.finfo(ours.dtype).eps * np.abs(truth).max()
        assert np.abs(ours.numpy() - truth).max() <= max(2 * error, floor)


def is_stable(sos: Tensor) -> bool:
    """Whether every pole lies within the unit circle, not on it."""
    return bool(all(np.abs(np.roots(row[3:])).max() < 1 - 1e-9 for row in sos.numpy()))


def skip_unless_it_takes(form: str, count: int) -> None:
    if form == "split" and count > 8:
        pytest.skip("split takes at most 8 sections")
