"""cross_attention under autograd, compilers, functorch, threads and forked workers."""

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from clmer.nn import CrossModalAttention
from clmer.ops import _dispatch
from clmer.ops.attention.op import cross_attention


def inputs(lead=(2,), rows=3, keys=5, requires_grad=True):
    g = torch.Generator().manual_seed(0)
    shapes = ((*lead, rows, 4), (*lead, keys, 4), (*lead, keys, 2), (rows, keys))
    return [
        torch.randn(s, generator=g, dtype=torch.float64).requires_grad_(requires_grad)
        for s in shapes
    ]


MASK = torch.tensor([[0, 0, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
SHOWN = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]], dtype=torch.bool)
SEED = torch.tensor(3)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("impl", ["native", "reference"])
def test_gradcheck(impl, is_causal):
    def call(q, k, v, bias):
        return full(q, k, v, bias, is_causal=is_causal, impl=impl)

    assert torch.autograd.gradcheck(call, inputs())
    if impl == "reference":
        assert torch.autograd.gradgradcheck(call, inputs())


def full(q, k, v, bias, **options):
    masks = dict(key_padding_mask=MASK, attn_mask=SHOWN, attn_bias=bias)
    return cross_attention(q, k, v, **masks, dropout_p=0.4, seed=SEED, **options)


@pytest.fixture
def told(monkeypatch):
    """The warning comes again, as in a fresh process."""
    monkeypatch.setattr(_dispatch, "_told", set())


def test_second_derivatives_take_the_reference_and_say_so_once(told):
    with pytest.warns(UserWarning, match="cross_attention: taking its plain PyTorch form"):
        assert torch.autograd.gradgradcheck(full, inputs())
    causal = lambda *tensors: full(*tensors, is_causal=True)  # noqa: E731
    assert torch.autograd.gradgradcheck(causal, inputs())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.autograd.gradgradcheck(full, inputs())
    q, k, v, _ = inputs()
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(cross_attention(q, k, v, impl="native").sum(), q, create_graph=True)


def test_second_derivatives_count_what_inputs_share_once():
    """The same tensor three times, and keys made from the queries: self-attention."""
    x = inputs()[0]
    for impl in (None, "reference"):
        assert torch.autograd.gradgradcheck(
            lambda x, impl=impl: cross_attention(x, x, x, impl=impl), x
        )
    assert torch.autograd.gradgradcheck(lambda x: cross_attention(x, x.sin(), x.cos()), x)


def test_second_derivatives_where_others_look_on(told):
    q, k, v, _ = inputs()
    with FlopCounterMode(display=False):
        out = cross_attention(q, k, v)
        with pytest.warns(UserWarning, match="plain PyTorch form"):
            (grad,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    grad.square().sum().backward()
    assert q.grad is not None


def test_only_what_needs_a_gradient_gets_one():
    q, k, v, bias = inputs(requires_grad=False)
    bias.requires_grad_()
    out = cross_attention(q, k, v, attn_bias=bias)
    (grad,) = torch.autograd.grad(out.square().sum(), bias)
    assert grad.shape == bias.shape
    assert not cross_attention(q, k, v).requires_grad


@pytest.mark.parametrize("case", ["plain", "causal", "all", "no heads", "no queries", "no keys"])
def test_opcheck(case):
    sizes = {"no heads": dict(lead=(0,)), "no queries": dict(rows=0), "no keys": dict(keys=0)}
    q, k, v, bias = inputs(**sizes.get(case, {}))
    rest = (*[None] * 4, 0.0, 0.5, case == "causal")
    if case == "all":
        rest = (MASK, SHOWN[None], bias[None], SEED, 0.4, 0.5, True)
    op = torch.ops.clmer
    torch.library.opcheck(op.cross_attention.default, (q, k, v, *rest))
    with torch.no_grad():
        out, lse = op.cross_attention(q, k, v, *rest)
    tensors = [t.detach() for t in (torch.ones_like(out), q, k, v, out, lse)]
    rest = tuple(t.detach() if isinstance(t, torch.Tensor) else t for t in rest)
    torch.library.opcheck(
        op.cross_attention_backward.default, (*tensors, *rest, rest[2] is not None)
    )


def test_compiled_whole():
    def call(q, k, v, bias):
        masks = dict(key_padding_mask=MASK, attn_mask=SHOWN, attn_bias=bias)
        return cross_attention(q, k, v, **masks, dropout_p=0.3).sin()

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
    shown = torch.stack([SHOWN, ~SHOWN])

    def one(q, k, v, mask, shown, bias):
        return cross_attention(q, k, v, key_padding_mask=mask, attn_mask=shown, attn_bias=bias)

    whole = one(q, k, v, MASK, shown, bias)
    mapped = torch.func.vmap(one, in_dims=(0, 1, 0, 0, 2, None))(
        q, k.transpose(0, 1), v, MASK, shown.movedim(0, 2), bias
    )
    assert torch.equal(mapped, whole)
    grads = (torch.autograd.grad(y.square().sum(), (q, k, v, bias)) for y in (mapped, whole))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("impl", ["native", "reference"])
def test_vmap_drops_what_a_loop_would(impl, randomness):
    q, k, v, _ = inputs((2, 3))
    seeds = torch.tensor([3, 3] if randomness == "same" else [3, 4])

    def one(q, k, v, seed):
        return cross_attention(q, k, v, dropout_p=0.5, seed=seed, impl=impl)

    dims = (0, 0, 0, None if randomness == "same" else 0)
    mapped = torch.func.vmap(one, in_dims=dims)(q, k, v, SEED if dims[3] is None else seeds)
    looped = torch.stack([one(q[i], k[i], v[i], seeds[i]) for i in range(2)])
    torch.testing.assert_close(mapped, looped)
    grads = (torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (mapped, looped))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)
    drawn = torch.func.vmap(
        lambda q, k, v: cross_attention(q, k, v, dropout_p=0.5, impl=impl), randomness=randomness
    )(*(t[:1].expand(2, *t.shape[1:]) for t in (q, k, v)))
    assert torch.equal(drawn[0], drawn[1]) == (randomness == "same")


