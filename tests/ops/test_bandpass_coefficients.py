"""`sosfilt` with a gradient for its coefficients, against the reference and finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import clmer
from clmer.ops import sosfilt_reference, sosfiltfilt
from clmer.signal import butter_bandpass

SOS = torch.from_numpy(butter_bandpass(4, 40, 128, 2))  # two sections


def inputs(time: int, rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(time)
    x, z = (
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((rows, time), (rows, 2, 2))
    )
    return x, SOS.clone().requires_grad_(), z


def free(call: Callable[..., object]) -> Callable[[Tensor, Tensor, Tensor], object]:
    """`call` of x, [S, 5] coefficients and the state: a0 is 1 whatever is tried."""

    def of(x: Tensor, c: Tensor, z: Tensor) -> object:
        sos = torch.cat((c[:, :3], torch.ones_like(c[:, :1]), c[:, 3:]), 1)
        return call(x, sos, z)

    return of


def without_a0(sos: Tensor) -> Tensor:
    return sos.detach()[:, [0, 1, 2, 4, 5]].requires_grad_()


@pytest.mark.parametrize("time", [0, 1, 2, 3, 50])
def test_values_and_gradients_are_the_reference_s(time: int, simd_level: str) -> None:
    leaves = inputs(time)
    found, want = clmer.sosfilt(*leaves), sosfilt_reference(*leaves)
    torch.testing.assert_close(found, want)
    constant = clmer.sosfilt(leaves[0].detach(), SOS, leaves[2].detach())
    assert torch.equal(found[0], constant[0])  # what it returns does not depend on who learns
    weights = [torch.randn_like(each) for each in want]
    got, expected = (
        torch.autograd.grad(out, leaves, weights, materialize_grads=True) for out in (found, want)
    )
    torch.testing.assert_close(got, expected)


@pytest.mark.filterwarnings("error::UserWarning")
def test_derivatives_of_both_orders_and_modes() -> None:
    x, sos, z = inputs(6, rows=2)
    leaves = (x, without_a0(sos), z)
    call = free(clmer.sosfilt)
    assert torch.autograd.gradcheck(call, leaves, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda *each: tuple(out.pow(2) for out in call(*each)), leaves, check_fwd_over_rev=True
    )


def test_by_functorch() -> None:
    x, sos, z = (each.detach() for each in inputs(9))

    def loss(
        call: Callable[..., tuple[Tensor, Tensor]],
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda x, sos, z: sum(each.pow(2).sum() for each in call(x, sos, z))

    for transform in (torch.func.grad, torch.func.jacfwd):
        torch.testing.assert_close(
            transform(loss(clmer.sosfilt), argnums=1)(x, sos, z),
            transform(loss(sosfilt_reference), argnums=1)(x, sos, z),
        )
    per_row = torch.func.vmap(torch.func.grad(loss(clmer.sosfilt), argnums=1), (0, None, 0))
    rows = [
        torch.func.grad(loss(sosfilt_reference), argnums=1)(x[i : i + 1], sos, z[i : i + 1])
        for i in range(3)
    ]
    torch.testing.assert_close(per_row(x[:, None], sos, z[:, None]), torch.stack(rows))
    with pytest.raises(ValueError, match="vmap over sos"):
        torch.func.vmap(torch.func.grad(loss(clmer.sosfilt), argnums=1), (None, 0, None))(
            x, sos.expand(2, -1, -1), z
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_and_no_state(dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 40).to(dtype).requires_grad_()
    sos = SOS.clone().requires_grad_()
    y, state = clmer.sosfilt(x, sos)
    assert (y.dtype, state.dtype, y.shape) == (dtype, torch.float64, x.shape)
    (y.float().sum() + state.sum()).backward()
    assert x.grad.dtype == dtype
    assert sos.grad[:, 3].eq(0).all()
    assert sos.grad[:, :3].ne(0).all()


def test_zero_phase() -> None:
    x, sos, _ = inputs(60)
    call = free(lambda x, sos, _: sosfiltfilt(x, sos, padlen=9))
    assert torch.autograd.gradcheck(call, (x, without_a0(sos), torch.zeros(1)))


def test_without_a_gradient_nothing_is_kept() -> None:
    x, sos, _ = inputs(20)
    with torch.no_grad():
        y, _ = clmer.sosfilt(x, sos)
    assert y.grad_fn is None


def test_a_band_is_found_again() -> None:
    """What a user does with it: coefficients that turn noise into given filtered noise."""
    x = torch.randn(8, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target, _ = clmer.sosfilt(x, SOS[:1])
    sos = torch.tensor([[1.0, 0, 0, 1, 0, 0]], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([sos], lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (clmer.sosfilt(x, sos)[0] - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 2e-3 * target.square().mean()


@pytest.mark.filterwarnings("error::UserWarning")
def test_compiled() -> None:
    x, sos, z = inputs(12)
    compiled = torch.compile(
        lambda *each: clmer.sosfilt(*each)[0].square().sum(), backend="aot_eager"
    )
    found = torch.autograd.grad(compiled(x, sos, z), (x, sos, z))
    want = torch.autograd.grad(sosfilt_reference(x, sos, z)[0].square().sum(), (x, sos, z))
    torch.testing.assert_close(found, want)
