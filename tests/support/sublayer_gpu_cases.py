"""What the sublayer ops' Triton form is held against, interpreted or on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from support.sublayer_cases import Case, case, results
from torch import Tensor

from clmer.ops.attention.reference import dropout_mask

#: S, B, L, d, h, hidden: one element; odd sizes, which load single elements; several tiles of
#: rows; two blocks of columns; CLMER's self-attention layers.
SHAPES = [
    *((1, 1, 1, 2, 1, 1), (2, 3, 7, 13, 1, 29), (2, 2, 49, 24, 3, 96)),
    *((1, 5, 31, 40, 5, 160), (1, 2, 20, 80, 5, 320)),
]
SEEDS = (-12345, 77)
Options = dict[str, Any]


def dropping(name: str, device: str = "cpu") -> Options:
    """An op's dropout, with its seeds."""
    first, second = (torch.tensor(seed, device=device) for seed in SEEDS)
    if name == "project_heads":
        return {}
    if name == "merge_heads":
        return {"dropout_p": 0.3, "seed": first}
    return {"hidden_dropout_p": 0.4, "hidden_seed": first, "dropout_p": 0.2, "seed": second}


def on(device: str, found: Case, dtype: torch.dtype | None = None) -> list[Tensor]:
    """A case's inputs there, as leaves."""
    return [
        t.detach().to(device, t.dtype if dtype is None else dtype).requires_grad_()
        for t in found.inputs
    ]


def triton(found: Case, device: str, options: Options) -> list[Tensor]:
    """Outputs and gradients of the form under test, on the CPU."""
    found_there = results(found.op, on(device, found), {**options, "impl": "triton"})
    return [t.cpu() for t in found_there]


def truth(found: Case, options: Options) -> list[Tensor]:
    """The same in float64, by the reference."""
    options = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in options.items()}
    return results(found.reference, on("cpu", found, torch.float64), options)


def check_the_equation(name: str, shape: tuple[int, ...], drops: bool, device: str) -> None:
    """At most twice plain PyTorch's error, three times for gradients, and 8 eps max|exact|.

    32 on a GPU: its tensor cores cut off what they add where PyTorch's float32 rounds.
    """
    found = case(name, shape, torch.float32)
    digits = 8 if device == "cpu" else 32
    options = {**found.options, **(dropping(name, device) if drops else {})}
    ours = triton(found, device, options)
    plain = [t.cpu() for t in results(found.reference, on(device, found), options)]
    outputs, eps = len(ours) - len(found.inputs), torch.finfo(torch.float32).eps
    for i, (got, other, want) in enumerate(zip(ours, plain, truth(found, options), strict=True)):
        error, theirs = ((t - want).abs().max() for t in (got, other))
        allowed = max((2 if i < outputs else 3) * theirs, digits * eps * want.abs().max())
        assert error <= allowed, (name, shape, i, float(error), float(allowed))


