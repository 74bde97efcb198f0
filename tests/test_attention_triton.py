"""cross_attention in Triton without a GPU: interpreted on small shapes, and compiled for GPUs."""

import pytest
import torch
from test_attention import assert_close, eager, exact, inputs, results, visible
from test_ntxent import run_in_child
from test_ntxent_triton import needs_triton

from clmer.ops.attention import cross_attention
from clmer.ops.attention_reference import cross_attention_reference, dropout_mask

#: (Lq, Lk, D, Dv): tiles that heads share, one tile, rows or keys past a tile's edge, streamed.
SHAPES = [
    *((1, 1, 1, 1), (3, 4, 5, 3), (5, 8, 16, 2)),
    *((9, 5, 3, 8), (17, 33, 8, 16), (3, 70, 8, 8), (40, 3, 16, 16)),
    *((5, 129, 4, 4), (129, 9, 4, 7)),
]
CASES = ["plain", "masked", "hidden", "dropout", "all"]
SEED = torch.tensor(-12345)


def triton(*args, **options):
    return cross_attention(*args, impl="triton", **options)


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
    few = k.shape[-2] <= 3
    return float(terms) / (1 - options["dropout_p"]) / q.shape[-1] ** 0.5 if few else 0.0


def check_the_equation():
    for shape in SHAPES:
        for case in CASES if shape in SHAPES[1:6:2] else ("all",):
            tensors, options = problem(shape, case)
            ours = results(triton, *tensors, **options)
            plain = results(cross_attention_reference, *tensors, **options)
            terms = cancelling(tensors, options)
            assert_close(ours, plain, truth(tensors, options), terms=terms)


def check_half_types():
    for shape in ((3, 4, 5, 3), (9, 5, 3, 8), (5, 129, 4, 4)):
        for dtype in (torch.bfloat16, torch.float16):
            tensors, options = problem(shape, "all", dtype)
            ours = results(triton, *tensors, **options)
            assert all(x.dtype == dtype for x in ours[:4])
            q, k, _, _, _ = tensors
            mask, shown, p = (options[n] for n in ("key_padding_mask", "attn_mask", "dropout_p"))
            hidden = mask[..., None, :] | ~shown
            keep = dropout_mask(SEED, (*q.shape[:-1], k.shape[-2]), p)
            plain = results(eager, *tensors, hidden=hidden, keep=keep, dropout_p=p)
            rounded = [[x.to(dtype) for x in each] for each in (ours, plain)]
            assert_close(*rounded, truth(tensors, options), terms=cancelling(tensors, options))


def check_what_masks_hide_leaks_nothing():
    for rows, keys in ((7, 8), (9, 20), (129, 5), (4, 129)):
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
        clean = results(triton, q, k, v, b, grad, **options)
        q[blind], k[unseen], v[unseen], grad[blind] = torch.nan, torch.inf, torch.nan, torch.nan
        b[~pairs] = torch.nan
        dirty = results(triton, q, k, v, b, grad, **options)
        for x, y in zip(clean, dirty, strict=True):
            assert torch.equal(x, y)
            assert x.isfinite().all()
        out, grad_q, grad_k, grad_v, grad_b = clean
        for x in (out[blind], grad_q[blind], grad_k[unseen], grad_v[unseen], grad_b[~pairs]):
            assert not x.any()


def check_nan_spreads_to_who_sees_it_and_no_further():
    for keys in (6, 129):
        q, k, v, _, _, grad = inputs((4, keys, 3, 2), torch.float32, (1, 2))
        shown = torch.ones(4, keys, dtype=torch.bool)
        shown[2] = False
        k[..., 1, :], v[..., 1, :] = torch.nan, torch.nan
        out, grad_q, *_ = results(triton, q, k, v, None, grad, attn_mask=shown)
        for x in (out, grad_q):
            assert not x[..., 2, :].any()
            assert x[..., [0, 1, 3], :].isnan().all()
        q, k, v, *_ = inputs((4, keys, 3, 2), torch.float32, (1, 2))
        q[0, 0, 2] = torch.nan
        out = triton(q, k, v)
        assert out[0, 0, 2].isnan().all()
        assert out.isnan().sum() == 2


def check_bias():
    for bias in ((1,), (1, 7), (5, 1), (3, 1, 7), (2, 1, 5, 7), (2, 3, 5, 1)):
        q, k, v, b, mask, grad = inputs((5, 7, 4, 4), torch.float32, bias=bias, masked=True)
        ours = results(triton, q, k, v, b, grad, key_padding_mask=mask)
        plain = results(cross_attention_reference, q, k, v, b, grad, key_padding_mask=mask)
        wide = [t.double() for t in (q, k, v, b)]
        want = exact(*wide, mask, grad.double())
        assert_close(ours, plain, want, terms=20.0 * (bias[-1] == 1))
    q, k, v, _, _, grad = inputs((4, 6, 3, 2), torch.float32)
    bias = torch.zeros(4, 6)
    bias[1, 2:], bias[3] = -torch.inf, -torch.inf
    out, *grads = results(triton, q, k, v, bias, grad)
    assert not out[..., 3, :].any()
    assert all(g.isfinite().all() for g in grads)
    alone = triton(q[..., 1:2, :], k[..., :2, :], v[..., :2, :])
    torch.testing.assert_close(out[..., 1:2, :], alone)
    (only,) = torch.autograd.grad(triton(q, k, v, attn_bias=bias.requires_grad_()).sum(), bias)
    assert only.shape == bias.shape


