"""What `cross_attention` asks of its arguments, before any kernel sees them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from clmer.ops._dispatch import check_dtype

#: Of query: rows and columns included.
MAX_DIMS = 7


def promoted(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under autocast the three may differ, and the widest floating-point dtype is taken."""
    tensors = (query, key, value)
    autocast = torch.is_autocast_enabled(query.device.type)
    if not autocast or not all(t.is_floating_point() for t in tensors):
        return tensors
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def number(scale: float | Tensor) -> float:
    """The scale of the scores: a constant, which has no gradient.

    Raises:
        ValueError: a tensor that wants one, or that holds several numbers.
    """
    if isinstance(scale, Tensor):
        if scale.requires_grad:
            raise ValueError(
                "scale: it requires a gradient, and the scale is a constant here; multiply query "
                "by it: cross_attention(query * scale, key, value, scale=1.0)"
            )
        if scale.dim() != 0:
            raise ValueError(
                f"scale: found a tensor {tuple(scale.shape)}, expected a number; multiply query by "
                "it: cross_attention(query * scale, key, value, scale=1.0)"
            )
    return float(scale)


def padding_over_heads(mask: Tensor, lead: Sequence[int]) -> Tensor:
    """key_padding_mask with a dimension for the heads, where query has one and the mask has not.

    For query [B, H, Lq, D] a mask [B, Lk] is of the batch, as in `nn.MultiheadAttention`, whether
    or not B and H are equal. Beside more leading dimensions a mask of fewer aligns at the right.

    Raises:
        ValueError: there, a mask that fits in other places too.
    """
    if not 2 <= mask.dim() <= len(lead):
        return mask
    if len(lead) == 2:
        if mask.shape[0] not in (1, lead[0]):
            raise ValueError(
                f"key_padding_mask: found {tuple(mask.shape)}, expected one of the batch, "
                f"({lead[0]}, Lk), or of batch and heads, ({lead[0]}, {lead[1]}, Lk); mask[None] "
                "is one of the heads"
            )
        return mask[:, None]
    if len(_places(mask.shape[:-1], lead)) > 1:
        raise ValueError(
            f"key_padding_mask: found {tuple(mask.shape)} beside query's leading dimensions "
            f"{tuple(lead)}, of which it may be several; expected one for each, of size 1 or full, "
            "before Lk (mask[:, None] adds one)"
        )
    return mask


def _places(sizes: Sequence[int], lead: Sequence[int]) -> set[tuple[int, ...]]:
    """The shapes, of lead's length, that `sizes` becomes by sizes of 1 put in where they fit."""
    places = set()
    for at in combinations(range(len(lead)), len(sizes)):
        if all(size in (1, lead[d]) for size, d in zip(sizes, at, strict=True)):
            shape = dict(zip(at, sizes, strict=True))
            places.add(tuple(shape.get(d, 1) for d in range(len(lead))))
    return places


def check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    dropout_p: float,
) -> None:
    """Raises ValueError, with what was found and expected, for what `cross_attention` refuses."""
    dims, other = query.dim(), "(clmer.scaled_dot_product_attention broadcasts them)"
    if not 2 <= dims <= MAX_DIMS or key.dim() != dims or value.dim() != dims:
        raise _misfit(query, key, value, f"the same 2 to {MAX_DIMS} dimensions in each {other}")
    *lead, rows, dim = query.shape
    *key_lead, keys, key_dim = key.shape
    *value_lead, values, _ = value.shape
    if key_lead != lead or value_lead != lead:
        raise _misfit(query, key, value, f"equal leading dimensions {other}")
    if key_dim != dim or values != keys:
        expected = "query [..., Lq, D], key [..., Lk, D] and value [..., Lk, Dv]"
        raise _misfit(query, key, value, expected)
    check_dtype("query", query)
    if key.dtype != query.dtype or value.dtype != query.dtype:
        raise ValueError(
            f"found query {query.dtype}, key {key.dtype}, value {value.dtype}, "
            "expected one floating-point dtype"
        )
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"dropout_p: found {dropout_p}, expected 0 <= p <= 1")
    device = query.device
    if key.device != device or value.device != device:
        raise ValueError(f"devices differ: query {device}, key {key.device}, value {value.device}")
    if key_padding_mask is not None:
        _check_bool("key_padding_mask", key_padding_mask, "ignore")
        _check_fits("key_padding_mask", key_padding_mask, (*lead, keys), device)
    if attn_mask is not None:
        _check_bool("attn_mask", attn_mask, "takes part")
        _check_fits("attn_mask", attn_mask, (*lead, rows, keys), device)
    if bias is not None:
        if not isinstance(bias, Tensor):
            raise ValueError(f"attn_bias: found {type(bias).__name__}, expected a tensor")
        check_dtype("attn_bias", bias)
        _check_fits("attn_bias", bias, (*lead, rows, keys), device)


def _misfit(query: Tensor, key: Tensor, value: Tensor, expected: str) -> ValueError:
    found = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    return ValueError(f"found {found}, expected {expected}")


def _check_bool(name: str, mask: Tensor, true: str) -> None:
    if not isinstance(mask, Tensor):
        raise ValueError(f"{name}: found {type(mask).__name__}, expected a tensor of torch.bool")
    if mask.dtype != torch.bool:
        raise ValueError(
            f"{name}: found {mask.dtype}, expected torch.bool (True = {true}); "
            "additive masks go into attn_bias"
        )


def _check_fits(name: str, tensor: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    fits = tensor.dim() <= len(shape) and all(
        size in (1, full)
        for size, full in zip(reversed(tensor.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name}: found {tuple(tensor.shape)}, expected something broadcastable to {shape} "
            "(dimensions align at the right; but key_padding_mask [B, Lk] is of the batch)"
        )
    if tensor.device != device:
        raise ValueError(f"devices differ: query on {device}, {name} on {tensor.device}")


def to_rank(tensor: Tensor, rank: int) -> Tensor:
    """With dimensions of size 1 in front."""
    return tensor[(None,) * (rank - tensor.dim())]
