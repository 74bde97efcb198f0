"""What every GPU form of cross_attention is held against, interpreted, emulated or on a GPU."""

import torch
from test_attention import assert_close, eager, exact, inputs, results, visible

from clmer.ops.attention.reference import attention_weights, cross_attention_reference, dropout_mask

CASES = ["plain", "masked", "hidden", "dropout", "all"]
SEED = torch.tensor(-12345)
EMPTY = [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)]


def problem(shape, case, dtype=torch.float32, lead=(2, 2)):
    """Tensors, and options; everything that the case has, its last heads hidden in part."""
    p = 0.3 if case in ("dropout", "all") else 0.0
    bias = (lead[-1], *shape[:2]) if case == "all" else None
    q, k, v, b, mask, grad = inputs(shape, dtype, lead, bias, masked=case in ("masked", "all"))
    b = None if b is None else b.float()
    shown = visible((lead[-1], *shape[:2])) if case in ("hidden", "all") else None
    options = dict(key_padding_mask=mask, attn_mask=shown, dropout_p=p)
    return (q, k, v, b, grad), options | {"seed": SEED if p else None}


def truth(tensors, options):
    q, k, v, b, grad = (None if t is None else t.double() for t in tensors)
    p, mask, shown = (options[n] for n in ("dropout_p", "key_padding_mask", "attn_mask"))
    keep = dropout_mask(SEED, (*q.shape[:-1], k.shape[-2]), p) if p else None
    return exact(q, k, v, b, mask, grad, keep, p, shown)


def cancelling(tensors, options):
    """The size of the terms where a gradient is a sum that cancels: see test_attention."""
    q, k, v, _, grad = (None if t is None else t.double() for t in tensors)
    terms = (grad @ v.mT).abs().max() * max(q.abs().max(), k.abs().max())
    few = min(k.shape[-2], q.shape[-2] if options.get("is_causal") else 4) <= 3
    return float(terms) / (1 - options["dropout_p"]) / q.shape[-1] ** 0.5 if few else 0.0


def of_output(tensors, options):
    """The size of a gradient's terms P dP, where their sum is taken as dO . O, as `cuda` does.

    The rounding of O then stays even where P (dP - sum P dP) is zero.
    """
    q, k, v, b, grad = (None if t is None else t.double() for t in tensors)
    masks = {name: options[name] for name in ("key_padding_mask", "attn_mask")}
    terms = attention_weights(q, k, attn_bias=b, **masks) * (grad @ v.mT).abs()
    size = float(terms.max() * max(q.abs().max(), k.abs().max()))
    return size / (1 - options["dropout_p"]) / q.shape[-1] ** 0.5


def check_the_equation(form, shape, case, terms_of=cancelling):
    tensors, options = problem(shape, case)
    ours = results(form, *tensors, **options)
    plain = results(cross_attention_reference, *tensors, **options)
    terms = terms_of(tensors, options)
    assert_close(ours, plain, truth(tensors, options), terms=terms)


def check_half_type(form, shape, dtype, terms_of=cancelling):
    tensors, options = problem(shape, "all", dtype)
    ours = results(form, *tensors, **options)
    assert all(x.dtype == dtype for x in ours[:4])
    q, k, _, _, _ = tensors
    mask, shown, p = (options[n] for n in ("key_padding_mask", "attn_mask", "dropout_p"))
    hidden = mask[..., None, :] | ~shown
    keep = dropout_mask(SEED, (*q.shape[:-1], k.shape[-2]), p)
    plain = results(eager, *tensors, hidden=hidden, keep=keep, dropout_p=p)
    rounded = [[x.to(dtype) for x in each] for each in (ours, plain)]
    terms = terms_of(tensors, options)
    assert_close(*rounded, truth(tensors, options), terms=terms)


