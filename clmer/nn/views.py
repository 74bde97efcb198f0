"""Views of a window for contrastive learning: what an encoder is taught to see past."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """How two views of each window are made; the defaults are those of the paper's objective.

    Args:
        scale: mean and standard deviation of a factor, one per sample and channel, by which the
            first view is multiplied.
        both: whether the second view gets a factor of its own as well.
        jitter: standard deviation of the noise added to the first and to the second view.
        pieces: the most pieces of the second view that are put in random order; 1 keeps time as it
            is (a permutation leaves phase and rhythm and destroys the order of events).
        rotation: degrees; sd of a turn of the axes, one per sample and view. The channels are then
            x, y, z triples, each turned alike.

    Raises:
        ValueError: a number out of range.
    """

    scale: tuple[float, float] = (1.0, 0.1)
    both: bool = False
    jitter: tuple[float, float] = (0.05, 0.3)
    pieces: int = 5
    rotation: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.scale, *self.jitter, self.rotation)
        if not all(map(math.isfinite, numbers)) or min(self.scale[1], *numbers[2:]) < 0:
            raise ValueError(f"Views: expected finite numbers and sd >= 0, got {self}")
        if self.pieces < 1:
            raise ValueError(f"Views: pieces must be >= 1, got {self.pieces}")

    def __call__(
        self, x: Tensor, generator: torch.Generator, other: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Two views of x.

        Args:
            x: [B, C, T], standardised; left as it is.
            generator: on x's device; every call draws afresh.
            other: [B, C, T] what the second view is made of; None for x.

        Raises:
            ValueError: x is not [B, C, T], or C is no multiple of 3 where axes are turned.
        """
        first, second = x, x if other is None else other
        for each in (first, second):
            _check_series(each)
        if self.rotation:
            first = rotated(first, generator, self.rotation)
            second = rotated(second, generator, self.rotation)
        first = _scaled(first, generator, self.scale, self.jitter[0])
        if self.pieces > 1:
            second = permuted(second, generator, self.pieces)
        scale = self.scale if self.both else None
        return first, _scaled(second, generator, scale, self.jitter[1])


def permuted(x: Tensor, generator: torch.Generator, pieces: int) -> Tensor:
    """At most `pieces` pieces of x [B, C, T] in random order.

    Each sample has its own number of pieces (1 to `pieces`), cuts and order; its channels stay
    together.
    """
    batch, _, length = x.shape
    device = x.device
    count = torch.randint(1, pieces + 1, (batch, 1), generator=generator, device=device)
    last = max(length, 2)
    cuts = torch.randint(1, last, (batch, pieces - 1), generator=generator, device=device)
    unused = torch.arange(1, pieces, device=device) >= count
    cuts = cuts.masked_fill(unused, length)
    time = torch.arange(length, device=device)
    piece = (time[None, :, None] >= cuts[:, None, :]).sum(2)  # [B, T], 0 to pieces - 1
    rank = torch.rand(batch, pieces, generator=generator, device=device).gather(1, piece)
    order = rank.argsort(dim=1, stable=True)  # within a piece time stays in order
    return x.gather(2, order[:, None, :].expand_as(x))


def rotated(x: Tensor, generator: torch.Generator, degrees: float) -> Tensor:
    """Turn the axes of x [B, C, T], C = 3 per sensor, about a random axis of each sample.

    The rotation vector is N(0, `degrees`) in each coordinate; all sensors of a sample turn alike.
    """
    if x.shape[1] % 3:
        raise ValueError(
            f"rotated: expected channels in threes (x, y, z of a sensor), got {x.shape[1]}"
        )
    turn = torch.randn(len(x), 3, generator=generator, device=x.device, dtype=x.dtype)
    a, b, c = (math.radians(degrees) * turn).unbind(1)
    zero = torch.zeros_like(a)
    cross = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], dim=1).view(-1, 3, 3)
    axes = torch.linalg.matrix_exp(cross)[:, None] @ x.unflatten(1, (-1, 3))
    return axes.flatten(1, 2)


def _scaled(
    x: Tensor, generator: torch.Generator, scale: tuple[float, float] | None, jitter: float
) -> Tensor:
    """Scale by a factor of each sample and channel (None: not at all), and add noise."""
    factor = None
    if scale is not None:
        mean, sd = scale
        draw = torch.randn(*x.shape[:2], 1, generator=generator, device=x.device, dtype=x.dtype)
        factor = mean + sd * draw
    noise = jitter * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return x + noise if factor is None else torch.addcmul(noise, x, factor)


def _check_series(x: Tensor) -> None:
    if x.ndim != 3 or x.shape[2] < 1 or not x.is_floating_point():
        raise ValueError(
            f"Views: expected floating-point x [B, C, T], got {list(x.shape)} {x.dtype}"
        )