def check_half_type(name: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    """On average no worse than plain PyTorch in that dtype, and what rounding the result takes.

    On average, since a hidden feature near 0 may pass relu in one form and not in the other.
    """
    found = case(name, shape, dtype)
    ours = triton(found, device, found.options)
    assert all(t.dtype == dtype for t in ours)
    plain = [t.cpu() for t in results(found.plain, on(device, found), found.options)]
    eps = torch.finfo(dtype).eps
    for i, (got, other, want) in enumerate(
        zip(ours, plain, truth(found, found.options), strict=True)
    ):
        error, theirs = ((t.double() - want).abs().mean() for t in (got, other))
        allowed = 2 * theirs + eps * want.abs().mean()
        assert error <= allowed, (name, shape, i, float(error), float(allowed))


def check_masks(device: str, rows: tuple[int, int, int] = (2, 3, 25)) -> None:
    """Zero weights and unit biases leave the masks alone: bit by bit those of every other form."""
    s, d, hidden = rows[0], 16, 48
    x = torch.randn(*rows, d, generator=torch.Generator().manual_seed(3))
    inner, outer = (torch.tensor(seed) for seed in SEEDS)

    def ones(width: int) -> Tensor:
        return torch.ones(s, 1, width)

    heads, nothing = x.new_zeros(s, rows[1], 2, rows[2], d // 2), x.new_zeros(s, d, d)
    first = x.new_zeros(s, d, hidden)
    passes = torch.eye(hidden, d).expand(s, hidden, d)
    for name, inputs, options in (
        ("merge_heads", (x, heads, nothing, ones(d)), {"dropout_p": 0.625, "seed": outer}),
        (
            "feed_forward",
            (x, first, ones(hidden), passes, 0 * ones(d)),
            {"hidden_dropout_p": 0.5, "hidden_seed": inner, "dropout_p": 0.25, "seed": outer},
        ),
    ):
        op = case(name, (1, 1, 1, 2, 1, 1)).op
        there = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in options.items()}
        got = op(*(t.to(device) for t in inputs), **there, impl="triton").cpu()
        assert torch.equal(got, op(*inputs, **options, impl="native"))
        kept = dropout_mask(outer, x.shape, options["dropout_p"])
        if name == "feed_forward":
            kept = kept & dropout_mask(inner, (*rows, hidden), 0.5)[..., :d]
        assert torch.equal(got != x, kept)
        assert 0.1 < kept.float().mean() < 0.6


def check_many_projections(device: str) -> None:
    """Ten, as the fusion's keys and values: three launches, whose gradients of x add up."""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 4e-3)):
        generator = torch.Generator().manual_seed(5)
        x, weight, bias = (
            torch.randn(size, generator=generator).to(dtype).requires_grad_()
            for size in ((2, 3, 9, 8), (2, 8, 80), (2, 1, 80))
        )
        found = case("project_heads", (1, 1, 1, 2, 1, 1))
        ten = found._replace(inputs=[x, weight, bias], options={"num_heads": 2})
        ours = triton(ten, device, ten.options)
        assert len(ours) == 13
        for got, want in zip(ours, truth(ten, ten.options), strict=True):
            scale = float(want.abs().max())
            torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance * scale)


def check_no_rows(device: str) -> None:
    for name in ("project_heads", "merge_heads", "feed_forward"):
        for empty in range(3):
            shape = [2, 3, 7, 12, 3, 20]
            shape[empty] = 0
            found = case(name, tuple(shape), torch.float32)
            options = {**found.options, **dropping(name, device)}
            ours = triton(found, device, options)
            for got, want in zip(ours, truth(found, options), strict=True):
                assert got.shape == want.shape
                assert not got.any()  # gradients of weights: sums over nothing


def check_what_lies_around_is_not_read(device: str) -> None:
    """Inputs amid NaN, at the end of which a tile would go on."""
    for name in ("project_heads", "merge_heads", "feed_forward"):
        for shape in ((2, 3, 7, 13, 1, 29), (1, 2, 19, 24, 3, 40)):
            found = case(name, shape, torch.float32)
            options = {**found.options, **dropping(name, device)}
            want = triton(found, device, options)
            framed = []
            for t in on(device, found):
                buffer = t.new_full((t.numel() + 2048,), torch.nan)
                inner = buffer[1024:-1024].view(t.shape)
                inner.copy_(t.detach())
                framed.append(inner.requires_grad_())
            got = results(found.op, framed, {**options, "impl": "triton"})
            assert all(torch.equal(a.cpu(), b) for a, b in zip(got, want, strict=True))


def check_what_is_not_finite_shows(device: str) -> None:
    """A NaN passes relu, dropout and the products, in its own stream and in no other."""
    inputs = on(device, case("feed_forward", (2, 1, 3, 8, 2, 16), torch.float32))
    bias = inputs[2].detach().clone()
    bias[0, 0, 5] = torch.nan
    op = case("feed_forward", (1, 1, 1, 2, 1, 1)).op
    with torch.no_grad():
        y = op(*inputs[:2], bias, *inputs[3:], hidden_dropout_p=0.9, impl="triton")
    assert y[0].isnan().all()
    assert y[1].isfinite().all()


def check_strides(device: str) -> None:
    for name in ("project_heads", "merge_heads", "feed_forward"):
        found = case(name, (2, 3, 7, 12, 3, 20), torch.float32)
        want = triton(found, device, found.options)
        turned = [
            t.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
            for t in on(device, found)
        ]
        got = results(found.op, turned, {**found.options, "impl": "triton"})
        assert all(torch.equal(a.cpu(), b) for a, b in zip(got, want, strict=True))


def check_repeats(device: str, times: int) -> None:
    for name in ("project_heads", "merge_heads", "feed_forward"):
        for dtype in (torch.float32, torch.float16):
            found = case(name, (2, 5, 31, 24, 3, 96), dtype)
            options = {**found.options, **dropping(name, device)}
            first = triton(found, device, options)
            for _ in range(times):
                again = triton(found, device, options)
                assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
