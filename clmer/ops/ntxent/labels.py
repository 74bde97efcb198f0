"""What `labels` add to `nt_xent`: the samples that share a label are positives of each other.

The positives enter the loss linearly, so their scores are sums over classes, and no pair of rows
is ever formed: O(N D) memory.
"""

from __future__ import annotations

import torch
from torch import Tensor


def check_labels(labels: Tensor, shape: torch.Size, device: torch.device) -> None:
    """Raises ValueError unless labels fit views of this shape, [N, D] or [G, N, D]."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels: found {type(labels).__name__}, expected a tensor of integers")
    if labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise ValueError(f"labels: found {labels.dtype}, expected an integer dtype")
    samples = shape[:-1]  # [N] or [G, N]
    fits = labels.dim() in (1, len(samples)) and all(
        found == size
        for found, size in zip(reversed(labels.shape), reversed(samples), strict=False)
    )
    if not fits:
        each = f"{tuple(samples[-1:])}" + (f" or {tuple(samples)}" if len(samples) > 1 else "")
        raise ValueError(
            f"labels: found shape {tuple(labels.shape)}, expected one label a sample: {each}"
        )
    if labels.device != device:
        raise ValueError(f"devices differ: labels on {labels.device}, view_a on {device}")


def positive_means(z: Tensor, labels: Tensor) -> Tensor:
    """Each row's mean product with its positives.

    With P(i) the m_c - 1 other rows of i's class c:

        mean_{p in P(i)} z_i . z_p = z_i . (sum_{j in c} z_j - z_i) / (m_c - 1)

    Args:
        z: rows [..., 2N, D]; rows n and N + n are the two views of sample n.
        labels: [..., N], integers.

    Returns:
        [..., 2N]
    """
    a, b = z.unflatten(-2, (2, -1)).unbind(-3)  # [..., N, D]
    n = a.shape[-2]
    labels = labels.to(torch.int64).contiguous()
    classes = torch.searchsorted(labels.sort(-1).values, labels)  # 0 to N - 1, with gaps
    batch = torch.arange(classes[..., 0].numel(), device=z.device).view(*classes.shape[:-1], 1)
    index = (classes + n * batch).flatten()

    def class_sums(x: Tensor) -> Tensor:  # [..., N] or [..., N, D]: of each sample's class
        rows = x.flatten(0, labels.dim() - 1)
        return torch.zeros_like(rows).index_add(0, index, rows)[index].view(x.shape)

    both = a + b
    others = class_sums(both) - both  # zeros for a sample alone in its class: no digits are lost
    within = (a * b).sum(-1)
    counts = class_sums(torch.full_like(within, 2.0)) - 1  # m_c - 1
    return torch.cat([((row * others).sum(-1) + within) / counts for row in (a, b)], -1)
