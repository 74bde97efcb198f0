"""`clmer.scaled_dot_product_attention` against PyTorch's, argument by argument."""

import itertools
import sys
import types

import pytest
import torch
from torch.nn import functional as F
from torch.testing._internal.common_methods_invocations import op_db

import clmer
from clmer import scaled_dot_product_attention
from clmer.nn import sdpa_kernel


def qkv(lead=(2, 4), rows=5, keys=7, dim=8, value_dim=8, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    shapes = ((*lead, rows, dim), (*lead, keys, dim), (*lead, keys, value_dim))
    return [torch.randn(s, generator=g, dtype=dtype) for s in shapes]


def agree(*tensors, **options):
    """Output and all gradients."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    ours = scaled_dot_product_attention(*leaves, **options)
    plain = F.scaled_dot_product_attention(*leaves, **options)
    torch.testing.assert_close(ours, plain)
    weight = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, leaves, weight),
        torch.autograd.grad(plain, leaves, weight),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    return ours


@pytest.mark.parametrize("rows", [1, 5, 9])
def test_causal(rows):
    agree(*qkv(rows=rows), is_causal=True)


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (4, 5, 7), (2, 1, 5, 7), (2, 4, 1, 7), (1, 1)])
def test_masks_of_any_shape(shape):
    g = torch.Generator().manual_seed(1)
    added = torch.randn(shape, generator=g, dtype=torch.float64)
    agree(*qkv(), attn_mask=added)
    ours = scaled_dot_product_attention(*qkv(), added)  # by position
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(*qkv(), added))
    shown = added > -0.5
    shown[..., 0] = True
    agree(*qkv(), attn_mask=shown)


def test_a_learnt_mask_gets_its_gradient():
    q, k, v = qkv()
    bias = torch.randn(4, 1, 7, dtype=torch.float64, requires_grad=True)
    ours = torch.autograd.grad(scaled_dot_product_attention(q, k, v, bias).sum(), bias)
    plain = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, bias).sum(), bias)
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize(
    "leads",
    [
        *(((2, 4), (2, 1), (2, 1)), ((2, 4), (1, 4), (1, 4)), ((1, 4), (2, 4), (2, 4))),
        *(((2, 4), (), ()), ((), (2, 4), (2, 4)), ((), (), ()), ((3,), (1,), (3,))),
    ],
)
def test_leading_dimensions_broadcast(leads):
    g = torch.Generator().manual_seed(2)
    sizes = ((5, 8), (7, 8), (7, 8))
    tensors = [
        torch.randn(*lead, *size, generator=g, dtype=torch.float64)
        for lead, size in zip(leads, sizes, strict=True)
    ]
    agree(*tensors)
    agree(*tensors, is_causal=True)


@pytest.mark.parametrize("masked", [None, "bool", "per head"])
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_grouped_query_heads(shared, masked):
    q, _, _ = qkv()
    _, k, v = qkv(lead=(2, shared))
    g = torch.Generator().manual_seed(3)
    mask = None
    if masked == "bool":
        mask = torch.rand(2, 1, 5, 7, generator=g) < 0.7
        mask[..., 0] = True
    if masked == "per head":
        mask = torch.randn(4, 5, 7, generator=g, dtype=torch.float64)
    agree(q, k, v, attn_mask=mask, enable_gqa=True)
    with pytest.raises(ValueError, match="enable_gqa: found 4 query heads, 3 of key"):
        scaled_dot_product_attention(q, *qkv(lead=(2, 3))[1:], enable_gqa=True)


def test_scale_and_dropout():
    tensors = qkv()
    agree(*tensors, scale=0.3)
    assert not agree(*tensors, dropout_p=1.0).any()
    kept = scaled_dot_product_attention(*tensors, dropout_p=0.5)
    assert not torch.equal(kept, scaled_dot_product_attention(*tensors, dropout_p=0.5))


@pytest.mark.parametrize("value_dim", [8, 3])
def test_the_output_lies_as_pytorchs_does(value_dim):
    """Heads that were transposed to the front merge without a copy."""
    q, k, v = (t.transpose(1, 2) for t in qkv(lead=(2, 5), rows=4, keys=4, value_dim=value_dim))
    q.requires_grad_()
    ours, plain = scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(ours, plain)
    if value_dim == 8:
        assert ours.stride() == plain.stride() == q.stride()
        merged = ours.transpose(1, 2).flatten(2)
        assert merged.data_ptr() == ours.data_ptr()
        (grad,) = torch.autograd.grad(ours.sum(), q)
        assert grad.stride() == q.stride()
        ours.detach().mul_(2.0)  # not a view that autograd guards
    packed = torch.randn(2, 5, 3 * 32).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
    assert scaled_dot_product_attention(*packed).transpose(1, 2).is_contiguous()


def test_autocast_lowers_it_as_pytorchs():
    tensors = qkv(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = scaled_dot_product_attention(*tensors)
        assert ours.dtype == F.scaled_dot_product_attention(*tensors).dtype == torch.bfloat16


@pytest.mark.parametrize("compiled", [False, True])
def test_under_a_compiler(compiled):
    q, k, v = (t.transpose(1, 2) for t in qkv(lead=(2, 5), rows=4, keys=4))
    form = lambda q: scaled_dot_product_attention(q, k, v, is_causal=True).sin()  # noqa: E731
    ran = torch.compile(form, fullgraph=True, backend="aot_eager") if compiled else form
    leaf = q.clone().requires_grad_()
    out = ran(leaf)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, is_causal=True).sin())
    out.sum().backward()


def test_what_is_refused():
    q, k, v = qkv()
    with pytest.raises(RuntimeError, match="attn_mask and is_causal=True"):
        scaled_dot_product_attention(q, k, v, torch.ones(5, 7, dtype=torch.bool), is_causal=True)
    nested = torch.nested.nested_tensor([q[0, 0], q[0, 0, :2]], layout=torch.jagged)
    with pytest.raises(ValueError, match="query: found a nested tensor"):
        scaled_dot_product_attention(nested, nested, nested)
    with pytest.raises(ValueError, match="enable_gqa=True for fewer heads"):
        scaled_dot_product_attention(q, k[:, :2], v[:, :2])
    with pytest.raises(ValueError, match="value: found list"):
        scaled_dot_product_attention(q, k, [1.0])


def test_pytorchs_own_samples():
    """What PyTorch tests its own by."""
    (info,) = (op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention")
    count = 0
    for sample in itertools.islice(info.sample_inputs("cpu", torch.float64), 200):
        if sample.kwargs.get("dropout_p", 0.0) not in (0.0, 1.0):
            continue
        want = info.op(sample.input, *sample.args, **sample.kwargs)
        ours = scaled_dot_product_attention(sample.input, *sample.args, **sample.kwargs)
        torch.testing.assert_close(ours, want)
        count += 1
    assert count > 5


# --- the context manager --------------------------------------------------------------------------
def test_a_block_takes_a_models_calls_and_says_which(monkeypatch):
    layer = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.randn(2, 5, 16)
    want, _ = layer(x, x, x, need_weights=False)
    aliased = types.ModuleType("aliased")
    aliased.attend = F.scaled_dot_product_attention
    monkeypatch.setitem(sys.modules, "aliased", aliased)
    nested = torch.nested.nested_tensor([torch.randn(2, 3, 8)], layout=torch.jagged)
    with sdpa_kernel() as calls:
        found, _ = layer(x, x, x, need_weights=False)
        aliased.attend(*qkv())
        aliased.attend(*(nested.transpose(1, 2),) * 3)
    torch.testing.assert_close(found, want)
    assert calls.taken == 2
    assert dict(calls.left) == {"nested tensors": 1}
    assert str(calls) == "2 calls taken; 1 left to PyTorch: nested tensors (1)"
    layer(x, x, x, need_weights=False)
    assert calls.taken == 2
    assert aliased.attend is F.scaled_dot_product_attention


def test_blocks_do_not_nest_and_end_with_an_error():
    plain = F.scaled_dot_product_attention
    with sdpa_kernel(), pytest.raises(RuntimeError, match="another function already"):
        sdpa_kernel().__enter__()
    with pytest.raises(ZeroDivisionError), sdpa_kernel():
        raise ZeroDivisionError
    assert F.scaled_dot_product_attention is plain


def test_it_is_at_the_top():
    assert clmer.scaled_dot_product_attention is scaled_dot_product_attention
