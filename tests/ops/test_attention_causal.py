"""`cross_attention(..., is_causal=True)` on the CPU: as its mask, and what it never reads."""

import pytest
import torch
from support.attention_cases import (
    CASES,
    check_causal,
    check_what_causal_hides_leaks_nothing,
    problem,
)
from test_attention import inputs, results

from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import attention_weights

#: (Lq, Lk, D, Dv): one tile, several, two chunks of queries, several blocks of keys, keys across
#: the lanes, more queries than keys and fewer.
SHAPES = [
    *((1, 1, 4, 4), (5, 5, 3, 8), (48, 48, 16, 16), (50, 50, 6, 6), (64, 130, 8, 5)),
    *((130, 64, 8, 5), (300, 300, 8, 9), (3, 200, 8, 8), (200, 3, 8, 8)),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_mask(simd_level, shape, case):
    check_causal(cross_attention, shape, case)


@pytest.mark.parametrize("shape", [(1, 640, 640, 8), (2, 500, 900, 4)])  # keys in several parts
def test_long_heads_whose_keys_are_shared_out(simd_level, shape):
    heads, rows, keys, dim = shape
    q, k, v, _, _, grad = inputs((rows, keys, dim, dim), torch.float64, (heads,))
    padding = torch.zeros(keys, dtype=torch.bool)
    padding[:300] = True  # the first queries see nothing
    earlier = torch.ones(rows, keys, dtype=torch.bool).tril()
    ours = results(cross_attention, q, k, v, None, grad, key_padding_mask=padding, is_causal=True)
    want = results(cross_attention, q, k, v, None, grad, attn_mask=earlier & ~padding)
    for a, b in zip(ours, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("rows", "keys"), [(5, 9), (20, 9), (200, 300), (3, 40)])
def test_what_it_hides_leaks_nothing(simd_level, rows, keys):
    check_what_causal_hides_leaks_nothing(cross_attention, rows, keys)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types(simd_level, dtype):
    q, k, v, _, _, grad = inputs((70, 70, 8, 8), dtype, (2, 2))
    earlier = torch.ones(70, 70, dtype=torch.bool).tril()
    ours = results(cross_attention, q, k, v, None, grad, is_causal=True)
    want = results(cross_attention, q, k, v, None, grad, attn_mask=earlier)
    for a, b in zip(ours, want, strict=True):
        torch.testing.assert_close(a, b)
        assert a.dtype == dtype


def test_any_number_of_threads_gives_the_same_bits():
    tensors, options = problem((150, 150, 8, 8), "all")
    first = results(cross_attention, *tensors, is_causal=True, **options)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        again = results(cross_attention, *tensors, is_causal=True, **options)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_weights_are_zero_past_the_diagonal():
    q = torch.randn(2, 5, 4)
    weights = attention_weights(q, torch.randn(2, 7, 4), is_causal=True)
    assert not weights.triu(1).any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))


MASKS = {
    "causal": lambda r, c: c <= r,
    "later keys alone": lambda r, c: c >= r,
    "a window": lambda r, c: (c - r).abs() < 20,
    "blocks": lambda r, c: c // 40 == r // 40,
    "one hole": lambda r, c: (r != 3) | (c != 50),
    "more and more, then less": lambda r, c: c <= torch.where(r < 150, 2 * r, 300 - r),
}


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", [(70, 70), (300, 300), (3, 200)])
@pytest.mark.parametrize("name", MASKS)
def test_masks_whose_hidden_tiles_are_passed_over(simd_level, name, shape, strided):
    rows, keys = shape
    shown = MASKS[name](torch.arange(rows)[:, None], torch.arange(keys))
    q, k, v, bias, padding, grad = inputs(
        (rows, keys, 8, 5), torch.float64, (2, 2), (rows, keys), masked=True
    )
    if strided:
        shown = shown.mT.contiguous().mT
    for options in ({}, {"key_padding_mask": padding}, {"is_causal": True}):
        for b in (None, bias, bias.masked_fill(~shown, -torch.inf)):
            ours = results(cross_attention, q, k, v, b, grad, attn_mask=shown, **options)
            plain = results(
                cross_attention, q, k, v, b, grad, attn_mask=shown, impl="reference", **options
            )
            for x, y in zip(ours, plain, strict=True):
                torch.testing.assert_close(x, y)


@pytest.mark.parametrize("rows", [5, 70, 300])
def test_keys_that_a_bias_hides_from_all_get_zeros(simd_level, rows):
    q, k, v, _, _, grad = inputs((rows, 300, 8, 5), torch.float32, (2, 2))
    bias = torch.zeros(rows, 300)
    bias[:, 140:] = -torch.inf
    ours = results(cross_attention, q, k, v, bias, grad)
    plain = results(cross_attention, q, k, v, bias, grad, impl="reference")
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    assert not ours[2][..., 140:, :].any()
