import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clmer._native import _C, _capsule
from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import attention_weights, cross_attention_reference, dropout_mask

# (Lq, Lk, D, Dv): one of each, the paper's, around the vector widths, several blocks and chunks.
SHAPES = [
    (1, 1, 1, 1),
    (50, 50, 16, 16),
    (5, 70, 8, 8),
    (40, 3, 16, 16),
    (33, 1, 7, 3),
    (17, 33, 40, 5),
    (70, 129, 3, 33),
    (300, 300, 9, 4),
    (3, 300, 5, 9),  # keys across the lanes, in blocks
    (8, 128, 16, 8),
    (10, 70, 8, 8),  # more queries than a softmax takes at once
]


def inputs(shape, dtype=torch.float64, lead=(2, 3), bias=None, masked=False, seed=0):
    """Query, key, value, bias, mask, the output's gradient; values that float32 holds exactly."""
    g = torch.Generator().manual_seed(seed)
    rows, keys, dim, wide = shape
    draw = lambda *s: torch.randn(s, generator=g).to(dtype)  # noqa: E731
    q, k, v = draw(*lead, rows, dim), draw(*lead, keys, dim), draw(*lead, keys, wide)
    b = None if bias is None else draw(*bias)
    mask = None
    if masked:
        mask = torch.rand(2, 1, keys, generator=g) < 0.4
        mask[0] = True  # not one key is left
    return q, k, v, b, mask, draw(*lead, rows, wide)