def check_what_masks_hide_leaks_nothing(form, rows, keys):
    lead = (2, 2) if max(rows, keys) <= 128 else (1, 2)
    bias = (*lead, rows, keys)
    q, k, v, b, _, grad = inputs((rows, keys, 4, 5), torch.float32, lead, bias)
    shown = visible((2, rows, keys))
    padding = torch.zeros(lead[0], 1, keys, dtype=torch.bool)
    padding[:, :, 1] = True
    shown[:, 1] = False
    shown[:, 1, 1] = True  # sees what is padded alone
    pairs = shown.expand(bias) & ~padding[..., None, :]
    unseen, blind = ~pairs.any(-2), ~pairs.any(-1)
    options = dict(key_padding_mask=padding, attn_mask=shown, dropout_p=0.2, seed=SEED)
    clean = results(form, q, k, v, b, grad, **options)
    q[blind], k[unseen], v[unseen], grad[blind] = torch.nan, torch.inf, torch.nan, torch.nan
    b[~pairs] = torch.nan
    dirty = results(form, q, k, v, b, grad, **options)
    for x, y in zip(clean, dirty, strict=True):
        assert torch.equal(x, y)
        assert x.isfinite().all()
    out, grad_q, grad_k, grad_v, grad_b = clean
    for x in (out[blind], grad_q[blind], grad_k[unseen], grad_v[unseen], grad_b[~pairs]):
        assert not x.any()


def check_nan_spreads_to_who_sees_it_and_no_further(form, keys):
    q, k, v, _, _, grad = inputs((4, keys, 3, 2), torch.float32, (1, 2))
    shown = torch.ones(4, keys, dtype=torch.bool)
    shown[2] = False
    k[..., 1, :], v[..., 1, :] = torch.nan, torch.nan
    out, grad_q, *_ = results(form, q, k, v, None, grad, attn_mask=shown)
    for x in (out, grad_q):
        assert not x[..., 2, :].any()
        assert x[..., [0, 1, 3], :].isnan().all()
    q, k, v, *_ = inputs((4, keys, 3, 2), torch.float32, (1, 2))
    q[0, 0, 2] = torch.nan
    out = form(q, k, v)
    assert out[0, 0, 2].isnan().all()
    assert out.isnan().sum() == 2


def check_bias(form, terms_of=lambda tensors, options: 0.0):
    for bias in ((1,), (1, 7), (5, 1), (3, 1, 7), (2, 1, 5, 7), (2, 3, 5, 1)):
        q, k, v, b, mask, grad = inputs((5, 7, 4, 4), torch.float32, bias=bias, masked=True)
        ours = results(form, q, k, v, b, grad, key_padding_mask=mask)
        plain = results(cross_attention_reference, q, k, v, b, grad, key_padding_mask=mask)
        wide = [t.double() for t in (q, k, v, b)]
        want = exact(*wide, mask, grad.double())
        terms = terms_of(
            (q, k, v, b, grad), dict(key_padding_mask=mask, attn_mask=None, dropout_p=0)
        )
        assert_close(ours, plain, want, terms=max(terms, 20.0 * (bias[-1] == 1)))
    q, k, v, _, _, grad = inputs((4, 6, 3, 2), torch.float32)
    bias = torch.zeros(4, 6)
    bias[1, 2:], bias[3] = -torch.inf, -torch.inf
    out, *grads = results(form, q, k, v, bias, grad)
    assert not out[..., 3, :].any()
    assert all(g.isfinite().all() for g in grads)
    alone = form(q[..., 1:2, :], k[..., :2, :], v[..., :2, :])
    torch.testing.assert_close(out[..., 1:2, :], alone)
    (only,) = torch.autograd.grad(form(q, k, v, attn_bias=bias.requires_grad_()).sum(), bias)
    assert only.shape == bias.shape


def check_strides(form):
    g = torch.Generator().manual_seed(0)
    packed = torch.randn(2, 9, 3, 5, 8, generator=g).permute(2, 0, 3, 1, 4)  # [3, B, H, L, D]
    wrong_way = torch.randn(2, 5, 8, 9, generator=g).transpose(-1, -2)
    expanded = torch.randn(1, 5, 9, 8, generator=g).expand(2, 5, 9, 8)
    odd = torch.randn(2, 5, 9, 11, generator=g)[..., 2:10]  # rows that no vector load may take
    grad = torch.randn(2, 9, 5, 8, generator=g).transpose(1, 2)
    for q, k, v in (packed, (packed[1], wrong_way, expanded), (odd, expanded, packed[0])):
        dense = [t.contiguous() for t in (q, k, v)]
        ours = results(form, q, k, v, None, grad)
        for a, b in zip(ours, results(form, *dense, None, grad), strict=True):
            assert torch.equal(a, b)