def check_strides():
    g = torch.Generator().manual_seed(0)
    packed = torch.randn(2, 9, 3, 5, 8, generator=g).permute(2, 0, 3, 1, 4)  # [3, B, H, L, D]
    wrong_way = torch.randn(2, 5, 8, 9, generator=g).transpose(-1, -2)
    expanded = torch.randn(1, 5, 9, 8, generator=g).expand(2, 5, 9, 8)
    odd = torch.randn(2, 5, 9, 11, generator=g)[..., 2:10]  # rows that no vector load may take
    grad = torch.randn(2, 9, 5, 8, generator=g).transpose(1, 2)
    for q, k, v in (packed, (packed[1], wrong_way, expanded), (odd, expanded, packed[0])):
        dense = [t.contiguous() for t in (q, k, v)]
        ours = results(triton, q, k, v, None, grad)
        for a, b in zip(ours, results(triton, *dense, None, grad), strict=True):
            assert torch.equal(a, b)


def check_leading_dimensions():
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
        ours = results(triton, q, k, v, bias, grad, **options)
        plain = results(cross_attention_reference, q, k, v, bias, grad, **options)
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def check_empty_tensors():
    for sizes in ((0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (0, 129, 4, 4)):
        for lead in ((2,), (0,), ()):
            q, k, v, b, _, grad = inputs(sizes, torch.float32, lead=lead, bias=sizes[:2])
            shown = torch.ones(sizes[:2], dtype=torch.bool)
            padding = torch.zeros(sizes[1], dtype=torch.bool)
            options = dict(key_padding_mask=padding, attn_mask=shown)
            ours = results(triton, q, k, v, b, grad, **options)
            plain = results(cross_attention_reference, q, k, v, b, grad, **options)
            for a, c in zip(ours, plain, strict=True):
                torch.testing.assert_close(a, c)


def check_errors():
    q, k, v, *_ = inputs((3, 5, 4, 4), torch.float32)
    with pytest.raises(ValueError, match="impl='triton': found float64"):
        triton(q.double(), k.double(), v.double())
    wide = torch.zeros(2, 3, 257)
    with pytest.raises(ValueError, match="D = 257 and Dv = 4, expected at most 256"):
        triton(wide, wide, torch.zeros(2, 3, 4))
    q.requires_grad_()
    with pytest.raises(RuntimeError, match="triton backward has no gradient"):
        torch.autograd.grad(triton(q, k, v).sum(), q, create_graph=True)
    from clmer.kernels.attention import attention_forward

    for name, changed in (
        ("key", (q, k[:1], v, None, None, None)),
        ("mask", (q, k, v, torch.zeros(2, 3, 4, dtype=torch.bool), None, None)),
        ("bias", (q, k, v, None, None, torch.zeros(3, 5))),
    ):
        with pytest.raises(ValueError, match=f"{name}: found"):
            attention_forward(*changed, None, 0.0, 1.0)


def check_repeats():
    for shape in SHAPES[1], SHAPES[-2]:
        tensors, options = problem(shape, "all")
        first, again = (results(triton, *tensors, **options) for _ in range(2))
        assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


# ---- children: one start of Triton's interpreter for several checks ------------------------------
def check_results():
    check_the_equation()
    check_half_types()
    check_repeats()


def check_masks():
    check_what_masks_hide_leaks_nothing()
    check_nan_spreads_to_who_sees_it_and_no_further()


def check_arguments():
    check_bias()
    check_strides()
    check_leading_dimensions()
    check_empty_tensors()
    check_errors()


def check_compilation():
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from clmer.kernels.attention import variants

    names = ("50 x 50 x 16 bf16", "50 x 50 x 16 fp32 tf32 terms", "129 x 300 x 256 bf16")
    chosen = [v for v in variants() if any(name in v.name for name in names)]
    assert {v.name.split()[0] for v in chosen} == {
        *("short_forward", "short_backward"),
        *("long_forward", "long_grad_query", "long_grad_keys"),
    }
    for i, variant in enumerate(chosen):
        source = ASTSource(variant.kernel, variant.signature, constexprs=variant.constexprs)
        target = GPUTarget("cuda", (80, 90, 100)[i % 3], 32)
        built = compile(source, target=target, options=variant.options)
        assert built.metadata.shared <= 99 << 10, variant.name  # the smallest of these families
        assert "atom" not in built.asm["ptx"], variant.name
        assert "mma" in built.asm["ptx"], variant.name


@needs_triton
@pytest.mark.parametrize("check", [check_results, check_masks, check_arguments])
def test_in_the_interpreter(check):
    run_in_child(check, TRITON_INTERPRET="1")


@needs_triton
def test_compiles_for_gpus():
    run_in_child(check_compilation, TRITON_INTERPRET="0")