def visible(shape, seed=1):
    """Half of the pairs; the second half of the keys hidden from all, the last query from every."""
    shown = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    shown[..., (shape[-1] + 1) // 2 :] = False
    shown[..., -1, :] = False
    return shown


def results(form, q, k, v, b, grad, **options):
    """The output and the gradients of query, key, value and, where given, the bias."""
    leaves = [t.detach().clone().requires_grad_() for t in (q, k, v, b) if t is not None]
    bias = leaves[3] if b is not None else None
    out = form(*leaves[:3], attn_bias=bias, **options)
    return out.detach(), *torch.autograd.grad(out, leaves, grad)


def exact(q, k, v, b, mask, grad, keep=None, p=0.0, attn_mask=None):
    """The same in long double, by the closed forms."""
    q, k, v, grad = (t.numpy().astype(np.longdouble) for t in (q, k, v, grad))
    scale = np.longdouble(q.shape[-1] ** -0.5)
    scores = scale * (q @ k.swapaxes(-1, -2))
    if b is not None:
        scores = scores + b.numpy().astype(np.longdouble)
    if mask is not None:
        scores = np.where(mask.numpy()[..., None, :], -np.inf, scores)
    if attn_mask is not None:
        scores = np.where(attn_mask.numpy(), scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    factor = 1 if keep is None else keep.numpy() / (1 - np.longdouble(p))
    grad_weights = factor * (grad @ v.swapaxes(-1, -2))
    delta = (weights * grad_weights).sum(-1, keepdims=True)
    grad_scores = weights * (grad_weights - delta)
    truth = [(weights * factor) @ v, scale * grad_scores @ k]
    truth += [scale * grad_scores.swapaxes(-1, -2) @ q, (weights * factor).swapaxes(-1, -2) @ grad]
    if b is not None:
        extra = grad_scores.ndim - b.dim()
        summed = grad_scores.sum(tuple(range(extra)))
        broadcast = tuple(i for i, size in enumerate(b.shape) if size == 1)
        truth.append(summed.sum(broadcast, keepdims=True) if broadcast else summed)
    return truth


def assert_close(ours, plain, truth, terms=0.0):
    """At most 2 (forward) or 3 (gradients) times plain PyTorch's error, floor 8 eps max|truth|.

    Where a gradient is a sum that cancels (one key, or a row that shares one bias), `terms` is the
    size of what is summed and takes the place of max|truth|.
    """
    for i, (mine, theirs, want) in enumerate(zip(ours, plain, truth, strict=True)):
        assert mine.shape == theirs.shape
        floor = 8 * torch.finfo(mine.dtype).eps * max(np.abs(want).max(), terms if i else 0.0)
        error, reference_error = (np.abs(r.double().numpy() - want).max() for r in (mine, theirs))
        assert error <= max((3 if i else 2) * reference_error, floor), i


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["plain", "masked", "hidden", "dropout", "all"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_equation(simd_level, shape, case, dtype):
    p = 0.3 if case in ("dropout", "all") else 0.0
    bias = (3, *shape[:2]) if case == "all" else None
    q, k, v, b, mask, grad = inputs(shape, dtype, bias=bias, masked=case in ("masked", "all"))
    shown = visible((3, *shape[:2])) if case in ("hidden", "all") else None
    seed = torch.tensor(12345) if p else None
    options = dict(key_padding_mask=mask, attn_mask=shown, dropout_p=p, seed=seed)
    ours = results(cross_attention, q, k, v, b, grad, impl="native", **options)
    plain = results(cross_attention_reference, q, k, v, b, grad, **options)
    keep = dropout_mask(seed, (*q.shape[:-1], shape[1]), p) if p else None
    truth = exact(q, k, v, b, mask, grad, keep, p, shown)
    # One key left makes every gradient of a score (dP - dP) / (1 - p).
    terms = (grad @ v.mT).abs().max() * max(q.abs().max(), k.abs().max()) / (1 - p)
    assert_close(ours, plain, truth, terms=float(terms) / shape[2] ** 0.5 if shape[1] <= 3 else 0.0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "bias", [(1,), (1, 70), (20, 1), (3, 1, 70), (2, 1, 20, 70), (2, 3, 20, 1)]
)
def test_bias_gradient_is_summed_over_what_was_broadcast(bias, masked):
    q, k, v, b, mask, grad = inputs((20, 70, 4, 4), bias=bias, masked=masked)
    ours = results(cross_attention, q, k, v, b, grad, key_padding_mask=mask)
    plain = results(cross_attention_reference, q, k, v, b, grad, key_padding_mask=mask)
    assert_close(ours, plain, exact(q, k, v, b, mask, grad), terms=20.0 * (bias[-1] == 1))


@pytest.mark.parametrize("shape", [(5, 70, 8, 8), (40, 3, 16, 16), (17, 20, 8, 12)])
def test_a_head_does_not_depend_on_the_others(simd_level, shape):
    q, k, v, _, _, grad = inputs(shape, torch.float32, lead=(300,))
    together = results(cross_attention, q, k, v, None, grad, impl="native")
    for i in (0, 3, 4, 7, 298, 299):  # ends of tasks, and what is prefetched for the next head
        one = slice(i, i + 1)
        alone = results(cross_attention, q[one], k[one], v[one], None, grad[one], impl="native")
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[one], part, rtol=0, atol=0)


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_masked_keys_leak_nothing(simd_level, impl):
    q, k, v, _, mask, grad = inputs((9, 40, 8, 8), torch.float32, masked=True)
    clean = results(cross_attention, q, k, v, None, grad, key_padding_mask=mask, impl=impl)
    hole = mask.expand(2, 3, 40)
    k[hole], v[hole] = torch.nan, torch.inf
    dirty = results(cross_attention, q, k, v, None, grad, key_padding_mask=mask, impl=impl)
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)
        assert not a[0].any()  # the batch's first element has no key at all


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [9, 300])  # one chunk of queries, and two
@pytest.mark.parametrize("impl", ["native", "reference"])
def test_what_no_query_sees_and_blind_queries_leak_nothing(simd_level, impl, rows, dtype):
    q, k, v, b, _, grad = inputs((rows, 40, 8, 5), dtype, bias=(2, 3, rows, 40))
    shown = visible((3, rows, 40))
    padding = torch.zeros(2, 1, 40, dtype=torch.bool)
    padding[:, :, 3] = True
    shown[:, 1] = False
    shown[:, 1, 3] = True  # sees what is padded alone
    pairs = shown.expand(2, 3, rows, 40) & ~padding[..., None, :]
    unseen, blind = ~pairs.any(-2), ~pairs.any(-1)
    assert unseen.sum() >= 6 * 20
    assert blind[..., 1].all()
    options = dict(
        key_padding_mask=padding, attn_mask=shown, dropout_p=0.2, seed=torch.tensor(5), impl=impl
    )
    clean = results(cross_attention, q, k, v, b, grad, **options)
    q[blind], k[unseen], v[unseen], grad[blind] = torch.nan, torch.inf, torch.nan, torch.nan
    b[~pairs] = torch.nan
    dirty = results(cross_attention, q, k, v, b, grad, **options)
    for x, y in zip(clean, dirty, strict=True):
        assert torch.equal(x, y)
        assert x.isfinite().all()
    out, grad_q, grad_k, grad_v, grad_b = clean
    for x in (out[blind], grad_q[blind], grad_k[unseen], grad_v[unseen], grad_b[~pairs]):
        assert not x.any()
    weights = attention_weights(q, k, key_padding_mask=padding, attn_mask=shown, attn_bias=b)
    assert not weights[~pairs].any()
    torch.testing.assert_close(weights.sum(-1), (~blind).to(dtype))


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_a_blind_query_stays_zero_beside_a_nan_that_others_see(simd_level, impl):
    q, k, v, _, _, grad = inputs((4, 6, 3, 2), torch.float32)
    shown = torch.ones(4, 6, dtype=torch.bool)
    shown[2] = False
    k[..., 1, :], v[..., 1, :] = torch.nan, torch.nan
    out, grad_q, *_ = results(cross_attention, q, k, v, None, grad, attn_mask=shown, impl=impl)
    for x in (out, grad_q):
        assert not x[..., 2, :].any()
        assert x[..., [0, 1, 3], :].isnan().all()


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize(
    "shape", [(), (1,), (40,), (1, 40), (9, 1), (3, 1, 1), (3, 9, 40), (2, 1, 9, 1), (2, 3, 9, 40)]
)
def test_attn_mask_of_any_shape_and_strides(shape, impl):
    q, k, v, _, _, grad = inputs((9, 40, 4, 4))
    shown = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.5
    full = shown.expand(2, 3, 9, 40).contiguous()
    want = results(cross_attention, q, k, v, None, grad, attn_mask=full, impl=impl)
    wrong_way = shown.movedim(-1, 0).contiguous().movedim(0, -1) if shape else shown
    for mask in (shown, wrong_way, shown.expand(2, 3, 9, 40)):
        ours = results(cross_attention, q, k, v, None, grad, attn_mask=mask, impl=impl)
        assert all(torch.equal(a, b) for a, b in zip(ours, want, strict=True))


