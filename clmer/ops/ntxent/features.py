"""Features [B, n_views, D], as SupCon's code has them, as the two views that `nt_xent` takes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def two_views(
    features: Tensor, labels: Tensor | None, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The first half of the views, the second half, [B n_views / 2, D] each, and their labels.

    Raises:
        ValueError: no [B, n_views, D] with an even n_views, or labels that are not [B].
    """
    if not isinstance(features, Tensor) or features.dim() != 3 or features.shape[1] % 2:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"view_a: found {found} and no view_b, expected features [B, n_views, D] with an even "
            "number of views, or a view_b"
        )
    samples, views, _ = features.shape
    if views == 0:
        raise ValueError(f"view_a: found {tuple(features.shape)}, expected two views at least")
    if labels is not None and labels.shape != (samples,):
        raise ValueError(f"labels: found shape {tuple(labels.shape)}, expected ({samples},)")
    if labels is None and views > 2:
        # A rank's samples are others than another's.
        rank = 0 if group is None else dist.get_rank(group)
        labels = torch.arange(samples, device=features.device) + (rank << 40)
    a, b = (half.flatten(0, 1) for half in features.chunk(2, 1))
    return a, b, None if labels is None else labels.repeat_interleave(views // 2)


def of_views(rows: Tensor, shape: torch.Size) -> Tensor:
    """The rows' losses [B n_views] of `two_views` as [B, n_views]."""
    samples, views, _ = shape
    return rows.view(2, samples, views // 2).movedim(1, 0).flatten(1)
