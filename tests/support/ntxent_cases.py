"""Views that the tests of NT-Xent share."""

import torch


def views(shape, dtype=torch.float64, normalize=True, seed=0):
    """Values that float32 holds exactly, so that every dtype sees the same numbers."""
    g = torch.Generator().manual_seed(seed)
    scale = 1.0 if normalize else shape[-1] ** -0.5
    a, b = (scale * torch.randn(shape, generator=g) for _ in range(2))
    return a.to(dtype), b.to(dtype)
