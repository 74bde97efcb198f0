"""`transformer_layer`: a whole pre-norm layer of few short sequences, in one kernel on the CPU.

Its weights are those of `nn.Linear` and `nn.LayerNorm` as they stand. Modules call it where it fits
(`clmer.nn.sublayer.takes_kernel`) and their own parts elsewhere: it is no op of torch's library, so
compilers, `torch.func` and GPUs never see it. csrc/sublayer/cpu_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    choose_impl,
    no_double_backward,
    reference_gradients,
)
from clmer.ops.attention.reference import dropout_mask


class LayerWeights(NamedTuple):
    """The weights of a layer with d features and H hidden units; biases and norms are [d] or [H].

    Attributes:
        gain1, offset1: of the norm ahead of attention.
        query: [d, d], outputs first as in `nn.Linear`, without bias.
        key_value: [2 d, d], keys first.
        out, out_bias: [d, d], the map behind attention.
        gain2, offset2: of the norm ahead of the feed-forward part.
        weight1, bias1: [H, d].
        weight2, bias2: [d, H].
    """

    gain1: Tensor
    offset1: Tensor
    query: Tensor
    key_value: Tensor
    out: Tensor
    out_bias: Tensor
    gain2: Tensor
    offset2: Tensor
    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor


def transformer_layer(
    x: Tensor,
    weights: LayerWeights,
    num_heads: int,
    *,
    first_only: bool = False,
    dropout_p: float = 0.0,
    seeds: Tensor | None = None,
    samples: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """A pre-norm transformer layer.

        u = x + dropout(W_o attention(W_q n(x), W_kv n(x)) + b_o)
        y = u + dropout(W_2 dropout(relu(W_1 n'(u) + b_1)) + b_2)

    n and n' are layer norms with gain and offset, eps 1e-5. Attention itself has no dropout.

    Args:
        x: [B, L, d], L >= 1, float32 or float64; any strides.
        weights: of x's dtype.
        num_heads: h, divides d.
        first_only: compute the first token of each sample alone; it attends to all.
        dropout_p: probability in [0, 1) of dropping an element, in all three places.
        seeds: [3] int64, the keys of the three masks in the order of the equations; None without
            dropout. A mask is a hash of (seed, row of [B, tokens], feature), as in `merge_heads`.
        samples: [B] int64, the numbers >= 0 under which the masks know the samples: of a part of a
            larger batch, theirs in it. None for 0 to B - 1.
        impl: None, "native" (CPU) or "reference" (plain PyTorch, differentiable any number of
            times). None is native on the CPU and the reference elsewhere, as well as for second
            derivatives, which it says once.

    Returns:
        y [B, L, d], or [B, 1, d] where `first_only`.

    Raises:
        ValueError: a shape or dtype that does not fit, or dropout without seeds.
        RuntimeError: `impl="native"` on another device, or for second derivatives.

    Source: Xiong et al., On layer normalization in the transformer architecture (2020).
    """
    _check(x, weights, num_heads)
    _check_dropout(x, dropout_p, seeds, samples)
    masks = (seeds, samples) if dropout_p > 0 else (None, None)
    if choose_impl(impl, x.device, ("cpu",)) == "reference":
        return transformer_layer_reference(
            x, weights, num_heads,
            first_only=first_only, dropout_p=dropout_p, seeds=masks[0], samples=masks[1],
        )  # fmt: skip
    keys, numbers = (None if each is None else each.contiguous() for each in masks)
    options: _Options = (num_heads, first_only, keys, numbers, float(dropout_p))
    if torch.is_grad_enabled() and any_requires_grad(x, *weights):
        y: Tensor = _Layer.apply(impl is not None, options, x, *weights)
        return y
    return _forward(options, x, weights)[0]


def transformer_layer_reference(
    x: Tensor,
    weights: LayerWeights,
    num_heads: int,
    *,
    first_only: bool = False,
    dropout_p: float = 0.0,
    seeds: Tensor | None = None,
    samples: Tensor | None = None,
) -> Tensor:
    """The specification of `transformer_layer` in plain PyTorch."""
    w = weights
    masks = (None, None, None) if seeds is None or not dropout_p else seeds.unbind()
    normed = F.layer_norm(x, x.shape[-1:], w.gain1, w.offset1)
    first = slice(0, 1) if first_only else slice(None)
    projected = (normed[:, first] @ w.query.T, *(normed @ w.key_value.T).chunk(2, dim=-1))
    query, key, value = (t.unflatten(2, (num_heads, -1)).transpose(1, 2) for t in projected)
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    heads = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)

    def dropped(x: Tensor, seed: Tensor | None) -> Tensor:
        return x if seed is None else _dropped(x, seed, samples, dropout_p)

    u = x[:, first] + dropped(F.linear(heads, w.out, w.out_bias), masks[0])
    normed = F.layer_norm(u, x.shape[-1:], w.gain2, w.offset2)
    hidden = dropped(F.relu(F.linear(normed, w.weight1, w.bias1)), masks[1])
    return u + dropped(F.linear(hidden, w.weight2, w.bias2), masks[2])


def _dropped(x: Tensor, seed: Tensor, samples: Tensor | None, p: float) -> Tensor:
    rows = torch.arange(len(x), device=x.device) if samples is None else samples
    whole = torch.Size((int(rows.max()) + 1 if len(rows) else 0, *x.shape[1:]))
    kept = dropout_mask(seed, whole, p)[rows]
    return x * (kept.to(x.dtype) * (1.0 / (1.0 - p)))


_Options = tuple[int, bool, Tensor | None, Tensor | None, float]


def _forward(options: _Options, x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The result, and what the backward reads."""
    dense = [weight.contiguous() for weight in weights]
    return _C.layer(x.contiguous(), dense, *options, torch.get_num_threads())


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, explicit: bool, options: _Options, x: Tensor, *weights: Tensor) -> Tensor:
        y, saved = _forward(options, x, weights)
        ctx.save_for_backward(x, saved, *weights)
        ctx.explicit, ctx.options = explicit, options
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, saved, *weights = ctx.saved_tensors
        num_heads, first_only, seeds, samples, dropout_p = ctx.options
        if torch.is_grad_enabled():
            if ctx.explicit:
                raise no_double_backward("transformer_layer")

            def reference(x: Tensor, *weights: Tensor) -> Tensor:
                return transformer_layer_reference(
                    x, LayerWeights(*weights), num_heads,
                    first_only=first_only, dropout_p=dropout_p, seeds=seeds, samples=samples,
                )  # fmt: skip

            inputs = (x, *weights)
            found = reference_gradients("transformer_layer", reference, inputs, grad_y)
            return None, None, *found
        dense = [weight.contiguous() for weight in weights]
        rows = (grad_y.contiguous(), x.contiguous(), saved)
        masks, threads = (seeds, samples, dropout_p), torch.get_num_threads()
        grad_x, flat = _C.layer_backward(*rows, dense, num_heads, first_only, *masks, threads)
        parts = flat.split([weight.numel() for weight in weights])
        grads = (part.view(weight.shape) for part, weight in zip(parts, weights, strict=True))
        return None, None, grad_x, *grads


def _check(x: Tensor, weights: LayerWeights, num_heads: int) -> None:
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"x: found {tuple(x.shape)}, expected (B, L, d) with L >= 1")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: found {x.dtype}, expected torch.float32 or torch.float64")
    dim, hidden = x.shape[2], weights.bias1.shape[0]
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"num_heads: found {num_heads}, expected a divisor of x's {dim} features")
    matrices = {"query": (dim, dim), "key_value": (2 * dim, dim), "out": (dim, dim)}
    expected = {**matrices, "weight1": (hidden, dim), "bias1": (hidden,), "weight2": (dim, hidden)}
    for name, weight in weights._asdict().items():
        shape = expected.get(name, (dim,))
        if weight.shape != shape or weight.dtype != x.dtype or weight.device != x.device:
            raise ValueError(
                f"{name}: found {tuple(weight.shape)} {weight.dtype} on {weight.device}, expected "
                f"{shape} {x.dtype} on {x.device}"
            )


def _check_dropout(
    x: Tensor, dropout_p: float, seeds: Tensor | None, samples: Tensor | None
) -> None:
    if not 0 <= dropout_p < 1:
        raise ValueError(f"dropout_p: found {dropout_p}, expected 0 <= p < 1")
    if dropout_p and seeds is None:
        raise ValueError(f"seeds: found None, expected (3,) int64 with dropout_p={dropout_p}")
    for name, each, count in (("seeds", seeds, 3), ("samples", samples, len(x))):
        if each is not None and (each.shape != (count,) or each.dtype != torch.int64):
            raise ValueError(
                f"{name}: found {tuple(each.shape)} {each.dtype}, expected ({count},) torch.int64"
            )
