"""cross_attention in CUDA without a GPU: the kernels' own source on emulated threads."""

import pytest
import torch
from support import native
from support.attention_cases import (
    CASES,
    EMPTY,
    check_bias,
    check_causal,
    check_empty_tensors,
    check_half_type,
    check_leading_dimensions,
    check_means_of_large_values,
    check_nan_spreads_to_who_sees_it_and_no_further,
    check_strides,
    check_the_equation,
    check_what_causal_hides_leaks_nothing,
    check_what_masks_hide_leaks_nothing,
    of_output,
    problem,
)
from test_attention import inputs

from clmer._native import _C
from clmer.ops import _dispatch
from clmer.ops.attention import gpu
from clmer.ops.attention.op import cross_attention

_C_test = native.load()
#: (Lq, Lk, D, Dv): one tile in each width, four and two heads a block, four warps a head, several
#: chunks of keys and rounds of queries, one side short, widths that no 16-byte copy takes.
SHAPES = [
    *((1, 1, 1, 1), (3, 4, 5, 3), (5, 8, 16, 2), (16, 16, 32, 8), (9, 12, 64, 64)),
    *((17, 33, 8, 16), (32, 20, 40, 5), (3, 70, 8, 8), (40, 3, 16, 16), (50, 50, 16, 16)),
    *((128, 17, 8, 8), (20, 128, 8, 8), (70, 65, 8, 24)),
]
#: What has few tiles, for every case.
SMALL = [SHAPES[1], SHAPES[5], SHAPES[8]]
ORDERS = [0, 1, 2, 3]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def emulated(monkeypatch):
    """impl="cuda" takes tensors on the CPU, for which the tests' native module emulates threads."""
    monkeypatch.setattr(_dispatch, "_require_cuda", lambda device: None)
    monkeypatch.setattr(gpu, "_C", _C_test)


def cuda(*args, **options):
    return cross_attention(*args, impl="cuda", **options)


def by_order(tensors, options, order, tf32=False, causal=False):
    """All results with the threads in one order: ascending, descending, shuffled by a seed."""
    q, k, v, b, grad = tensors
    padding, shown = options["key_padding_mask"], options["attn_mask"]
    ranked = [None if t is None else t[(None,) * (4 - t.dim())] for t in (shown, b)]
    terms = (padding, *ranked, options["seed"], options["dropout_p"], 0.3, causal)
    out = _C_test.attention_short_forward(q, k, v, *terms, tf32, order)
    scores = None if b is None else torch.full((*q.shape[:-1], k.shape[-2]), torch.nan)
    grads = _C_test.attention_short_backward(grad, q, k, v, *out, *terms, scores, tf32, order)
    return [*out, *grads, *([] if scores is None else [scores])]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_equation(shape):
    check_the_equation(cuda, shape, "all", of_output)


@pytest.mark.parametrize("case", CASES[:-1])
@pytest.mark.parametrize("shape", SMALL)
def test_terms_one_by_one(shape, case):
    check_the_equation(cuda, shape, case, of_output)


@pytest.mark.parametrize("case", ["plain", "all"])
@pytest.mark.parametrize("shape", [*SMALL, (33, 17, 8, 16), (70, 65, 8, 24)])
def test_causal(shape, case):
    check_causal(cuda, shape, case, of_output)


@pytest.mark.parametrize(("rows", "keys"), [(5, 9), (20, 9), (40, 70)])
def test_what_causal_hides_leaks_nothing(rows, keys):
    check_what_causal_hides_leaks_nothing(cuda, rows, keys)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("shape", [*SMALL, (9, 12, 64, 64), (50, 50, 16, 16), (20, 128, 8, 8)])
def test_half_types(shape, dtype):
    check_half_type(cuda, shape, dtype, of_output)


@pytest.mark.parametrize("dtype", DTYPES)
def test_longest_and_widest(dtype):
    """Several rounds of queries in the backward, two tiles of keys a warp."""
    q, k, v, _, _, grad = inputs((128, 128, 64, 64), dtype, lead=(1,))
    options = dict(key_padding_mask=None, attn_mask=None, seed=None, dropout_p=0.0)
    out, _, *grads = by_order((q, k, v, None, grad), options, 0)
    leaves = [t.double().requires_grad_() for t in (q, k, v)]
    want = ((leaves[0] * 0.3) @ leaves[1].mT).softmax(-1) @ leaves[2]
    wanted = (want, *torch.autograd.grad(want, leaves, grad.double()))
    for x, y in zip((out, *grads), wanted, strict=True):
        eps = torch.finfo(dtype).eps
        assert (x.double() - y).abs().max() <= 8 * eps * y.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(3, 4, 5, 3), (17, 33, 8, 16), (50, 50, 16, 16), (70, 65, 8, 24)]
)
def test_the_order_of_threads_changes_no_bit(shape, dtype):
    """What a thread reads too early, or two write, would."""
    tensors, options = problem(shape, "all", dtype, lead=(2, 3))
    first, *others = (by_order(tensors, options, order) for order in ORDERS)
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(first, other, strict=True))


@pytest.mark.parametrize(("rows", "keys"), [(7, 8), (9, 20), (65, 5), (4, 100)])
def test_what_masks_hide_leaks_nothing(rows, keys):
    check_what_masks_hide_leaks_nothing(cuda, rows, keys)


