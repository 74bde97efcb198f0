"""`transformer_layer`: numbers, masks, threads, second derivatives, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.layer_cases import SHAPES, layer_case
from torch import Tensor

from clmer.ops import feed_forward, merge_heads
from clmer.ops.sublayer.layer import (
    LayerWeights,
    transformer_layer,
    transformer_layer_reference,
)

SMALL = SHAPES[1]
SEEDS = torch.tensor([3, -(2**40), 7])


def results(
    form: Any, x: Tensor, weights: LayerWeights, heads: int, **options: Any
) -> list[Tensor]:
    """The result and all gradients."""
    y = form(x, weights, heads, **options)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(y.shape, dtype=torch.float64, generator=generator).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, (x, *weights), grad)]


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_equals_the_reference(
    shape: tuple[int, ...], dtype: torch.dtype, p: float, first_only: bool, simd_level: str
) -> None:
    """In float32 at most twice plain PyTorch's error, three times for gradients, and 8 eps."""
    options: dict[str, Any] = {"dropout_p": p, "seeds": SEEDS, "first_only": first_only}
    x, weights = layer_case(shape, dtype)
    ours = results(transformer_layer, x, weights, shape[3], **options)
    plain = results(transformer_layer_reference, x, weights, shape[3], **options)
    if dtype == torch.float64:
        for got, want in zip(ours, plain, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)
        return
    wide = LayerWeights(*(each.double() for each in weights))
    truth = results(transformer_layer_reference, x.double(), wide, shape[3], **options)
    eps = torch.finfo(dtype).eps
    for i, (got, other, want) in enumerate(zip(ours, plain, truth, strict=True)):
        error, theirs = ((each - want).abs().max() for each in (got, other))
        allowed = max((3 if i else 2) * theirs, 8 * eps * want.abs().max())
        assert error <= allowed, (i, float(error), float(theirs))


