"""The ops as standard ones, for programs that leave PyTorch or CLMER behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import register_decomposition

from clmer.ops.attention.reference import attention_scores, cross_attention_reference
from clmer.ops.attention.registered import ordered_like
from clmer.ops.bandpass.blocks import sosfilt_blocks
from clmer.ops.sublayer.reference import (
    feed_forward_steps,
    merge_heads_reference,
    project_heads_reference,
)

_Table = dict[torch._ops.OpOverload, Callable[..., Any]]


def decompositions() -> _Table:
    """What each op of CLMER is in PyTorch's own ops.

        program = torch.export.export(model.eval(), (x,))
        program = program.run_decompositions(clmer.ops.decompositions())
        torch.export.save(program, "model.pt2")  # loads where CLMER is not installed

    The standard forms are the references, on every device, but for `sosfilt`, which is filtered in
    blocks of 64 samples. `torch.onnx.export(..., dynamo=True)` takes them by itself. Ops that are
    for training alone stay what they are: `nt_xent`, and the backward ops.

    Returns:
        op -> function, for `ExportedProgram.run_decompositions`. With PyTorch's own,
        `torch.export.default_decompositions() | decompositions()`, all ends in core ops.
    """
    return dict(_TABLE)


def _cross_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
    impl: str = "",
) -> tuple[Tensor, Tensor]:
    """O in the memory order that the op's fake promises, and the log-sum-exp (Inf: sees no key)."""
    masks: dict[str, Any] = {"key_padding_mask": mask, "attn_mask": attn_mask, "attn_bias": bias}
    masks["is_causal"] = is_causal
    out = cross_attention_reference(
        query, key, value, **masks, dropout_p=dropout_p, scale=scale, seed=seed
    )
    lse = attention_scores(query, key, **masks, scale=scale).logsumexp(-1)
    lse = lse.masked_fill(lse == -torch.inf, torch.inf)
    room = ordered_like(query) if query.is_cpu and out.shape == query.shape else None
    if room is not None:
        strides = room.stride()
        order = sorted(range(out.dim()), key=lambda d: strides[d], reverse=True)
        back = sorted(range(out.dim()), key=lambda d: order[d])
        out = out.permute(order).contiguous().permute(back)
    return out, lse


def _project_heads(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> list[Tensor]:
    return [each.contiguous() for each in project_heads_reference(x, weight, bias, num_heads)]


def _merge_heads(
    x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, seed: Tensor | None, dropout_p: float
) -> Tensor:
    y = merge_heads_reference(x, heads, weight, bias, dropout_p=dropout_p, seed=seed)
    return y.contiguous()


def _feed_forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    y, hidden = feed_forward_steps(*arguments)
    return y.contiguous(), hidden.contiguous()


_OPS = torch.ops.clmer
_TABLE: _Table = {
    _OPS.cross_attention.default: _cross_attention,
    _OPS.sosfilt.default: sosfilt_blocks,
    _OPS.project_heads.default: _project_heads,
    _OPS.merge_heads.default: _merge_heads,
    _OPS.feed_forward.default: _feed_forward,
}

# torch.onnx.export looks into PyTorch's table of all decompositions. So does FakeTensor, for shapes
# that are open, unless the op is in the table of those that have a fake.
for _op, _form in _TABLE.items():
    register_decomposition(_op)(_form)
    register_decomposition(_op, type="meta")(_form)