class Dropping(torch.nn.Module):
    def forward(self, q, k, v, mask, shown):
        return cross_attention(q, k, v, key_padding_mask=mask, attn_mask=shown, dropout_p=0.5)


@pytest.mark.parametrize("form", ["export", "compile"])
def test_a_graph_draws_a_fresh_mask_each_call(form):
    module = Dropping()
    leaves = inputs()[:3]
    arguments = (*leaves, MASK, SHOWN)
    if form == "export":
        graph = torch.export.export(module, arguments).module()
    else:
        graph = torch.compile(module, fullgraph=True, backend="aot_eager")
    results = []
    for call, seed in ((graph, 1), (graph, None), (graph, 1), (module, 1)):
        if seed is not None:
            torch.manual_seed(seed)
        out = call(*arguments)
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaves)))
    first, second, again, eager = results
    assert not torch.equal(first[0], second[0])
    for a, b, c in zip(first, again, eager, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)


def test_strides_cost_no_copy():
    packed = torch.randn(2, 21, 3, 5, 8).permute(2, 0, 3, 1, 4)  # [3, B, H, L, D]
    q, k, v = (t.detach().requires_grad_() for t in packed)
    bias = torch.randn(21, 1).expand(21, 21)
    shown = torch.ones(1, 21, dtype=torch.bool).expand(21, 21)
    mask = torch.zeros(2, 1, 1, dtype=torch.bool).expand(2, 5, 21)
    shared = torch.randn(1, 5, 21, 8).expand(2, 5, 21, 8)
    grad = torch.randn(2, 21, 5, 8).transpose(1, 2)
    for keys in (k, shared):
        with torch.autograd.profiler.profile() as profile:
            out = cross_attention(
                q, keys, v, key_padding_mask=mask, attn_mask=shown, attn_bias=bias
            )
            torch.autograd.grad(out, (q, v), grad)
        names = {event.name for event in profile.function_events}
        assert "clmer::cross_attention_backward" in names
        assert not names & {"aten::copy_", "aten::clone", "aten::contiguous", "aten::_to_copy"}


@pytest.mark.parametrize("grad", [False, True])
def test_calls_past_the_dispatcher_hide_from_nobody_who_looks(grad):
    q, k, v, _ = inputs(requires_grad=grad)
    want = cross_attention(q, k, v)
    with torch.autograd.profiler.profile() as profile:
        cross_attention(q, k, v)
    assert "clmer::cross_attention" in {event.name for event in profile.function_events}

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen: list[str] = []
    with Seen():
        out = cross_attention(q, k, v)
        if grad:
            torch.autograd.grad(out.sum(), q)
    assert seen[0].startswith("clmer.cross_attention.")
    assert any(name.startswith("clmer.cross_attention_backward") for name in seen) == grad
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in (q, k, v)]
    assert cross_attention(*fakes).shape == want.shape
    negated = torch.complex(torch.zeros_like(q), -q).conj().imag
    assert negated.is_neg()
    torch.testing.assert_close(cross_attention(negated, k, v), want)
    zeros = torch._efficientzerotensor(q.shape, dtype=q.dtype)
    torch.testing.assert_close(
        cross_attention(zeros, k, v), v.mean(-2, keepdim=True).expand_as(want)
    )
    if grad:
        out = cross_attention(q, k, v)
        sign = torch.complex(torch.zeros_like(out), -torch.ones_like(out)).conj().imag.detach()
        got, plain = (
            torch.autograd.grad(out, q, g, retain_graph=True) for g in (sign, out * 0 + 1)
        )
        torch.testing.assert_close(got, plain)


