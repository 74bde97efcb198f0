"""The cheap-mask dropout against what dropout is."""

from __future__ import annotations

import pytest
import torch

from clmer.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.35, 0.9])
def test_rate_and_scale(p: float) -> None:
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(200_001, dtype=torch.float64))
    rounded = round(p * 2**16) / 2**16
    assert abs((y == 0).double().mean().item() - p) < 4 * (p * (1 - p) / len(y)) ** 0.5
    torch.testing.assert_close(y[y != 0].unique(), torch.tensor([1 / (1 - rounded)]).double())


def test_neighbours_and_calls_are_independent() -> None:
    torch.manual_seed(0)
    dropout = Dropout(0.5)
    x = torch.ones(100_000)
    first, second = dropout(x) == 0, dropout(x) == 0
    for other in (second, first.roll(1), first.roll(2), first.roll(4)):
        assert abs((first == other).float().mean().item() - 0.5) < 0.01


def test_gradient_passes_where_values_did() -> None:
    x = torch.randn(7, 3, 5, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (y / x).detach())


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3), (4, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_dtype(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    y = Dropout(0.25)(torch.ones(shape, dtype=dtype))
    assert y.shape == shape
    assert y.dtype == dtype


def test_seeded_by_torch_and_off_in_evaluation() -> None:
    dropout, x = Dropout(0.5), torch.randn(50)
    torch.manual_seed(3)
    first = dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert dropout.eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_per_sample_gradients_in_training() -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(0.25), torch.ones(3, 1000)
    for randomness, alike in (("different", False), ("same", True)):
        grad = torch.func.vmap(torch.func.grad(lambda x: dropout(x).sum()), randomness=randomness)
        masks = grad(x)
        assert 0.2 < (masks == 0).float().mean() < 0.3
        torch.testing.assert_close(masks.max(), torch.tensor(1 / 0.75))
        assert torch.equal(masks[0], masks[1]) == alike


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_impossible_probabilities_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match="0 <= p < 1"):
        Dropout(p)


def test_probability_next_to_one() -> None:
    y = Dropout(1 - 1e-9)(torch.ones(2**18))
    kept = y[y != 0]
    assert 0 < len(kept) < 40
    assert (kept == 2**16).all()
