"""The fused sublayers against plain PyTorch, gradients, masks, layouts and all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clmer.nn import sublayer
from clmer.ops.attention.reference import dropout_mask

Case = tuple[Callable[..., Any], Callable[..., Any], list[Tensor], dict[str, float]]

#: S, B, L, d, h, hidden: a single element, odd sizes around vectors and tiles, CLMER's own.
SHAPES = [(1, 1, 1, 2, 1, 1), (2, 3, 7, 13, 1, 29), (2, 2, 49, 24, 3, 96), (6, 8, 50, 40, 5, 160)]


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.einsum("sbli,sio->sblo", x, weight) + bias[:, None]


def project(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    y = affine(F.layer_norm(x, x.shape[-1:]), weight, bias)
    parts = y.split(x.shape[-1], -1)
    return tuple(part.unflatten(3, (heads, -1)).transpose(2, 3).contiguous() for part in parts)


def merge(x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x + affine(heads.transpose(2, 3).flatten(3), weight, bias)


def feed_forward(x: Tensor, *weights: Tensor) -> Tensor:
    hidden = F.relu(affine(F.layer_norm(x, x.shape[-1:]), *weights[:2]))
    return x + affine(hidden, *weights[2:])


def cases(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Case]:
    """Ours, the plain form, tensors that want a gradient, and options."""
    s, b, length, d, h, hidden = shape
    torch.manual_seed(0)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, dtype=dtype).mul_(0.5).requires_grad_()

    x, heads = random(s, b, length, d), random(s, b, h, length, d // h)
    weights = [random(s, d, hidden), random(s, 1, hidden), random(s, hidden, d), random(s, 1, d)]
    return {
        "project": (
            sublayer.project, project, [x, random(s, d, 3 * d), random(s, 1, 3 * d)], {"heads": h}
        ),
        "merge": (sublayer.merge, merge, [x, heads, random(s, d, d), random(s, 1, d)], {}),
        "feed_forward": (sublayer.feed_forward, feed_forward, [x, *weights], {}),
    }  # fmt: skip


def results(form: Callable[..., Any], inputs: list[Tensor], options: Any) -> list[Tensor]:
    """Outputs and gradients, in float64."""
    out = form(*inputs, **options)
    outs = list(out) if isinstance(out, tuple) else [out]
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outs]
    found = torch.autograd.grad(
        outs, inputs, [g.to(o.dtype) for g, o in zip(grads, outs, strict=True)]
    )
    return [t.detach().double() for t in (*outs, *found)]


@pytest.mark.parametrize("name", ["project", "merge", "feed_forward"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_float64_equals_plain_pytorch(name: str, shape: tuple[int, ...], simd_level: str) -> None:
    ours, plain, inputs, options = cases(shape, torch.float64)[name]
    for got, want in zip(
        results(ours, inputs, options), results(plain, inputs, options), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["project", "merge", "feed_forward"])
def test_float32_is_as_exact_as_plain_pytorch(name: str, simd_level: str) -> None:
    ours, plain, inputs, options = cases(SHAPES[-1], torch.float32)[name]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    truth = results(plain, exact, options)
    eps = torch.finfo(torch.float32).eps
    for got, theirs, want in zip(
        results(ours, inputs, options), results(plain, inputs, options), truth, strict=True
    ):
        allowed = 3 * (theirs - want).abs().max() + 8 * eps * want.abs().max()
        assert (got - want).abs().max() <= allowed


def seeds(count: int) -> list[Tensor]:
    """What the sublayer draws after `torch.manual_seed(5)`."""
    torch.manual_seed(5)
    return [torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64) for _ in range(count)]


def dropped(x: Tensor, seed: Tensor, p: float) -> Tensor:
    return x * dropout_mask(seed, x.shape, p) / (1 - p)


def test_dropout_is_that_of_its_seeds() -> None:
    shape = SHAPES[-1]
    all_cases = cases(shape, torch.float64)
    (seed,) = seeds(1)
    ours, _, inputs, _ = all_cases["merge"]

    def merged(x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = affine(heads.transpose(2, 3).flatten(3), weight, bias)
        return x + dropped(y, seed, 0.4)

    torch.manual_seed(5)
    got = results(ours, inputs, {"dropout": 0.4})
    for each, want in zip(got, results(merged, inputs, {}), strict=True):
        torch.testing.assert_close(each, want, rtol=1e-11, atol=1e-11)

    inner, outer = seeds(2)
    ours, _, inputs, _ = all_cases["feed_forward"]

    def fed(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        hidden = F.relu(affine(F.layer_norm(x, x.shape[-1:]), w1, b1))
        return x + dropped(affine(dropped(hidden, inner, 0.3), w2, b2), outer, 0.2)

    torch.manual_seed(5)
    got = results(ours, inputs, {"hidden_dropout": 0.3, "dropout": 0.2})
    for each, want in zip(got, results(fed, inputs, {}), strict=True):
        torch.testing.assert_close(each, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["project", "merge", "feed_forward"])
def test_threads_change_no_bit(name: str) -> None:
    ours, _, inputs, options = cases((3, 32, 20, 32, 4, 128), torch.float32)[name]
    if name != "project":
        options = {**options, "dropout": 0.1}
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            found.append(results(ours, inputs, options))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", ["project", "merge", "feed_forward"])
def test_strided_inputs_and_no_rows(name: str) -> None:
    ours, plain, inputs, options = cases((2, 3, 7, 12, 3, 20), torch.float64)[name]
    turned = [
        t.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for t in inputs
    ]
    assert not turned[0].is_contiguous()
    for got, want in zip(
        results(ours, turned, options), results(plain, inputs, options), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    ours, plain, inputs, options = cases((2, 0, 7, 12, 3, 20), torch.float64)[name]
    for got, want in zip(
        results(ours, inputs, options), results(plain, inputs, options), strict=True
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["project", "merge", "feed_forward"])
def test_where_the_kernel_cannot_run_the_plain_form_does(name: str) -> None:
    ours, _, inputs, options = cases((2, 3, 7, 12, 3, 20), torch.float32)[name]
    with torch.no_grad():
        want = ours(*inputs, **options)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = ours(*inputs, **options)
        mapped = torch.vmap(lambda *t: ours(*t, **options))(*(t[None] for t in inputs))
    for lowered, folded, single in zip(*map(tensors, (under_autocast, mapped, want)), strict=True):
        assert (lowered - single).abs().max() > 0  # bfloat16 products
        torch.testing.assert_close(lowered.float(), single, rtol=0.05, atol=0.05)
        torch.testing.assert_close(folded[0], single)


def tensors(found: Any) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def test_what_is_not_finite_shows() -> None:
    """A NaN passes relu, dropout and the products: the loss tells."""
    ours, _, inputs, _ = cases((1, 1, 3, 8, 2, 16), torch.float32)["feed_forward"]
    with torch.no_grad():
        inputs[2][0, 0, 5] = float("nan")
        assert ours(*inputs, hidden_dropout=0.1).isnan().all()


def test_second_derivatives_are_refused() -> None:
    ours, _, inputs, _ = cases((1, 1, 3, 8, 2, 16), torch.float64)["feed_forward"]
    with pytest.raises(RuntimeError, match="no gradient of its own"):
        torch.autograd.grad(ours(*inputs).sum(), inputs[:1], create_graph=True)