def test_attn_mask_of_keys_alone_equals_the_padding_mask():
    q, k, v, _, padding, grad = inputs((9, 40, 4, 4), masked=True)
    want = results(cross_attention, q, k, v, None, grad, key_padding_mask=padding)
    ours = results(cross_attention, q, k, v, None, grad, attn_mask=~padding[..., None, :])
    assert all(torch.equal(a, b) for a, b in zip(ours, want, strict=True))


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_minus_infinity_in_the_bias_is_a_mask(impl):
    q, k, v, _, _, grad = inputs((4, 6, 3, 2))
    bias = torch.zeros(4, 6, dtype=torch.float64)
    bias[1, 2:], bias[3] = -torch.inf, -torch.inf
    out, *grads = results(cross_attention, q, k, v, bias, grad, impl=impl)
    assert not out[..., 3, :].any()
    assert all(torch.isfinite(g).all() for g in grads)
    alone = cross_attention(q[..., 1:2, :], k[..., :2, :], v[..., :2, :])
    torch.testing.assert_close(out[..., 1:2, :], alone)


def test_nan_in_a_query_stays_in_its_row(simd_level):
    q, k, v, *_ = inputs((5, 20, 3, 2), torch.float32)
    q[0, 0, 2] = torch.nan
    out = cross_attention(q, k, v)
    assert out[0, 0, 2].isnan().all()
    assert out.isnan().sum() == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponential_and_logarithm_of_the_vector_unit(simd_level, dtype):
    """Scores (0, x) and values (0, 1) give e^x / (1 + e^x) to a relative error of a few eps."""
    lowest = -86.0 if dtype == torch.float32 else -707.0
    x = torch.linspace(lowest, 0, 20011, dtype=dtype)
    x = torch.cat([x, torch.linspace(-2, 0, 5003, dtype=dtype)])
    rows = len(x)
    zero = torch.zeros(rows, 1, dtype=dtype)
    value = torch.tensor([[0.0], [1.0]], dtype=dtype)
    bias = torch.stack([torch.zeros_like(x), x], -1)
    op = torch.ops.clmer.cross_attention
    out, lse = op(zero, zero[:2], value, None, None, bias, None, 0.0, 1.0, False)
    e = np.exp(x.numpy().astype(np.longdouble))
    eps = torch.finfo(dtype).eps
    error = np.abs(out[:, 0].numpy() / (e / (1 + e)) - 1).max() / eps
    assert error < 3.5  # exp 2, the sum, the quotient and the product 0.5 each
    assert np.abs(lse.numpy() - np.log1p(e)).max() < 2 * eps
    counts = torch.tensor([1, 2, 3, 100, 128])  # n equal scores: the logarithm of n
    for n in counts.tolist():
        _, lse = op(zero[:1], zero[:n], zero[:n], *[None] * 4, 0.0, 1.0, False)
        assert abs(lse.item() - np.log(n)) <= 2 * eps * max(np.log(n), eps)


