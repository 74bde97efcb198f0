"""What `nt_xent` computes, in plain PyTorch: normalised rows, the whole similarity matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clmer.ops._dispatch import without_autocast


def widen(x: Tensor) -> Tensor:
    """Half precision in float32."""
    return x.to(torch.float32) if x.dtype in (torch.bfloat16, torch.float16) else x


def stack(view_a: Tensor, view_b: Tensor, normalize: bool) -> Tensor:
    """The rows z [..., 2N, D], in float32 at least."""
    x = torch.cat((widen(view_a), widen(view_b)), -2)
    return _unit_rows(x) if normalize else x


def _unit_rows(x: Tensor) -> Tensor:
    """Rows x [..., D] divided by their lengths; a row of zeros or subnormals gives zeros.

    The rows are first divided by their largest element, so that no square overflows or vanishes.
    The result does not depend on that factor, hence the detach.
    """
    top = x.detach().abs().amax(-1, keepdim=True)
    empty = top < torch.finfo(x.dtype).tiny
    scaled = (x / top.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)
    length = torch.linalg.vector_norm(scaled.masked_fill(empty, 1.0), dim=-1, keepdim=True)
    return scaled / length


def nt_xent_reference(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor = 0.2,
    *,
    labels: Tensor | None = None,
    normalize: bool = True,
    reduction: str = "mean",
    accuracy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The specification in plain PyTorch: it builds the similarity matrix."""
    s, self_pair = _scores(view_a, view_b, temperature, normalize)
    if labels is None:
        positive = _of_other_views(s)
    else:
        row_labels = torch.cat((labels, labels), -1)  # [..., 2N]
        same = (row_labels.unsqueeze(-1) == row_labels.unsqueeze(-2)) & ~self_pair
        positive = s.masked_fill(~same, 0.0).sum(-1) / same.sum(-1)
    loss = reduced(s.logsumexp(-1) - positive, reduction)
    if not accuracy:
        return loss
    negatives = s.detach().masked_fill(self_pair.roll(view_a.shape[-2], -1), -math.inf)
    return loss, (positive > negatives.amax(-1)).to(loss.dtype).mean(-1)


def anchor_losses(
    view_a: Tensor, view_b: Tensor, temperature: float | Tensor, normalize: bool, positives: bool
) -> Tensor:
    """The rows' losses [..., 2N] without labels; `positives` False: their log-sum-exps alone."""
    s, _ = _scores(view_a, view_b, temperature, normalize)
    return s.logsumexp(-1) - _of_other_views(s) if positives else s.logsumexp(-1)


def _scores(
    view_a: Tensor, view_b: Tensor, temperature: float | Tensor, normalize: bool
) -> tuple[Tensor, Tensor]:
    """The scores s [..., 2N, 2N], -Inf for a row with itself, and where that is [2N, 2N]."""
    z = stack(view_a, view_b, normalize)
    with without_autocast(z.device):
        s = z @ z.mT / temperature
    self_pair = torch.eye(z.shape[-2], dtype=torch.bool, device=z.device)
    return s.masked_fill(self_pair, -math.inf), self_pair


def _of_other_views(s: Tensor) -> Tensor:
    """Each row's score with its sample's other view [..., 2N]."""
    half = s.diagonal(s.shape[-1] // 2, -2, -1)
    return torch.cat((half, half), -1)


def reduced(rows: Tensor, reduction: str) -> Tensor:
    """The rows' losses [..., 2N], as `reduction` says."""
    return rows if reduction == "none" else rows.sum(-1) if reduction == "sum" else rows.mean(-1)
