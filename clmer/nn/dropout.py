"""Dropout whose mask costs a CPU little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """`nn.Dropout` with a cheaper mask on the CPU: 16 random bits an element, four from each word.

    PyTorch's CPU mask takes a Bernoulli draw an element and is the costliest part of a small
    transformer's step; this one takes under half the time, forward and backward. p is rounded to a
    multiple of 2^-16 below 1, the kept elements are scaled by exactly 1 / (1 - rounded p), and the
    draws come from PyTorch's generator. On a GPU and under `torch.compile` it is `F.dropout`.

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
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (bits >= dropped - 2**15).to(x.dtype)
        return x * kept.mul_(2**16 / (2**16 - dropped))

    def extra_repr(self) -> str:
        """What `repr` shows: the probability."""
        return f"p={self.p}"
