"""project_heads, merge_heads and feed_forward: numbers, masks, layouts, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.sublayer_cases import NAMES, SHAPES, affine, case, exact, results, tensors
from torch import Tensor

from clmer._native import _C, _capsule
from clmer.ops import feed_forward, merge_heads, project_heads
from clmer.ops.attention.reference import dropout_mask

SMALL = (2, 3, 7, 12, 3, 20)
IMPLS = ["native", "reference"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_equals_the_equation(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, simd_level: str
) -> None:
    """At most twice plain PyTorch's error, three times for gradients, and 8 eps max|exact|."""
    found = case(name, shape, dtype)
    ours = results(found.op, found.inputs, {**found.options, "impl": "native"})
    plain = results(found.plain, found.inputs, found.options)
    eps, gradients = torch.finfo(dtype).eps, len(ours) - len(found.inputs)
    truth = exact(name, found)
    for i, (got, theirs, want) in enumerate(zip(ours, plain, truth, strict=True)):
        error, other = (np.abs(t.numpy() - want).max() for t in (got, theirs))
        allowed = max((2 if i < gradients else 3) * other, 8 * eps * np.abs(want).max())
        assert error <= allowed, (i, error, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES[:3], ids=lambda s: "x".join(map(str, s)))
def test_reference_equals_einsums(name: str, shape: tuple[int, ...]) -> None:
    found = case(name, shape)
    want = results(found.plain, found.inputs, found.options)
    for form, more in ((found.reference, {}), (found.op, {"impl": "reference"})):
        got = results(form, found.inputs, {**found.options, **more})
        for each, other in zip(got, want, strict=True):
            torch.testing.assert_close(each, other, rtol=1e-11, atol=1e-11)


# --- dropout --------------------------------------------------------------------------------------
def drawn(count: int) -> list[Tensor]:
    """What an op draws after `torch.manual_seed(5)`."""
    torch.manual_seed(5)
    return [torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64) for _ in range(count)]


def dropped(x: Tensor, seed: Tensor, p: float) -> Tensor:
    return x * dropout_mask(seed, x.shape, p) / (1 - p)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("impl", IMPLS)
