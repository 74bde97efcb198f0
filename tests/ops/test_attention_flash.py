"""Against flash-attention's reference cases: its lengths, head sizes, kinds of heads and limits.

Sizes and limits are those of `test_flash_attn_output` in its tests, the long and wide ones cut:
against attention in float32 the error in half precision is at most twice that of plain PyTorch in
the same precision, that of gradients at most three times.

Source: Dao, FlashAttention-2 (2023), and its repository, tests/test_flash_attn.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clmer.ops import cross_attention, scaled_dot_product_attention

LENGTHS = [(113, 203), (128, 217), (108, 256), (256, 128), (128, 128)]
HEADS = {"mha": 6, "gqa": 3, "mqa": 1}


def causal(rows: int, keys: int) -> Tensor:
    """flash-attention's causal mask: the last query sees all keys."""
    return torch.ones(rows, keys, dtype=torch.bool).tril(keys - rows)


def plain(q: Tensor, k: Tensor, v: Tensor, shown: Tensor | None, bias: Tensor | None) -> Tensor:
    """Attention step by step in the inputs' precision; a query that sees no key gives zeros."""
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if shown is None:
        return scores.softmax(-1) @ v
    weights = scores.masked_fill(~shown, -torch.inf).softmax(-1)
    return weights.masked_fill(~shown.any(-1, keepdim=True), 0.0) @ v


def problem(lengths: tuple[int, int], dim: int, kind: str, dtype: torch.dtype) -> list[Tensor]:
    """q, k, v and the gradient that comes in."""
    g = torch.Generator().manual_seed(0)
    (rows, keys), heads = lengths, HEADS[kind]
    sizes = ((6, rows), (heads, keys), (heads, keys), (6, rows))
    return [torch.randn(1, *size, dim, generator=g).to(dtype) for size in sizes]


def with_gradients(out: Tensor, grad: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [out, *torch.autograd.grad(out, inputs, grad)]


def assert_within_limits(ours: list[Tensor], half: list[Tensor], wide: list[Tensor]) -> None:
    limits = (2, 3, 3, 3)
    for limit, mine, theirs, want in zip(limits, ours, half, wide, strict=True):
        error, allowed = ((each.float() - want).abs().max() for each in (mine, theirs))
        assert error <= limit * allowed


def leaves(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [t.detach().to(dtype).requires_grad_() for t in tensors]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dim", [32, 40, 59, 64, 96, 111, 128])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_output(
    lengths: tuple[int, int], dim: int, is_causal: bool, kind: str, dtype: torch.dtype
) -> None:
    *inputs, grad = problem(lengths, dim, kind, dtype)
    shown = causal(*lengths) if is_causal else None
    q, k, v = leaves(inputs, dtype)
    flag = is_causal and lengths[0] == lengths[1]  # where the two definitions agree
    mask = None if flag else shown
    out = scaled_dot_product_attention(q, k, v, mask, is_causal=flag, enable_gqa=True)
    ours = with_gradients(out, grad, q, k, v)
    found = []
    for precision in (dtype, torch.float32):
        a, b, c = leaves(inputs, precision)
        found.append(with_gradients(plain(a, b, c, shown, None), grad.to(precision), a, b, c))
    assert_within_limits(ours, *found)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_alibi(lengths: tuple[int, int]) -> None:
    """Linear biases that grow with the distance, aligned at the bottom right as the mask is."""
    rows, keys = lengths
    *inputs, grad = problem(lengths, 64, "mha", torch.bfloat16)
    slopes = torch.rand(6, 1, 1, generator=torch.Generator().manual_seed(1)) * 0.3
    distance = torch.arange(rows)[:, None] + keys - rows - torch.arange(keys)
    bias, shown = -slopes * distance.abs(), causal(rows, keys)
    q, k, v = leaves(inputs, torch.bfloat16)
    out = cross_attention(q, k, v, attn_bias=bias, attn_mask=shown)
    ours = with_gradients(out, grad, q, k, v)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        a, b, c = leaves(inputs, dtype)
        found.append(with_gradients(plain(a, b, c, shown, bias), grad.to(dtype), a, b, c))
    assert_within_limits(ours, *found)


@pytest.mark.parametrize(("rows", "keys"), [(2, 5), (5, 2)])
def test_the_flag_aligns_at_the_top_left(rows: int, keys: int) -> None:
    """As torch's does, and unlike flash-attention's: query 0 sees key 0 alone."""
    q, k, v = (torch.randn(1, 1, n, 8, dtype=torch.float64) for n in (rows, keys, keys))
    top_left = torch.ones(rows, keys, dtype=torch.bool).tril()
    found = cross_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(found, cross_attention(q, k, v, attn_mask=top_left))
    torch.testing.assert_close(
        found, torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    )
    bottom_right = cross_attention(q, k, v, attn_mask=causal(rows, keys))
    assert not torch.allclose(found, bottom_right)
    blind = max(rows - keys, 0)  # queries that flash-attention's mask leaves no key
    assert not bottom_right[..., :blind, :].any()