def test_forward_derivatives_take_the_reference(told):
    q, k, v, bias = inputs(requires_grad=False)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(q, torch.ones_like(q))
        with pytest.warns(UserWarning, match="forward mode"):
            out = full(dual, k, v, bias)
        tangent = torch.autograd.forward_ad.unpack_dual(out).tangent
        with pytest.raises(RuntimeError, match=r"jvp|forward"):
            cross_attention(dual, k, v, impl="native")
        plain = cross_attention(q, k, v)  # has no tangent: the kernel's
    step = 1e-6
    slope = (full(q + step, k, v, bias) - full(q - step, k, v, bias)) / (2 * step)
    torch.testing.assert_close(tangent, slope, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(plain, cross_attention(q, k, v), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_trace_holds_the_op():
    arguments = [t.detach() for t in inputs()[:3]]
    traced = torch.jit.trace(lambda *a: cross_attention(*a).sin(), arguments)
    others = [t + 1 for t in arguments]
    torch.testing.assert_close(traced(*others), cross_attention(*others).sin())


def test_autocast_lets_dtypes_differ():
    q, k, v, _ = (t.float() for t in inputs())
    mixed = (q.bfloat16(), k, v)
    with pytest.raises(ValueError, match="expected one floating-point dtype"):
        cross_attention(*mixed)
    with torch.autocast("cpu", torch.bfloat16):
        out = cross_attention(*mixed)
        with pytest.raises(ValueError, match="expected one floating-point dtype"):
            cross_attention(q, k, v.int())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, cross_attention(q.bfloat16().float(), k, v))


def test_functorch_gradients_take_the_reference(told):
    q, k, v, bias = inputs(requires_grad=False)
    loss = lambda q: full(q, k, v, bias).square().sum()  # noqa: E731
    with pytest.warns(UserWarning, match=r"torch\.func"):
        found = torch.func.grad(loss)(q)
    leaf = q.clone().requires_grad_()
    (want,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(found, want)
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda q: cross_attention(q, k, v, impl="native").sum())(q)


def test_gradients_per_sample():
    """Of a module's weights, by vmap over grad, as differential privacy takes them."""
    layer = CrossModalAttention(8, 2, batch_first=True).double()
    weights = dict(layer.named_parameters())
    x = torch.randn(5, 3, 8, dtype=torch.float64)

    def loss(weights, x):
        out, _ = torch.func.functional_call(layer, weights, (x[None],) * 3)
        return out.square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, x)
    for i in range(5):
        layer.zero_grad()
        loss(weights, x[i]).backward()
        for name, each in weights.items():
            torch.testing.assert_close(found[name][i], each.grad)


def at_threads(counts, call):
    before, results = torch.get_num_threads(), []
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            results.append(call())
    finally:
        torch.set_num_threads(before)
    return results


# heads: many, with the bias's gradient in parts; few, whose keys are cut; few queries as well.
@pytest.mark.parametrize("sizes", [(28, 300, 300), (2, 200, 700), (1, 4, 1500), (3, 33, 257)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias", [None, (1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_threads_change_no_bit(sizes, masked, bias):
    heads, rows, keys = sizes
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(heads, n, 12, generator=g).requires_grad_() for n in (rows, keys, keys))
    b = None
    if bias is not None:
        shape = [full if n < 0 else n for n, full in zip(bias, (rows, keys), strict=True)]
        b = torch.randn(1, *shape, generator=g).requires_grad_()
    options = dict(dropout_p=0.1, seed=SEED)
    if masked:
        options["key_padding_mask"] = torch.rand(heads, keys, generator=g) < 0.4
        options["attn_mask"] = torch.rand(rows, keys, generator=g) < 0.7
    leaves = [t for t in (q, k, v, b) if t is not None]

    def call(impl="native"):
        out = cross_attention(q, k, v, attn_bias=b, impl=impl, **options)
        return out.detach(), *torch.autograd.grad(out.square().sum(), leaves)

    first, *others = at_threads((1, 2, 3, 4), call)
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(first, other, strict=True))
    for x, y in zip(first, call("reference"), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=2e-4)


def test_parts_of_a_head_do_not_clear_each_others_gradients():
    """Many threads on few keys each: one part's zeros behind a mask came after another's sums."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 16, generator=g).requires_grad_() for n in (2, 60000, 60000))
    mask = torch.zeros(1, 60000, dtype=torch.bool)
    mask[:, ::2] = True

    def call():
        out = cross_attention(q, k, v, key_padding_mask=mask)
        return torch.autograd.grad(out.sum(), (q, k, v))

    first, *others = at_threads((1, *[8] * 40), call)
    assert not first[2][0, ::2].any()
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(first, other, strict=True))


def test_parts_of_a_head_do_not_share_the_gradient_of_one_bias():
    """A bias [Lq, 1] stands for every key, whichever part it is in."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 8, generator=g) for n in (200, 4000, 4000))
    bias = torch.randn(200, 1, generator=g).requires_grad_()

    def call():
        return torch.autograd.grad(cross_attention(q, k, v, attn_bias=bias).sum(), bias)[0]

    first, *others = at_threads((1, *[4] * 15), call)
    assert all(torch.equal(first, other) for other in others)


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
