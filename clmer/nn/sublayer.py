"""The sublayers of stacked transformer layers: norm and projection, attention's way out, MLP.

Three functions, each with its plain form and a kernel that takes a tile of rows through all of its
stages while they are in cache (csrc/sublayer.h). The kernel runs on the CPU in float32 and float64;
the plain form on GPUs, under autocast, `torch.compile` and functorch, and where a batch is spread
over processes (`clmer.nn.shard`). The kernel drops what the attention's `dropout_mask` says, from
seeds that PyTorch's generator draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clmer._native import _C
from clmer.nn.dropout import drop
from clmer.nn.shard import current_group
from clmer.ops._dispatch import is_ordinary, is_tracing
from clmer.ops.attention.reference import draw_seed

_MAX_PARTS = 64


def project(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Norm and linear map of every stream, cut into projections and those into heads.

        norm(x_s) W_s + b_s

    Args:
        x: [S, B, L, d].
        weight: [S, d, n d], n projections side by side.
        bias: [S, 1, n d].
        heads: h, divides d.

    Returns:
        n tensors [S, B, h, L, d / h].
    """
    dim = x.shape[-1]
    if _fused(x, weight, bias) and weight.shape[-1] <= _MAX_PARTS * dim:
        return _apply(_Project, x.contiguous(), weight, bias, heads)
    y = stacked_linear(normed(x), weight, bias).unflatten(3, (-1, heads, dim // heads))
    return y.permute(3, 0, 1, 4, 2, 5).unbind()


def merge(x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, dropout: float = 0.0) -> Tensor:
    """Add attention's result to every stream.

        x_s + dropout(concat(heads_s) W_s + b_s)

    Args:
        x: [S, B, L, d].
        heads: [S, B, h, L, d / h].
        weight: [S, d, d].
        bias: [S, 1, d].
        dropout: p in [0, 1).

    Returns:
        [S, B, L, d].
    """
    if _fused(x, heads, weight, bias):
        args = (x.contiguous(), heads.contiguous(), weight, bias, _seed(dropout), dropout)
        return _apply(_Merge, *args)
    return x + _drop(stacked_linear(heads.transpose(2, 3).flatten(3), weight, bias), dropout)


def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_dropout: float = 0.0,
    dropout: float = 0.0,
) -> Tensor:
    """Add a two-layer network's result to every stream.

        x_s + dropout(dropout(relu(norm(x_s) W1_s + b1_s)) W2_s + b2_s)

    Args:
        x: [S, B, L, d].
        weight1: [S, d, H].
        bias1: [S, 1, H].
        weight2: [S, H, d].
        bias2: [S, 1, d].
        hidden_dropout: the inner p, in [0, 1).
        dropout: the outer p, in [0, 1).

    Returns:
        [S, B, L, d].
    """
    weights = (weight1, bias1, weight2, bias2)
    if _fused(x, *weights):
        dropouts = (_seed(hidden_dropout), _seed(dropout), hidden_dropout, dropout)
        return _apply(_FeedForward, x.contiguous(), *weights, *dropouts)
    hidden = _drop(F.relu(stacked_linear(normed(x), weight1, bias1)), hidden_dropout)
    return x + _drop(stacked_linear(hidden, weight2, bias2), dropout)


# --- plain forms ----------------------------------------------------------------------------------
def normed(x: Tensor) -> Tensor:
    """Layer norm over the last dimension, without gain and offset."""
    return F.layer_norm(x, x.shape[-1:])


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """S linear maps in one batched product: x [S, ..., inputs], weight [S, inputs, outputs]."""
    y = torch.baddbmm(bias, x.flatten(1, -2), weight)
    return y.view(*x.shape[:-1], -1)


def _drop(x: Tensor, p: float) -> Tensor:
    """Dropout of stacked streams [S, B, ...]; a spread batch has its samples in dimension 0."""
    if current_group() is None:
        return drop(x, p)
    return drop(x.transpose(0, 1), p).transpose(0, 1)


# --- kernels --------------------------------------------------------------------------------------
def _fused(x: Tensor, *others: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or is_tracing():
        return False
    if current_group() is not None:  # the kernel's mask is of its own rows, not of the whole batch
        return False
    one_type = all(t.dtype == x.dtype for t in others)
    return one_type and is_ordinary(x, *others) and not torch.is_autocast_enabled("cpu")


def _apply(function: Any, *args: Any) -> Any:
    """The forward outright where no gradient will be asked for."""
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in args):
        return function.apply(*args)
    return function.forward(None, *args)


def _seed(p: float) -> Tensor | None:
    return draw_seed(torch.device("cpu")) if p else None


def _refuse_graph() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "clmer.nn.sublayer: the kernels' backward has no gradient of its own; found it under "
            "create_graph=True, expected first derivatives only"
        )


def _transposed(weight: Tensor) -> Tensor:
    return weight.transpose(1, 2).contiguous()


def _summed(chunks: Sequence[Tensor]) -> list[Tensor]:
    return [chunk.sum(0) for chunk in chunks]


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, heads):  # type: ignore[no-untyped-def]
        if ctx is not None:
            ctx.save_for_backward(x, weight)
            ctx.heads = heads
        weights = (weight.contiguous(), bias.contiguous())
        return tuple(_C.project(x, *weights, heads, torch.get_num_threads()))

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        _refuse_graph()
        x, weight = ctx.saved_tensors
        grads = [grad.contiguous() for grad in grads]
        args = (x, _transposed(weight), ctx.heads, torch.get_num_threads())
        grad_x, *chunks = _C.project_backward(grads, *args)
        return grad_x, *_summed(chunks), None


class _Merge(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, heads, weight, bias, seed, dropout):  # type: ignore[no-untyped-def]
        if ctx is not None:
            ctx.save_for_backward(heads, weight, seed)
            ctx.dropout = dropout
        weights = (weight.contiguous(), bias.contiguous())
        return _C.merge(x, heads, *weights, seed, dropout, torch.get_num_threads())

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        _refuse_graph()
        heads, weight, seed = ctx.saved_tensors
        args = (heads, _transposed(weight), seed, ctx.dropout, torch.get_num_threads())
        grad_heads, *chunks = _C.merge_backward(grad.contiguous(), *args)
        return grad, grad_heads, *_summed(chunks), None, None


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, x, weight1, bias1, weight2, bias2, hidden_seed, seed, hidden_dropout, dropout
    ):
        weights = [t.contiguous() for t in (weight1, bias1, weight2, bias2)]
        dropouts = (hidden_seed, seed, hidden_dropout, dropout)
        keep = ctx is not None
        out, kept = _C.feed_forward(x, *weights, *dropouts, keep, torch.get_num_threads())
        if keep:
            ctx.save_for_backward(x, kept, weight1, weight2, hidden_seed, seed)
            ctx.dropouts = hidden_dropout, dropout
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        _refuse_graph()
        x, kept, weight1, weight2, *seeds = ctx.saved_tensors
        weights = (_transposed(weight1), _transposed(weight2))
        args = (x, kept, *weights, *seeds, *ctx.dropouts, torch.get_num_threads())
        grad_x, *chunks = _C.feed_forward_backward(grad.contiguous(), *args)
        return grad_x, *_summed(chunks), None, None, None, None