def test_nan_spreads_to_who_sees_it_and_no_further():
    check_nan_spreads_to_who_sees_it_and_no_further(cuda, 6)


def test_bias():
    check_bias(cuda, of_output)


def test_strides():
    check_strides(cuda)


def test_leading_dimensions():
    check_leading_dimensions(cuda)


@pytest.mark.parametrize("sizes", EMPTY)
def test_empty_tensors(sizes):
    check_empty_tensors(cuda, sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7, 8, 8), (33, 20, 20, 7)])
def test_what_lies_around_is_neither_read_nor_written(shape, dtype):
    """Operands between NaN (masks between True), with rows that are longer than their features."""

    def framed(tensor):
        poison = True if tensor.dtype == torch.bool else torch.nan
        *lead, rows, columns = tensor.shape
        buffer = tensor.new_full((*lead, rows + 2, columns + 16), poison)
        inner = buffer[..., 1:-1, 8:-8]
        inner.copy_(tensor)
        return inner, buffer

    tensors, options = problem(shape, "all", dtype)
    want = by_order(tensors, options, 0)
    inner, buffers = zip(*map(framed, tensors), strict=True)
    masks = ("key_padding_mask", "attn_mask")
    inner_masks, mask_buffers = zip(*(framed(options[name]) for name in masks), strict=True)
    before = [b.clone() for b in (*buffers, *mask_buffers)]
    found = by_order(inner, options | dict(zip(masks, inner_masks, strict=True)), 0)
    assert all(torch.equal(x, y) for x, y in zip(want, found, strict=True))
    for buffer, old in zip((*buffers, *mask_buffers), before, strict=True):
        assert torch.equal(buffer.view(torch.uint8), old.view(torch.uint8))


def test_tf32_only_where_it_is_asked_for():
    """Factors that tf32 rounds away: 1 + 2^-12 is 1 in it."""
    q = torch.full((1, 16, 16), 1 + 2**-12)
    v = torch.eye(16).expand(1, 16, 16) * (1 + 2**-12)
    found = [
        _C_test.attention_short_forward(q, q, v, None, None, None, None, 0.0, 0.25, False, tf32, 0)[
            0
        ]
        for tf32 in (False, True)
    ]
    torch.testing.assert_close(found[0], v.mean(-2, keepdim=True).expand_as(q), rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1], torch.full_like(q, 1 / 16), rtol=1e-6, atol=0)


def test_tf32_is_as_near_as_its_ten_bits():
    tensors, options = problem((17, 33, 8, 16), "plain")
    exact, rounded = (by_order(tensors, options, 0, tf32) for tf32 in (False, True))
    for x, y in zip(exact, rounded, strict=True):
        assert (x - y).abs().max() <= 4 * 2**-10 * x.abs().max()


def test_refuses_what_it_does_not_take(monkeypatch):
    q, k, v, *_ = inputs((3, 5, 4, 4), torch.float32)
    with pytest.raises(ValueError, match="impl='cuda': found float64"):
        cuda(q.double(), k.double(), v.double())
    long, wide = torch.zeros(2, 129, 4), torch.zeros(2, 3, 65)
    with pytest.raises(ValueError, match="found Lq = 129, Lk = 129, D = 4, Dv = 4, expected len"):
        cuda(long, long, long)
    with pytest.raises(ValueError, match="D = 65, Dv = 65, expected lengths up to 128 and feat"):
        cuda(wide, wide, wide)
    with pytest.raises(RuntimeError, match="cuda backward has no gradient"):
        torch.autograd.grad(cuda(q.requires_grad_(), k, v).sum(), q, create_graph=True)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="impl='cuda': "):
        cuda(q, k, v)


def test_the_module_guards_its_memory():
    q, k, v, _, _, grad = inputs((3, 5, 4, 4), torch.float32)
    call = lambda *args: _C_test.attention_short_forward(*args, None, 0.0, 1.0, False, False, 0)  # noqa: E731
    for args, message in (
        ((q, k[:1], v, None, None, None), "key has shape"),
        ((q, k, v, torch.zeros(2, 3, 4, dtype=torch.bool), None, None), "key_padding_mask has"),
        ((q, k, v, None, None, torch.zeros(2, 3, 3, 4)), "attn_bias has shape"),
        ((q.mT.contiguous().mT, k, v, None, None, None), "adjacent features"),
    ):
        with pytest.raises(ValueError, match=message):
            call(*args)
    out = call(q, k, v, None, None, None)
    scores = torch.zeros(2, 3, 3, 4)
    terms = (None, None, None, None, 0.0, 1.0, False, scores, False, 0)
    with pytest.raises(ValueError, match="grad_scores has shape"):
        _C_test.attention_short_backward(grad, q, k, v, *out, *terms)
    with pytest.raises(ValueError, match="takes tensors on a GPU"):
        _C.attention_short_forward(q, k, v, None, None, None, None, 0.0, 1.0, False, False, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keys", [3, 40, 128])
def test_means_of_large_values_are_finite(keys, dtype):
    check_means_of_large_values(cuda, keys, dtype)