def check_leading_dimensions(form):
    """Masks and bias whose broadcasting keeps 1 to 5 leading dimensions apart."""
    lead = (2, 3, 1, 2, 2)
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(*lead, n, 4, generator=g) for n in (3, 5, 5))
    grad = torch.randn(*lead, 3, 4, generator=g)
    for shape in ((5,), (3, 1, 1, 2, 5), (2, 1, 1, 1, 2, 5)):
        mask = torch.rand(shape, generator=g) < 0.5
        shown = torch.rand((2, 1, 1, 1, 2, 3, 5), generator=g) < 0.7
        bias = torch.randn((3, 1, 2, 1, 3, 1), generator=g)
        options = dict(key_padding_mask=mask, attn_mask=shown, dropout_p=0.4, seed=SEED)
        ours = results(form, q, k, v, bias, grad, **options)
        plain = results(cross_attention_reference, q, k, v, bias, grad, **options)
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def check_empty_tensors(form, sizes):
    for lead in ((2,), (0,), ()):
        q, k, v, b, _, grad = inputs(sizes, torch.float32, lead=lead, bias=sizes[:2])
        shown = torch.ones(sizes[:2], dtype=torch.bool)
        padding = torch.zeros(sizes[1], dtype=torch.bool)
        options = dict(key_padding_mask=padding, attn_mask=shown)
        ours = results(form, q, k, v, b, grad, **options)
        plain = results(cross_attention_reference, q, k, v, b, grad, **options)
        for a, c in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, c)


def check_repeats(form, shape):
    tensors, options = problem(shape, "all")
    first, again = (results(form, *tensors, **options) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def check_means_of_large_values(form, keys, dtype=torch.float32):
    """Each output is a mean of values: finite where they are, whatever their sum is."""
    largest = 0.9 * torch.finfo(dtype).max
    q, k, *_ = inputs((4, keys, 8, 4), torch.float32, (2,))
    q, k = q.to(dtype), k.to(dtype)
    v = (largest * (2 * torch.rand(2, keys, 4, dtype=torch.float64) - 1)).to(dtype)
    v[..., 0] = largest
    out = form(q, k, v)
    assert out.isfinite().all()
    small = 2.0**-12
    want = cross_attention_reference(q.double(), k.double(), v.double() * small) / small
    eps = max(torch.finfo(dtype).eps, 2**-10 if dtype == torch.float16 else 0)
    assert (out.double() - want).abs().max() <= 64 * eps * largest


def check_causal(form, shape, case, terms_of=cancelling):
    """is_causal against the mask that says the same."""
    tensors, options = problem(shape, case)
    earlier = torch.ones(shape[0], shape[1], dtype=torch.bool).tril()
    shown = options["attn_mask"]
    masked = options | {"attn_mask": earlier if shown is None else shown & earlier}
    ours = results(form, *tensors, is_causal=True, **options)
    plain = results(cross_attention_reference, *tensors, **masked)
    terms = terms_of(tensors, masked | {"is_causal": True})
    assert_close(ours, plain, truth(tensors, masked), terms=terms)


def check_what_causal_hides_leaks_nothing(form, rows, keys):
    """Keys after the last query, and queries whose keys are all padding."""
    q, k, v, _, _, grad = inputs((rows, keys, 4, 5), torch.float32, (2, 2))
    padding = torch.zeros(2, 1, keys, dtype=torch.bool)
    padding[0, :, :2] = True  # queries 0 and 1 of the first window see nothing
    options = dict(key_padding_mask=padding, is_causal=True, dropout_p=0.2, seed=SEED)
    clean = results(form, q, k, v, None, grad, **options)
    for t in (q, grad):
        t[0, :, :2] = torch.nan
    for t in (k, v):
        t[0, :, :2], t[..., rows:, :] = torch.nan, torch.inf
    dirty = results(form, q, k, v, None, grad, **options)
    for x, y in zip(clean[:4], dirty[:4], strict=True):
        assert torch.equal(x, y)
        assert x.isfinite().all()
    out, grad_q, grad_k, grad_v, *_ = clean
    for x in (out[0, :, :2], grad_q[0, :, :2], grad_k[0, :, :2], grad_v[..., rows:, :]):
        assert not x.any()
