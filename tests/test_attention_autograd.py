"""cross_attention under autograd, compilers, functorch, threads and forked workers."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from clmer.ops.attention import cross_attention


def inputs(lead=(2,), rows=3, keys=5, requires_grad=True):
    g = torch.Generator().manual_seed(0)
    shapes = ((*lead, rows, 4), (*lead, keys, 4), (*lead, keys, 2), (rows, keys))
    return [
        torch.randn(s, generator=g, dtype=torch.float64).requires_grad_(requires_grad)
        for s in shapes
    ]


MASK = torch.tensor([[0, 0, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
SEED = torch.tensor(3)


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_gradcheck(impl):
    def call(q, k, v, bias):
        return cross_attention(
            q, k, v, attn_bias=bias, key_padding_mask=MASK, dropout_p=0.4, seed=SEED, impl=impl
        )

    assert torch.autograd.gradcheck(call, inputs())
    if impl == "reference":
        assert torch.autograd.gradgradcheck(call, inputs())


def test_second_derivatives_are_refused():
    q, k, v, _ = inputs()
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(cross_attention(q, k, v).sum(), q, create_graph=True)


def test_only_what_needs_a_gradient_gets_one():
    q, k, v, bias = inputs(requires_grad=False)
    bias.requires_grad_()
    out = cross_attention(q, k, v, attn_bias=bias)
    (grad,) = torch.autograd.grad(out.square().sum(), bias)
    assert grad.shape == bias.shape
    assert not cross_attention(q, k, v).requires_grad


@pytest.mark.parametrize("case", ["plain", "all", "no heads", "no queries", "no keys"])
def test_opcheck(case):
    sizes = {"no heads": dict(lead=(0,)), "no queries": dict(rows=0), "no keys": dict(keys=0)}
    q, k, v, bias = inputs(**sizes.get(case, {}))
    rest = (bias[None], MASK, SEED, 0.4, 0.5) if case == "all" else (None, None, None, 0.0, 0.5)
    op = torch.ops.clmer
    torch.library.opcheck(op.cross_attention.default, (q, k, v, *rest))
    with torch.no_grad():
        out, lse = op.cross_attention(q, k, v, *rest)
    tensors = [t.detach() for t in (torch.ones_like(out), q, k, v, out, lse)]
    rest = tuple(t.detach() if isinstance(t, torch.Tensor) else t for t in rest)
    torch.library.opcheck(
        op.cross_attention_backward.default, (*tensors, *rest, rest[0] is not None)
    )


def test_compiled_whole():
    def call(q, k, v, bias):
        return cross_attention(q, k, v, attn_bias=bias, key_padding_mask=MASK, dropout_p=0.3).sin()

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    results = []
    for form in (call, compiled):
        torch.manual_seed(1)
        leaves = inputs()
        out = form(*leaves)
        results.append((out.detach(), *torch.autograd.grad(out.sum(), leaves)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_vmap_folds_the_dimension():
    q, k, v, bias = inputs()
    whole = cross_attention(q, k, v, attn_bias=bias, key_padding_mask=MASK)
    mapped = torch.func.vmap(
        lambda q, k, v, mask, bias: cross_attention(q, k, v, key_padding_mask=mask, attn_bias=bias),
        in_dims=(0, 1, 0, 0, None),
    )(q, k.transpose(0, 1), v, MASK, bias)
    assert torch.equal(mapped, whole)


def test_functorch_gradients_are_refused():
    q, k, v, _ = inputs(requires_grad=False)
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda q: cross_attention(q, k, v).sum())(q)


def test_threads_change_no_bit():
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(7, 4, 300, 12, generator=g).requires_grad_() for _ in range(3))
    bias = torch.randn(4, 1, 300, generator=g).requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = cross_attention(q, k, v, attn_bias=bias, dropout_p=0.1, seed=SEED)
            leaves = (q, k, v, bias)
            results.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaves)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


class Attended(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        torch.set_num_threads(2)  # ours alone must stay on one; torch's own ops are too small here
        g = torch.Generator().manual_seed(i)
        q = torch.randn(20, 50, 16, generator=g).requires_grad_()
        out = cross_attention(q, q, q)
        return torch.autograd.grad(out.square().sum(), q)[0]


def test_forked_workers_after_threads_ran_here():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        here = [Attended()[i] for i in range(4)]
        loader = DataLoader(
            Attended(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        there = list(loader)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
