"""Sublayers and whole layers: the ops of `clmer.ops`, or plainly where those do not fit.

The ops compute on the CPU in float32 and float64. Plain PyTorch it is on GPUs and under autocast,
whose lowered products and own dropout are faster there, and where a batch is spread over processes
(`clmer.nn.shard`), whose masks are those of the whole batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clmer import ops
from clmer.nn.dropout import drop
from clmer.nn.random_state import new_seed, new_seeds
from clmer.nn.shard import current_group, local_rows, whole_shape
from clmer.ops._dispatch import is_ordinary, is_tracing
from clmer.ops.sublayer.layer import LayerWeights, transformer_layer
from clmer.ops.sublayer.reference import join_heads, normed, split_heads, stacked_linear


def project(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    """`clmer.ops.project_heads`."""
    if _takes_op(x):
        return ops.project_heads(x, weight, bias, heads)
    return split_heads(stacked_linear(normed(x), weight, bias), heads, x.shape[-1])


def merge(x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, dropout: float = 0.0) -> Tensor:
    """`clmer.ops.merge_heads`."""
    if _takes_op(x):
        return ops.merge_heads(
            x, heads, weight, bias, dropout_p=dropout, seed=new_seed(dropout, x.device)
        )
    return x + _drop(stacked_linear(join_heads(heads), weight, bias), dropout)


def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_dropout: float = 0.0,
    dropout: float = 0.0,
) -> Tensor:
    """`clmer.ops.feed_forward`."""
    weights = (weight1, bias1, weight2, bias2)
    if _takes_op(x):
        return ops.feed_forward(
            x,
            *weights,
            hidden_dropout_p=hidden_dropout,
            dropout_p=dropout,
            hidden_seed=new_seed(hidden_dropout, x.device),
            seed=new_seed(dropout, x.device),
        )
    hidden = _drop(F.relu(stacked_linear(normed(x), weight1, bias1)), hidden_dropout)
    return x + _drop(stacked_linear(hidden, weight2, bias2), dropout)


def takes_kernel(x: Tensor) -> bool:
    """Whether kernels that are no ops of torch's library can compute with x.

    Where an op fits, and no compiler, transform or mode is active; elsewhere a module's own parts
    do. A batch may be spread over processes.
    """
    return _computes(x) and not is_tracing() and is_ordinary(x)


def layer(x: Tensor, weights: LayerWeights, heads: int, first_only: bool, dropout: float) -> Tensor:
    """`clmer.ops.sublayer.layer.transformer_layer`."""
    seeds, samples = new_seeds(dropout, x.device, 3), None
    if seeds is not None and current_group() is not None:
        samples = local_rows(torch.arange(whole_shape(x)[0]))
    return transformer_layer(
        x, weights, heads,
        first_only=first_only, dropout_p=dropout, seeds=seeds, samples=samples,
    )  # fmt: skip


def _takes_op(x: Tensor) -> bool:
    return _computes(x) and current_group() is None


def _computes(x: Tensor) -> bool:
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        return False
    return not torch.is_autocast_enabled("cpu")


def _drop(x: Tensor, p: float) -> Tensor:
    """Dropout of stacked streams [S, B, ...]; a spread batch has its samples in dimension 0."""
    if current_group() is None:
        return drop(x, p)
    return drop(x.transpose(0, 1), p).transpose(0, 1)
