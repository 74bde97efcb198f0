"""`norm_relu_pool`: numbers, ties, threads, second derivatives, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clmer.ops.normpool import norm_relu_pool, norm_relu_pool_reference

#: B, C, T: the smallest, odd and even lengths around vectors and blocks of 8 channels, CLMER's own.
SHAPES = [
    (2, 1, 1), (3, 5, 2), (2, 17, 33), (4, 8, 26), (7, 9, 64), (128, 16, 129), (64, 66, 9)
]  # fmt: skip


def case(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """x with a mean above its spread, gain of both signs, offset."""
    torch.manual_seed(0)
    x = (2 * torch.randn(shape, dtype=dtype) + 5).requires_grad_()
    gain, offset = (torch.randn(shape[1], dtype=dtype).requires_grad_() for _ in range(2))
    return x, gain, offset


def stats_of(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, shape[1], dtype=torch.float64, generator=generator) + 4.0


def results(form: Any, inputs: tuple[Tensor, ...], **options: Any) -> list[Tensor]:
    y, found = form(*inputs, **options)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(y.shape, dtype=torch.float64, generator=generator).to(y.dtype)
    return [y.detach(), found, *torch.autograd.grad(y, inputs, grad)]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_equals_batch_norm_relu_and_max_pool(
    shape: tuple[int, ...], dtype: torch.dtype, given: bool, simd_level: str
) -> None:
    """In float32 at most twice plain PyTorch's error, three times for gradients, and 8 eps."""
    options = {"stats": stats_of(shape)} if given else {}
    inputs = case(shape, dtype)
    ours = results(norm_relu_pool, inputs, **options)
    plain = results(norm_relu_pool_reference, inputs, **options)
    if dtype == torch.float64:
        for got, want in zip(ours, plain, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
        return
    wide = tuple(each.double() for each in inputs)
    truth = results(norm_relu_pool_reference, wide, **options)
    for i, (got, other, want) in enumerate(zip(ours, plain, truth, strict=True)):
        error, theirs = ((each - want).abs().max() for each in (got, other))
        allowed = max((3 if i > 1 else 2) * theirs, 8 * torch.finfo(dtype).eps * want.abs().max())
        assert error <= allowed, (i, float(error), float(theirs))


def test_of_equals_the_first_gets_the_gradient_and_none_where_relu_is_off() -> None:
    x = torch.tensor([[[1.0, 2.0, 2.0, 1.0, -3.0, -3.0, 4.0]]], dtype=torch.float64)
    grads = []
    for form in (norm_relu_pool, norm_relu_pool_reference):
        own = x.clone().requires_grad_()
        y, _ = form(own, torch.ones(1).double(), torch.zeros(1).double(), 0.0,
                    torch.tensor([[0.0], [1.0]], dtype=torch.float64))  # fmt: skip
        assert y.flatten().tolist() == [1.0, 2.0, 1.0, 4.0]
        grads.append(torch.autograd.grad(y.sum(), own)[0].flatten().tolist())
    assert grads[0] == grads[1] == [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_mean_far_above_the_spread_costs_no_digits(offset: float) -> None:
    x, gain, bias = case((16, 8, 50), torch.float32)
    shifted = (x.detach() + offset).requires_grad_()
    y, found = norm_relu_pool(shifted, gain, bias)
    var, mean = torch.var_mean(shifted.double(), (0, 2), correction=0)
    torch.testing.assert_close(found, torch.stack((mean, var)), rtol=1e-12, atol=0)
    wanted, _ = norm_relu_pool_reference(shifted.double(), gain.double(), bias.double())
    torch.testing.assert_close(y.double(), wanted, rtol=1e-4, atol=1e-3 if offset else 1e-5)


def test_not_a_number_shows() -> None:
    x, gain, bias = case((4, 3, 10), torch.float32)
    with torch.no_grad():
        x[1, 2, 5] = float("nan")
    y, _ = norm_relu_pool(x, gain, bias)
    assert y[:, 2].isnan().all()
    assert y[:, :2].isfinite().all()
    y, _ = norm_relu_pool(x, gain, bias, stats=stats_of((4, 3, 10)))
    assert y.isnan().nonzero().tolist() == [[1, 2, 3]]


def test_threads_change_no_bit() -> None:
    inputs = case(SHAPES[-1], torch.float32)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(results(norm_relu_pool, inputs))
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_strided_series_and_an_empty_batch() -> None:
    x, gain, bias = case((4, 6, 10))
    strided = x.detach().transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(norm_relu_pool(strided, gain, bias)[0],
                               norm_relu_pool(x, gain, bias)[0])  # fmt: skip
    y, _ = norm_relu_pool(x[:0], gain, bias, stats=stats_of((4, 6, 10)))
    assert y.shape == (0, 6, 6)


@pytest.mark.parametrize("given", [False, True])
def test_second_derivatives_are_the_reference_s(given: bool) -> None:
    inputs = case((3, 2, 5))
    options = {"stats": stats_of((3, 2, 5))} if given else {}
    grads = []
    for form in (norm_relu_pool, norm_relu_pool_reference):
        y, _ = form(*inputs, **options)
        (grad,) = torch.autograd.grad(y.square().sum(), inputs[0], create_graph=True)
        grads.append(torch.autograd.grad(grad.square().sum(), inputs, allow_unused=True))
    for got, want in zip(*grads, strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_an_explicit_native_form_is_met_or_refused() -> None:
    inputs = case((3, 2, 5))
    y, _ = norm_relu_pool(*inputs, impl="native")
    with pytest.raises(RuntimeError, match="norm_relu_pool: the native backward has no gradient"):
        torch.autograd.grad(y.sum(), inputs[0], create_graph=True)
    there = tuple(each.to("meta") for each in inputs)
    assert norm_relu_pool(*there)[0].shape == (3, 2, 3)
    with pytest.raises(RuntimeError, match="impl='native': this build has no kernel for 'meta'"):
        norm_relu_pool(*there, impl="native")
    wanted = norm_relu_pool_reference(*inputs)[0]
    assert torch.equal(norm_relu_pool(*inputs, impl="reference")[0], wanted)


def test_pools_as_torch_does() -> None:
    for length in range(1, 9):
        x, gain, bias = case((3, 2, length))
        y, _ = norm_relu_pool(x, gain, bias)
        normed = F.batch_norm(x, None, None, gain, bias, training=True)
        torch.testing.assert_close(y, F.max_pool1d(F.relu(normed), 2, stride=2, padding=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 3)}, r"x: found \(2, 3\), expected \(B, C, T\) with T >= 1"),
        ({"impl": "triton"}, "impl: found 'triton', expected None, 'native', 'reference'"),
        ({"x": torch.zeros(2, 3, 4, dtype=torch.float16)}, "found torch.float16, expected"),
        ({"x": torch.zeros(1, 3, 1)}, "expected at least 2 values per channel; give `stats`"),
        ({"weight": torch.zeros(4)}, r"weight: found \(4,\).*expected \(3,\)"),
        ({"bias": torch.zeros(3).double()}, "bias: found .*float64.*expected .*float32"),
        ({"stats": torch.zeros(2, 3)}, r"stats: found \(2, 3\) torch.float32.*float64"),
        ({"stats": torch.zeros(3).double()}, r"stats: found \(3,\).*expected \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    fitting = {"x": torch.zeros(2, 3, 4), "weight": torch.ones(3), "bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=message):
        norm_relu_pool(**{**fitting, **change})
