"""Dropout whose mask costs a CPU little."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer.nn.random_state import generator_for
from clmer.nn.shard import current_group, local_rows, whole_shape
from clmer.ops._dispatch import is_tracing


class Dropout(nn.Module):
    """`nn.Dropout` with a cheaper mask on the CPU: 16 random bits an element, four from each word.

    PyTorch's CPU mask takes a Bernoulli draw an element and is the costliest part of a small
    transformer's step; this one takes under half the time, forward and backward. p is rounded to a
    multiple of 2^-16 below 1, the kept elements are scaled by exactly 1 / (1 - rounded p), and the
    draws come from PyTorch's generator, or `clmer.nn.random_state.drawing_from`'s. On a GPU and
    under `torch.compile` and `torch.func` it is `F.dropout`. Under `clmer.nn.shard.sharded` every
    rank draws for the whole batch and takes its own rows.

    Args:
        p: probability in [0, 1) of dropping an element.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected 0 <= p < 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of x in training."""
        if not self.training or self.p == 0:
            return x
        return drop(x, self.p)

    def extra_repr(self) -> str:
        """What `repr` shows: the probability."""
        return f"p={self.p}"


def drop(x: Tensor, p: float) -> Tensor:
    """What `Dropout` does to x in training."""
    if p == 0:
        return x
    if is_tracing() or (x.device.type != "cpu" and current_group() is None):
        return F.dropout(x, p)
    return x * local_rows(_scaled_mask(x, p))


def _scaled_mask(x: Tensor, p: float) -> Tensor:
    """0 or the scale, for the elements of all ranks."""
    shape = whole_shape(x)
    if x.device.type != "cpu":
        return F.dropout(x.new_ones(shape), p)
    count = math.prod(shape)
    dropped = min(round(p * 2**16), 2**16 - 1)
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device="cpu").random_(
        -(2**63), None, generator=generator_for(x.device)
    )
    bits = words.view(torch.int16)[:count].view(shape)
    kept = (bits >= dropped - 2**15).to(x.dtype)
    return kept.mul_(2**16 / (2**16 - dropped))
