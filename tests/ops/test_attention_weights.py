"""`cross_attention_with_weights`: the weights of the pass that makes the output."""

import pytest
import torch
from support.attention_cases import SEED, problem

from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import attention_weights
from clmer.ops.attention.weights import cross_attention_with_weights

#: (Lq, Lk, D, Dv): one block of keys, several (computed twice), keys across the lanes.
SHAPES = [(1, 1, 4, 4), (5, 7, 3, 8), (50, 50, 6, 6), (130, 300, 8, 5), (3, 200, 8, 8)]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("case", ["plain", "masked", "hidden", "dropout", "all"])
@pytest.mark.parametrize("shape", SHAPES)
def test_are_those_of_the_reference(simd_level, shape, case, average, is_causal):
    (q, k, v, bias, _), options = problem(shape, case, torch.float64, lead=(2, 3))
    options |= dict(attn_bias=None if bias is None else bias.double(), is_causal=is_causal)
    out, weights = cross_attention_with_weights(q, k, v, average=average, **options)
    torch.testing.assert_close(out, cross_attention(q, k, v, **options), rtol=0, atol=0)
    want = attention_weights(q, k, **options)
    torch.testing.assert_close(weights, want.mean(-3) if average else want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_other_types(dtype):
    (q, k, v, _, _), _ = problem((50, 50, 6, 6), "plain", dtype)
    _, weights = cross_attention_with_weights(q, k, v)
    assert weights.dtype == dtype
    want = attention_weights(q.double(), k.double()).mean(-3)
    torch.testing.assert_close(weights.double(), want, rtol=0, atol=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("average", [False, True])
def test_gradients_of_both(average):
    (q, k, v, bias, _), options = problem((4, 5, 3, 2), "all", torch.float64, lead=(2, 2))

    def call(q, k, v, bias):
        return cross_attention_with_weights(q, k, v, attn_bias=bias, average=average, **options)

    leaves = [t.double().requires_grad_() for t in (q, k, v, bias)]
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(
        lambda x: cross_attention_with_weights(x, x, x.sin(), average=average), leaves[0]
    )
    _, weights = cross_attention_with_weights(*leaves[:3], average=average, impl="native")
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(weights.square().sum(), leaves[0], create_graph=True)


def test_unused_weights_cost_the_backward_nothing(monkeypatch):
    (q, k, v, _, _), _ = problem((4, 5, 3, 2), "plain", torch.float64)
    q.requires_grad_()
    out, _ = cross_attention_with_weights(q, k, v)
    (want,) = torch.autograd.grad(cross_attention(q, k, v).sum(), q)

    def never(*_, **__):
        raise AssertionError("the weights were computed again")

    monkeypatch.setattr("clmer.ops.attention.weights.attention_weights", never)
    (found,) = torch.autograd.grad(out.sum(), q)
    torch.testing.assert_close(found, want, rtol=0, atol=0)


def test_output_that_overflows_does_not_count_the_weights_twice(simd_level):
    """Values so large that the rows are done again with smaller weights."""
    largest = 0.9 * torch.finfo(torch.float32).max
    q, k = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 40, 4)
    out, weights = cross_attention_with_weights(q, k, torch.full((1, 2, 40, 3), largest))
    assert out.isfinite().all()
    torch.testing.assert_close(weights, attention_weights(q, k).mean(1))


def test_many_heads_are_summed_in_one_order():
    (q, k, v, _, _), _ = problem((9, 9, 4, 4), "plain", lead=(40, 70))
    _, first = cross_attention_with_weights(q, k, v)
    torch.testing.assert_close(first, attention_weights(q, k).mean(1))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        _, again = cross_attention_with_weights(q, k, v)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first, again)


def test_where_it_is_computed_beside():
    (q, k, v, _, _), _ = problem((4, 5, 3, 2), "plain", torch.float64)
    want = cross_attention_with_weights(q, k, v, dropout_p=0.5, seed=SEED)
    for call in (
        lambda: cross_attention_with_weights(q, k, v, dropout_p=0.5, seed=SEED, impl="reference"),
        lambda: torch.compile(
            lambda q: cross_attention_with_weights(q, k, v, dropout_p=0.5, seed=SEED),
            backend="aot_eager",
            fullgraph=True,
        )(q),
    ):
        torch.testing.assert_close(call(), want)
    out, weights = cross_attention_with_weights(q, k, v, dropout_p=1.0)
    assert not out.any()
    assert not weights.any()