def test_is_attention_between_the_other_sublayers() -> None:
    """The same as norm, projection, PyTorch's attention, `merge_heads` and `feed_forward`."""
    x, w = layer_case(SMALL)
    heads = SMALL[3]
    normed = torch.nn.functional.layer_norm(x, x.shape[-1:], w.gain1, w.offset1)
    projected = (normed @ w.query.T, *(normed @ w.key_value.T).chunk(2, dim=-1))
    split = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in projected)
    y = torch.nn.functional.scaled_dot_product_attention(*split)
    u = merge_heads(x[None], y[None], w.out.T[None], w.out_bias[None, None])
    first = (w.weight1 * w.gain2).T[None], (w.bias1 + w.weight1 @ w.offset2)[None, None]
    wanted = feed_forward(u, *first, w.weight2.T[None], w.bias2[None, None])[0]
    torch.testing.assert_close(transformer_layer(x, w, heads), wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("first_only", [False, True])
def test_a_part_of_a_batch_has_its_masks(first_only: bool) -> None:
    x, weights = layer_case(SHAPES[3])
    options: dict[str, Any] = {"dropout_p": 0.5, "seeds": SEEDS, "first_only": first_only}
    whole = transformer_layer(x, weights, 2, **options)
    numbers = torch.tensor([69, 3, 40, 4])
    part = transformer_layer(x[numbers], weights, 2, samples=numbers, **options)
    torch.testing.assert_close(part, whole[numbers], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(transformer_layer(x[numbers], weights, 2, **options), part)


def test_threads_change_no_bit() -> None:
    x, weights = layer_case(SHAPES[4], torch.float32)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(results(transformer_layer, x, weights, 4, dropout_p=0.1, seeds=SEEDS))
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_strided_rows_and_an_empty_batch() -> None:
    x, weights = layer_case(SMALL)
    strided = x.detach().repeat(1, 1, 2)[..., ::2].contiguous().transpose(0, 1).contiguous()
    wanted = transformer_layer(strided.transpose(0, 1).contiguous(), weights, 3)
    torch.testing.assert_close(transformer_layer(strided.transpose(0, 1), weights, 3), wanted)
    empty = x[:0]
    found = results(transformer_layer, empty, weights, 3)
    assert found[0].shape == (0, 3, 12)
    assert all(not grad.any() for grad in found[2:])


def test_what_is_not_finite_shows() -> None:
    x, weights = layer_case(SMALL, torch.float32)
    with torch.no_grad():
        x[2, 1, 0] = float("nan")
    y = transformer_layer(x, weights, 3, dropout_p=0.5, seeds=SEEDS)
    assert y[2].isnan().any(1).all()
    assert y[[0, 1, 3, 4]].isfinite().all()


def test_second_derivatives_are_the_reference_s() -> None:
    x, weights = layer_case((2, 2, 4, 2, 3))
    grads = []
    for form in (transformer_layer, transformer_layer_reference):
        y = form(x, weights, 2, dropout_p=0.2, seeds=SEEDS)
        (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        grads.append(torch.autograd.grad(grad.square().sum(), (x, weights.query)))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_an_explicit_native_form_is_met_or_refused() -> None:
    x, weights = layer_case(SMALL)
    y = transformer_layer(x, weights, 3, impl="native")
    with pytest.raises(RuntimeError, match="transformer_layer: the native backward has no grad"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    there = LayerWeights(*(each.to("meta") for each in weights))
    assert transformer_layer(x.to("meta"), there, 3).shape == x.shape
    with pytest.raises(RuntimeError, match="impl='native': this build has no kernel for 'meta'"):
        transformer_layer(x.to("meta"), there, 3, impl="native")
    same = transformer_layer(x, weights, 3, impl="reference")
    assert torch.equal(same, transformer_layer_reference(x, weights, 3))


def test_only_some_ask_for_gradients() -> None:
    x, weights = layer_case(SMALL)
    frozen = LayerWeights(*(each.detach() for each in weights))
    y = transformer_layer(x, frozen, 3)
    (grad,) = torch.autograd.grad(y.sum(), x)
    wanted = torch.autograd.grad(transformer_layer(x, weights, 3).sum(), x)[0]
    torch.testing.assert_close(grad, wanted, rtol=0, atol=0)
    with torch.no_grad():
        assert not transformer_layer(x, weights, 3).requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 3)}, r"x: found \(2, 3\), expected \(B, L, d\) with L >= 1"),
        ({"x": torch.zeros(2, 0, 12)}, "with L >= 1"),
        ({"impl": "triton"}, "impl: found 'triton', expected None, 'native', 'reference'"),
        ({"x": torch.zeros(2, 3, 12, dtype=torch.bfloat16)}, "found torch.bfloat16, expected"),
        ({"num_heads": 5}, "num_heads: found 5, expected a divisor of x's 12 features"),
        ({"query": torch.zeros(12, 11)}, r"query: found \(12, 11\).*expected \(12, 12\)"),
        ({"weight2": torch.zeros(20, 12)}, r"weight2: found \(20, 12\).*expected \(12, 20\)"),
        ({"bias2": torch.zeros(12, dtype=torch.float64)}, "bias2: found .*float64.*float32"),
        ({"dropout_p": 1.0}, "dropout_p: found 1.0, expected 0 <= p < 1"),
        ({"dropout_p": 0.1}, "seeds: found None, expected"),
        ({"dropout_p": 0.1, "seeds": torch.zeros(3)}, r"seeds: found \(3,\) torch.float32"),
        ({"seeds": SEEDS, "samples": SEEDS}, r"samples: found \(3,\).*expected \(5,\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    x, weights = layer_case(SMALL, torch.float32)
    own = {name: change.pop(name) for name in list(change) if name in LayerWeights._fields}
    options = {"num_heads": 3, "x": x, **change}
    with pytest.raises(ValueError, match=message):
        transformer_layer(weights=weights._replace(**own), **options)