def test_dropout_is_that_of_its_seeds(impl: str, given: bool) -> None:
    inner, outer = drawn(2)

    def merged(x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = affine(heads.transpose(2, 3).flatten(3), weight, bias)
        return x + dropped(y, inner, 0.4)

    def fed(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        hidden = F.relu(affine(F.layer_norm(x, x.shape[-1:]), w1, b1))
        return x + dropped(affine(dropped(hidden, inner, 0.3), w2, b2), outer, 0.2)

    probabilities = {"hidden_dropout_p": 0.3, "dropout_p": 0.2}
    for name, plain, options, seeds in (
        ("merge_heads", merged, {"dropout_p": 0.4}, {"seed": inner}),
        ("feed_forward", fed, probabilities, {"hidden_seed": inner, "seed": outer}),
    ):
        found = case(name, SHAPES[-1])
        torch.manual_seed(5)
        more: dict[str, Any] = {**options, **(seeds if given else {}), "impl": impl}
        got = results(found.op, found.inputs, more)
        for each, want in zip(got, results(plain, found.inputs, {}), strict=True):
            torch.testing.assert_close(each, want, rtol=1e-11, atol=1e-11)


def test_no_dropout_draws_nothing() -> None:
    state = torch.get_rng_state()
    for name in NAMES:
        found = case(name, SMALL)
        found.op(*found.inputs, **found.options)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("impl", IMPLS)
def test_what_is_not_finite_shows(impl: str) -> None:
    """A NaN passes relu, dropout and the products: the loss tells."""
    inputs = case("feed_forward", (1, 1, 3, 8, 2, 16), torch.float32, grad=False).inputs
    inputs[2][0, 0, 5] = float("nan")
    assert feed_forward(*inputs, hidden_dropout_p=0.9, impl=impl).isnan().all()


# --- layouts, threads, dtypes ---------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_threads_change_no_bit(name: str) -> None:
    found = case(name, (3, 32, 20, 32, 4, 128), torch.float32)
    options = {**found.options, **({"dropout_p": 0.1} if name != "project_heads" else {})}
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            runs.append(results(found.op, found.inputs, options))
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_strided_inputs(name: str) -> None:
    found = case(name, SMALL)
    turned = [
        t.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
        for t in found.inputs
    ]
    assert not turned[0].is_contiguous()
    want = results(found.op, found.inputs, found.options)
    got = results(found.op, turned, found.options)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("empty", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_no_rows(name: str, empty: int, impl: str) -> None:
    found = case(name, (*SMALL[:empty], 0, *SMALL[empty + 1 :]))
    got = results(found.op, found.inputs, {**found.options, "impl": impl})
    want = results(found.plain, found.inputs, found.options)
    for each, other in zip(got, want, strict=True):
        torch.testing.assert_close(each, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_float32_rounded(name: str, impl: str, dtype: torch.dtype) -> None:
    found = case(name, SMALL, dtype)
    options = {**found.options, "impl": impl}
    wide = [t.detach().float().requires_grad_() for t in found.inputs]

    def rounded(*inputs: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return tuple(out.to(dtype) for out in tensors(found.op(*inputs, **options)))

    got, want = (results(rounded, each, options) for each in (found.inputs, wide))
    assert found.op(*found.inputs, **options)[0].dtype == dtype
    assert all(torch.equal(a, b.to(dtype)) for a, b in zip(got, want, strict=True))


def test_dtypes_may_differ_under_autocast() -> None:
    found = case("merge_heads", SMALL, torch.float32)
    x, *rest = found.inputs
    mixed = (x.bfloat16(), *rest)
    with pytest.raises(ValueError, match=r"found x torch.bfloat16 and heads torch.float32"):
        merge_heads(*mixed)
    with torch.autocast("cpu", torch.bfloat16):
        y = merge_heads(*mixed)
        with pytest.raises(ValueError, match="expected one floating-point dtype"):
            merge_heads(x, found.inputs[1].int(), *rest[1:])
    assert y.dtype == torch.float32
    assert torch.equal(y, merge_heads(x.bfloat16().float(), *rest))


@pytest.mark.parametrize("name", NAMES)
def test_raw_pointer_path(name: str) -> None:
    found = case(name, SMALL)
    want = results(found.op, found.inputs, found.options)
    _C.set_exchange_api(None)
    try:
        got = results(found.op, found.inputs, found.options)
    finally:
        if _capsule is not None:
            _C.set_exchange_api(_capsule)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_one_layer_of_another_model() -> None:
    """docs/sublayer.md: S = 1, `nn.Linear`'s weights turned, the norm's gain and offset put in."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(
        24, 3, 40, dropout=0.0, batch_first=True, norm_first=True, dtype=torch.float64
    )
    for norm in (layer.norm1, layer.norm2):
        torch.nn.init.normal_(norm.weight, 1.0, 0.3)
        torch.nn.init.normal_(norm.bias, 0.0, 0.3)
    x = torch.randn(5, 7, 24, dtype=torch.float64)

    def behind(norm: Any, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return (weight * norm.weight).T[None], (bias + weight @ norm.bias)[None, None]

    attention = layer.self_attn
    y = x[None]
    packed = behind(layer.norm1, attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = project_heads(y, *packed, 3)
    out = attention.out_proj
    heads = F.scaled_dot_product_attention(q, k, v)
    y = merge_heads(y, heads, out.weight.T[None], out.bias[None, None])
    first = behind(layer.norm2, layer.linear1.weight, layer.linear1.bias)
    y = feed_forward(y, *first, layer.linear2.weight.T[None], layer.linear2.bias[None, None])
    torch.testing.assert_close(y[0], layer(x))


# --- what is refused ------------------------------------------------------------------------------
X, W, B = torch.zeros(2, 3, 4, 6), torch.zeros(2, 6, 6), torch.zeros(2, 1, 6)
HEADS = torch.zeros(2, 3, 2, 4, 3)
WIDE, WIDE_B, NARROW = torch.zeros(2, 6, 5), torch.zeros(2, 1, 5), torch.zeros(2, 5, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: project_heads(X[0], W, B, 2), r"x: found \(3, 4, 6\), expected \[S, B, L, d\]"),
        (lambda: project_heads(X[..., :0], W, B, 2), r"x: found \(2, 3, 4, 0\)"),
        (lambda: project_heads(None, W, B, 2), "x: found NoneType, expected a tensor"),
        (lambda: project_heads(X.int(), W, B, 2), "x: found torch.int32, expected a floating"),
        (lambda: project_heads(X, W.double(), B, 2), "found x torch.float32 and weight torch.fl"),
        (lambda: project_heads(X, W, B.to("meta"), 2), "devices differ: x on cpu, bias on meta"),
        (lambda: project_heads(X, W, B, 4), "num_heads: found 4, expected a divisor of x's 6"),
        (lambda: project_heads(X, W, B, 0), "num_heads: found 0"),
        (lambda: project_heads(X, W[..., :5], B, 2), r"weight: found \(2, 6, 5\), expected .*n \*"),
        (lambda: project_heads(X, W[..., :0], B, 2), r"weight: found \(2, 6, 0\)"),
        (lambda: project_heads(X, W[:1], B, 2), r"weight: found \(1, 6, 6\)"),
        (lambda: project_heads(X, W.sum(), B, 2), r"weight: found \(\), expected \(2, 6, n \* 6\)"),
        (lambda: project_heads(X, W, B[0], 2), r"bias: found \(1, 6\), expected \(2, 1, 6\) for x"),
        (lambda: merge_heads(X, X, W, B), r"heads: found \(2, 3, 4, 6\), expected \(2, 3, h, 4, 6"),
        (lambda: merge_heads(X, HEADS[..., :2], W, B), r"heads: found \(2, 3, 2, 4, 2\)"),
        (lambda: merge_heads(X, HEADS[:, :, :0], W, B), r"heads: found \(2, 3, 0, 4, 3\)"),
        (lambda: merge_heads(X, HEADS[:, :1], W, B), r"heads: found \(2, 1, 2, 4, 3\)"),
        (lambda: merge_heads(X, HEADS, WIDE, B), r"weight: found \(2, 6, 5\), expected \(2, 6, 6"),
        (lambda: merge_heads(X, HEADS, W, WIDE_B), r"bias: found \(2, 1, 5\), expected \(2, 1"),
        (lambda: merge_heads(X, HEADS, W, B, dropout_p=1.0), "dropout_p: found 1.0, expected 0 <="),
        (lambda: merge_heads(X, HEADS, W, B, dropout_p=0.1, seed=3), "seed: found 3, expected a 0"),
        (lambda: feed_forward(X, X, WIDE_B, NARROW, B), r"weight1: found \(2, 3, 4, 6\), expected"),
        (lambda: feed_forward(X, WIDE[..., :0], B, B, B), r"weight1: found \(2, 6, 0\)"),
        (lambda: feed_forward(X, WIDE, B, NARROW, B), r"bias1: found \(2, 1, 6\), expected \(2, 1"),
        (lambda: feed_forward(X, WIDE, WIDE_B, WIDE, B), r"weight2: found \(2, 6, 5\), expected"),
        (lambda: feed_forward(X, WIDE, WIDE_B, NARROW, WIDE_B), r"bias2: found \(2, 1, 5\)"),
        (
            lambda: feed_forward(X, WIDE, WIDE_B, NARROW, B, hidden_dropout_p=-0.1),
            "hidden_dropout_p: found -0.1, expected 0 <= p < 1",
        ),
        (lambda: project_heads(X, W, B, 2, impl="cuda"), "impl: found 'cuda', expected None, 'nat"),
    ],
)  # fmt: skip
def test_wrong_arguments_say_what_was_expected(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_no_native_form_elsewhere() -> None:
    x, heads, weight, bias = (t.to("meta") for t in (X, HEADS, W, B))
    with pytest.raises(RuntimeError, match="impl='native': this build has no kernel for 'meta'"):
        merge_heads(x, heads, weight, bias, impl="native")
    assert merge_heads(x, heads, weight, bias).is_meta


def test_more_projections_than_the_kernel_takes() -> None:
    x, weight, bias = torch.randn(1, 2, 3, 2), torch.randn(1, 2, 130), torch.randn(1, 1, 130)
    parts = project_heads(x, weight, bias, 1)
    for got, want in zip(parts, project_heads(x, weight, bias, 1, impl="reference"), strict=True):
        assert torch.equal(got, want)
    with pytest.raises(ValueError, match="found a weight of 65 projections, expected at most 64"):
        project_heads(x, weight, bias, 1, impl="native")
    few = (weight[..., :128], bias[..., :128])
    for got, want in zip(project_heads(x, *few, 1, impl="native"), parts, strict=False):
        torch.testing.assert_close(got, want)