def test_far_scores_underflow_to_zero(simd_level):
    q = torch.tensor([[1.0]])
    k = torch.tensor([[0.0], [-80.0], [-88.0], [-1e30], [-torch.inf]])
    value = torch.eye(5)
    out = cross_attention(q, k, value)[0]
    assert out[0] == 1
    assert 0 < out[1] < 1e-34
    assert not out[2:].any()


def eager(query, key, value, *, attn_bias, hidden, keep, dropout_p):
    """The weights in full, every intermediate result in the inputs' dtype."""
    scores = query * query.shape[-1] ** -0.5 @ key.mT
    if attn_bias is not None:
        scores = scores + attn_bias.to(scores.dtype)
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1).nan_to_num(0.0)
    return weights * keep.to(weights.dtype) / (1 - dropout_p) @ value


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["plain", "masked", "hidden", "dropout", "all"])
@pytest.mark.parametrize("shape", [*SHAPES[1:], (6, 300, 9, 5)])
def test_half_types_are_no_worse_than_plain_pytorch_in_them(simd_level, shape, case, dtype):
    p = 0.3 if case in ("dropout", "all") else 0.0
    bias = (3, *shape[:2]) if case == "all" else None
    q, k, v, b, mask, grad = inputs(shape, dtype, bias=bias, masked=case in ("masked", "all"))
    b = None if b is None else b.float()
    shown = visible((3, *shape[:2])) if case in ("hidden", "all") else None
    seed = torch.tensor(12345) if p else None
    options = dict(key_padding_mask=mask, attn_mask=shown, dropout_p=p, seed=seed)
    ours = results(cross_attention, q, k, v, b, grad, impl="native", **options)
    every = torch.ones(*q.shape[:-1], shape[1], dtype=torch.bool)
    hidden = ~every if mask is None else every & mask[..., None, :]
    hidden = hidden if shown is None else hidden | ~shown
    keep = dropout_mask(seed, every.shape, p) if p else every
    plain = results(eager, q, k, v, b, grad, hidden=hidden, keep=keep, dropout_p=p)
    wide = [None if t is None else t.double() for t in (q, k, v, b, grad)]
    truth = exact(*wide[:4], mask, wide[4], keep, p, shown)
    terms = (grad.double() @ v.double().mT).abs().max() * max(q.abs().max(), k.abs().max())
    for a in ours[:4]:
        assert a.dtype == dtype
    assert_close(
        [a.double().to(dtype) for a in ours],  # the bias gradient is float32, of rounded factors
        [a.to(dtype) for a in plain],
        truth,
        terms=float(terms) / (1 - p) / shape[2] ** 0.5 if shape[1] <= 3 else 0.0,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 300, 9, 17), (33, 70, 17, 3), (300, 129, 8, 16)])
def test_half_types_are_rounded_once(simd_level, shape, dtype):
    """Equal to the float32 kernel on the same values, but for what the storage type rounds."""
    q, k, v, b, mask, grad = inputs(shape, dtype, bias=shape[:2], masked=True)
    options = dict(key_padding_mask=mask, attn_mask=visible(shape[:2]))
    ours = results(cross_attention, q, k, v, b, grad, **options)
    wide = results(cross_attention, *(t.float() for t in (q, k, v, b, grad)), **options)
    assert torch.equal(ours[0], wide[0].to(dtype))
    assert torch.equal(ours[3], wide[3].to(dtype))  # dV needs no output
    for a, w in zip(ours, wide, strict=True):
        assert a.dtype == dtype
        assert (a - w).abs().max() <= torch.finfo(dtype).eps * w.abs().max()


