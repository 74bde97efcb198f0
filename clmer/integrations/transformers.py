"""`cross_attention` as an attention implementation of Hugging Face transformers.

    from clmer.integrations.transformers import register
    register()
    model = AutoModel.from_pretrained(..., attn_implementation="clmer")

Two functions are registered. Without the second, which makes the masks, transformers would make
none for a name it does not know, and padding would silently take part in the attention. Models
that cannot use them are refused, see `clmer.integrations._own_attention`.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from clmer.integrations._own_attention import NAME, check_config, guard
from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.sdpa import group_heads, to_autocast

__all__ = ["NAME", "attention_forward", "attention_mask", "register"]

_NEEDED = "5.0"
# What some models hand to their own attention, and what its absence would change.
_CHANGES_SCORES = {
    "softcap": "capped scores",
    "s_aux": "learnt sinks",
    "sinks": "learnt sinks",
    "block_indices": "block-sparse attention",
    "indices": "attention to the keys that an indexer chose",
    "cache": "a paged cache",
}


def register() -> None:
    """Add `attn_implementation="clmer"` to transformers, for every model that takes one by name.

    transformers asks a model only about the names it ships whether it can use them. The same
    question is asked here about "clmer": a model that refuses "sdpa", or one with a module whose
    attention would misread the mask, raises ValueError when it is made or switched.

    Raises:
        ImportError: transformers is absent or too old.
    """
    try:
        found = metadata.version("transformers")
    except metadata.PackageNotFoundError as error:
        raise ImportError(
            f"transformers is not installed, expected {_NEEDED} or newer: "
            '`pip install "clmer[transformers]"`'
        ) from error
    from packaging.version import Version  # transformers brings it

    if Version(found) < Version(_NEEDED):
        raise ImportError(
            f"transformers: found {found}, expected {_NEEDED} or newer: "
            '`pip install -U "clmer[transformers]"`'
        )
    from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, attention_mask)
    guard(PreTrainedModel)


def attention_mask(*args: Any, **options: Any) -> Tensor | None:
    """SDPA's boolean mask [B, 1, Lq, Lk], True = takes part; None where every key does.

    Raises:
        ValueError: the configuration's models refuse "sdpa", whose masks these are. They would add
            this one to their scores, where True and False are 1 and 0: padding would be all but
            ignored.
    """
    from transformers.masking_utils import sdpa_mask

    if options.get("config") is not None:
        check_config(type(options["config"]))
    return sdpa_mask(*args, **options)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer.

    Args:
        module: the model's attention layer; its `is_causal` counts where the argument is None.
        query: [B, H, Lq, D].
        key: [B, Hkv, Lk, D], each for H / Hkv neighbouring query heads.
        value: [B, Hkv, Lk, Dv].
        attention_mask: broadcastable to [B, H, Lq, Lk]: bool (True = takes part) or added.
        dropout: probability of dropping a weight; the model passes 0 in evaluation.
        scaling: None is 1 / sqrt(D).
        is_causal: without a mask, hide key j from query i < j. A single query sees every key: it is
            the newest of a cached sequence.
        position_bias: broadcastable to [B, H, Lq, Lk], added to the scores (T5); differentiable.
        options: what else the model passes. A sliding window is in the mask already.

    Returns:
        [B, Lq, H, Dv], and None for the weights.

    Raises:
        ValueError: an option that changes the scores in a way `cross_attention` cannot follow.
    """
    for name, what in _CHANGES_SCORES.items():
        if options.get(name) is not None:
            raise ValueError(
                f'attn_implementation="{NAME}": {type(module).__name__} asks for {what} ({name}), '
                'which cross_attention does not have; use attn_implementation="eager"'
            )
    if options.get("output_attentions"):
        _warn_no_weights()
    query, key, value = to_autocast(query, key, value)
    mask, bias = attention_mask, position_bias
    if mask is not None and mask.dtype != torch.bool:
        bias = mask if bias is None else bias + mask
        mask = None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = causal and attention_mask is None and query.shape[2] > 1
    # [B, Hkv, H / Hkv, L, D], keys and values with stride 0 over the third: nothing is copied.
    shared = key.shape[1]
    group = query.shape[1] // shared
    batch = max(query.shape[0], key.shape[0])
    query = query.unflatten(1, (shared, group)).expand(batch, -1, -1, -1, -1)
    key, value = (t[:, :, None].expand(batch, -1, group, -1, -1) for t in (key, value))
    out = cross_attention(
        query,
        key,
        value,
        attn_mask=group_heads(mask, group),
        attn_bias=group_heads(bias, group),
        is_causal=causal,
        dropout_p=dropout,
        scale=scaling,
    )
    return out.flatten(1, 2).transpose(1, 2).contiguous(), None


def _warn_no_weights() -> None:
    from transformers.utils import logging

    logging.get_logger(__name__).warning_once(
        f'attn_implementation="{NAME}" does not support output_attentions=True: the weights are '
        'never stored. Use attn_implementation="eager" for them.'
    )
