"""`sosfilt` in plain PyTorch without a loop over samples, for exported graphs.

With c1 = b1 - a1 b0, c2 = b2 - a2 b0 and z = (z0, z0 + z1), of the state of `sosfilt`, a section is

    y[t] = z_0 + b0 x[t],   z' = A z + B x[t],   A = [[-1 - a1, 1], [-1 - a1 - a2, 1]],
    B = (c1, c1 + c2)

(powers of A lose no digits where poles are close to 1, as those of z0 and z1 themselves would). A
block of L samples is two products, one with its samples and one with the state at its start:

    y = H x + O z,   H[t, u] = (b0, B_0, (A B)_0, (A^2 B)_0, ...)[t - u],   O[t] = first row of A^t
    z_next = A^L z + sum_t A^(L - 1 - t) B x[t]

and the states at the starts of all blocks come out of a scan that doubles its reach in each step.
The number of operations grows with the sections and the logarithm of T. All are in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Samples of a block: L multiply-adds per sample and section.
_BLOCK = 64
#: Steps of the scan where a graph leaves T open: enough for 2^30 samples.
_OPEN_STEPS = 24


def sosfilt_blocks(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """What `sosfilt` gives, up to the rounding of float64.

    From the first sample that is no finite number on, a row is NaN (where `sosfilt` may give an Inf
    before its NaN).

    Args:
        x: [R, T], float32 or float64.
        sos: [S, 6] float64.
        state: [R, S, 2] float64.

    Returns:
        y [R, T] of x's dtype and the state [R, S, 2] after the last sample.

    Source: Burrus, Block realization of digital filters, 1972; the scan is that of Hillis and
    Steele, Data parallel algorithms, 1986.
    """
    time, size = x.shape[1], _BLOCK
    if isinstance(time, int):
        if time == 0:
            return x.clone(), state.clone()
        while size // 2 >= time:
            size //= 2
        count = (time + size - 1) // size
    else:  # a graph that leaves T open: one form for every T, so some padding always
        count = time // size + 1
    blocks = _Blocks(sos, size)
    finite = x.isfinite()
    v = x.masked_fill(~finite, 0.0).to(torch.float64)
    v = F.pad(v, (0, count * size - time)).unflatten(1, (count, size))  # [R, N, L]
    ends = []
    z0, z1 = state.unbind(-1)
    state = torch.stack((z0, z0 + z1), -1)
    for i in range(sos.shape[0]):
        starts = blocks.starts(i, v, state[:, i])
        ends.append(blocks.after(i, time - (count - 1) * size, v[:, -1], starts[:, -1]))
        v = v @ blocks.samples[i] + starts @ blocks.first_row[i].T
    lost = (~finite).to(torch.int64).cumsum(1) > 0
    y = v.flatten(1)[:, :time].to(x.dtype).masked_fill(lost, torch.nan)
    z0, z01 = torch.stack(ends, 1).unbind(-1)
    end = torch.stack((z0, z01 - z0), -1)
    return y, end.masked_fill(lost[:, -1, None, None], torch.nan)


class _Blocks:
    """The matrices of every section for blocks of L samples, L a power of two.

    Attributes:
        powers: A^0 to A^(2 L - 1) [S, 2 L, 2, 2].
        first_row: O [S, L, 2].
        samples: H transposed [S, L, L].
        inputs: A^t B [S, L, 2].
    """

    def __init__(self, sos: Tensor, size: int) -> None:
        b0, b1, b2, _, a1, a2 = sos.unbind(1)
        one, zero = torch.ones_like(a1), torch.zeros_like(a1)
        step = torch.stack((-1 - a1, one, -1 - a1 - a2, one), -1).unflatten(-1, (2, 2))
        c1, c2 = b1 - a1 * b0, b2 - a2 * b0
        enters = torch.stack((c1, c1 + c2), -1)  # B [S, 2]
        powers = torch.stack((one, zero, zero, one), -1).unflatten(-1, (1, 2, 2))
        while powers.shape[1] < 2 * size:
            powers = torch.cat((powers, step[:, None] @ powers), 1)
            step = step @ step
        self.size, self.powers = size, powers
        self.first_row = powers[:, :size, 0]
        self.inputs = (powers[:, :size] @ enters[:, None, :, None]).squeeze(-1)
        response = torch.cat((b0[:, None], self.inputs[:, : size - 1, 0]), 1)  # [S, L]
        at = torch.arange(size, device=sos.device)
        lag = at - at[:, None]  # [from, to]
        self.samples = response[:, lag.clamp(min=0)].masked_fill(lag < 0, 0.0)

    def starts(self, i: int, v: Tensor, state: Tensor) -> Tensor:
        """Section i's states [R, N, 2] at the starts of the blocks of v [R, N, L]."""
        count = v.shape[1]
        z = torch.cat((state[:, None], v[:, :-1] @ self.inputs[i].flip(0)), 1)
        number = torch.arange(count, device=v.device)
        step, reach = self.powers[i, self.size].T, 1
        for _ in range((count - 1).bit_length() if isinstance(count, int) else _OPEN_STEPS):
            before = z[:, (number - reach).clamp(min=0)] @ step
            z = z + before.masked_fill((number < reach)[:, None], 0.0)
            step, reach = step @ step, 2 * reach
        return z

    def after(self, i: int, length: int, v: Tensor, start: Tensor) -> Tensor:
        """Section i's state [R, 2] after `length` samples of a block v [R, L] that starts so."""
        left = length - 1 - torch.arange(self.size, device=v.device)  # samples to come
        entered = self.inputs[i][left.clamp(min=0)].masked_fill((left < 0)[:, None], 0.0)
        decayed = self.powers[i][left[:1] + 1].squeeze(0)  # A^length, which may be a traced size
        return v @ entered + start @ decayed.T