def test_every_half_is_read_and_rounded_as_torch_does(simd_level):
    """One key has the weight 1: the output is its value, and dV the sum of the gradients."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.bfloat16, torch.float16):
        every = bits.view(dtype)
        every = every[every.isfinite()]
        value = every.view(1, 1, -1).expand(1, 1, -1)
        query = torch.zeros(2, 1, 1, dtype=dtype)
        leaf = value.expand(2, 1, -1).clone().requires_grad_()
        out = cross_attention(query, query, leaf)
        assert torch.equal(out, leaf)
        other = every.roll(1)
        grad = torch.stack([every, other]).view(1, 2, -1)  # two queries share the key
        leaf = value.clone().requires_grad_()
        out = cross_attention(query.view(1, 2, 1), query[:1], leaf)
        (got,) = torch.autograd.grad(out, leaf, grad)
        assert torch.equal(got[0, 0], (every.float() + other.float()).to(dtype))


def test_any_strides():
    g = torch.Generator().manual_seed(0)
    packed = torch.randn(2, 21, 3, 5, 8, generator=g).permute(2, 0, 3, 1, 4)  # [3, B, H, L, D]
    wrong_way = torch.randn(2, 5, 8, 21, generator=g).transpose(-1, -2)
    expanded = torch.randn(1, 5, 21, 8, generator=g).expand(2, 5, 21, 8)
    for q, k, v in (packed, (packed[1], wrong_way, expanded), (wrong_way, expanded, packed[0])):
        grad = torch.randn(2, 21, 5, 8, generator=g).transpose(1, 2)
        dense = [t.contiguous() for t in (q, k, v)]
        ours = results(cross_attention, q, k, v, None, grad)
        for a, b in zip(ours, results(cross_attention, *dense, None, grad), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
@pytest.mark.parametrize("lead", [(2, 3), (0,), ()])
def test_empty_tensors(sizes, lead):
    q, k, v, b, _, grad = inputs(sizes, lead=lead, bias=sizes[:2])
    shown = torch.ones(sizes[:2], dtype=torch.bool)
    options = dict(key_padding_mask=torch.zeros(sizes[1], dtype=torch.bool), attn_mask=shown)
    ours = results(cross_attention, q, k, v, b, grad, impl="native", **options)
    plain = results(cross_attention, q, k, v, b, grad, impl="reference", **options)
    for a, p in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, p)


# ---- dropout -----------------------------------------------------------------------------------
def test_dropout_drops_the_share_it_should():
    for p in (0.1, 0.5, 0.9):
        kept = dropout_mask(torch.tensor(-5), (8, 4, 60, 70), p).double()
        assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / kept.numel()) ** 0.5
        for dim in range(4):  # neighbours along any dimension are independent
            a, b = (kept.narrow(dim, i, kept.shape[dim] - 1) - (1 - p) for i in (0, 1))
            assert abs((a * b).mean()) < 5 * p * (1 - p) / a.numel() ** 0.5


def test_dropout_follows_torchs_generator():
    q, k, v, *_ = inputs((6, 7, 4, 4))
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(cross_attention(q, k, v, dropout_p=0.5))
    torch.manual_seed(1)
    draws.append(cross_attention(q, k, v, dropout_p=0.5, impl="reference"))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    torch.testing.assert_close(draws[0], draws[3])


def test_weights_are_those_that_are_applied():
    q, k, v, b, mask, _ = inputs((6, 7, 4, 4), bias=(6, 7), masked=True)
    options = dict(
        key_padding_mask=mask,
        attn_mask=visible((3, 6, 7)),
        attn_bias=b,
        dropout_p=0.4,
        seed=torch.tensor(9),
        scale=0.3,
    )
    torch.testing.assert_close(
        attention_weights(q, k, **options) @ v, cross_attention(q, k, v, **options)
    )


# ---- the public test of scaled_dot_product_attention ---------------------------------------------
def test_torchs_own_samples():
    from torch.testing._internal.common_methods_invocations import op_db

    (info,) = (o for o in op_db if o.name == "nn.functional.scaled_dot_product_attention")
    checked = 0
    for sample in info.sample_inputs("cpu", torch.float64, requires_grad=False):
        (k, v), options = sample.args, sample.kwargs
        if options["dropout_p"] or options.get("enable_gqa"):
            continue
        q = sample.input.expand(*k.shape[:-2], *sample.input.shape[-2:])
        mask = options.get("attn_mask")
        if options["is_causal"]:
            mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        boolean = mask is not None and mask.dtype == torch.bool
        want = F.scaled_dot_product_attention(q, k, v, **options)
        ours = cross_attention(q, k, v, **{"attn_mask" if boolean else "attn_bias": mask})
        torch.testing.assert_close(ours, want)
        checked += 1
    assert checked >= 4


# ---- errors --------------------------------------------------------------------------------------
def bad(message, **changes):
    q, k, v, *_ = inputs((4, 5, 3, 2))
    arguments = {"query": q, "key": k, "value": v, **changes}
    return pytest.param(arguments, message, id=message[:30])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        bad("expected the same 2 to 7 dimensions", query=torch.zeros(3)),
        bad("dimensions in each .clmer.scaled_dot_product_attention", query=torch.zeros(2, 4, 3)),
        bad("expected equal leading dimensions", query=torch.zeros(2, 2, 4, 3)),
        bad(r"expected query \[..., Lq, D\]", query=torch.zeros(2, 3, 4, 7)),
        bad(r"key \[..., Lk, D\] and value", value=torch.zeros(2, 3, 6, 2)),
        bad("one floating-point dtype", query=torch.zeros(2, 3, 4, 3)),
        bad("expected torch.bool", key_padding_mask=torch.zeros(2, 3, 5)),
        bad(r"broadcastable to \(2, 3, 5\)", key_padding_mask=torch.zeros(2, 4).bool()),
        bad(r"found \(3, 5\), expected .* \(2, Lk\)", key_padding_mask=torch.zeros(3, 5).bool()),
        bad("attn_mask: found torch.float32", attn_mask=torch.zeros(4, 5)),
        bad(r"attn_mask: found \(5, 4\)", attn_mask=torch.zeros(5, 4).bool()),
        bad("attn_bias: found torch.int64", attn_bias=torch.zeros(5, dtype=torch.int64)),
        bad(r"broadcastable to \(2, 3, 4, 5\)", attn_bias=torch.zeros(4, 4)),
        bad("expected 0 <= p <= 1", dropout_p=1.1),
        bad("0-d torch.int64", dropout_p=0.5, seed=torch.zeros(())),
        bad("expected None, 'native'", impl="fast"),
    ],
)
def test_errors_say_what_was_found_and_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        cross_attention(**arguments)


def test_raw_pointers_give_the_same():
    q, k, v, b, mask, grad = inputs((9, 20, 5, 6), bias=(9, 20), masked=True)
    shown = visible((3, 9, 20))
    options = dict(key_padding_mask=mask, attn_mask=shown, dropout_p=0.2, seed=torch.tensor(4))
    by_capsule = results(cross_attention, q, k, v, b, grad, **options)
    _C.set_exchange_api(None)
    try:
        by_pointer = results(cross_attention, q, k, v, b, grad, **options)
    finally:
        _C.set_exchange_api(_capsule)
    for a, c in zip(by_capsule, by_pointer, strict=True):
        assert torch.equal(a, c)


# --- what has one meaning -----------------------------------------------------------------------
@pytest.mark.parametrize("heads", [1, 2, 3])  # as many as the batch has, or not
@pytest.mark.parametrize("impl", ["native", "reference"])
def test_a_mask_of_the_batch_counts_for_all_heads(heads, impl):
    q, k, v = (torch.randn(2, heads, rows, 8) for rows in (4, 5, 5))
    mask = torch.tensor([[False, True, False, False, True], [True, False, False, True, False]])
    want = cross_attention(q, k, v, key_padding_mask=mask[:, None].expand(2, heads, 5), impl=impl)
    assert torch.equal(cross_attention(q, k, v, key_padding_mask=mask, impl=impl), want)
    weights = attention_weights(q, k, key_padding_mask=mask)
    assert not weights[mask[:, None, None].expand_as(weights)].any()
    torch.testing.assert_close(weights @ v, want)
    shared = cross_attention(q, k, v, key_padding_mask=mask[:1], impl=impl)
    assert torch.equal(shared, cross_attention(q, k, v, key_padding_mask=mask[0], impl=impl))


def test_a_mask_of_some_leading_dimensions_is_refused():
    q, k = torch.randn(3, 2, 2, 4, 8), torch.randn(3, 2, 2, 5, 8)
    for shape in ((2, 5), (1, 2, 5), (3, 2, 5)):
        with pytest.raises(ValueError, match="key_padding_mask: found .* one for each"):
            cross_attention(q, k, k, key_padding_mask=torch.zeros(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match="key_padding_mask: found .* broadcastable"):
        cross_attention(q, k, k, key_padding_mask=torch.zeros(3, 5, dtype=torch.bool))
    for shape in ((5,), (1, 5), (1, 1, 5), (2, 2, 5), (3, 1, 1, 5), (1, 2, 1, 5), (3, 2, 2, 5)):
        cross_attention(q, k, k, key_padding_mask=torch.zeros(shape, dtype=torch.bool))
    q, k = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8)  # of the heads: nn's has no such mask
    with pytest.raises(ValueError, match="key_padding_mask"):
        cross_attention(q, k, k, key_padding_mask=torch.zeros(3, 5, dtype=torch.bool))


def test_masks_and_biases_of_pairs_align_at_the_right_as_in_sdpa():
    q, k = torch.randn(2, 2, 4, 8), torch.randn(2, 2, 5, 8)
    shown = torch.rand(2, 4, 5) < 0.6
    shown[..., 0] = True
    for option, name in ((shown, "attn_mask"), (torch.randn(2, 4, 5), "attn_bias")):
        want = F.scaled_dot_product_attention(q, k, k, attn_mask=option)
        torch.testing.assert_close(cross_attention(q, k, k, **{name: option}), want)


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_a_learnt_scale_is_refused_and_one_that_is_given_counts(impl):
    q = torch.randn(2, 3, 8)
    with pytest.raises(ValueError, match="scale: it requires a gradient.*query by it"):
        cross_attention(q, q, q, scale=torch.tensor(0.3, requires_grad=True), impl=impl)
    with pytest.raises(ValueError, match=r"scale: found a tensor \(3, 1\)"):
        cross_attention(q, q, q, scale=torch.ones(3, 1), impl=impl)
    given = cross_attention(q, q, q, scale=torch.tensor(0.3), impl=impl)
    torch.testing.assert_close(given, cross_attention(q, q, q, scale=0.3, impl=impl))


def test_arrays_in_place_of_tensors_are_named():
    q = torch.randn(2, 3, 8)
    for name in ("key_padding_mask", "attn_mask", "attn_bias"):
        with pytest.raises(ValueError, match=f"{name}: found ndarray, expected a tensor"):
            cross_attention(q, q, q, **{name: np.zeros(3, dtype=bool)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("keys", [3, 40, 300])
@pytest.mark.parametrize("rows", [1, 5, 200])  # keys across the lanes, queries across, two chunks
def test_means_of_large_values_are_finite(simd_level, dtype, keys, rows):
    largest = 0.9 * torch.finfo(dtype).max
    q, k = torch.randn(2, rows, 8, dtype=dtype), torch.randn(2, keys, 8, dtype=dtype)
    v = (largest * (2 * torch.rand(2, keys, 4, dtype=torch.float64) - 1)).to(dtype)
    v[..., 0] = largest
    out = cross_attention(q, k, v)
    assert out.isfinite().all()
    # not an estimate of the error: the sums of the plain form are those of scaled values
    small = 2.0**-12
    scaled = cross_attention_reference(q.double(), k.double(), v.double() * small) / small
    eps = torch.finfo(dtype).eps
    assert (out.double() - scaled).abs().max() <= 64 * eps * largest
    v[0, 0, 1], v[1, 0, 2] = torch.inf, torch.nan
    out = cross_attention(q, k, v)
    assert out[0, :, 1].isinf().all()
    assert out[1, :, 2].isnan().all()
    assert out[..., [0, 3]].isfinite().all()


def test_large_values_and_dropout_and_gradients():
    q, k, v, _, _, grad = inputs((6, 40, 4, 3), torch.float32, (2,))
    v = v * 2e37
    grad = grad * 1e-37
    options = dict(dropout_p=0.25, seed=torch.tensor(3))
    ours = results(cross_attention, q, k, v, None, grad, **options)
    plain = results(cross_attention_reference, q, k, v, None, grad, **options)
    for mine, theirs in zip(ours, plain, strict=True):
        if mine is not None:
            torch.testing.assert_close(
                mine, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item()
            )
