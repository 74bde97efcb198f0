"""Inputs of `transformer_layer`."""

from __future__ import annotations

import torch
from torch import Tensor

from clmer.ops.sublayer.layer import LayerWeights

#: B, L, d, h, hidden: a single element, odd sizes around vectors and tiles, CLMER's own, long ones.
SHAPES = [
    (1, 1, 1, 1, 1),
    (5, 3, 12, 3, 20),
    (3, 7, 39, 3, 29),
    (70, 5, 36, 2, 17),
    (128, 8, 100, 4, 64),
    (2, 90, 8, 1, 8),
]


def layer_case(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, LayerWeights]:
    """x and weights that ask for gradients."""
    batch, length, dim, _, hidden = shape
    torch.manual_seed(0)

    def drawn(*size: int) -> Tensor:
        scale = size[-1] ** -0.5 if len(size) == 2 else 0.3
        return (scale * torch.randn(size, dtype=dtype)).requires_grad_()

    x = (2 * torch.randn(batch, length, dim, dtype=dtype) + 1).requires_grad_()
    first = (drawn(dim), drawn(dim), drawn(dim, dim), drawn(2 * dim, dim), drawn(dim, dim))
    second = (drawn(dim), drawn(dim), drawn(dim), drawn(hidden, dim), drawn(hidden))
    return x, LayerWeights(*first, *second, drawn(dim, hidden), drawn(dim))
