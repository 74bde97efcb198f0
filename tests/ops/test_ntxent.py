import importlib.util
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from support.ntxent_cases import views

from clmer._native import _C, _capsule
from clmer.ops import _dispatch
from clmer.ops.ntxent.op import nt_xent, nt_xent_reference

# N below, at and above the 64-row blocks (M = 2N), D around the vector widths and the 256 depth.
SHAPES = [(1, 1), (2, 3), (5, 1), (1, 7), (33, 17), (64, 40), (3, 37, 9), (2, 70, 259)]


def results(form, a, b, tau, weight=None, **options):
    """Loss and gradients for view_a, view_b and tau; groups weighted differently."""
    a, b = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    tau = torch.tensor(tau, dtype=a.dtype, device=a.device, requires_grad=True)
    loss = form(a, b, tau, **options)
    weights = torch.linspace(1, 2, loss.numel(), dtype=loss.dtype, device=a.device)
    (loss * weights.reshape(loss.shape)).sum().backward()
    return loss.detach(), a.grad, b.grad, tau.grad


def exact(a, b, tau, normalize=True):
    """The same in long double, by the closed forms; [G, N, D]."""
    x = np.concatenate((a.numpy(), b.numpy()), -2).astype(np.longdouble)
    tau = np.longdouble(tau)
    groups, m, _ = x.shape
    length = np.sqrt((x * x).sum(-1, keepdims=True)) if normalize else np.ones_like(x[..., :1])
    z = x / length
    losses, grads, grad_tau = [], [], np.longdouble(0)
    for g in range(groups):
        s = z[g] @ z[g].T / tau
        np.fill_diagonal(s, -np.inf)
        top = s.max(-1, keepdims=True)
        lse = top + np.log(np.exp(s - top).sum(-1, keepdims=True))
        other = (np.arange(m) + m // 2) % m
        losses.append((lse[:, 0] - s[np.arange(m), other]).mean())
        p = np.exp(s - lse)
        p[np.arange(m), other] -= 1
        weight = np.linspace(1, 2, groups)[g] / m
        grad = weight * (p + p.T) @ z[g] / tau
        np.fill_diagonal(s, 0)
        grad_tau -= weight * (p * s).sum() / tau
        if normalize:
            grad = (grad - z[g] * (z[g] * grad).sum(-1, keepdims=True)) / length[g]
        grads.append(grad)
    n = m // 2
    grads = np.stack(grads)
    return np.stack(losses), grads[:, :n], grads[:, n:], grad_tau


def assert_close(ours, plain, truth, factors=(2, 3, 3, 3)):
    """At most `factor` times plain PyTorch's error, with a floor of 8 eps max|truth|."""
    for mine, theirs, want, factor in zip(ours, plain, truth, factors, strict=True):
        want = np.asarray(want).reshape(mine.shape)
        floor = 8 * torch.finfo(mine.dtype).eps * np.abs(want).max()
        error, reference_error = (np.abs(r.numpy() - want).max() for r in (mine, theirs))
        assert error <= max(factor * reference_error, floor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("tau", [0.01, 0.2, 1.5])  # 0.01: e^(1 / tau) overflows float32
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_equation(simd_level, shape, tau, normalize, dtype):
    a, b = views(shape, dtype, normalize)
    tau = float(torch.tensor(tau, dtype=torch.float32))
    ours = results(nt_xent, a, b, tau, normalize=normalize)
    plain = results(nt_xent_reference, a, b, tau, normalize=normalize)
    assert ours[0].dtype == dtype
    groups = shape[0] if len(shape) == 3 else 1
    truth = exact(*(v.reshape(groups, *shape[-2:]).double() for v in (a, b)), tau, normalize)
    assert_close(ours, plain, truth)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("impl", ["native", "reference"])
def test_gradcheck(impl, normalize):
    a, b = (v.requires_grad_() for v in views((2, 4, 3)))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    call = lambda a, b, tau: nt_xent(a, b, tau, normalize=normalize, impl=impl)  # noqa: E731
    assert torch.autograd.gradcheck(call, (a, b, tau))
    if impl == "reference":
        assert torch.autograd.gradgradcheck(call, (a, b, tau))


@pytest.fixture
def told(monkeypatch):
    """The warning comes again, as in a fresh process."""
    monkeypatch.setattr(_dispatch, "_told", set())


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2)])
def test_second_derivatives_take_the_reference_and_say_so_once(told, shape, reduction, labelled):
    a, b = (v.requires_grad_() for v in views(shape))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 0, 1, 1][: shape[-2]]) if labelled else None
    how = {"reduction": reduction, "labels": labels}
    with pytest.warns(UserWarning, match="nt_xent: taking its plain PyTorch form"):
        assert torch.autograd.gradgradcheck(lambda *x: nt_xent(*x, **how), (a, b, tau))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # one view twice, and a view made from the other
        assert torch.autograd.gradgradcheck(lambda a: nt_xent(a, a, 0.5, **how), a)
        assert torch.autograd.gradgradcheck(lambda a: nt_xent(a, a.sin(), 0.5, **how), a)
        _, accuracy = nt_xent(a, b, tau, accuracy=True)
    assert not accuracy.requires_grad


def test_an_explicit_form_has_no_second_derivatives():
    a, b = (v.requires_grad_() for v in views((4, 3)))
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(nt_xent(a, b, impl="native"), a, create_graph=True)


@pytest.mark.parametrize("labelled", [False, True])
def test_gradients_per_sample_and_hessians(labelled):
    a, b = views((5, 4, 3))
    tau = torch.tensor(0.3, dtype=torch.float64)
    labels = torch.tensor([1, 0, 1, 1]) if labelled else None

    def loss(a, b, tau, impl=None):
        rows = nt_xent(a, b, tau, labels=labels, reduction="none", impl=impl)
        return rows.square().sum()

    found = torch.func.vmap(torch.func.grad(loss, (0, 1, 2)), (0, 0, None))(a, b, tau)
    for i in range(5):
        leaves = [t.clone().requires_grad_() for t in (a[i], b[i], tau)]
        want = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close([each[i] for each in found], [*want])
    plain = lambda a: loss(a, b[0], tau, "reference")  # noqa: E731
    ours = lambda a: loss(a, b[0], tau)  # noqa: E731
    for hessian in (torch.func.hessian, lambda f: torch.func.jacrev(torch.func.jacrev(f))):
        torch.testing.assert_close(hessian(ours)(a[0]), hessian(plain)(a[0]))
    by_rows = torch.autograd.functional.hessian(ours, a[0])
    torch.testing.assert_close(by_rows, torch.func.hessian(plain)(a[0]))


def test_derivatives_of_other_kinds_take_the_reference(told):
    a, b = views((4, 3))
    loss = lambda a: nt_xent(a, b, 0.3)  # noqa: E731
    with pytest.warns(UserWarning, match="nt_xent: taking its plain PyTorch form"):
        found = torch.func.grad(loss)(a)
    leaf = a.clone().requires_grad_()
    (want,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(found, want)
    _, slope = torch.func.jvp(loss, (a,), (torch.ones_like(a),))
    torch.testing.assert_close(slope, want.sum())
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda a: nt_xent(a, b, 0.3, impl="native"))(a)


def op_inputs(shape, tau=0.2, dtype=torch.float64, requires_grad=True):
    a, b = (v.requires_grad_(requires_grad) for v in views(shape, dtype))
    return a, b, torch.tensor(tau, dtype=torch.float64, requires_grad=requires_grad)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (0, 3, 4)])
def test_opcheck(shape):
    torch.use_deterministic_algorithms(False)
    torch.library.opcheck(torch.ops.clmer.nt_xent.default, (*op_inputs(shape), True))
    inputs = op_inputs(shape, dtype=torch.float32, requires_grad=False)
    loss, stats = torch.ops.clmer.nt_xent(*inputs, True)
    torch.library.opcheck(
        torch.ops.clmer.nt_xent_backward.default, (torch.ones_like(loss), *inputs, stats, True)
    )


def test_no_groups():
    a = torch.zeros(0, 3, 4, requires_grad=True)
    loss = nt_xent(a, a)
    assert loss.shape == (0,)
    loss.sum().backward()
    assert a.grad.shape == a.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "tau"), [((3, 150, 40), 0.2), ((200, 33), 0.01), ((1061, 5), 0.2)]
)
def test_thread_count_changes_no_bit(simd_level, shape, tau, dtype):
    a, b = views(shape, dtype)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = results(nt_xent, a, b, tau)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            for x, y in zip(one, results(nt_xent, a, b, tau), strict=True):
                assert torch.equal(x, y)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("normalize", [True, False])
def test_squares_of_several_tiles(simd_level, normalize):
    """From 32 blocks of 64 rows on a task takes more than one tile; here the last has few rows."""
    shape = (2, 1061, 5)
    a, b = views(shape, torch.float32, normalize)
    plain = results(nt_xent_reference, a, b, 0.2, normalize=normalize)
    truth = results(nt_xent_reference, a.double(), b.double(), 0.2, normalize=normalize)
    ours = results(nt_xent, a, b, 0.2, normalize=normalize)
    assert_close(ours, plain, [t.numpy() for t in truth])


def run_in_child(function, first="pass", **environment):
    """A test file's function in a fresh process, for what the environment decides at start."""
    here = os.path.dirname(os.path.abspath(__file__))
    paths = os.pathsep.join((os.path.dirname(here), here))
    child = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            f"{first}; import {function.__module__} as t; t.{function.__name__}()",
        ],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr


def run_in_interpreter(function):
    """A test file's function in a fresh process in which Triton interprets its kernels."""
    run_in_child(function, "import test_ntxent; test_ntxent.add_in_order()", TRITON_INTERPRET="1")


def add_in_order():
    """Have Triton's interpreter add products feature after feature, as a GPU does.

    It leaves them to NumPy's BLAS, whose order depends on shapes, layout and processor. A score
    that the backward computes again then differs from the forward's by an eps, and e^s by
    eps / tau: at tau 0.01 the gradient is 39 eps off with OpenBLAS on AVX-512, 18 on AVX2, and 4
    in order.
    """
    from triton.runtime import interpreter

    def dot(self, a, b, d, *_):
        total, a, b = d.data, a.data.astype(np.float64), b.data.astype(np.float64)
        for k in range(a.shape[-1]):  # fused: the product is exact, the sum rounded once
            total = (total + a[..., :, k, None] * b[..., k, None, :]).astype(d.data.dtype)
        return interpreter.TensorHandle(total, d.dtype.scalar)

    interpreter.InterpreterBuilder.create_dot = dot


def scratch_check():
    for dtype in (torch.float32, torch.float64):
        for shape in ((1, 1), (5, 3), (40, 9)):
            for tau in (0.2, 0.01):
                a, b = views(shape, dtype)
                ours, plain = (results(f, a, b, tau) for f in (nt_xent, nt_xent_reference))
                torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_scratch_memory_is_initialised():
    """Malloc's debug fill (0x7f bytes: 3e38, 1e306) in place of NaN, which cannot reach C++."""
    run_in_child(scratch_check, MALLOC_PERTURB_=str(0x80))


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("tau", [0.2, 0.01])
def test_zero_rows_have_zero_gradient(impl, tau):
    a, b = views((6, 5), torch.float32)
    a[2] = 0
    b[3] = 1e-42  # subnormal
    loss, grad_a, grad_b, grad_tau = results(nt_xent, a, b, tau, impl=impl)
    assert torch.isfinite(loss)
    assert torch.isfinite(grad_tau)
    assert torch.count_nonzero(grad_a[2]) == 0
    assert torch.count_nonzero(grad_b[3]) == 0
    assert torch.count_nonzero(grad_a[[0, 1, 3, 4, 5]]) == 25
    zeroed = b.clone()
    zeroed[3] = 0
    assert torch.equal(nt_xent(a, zeroed, tau, impl=impl), loss)


def test_all_rows_zero():
    zeros = torch.zeros(3, 4)
    loss, *grads = results(nt_xent, zeros, zeros, 0.2)
    assert loss.item() == pytest.approx(np.log(5))
    assert all(torch.count_nonzero(g) == 0 for g in grads)


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_whose_squares_overflow_or_vanish(impl, scale):
    a, b = views((9, 5), torch.float32)
    want = nt_xent(a, b)
    torch.testing.assert_close(nt_xent(a * scale, b * scale, impl=impl), want)


@pytest.mark.parametrize("tau", [0.2, 0.01])
def test_one_sample_is_certain(tau):
    a, b = views((1, 6), torch.float32)
    for result in results(nt_xent, a, b, tau):
        assert torch.count_nonzero(result) == 0


def test_gradient_survives_saturation():
    """p of the positive rounds to 1 in float32; the gradient, of size 1 - p, keeps its digits."""
    a = torch.eye(4) + 0.05
    b = torch.eye(4)
    ours = results(nt_xent, a, b, 0.04)
    truth = exact(a[None].double(), b[None].double(), 0.04)
    assert 0 < ours[0] < 1e-8
    for mine, want in zip(ours, truth, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(want).reshape(mine.shape), rtol=2e-4)


@pytest.mark.parametrize("tau", [0.2, 0.01])
def test_nan_is_not_hidden(tau):
    a, b = views((70, 5), torch.float32)
    a[3, 1] = float("nan")
    assert nt_xent(a, b, tau).isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(dtype):
    a, b = views((2, 9, 6), dtype)
    ours = results(nt_xent, a, b, 0.25)
    wide = results(nt_xent, a.float(), b.float(), 0.25)
    assert ours[0].dtype == torch.float32
    assert torch.equal(ours[0], wide[0])
    for mine, want in zip(ours[1:], wide[1:], strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, want.to(dtype))


def test_strides_and_expanded_gradients():
    a, b = views((9, 6, 2), torch.float32)
    a, b = a.movedim(2, 0).requires_grad_(), b.movedim(2, 0)  # [2, 9, 6], not contiguous
    nt_xent(a, b).sum().backward()
    want = results(lambda *v: nt_xent(*v, impl="reference").sum(), a, b, 0.2)
    torch.testing.assert_close(a.grad, want[1])


def test_groups_are_independent():
    a, b = views((3, 20, 6), torch.float32)
    assert torch.equal(nt_xent(a, b), torch.stack([nt_xent(*v) for v in zip(a, b, strict=True)]))


def test_temperature_of_another_dtype_gets_its_gradient():
    a, b = views((5, 4), torch.float32)
    tau = torch.nn.Parameter(torch.tensor(0.2, dtype=torch.float64))
    nt_xent(a, b, tau).backward()
    assert tau.grad.dtype == torch.float64


@pytest.mark.parametrize("tensor_tau", [False, True])
def test_compiles_whole(tensor_tau):
    a, b = views((2, 9, 6), torch.float32)
    compiled = torch.compile(nt_xent, backend="aot_eager", fullgraph=True)
    if tensor_tau:
        pairs = zip(results(compiled, a, b, 0.2), results(nt_xent, a, b, 0.2), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs)
    else:
        assert torch.equal(compiled(a, b), nt_xent(a, b))


def test_vmap_folds_into_groups():
    a, b = views((4, 5, 3), torch.float32)
    want = nt_xent(a, b)
    assert torch.equal(torch.func.vmap(nt_xent)(a, b), want)
    nested = torch.func.vmap(nt_xent, in_dims=(0, None))(a[:, None], b[:1])
    assert torch.equal(nested[:, 0], torch.stack([nt_xent(v, b[0]) for v in a]))


def test_raw_pointer_path():
    a, b = views((5, 4), torch.float32)
    want = results(nt_xent, a, b, 0.2)
    _C.set_exchange_api(None)
    try:
        got = results(nt_xent, a, b, 0.2)
    finally:
        _C.set_exchange_api(_capsule)
    assert all(torch.equal(x, y) for x, y in zip(got, want, strict=True))


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3), torch.ones(3)), r"view_a: found shape \(3,\)"),
        ((X, torch.ones(4, 2)), r"view_b: found shape \(4, 2\), expected view_a's \(3, 2\)"),
        ((torch.ones(0, 2), torch.ones(0, 2)), "at least one sample"),
        ((torch.ones(3, 0), torch.ones(3, 0)), "at least one sample and feature"),
        ((X, X.double()), "found dtypes torch.float32 and torch.float64"),
        ((X.long(), X.long()), "floating-point"),
        ((X, X.to("meta")), "devices differ"),
        ((X, X, 0.0), "temperature: found 0.0"),
        ((X, X, -1.0), "temperature: found -1.0"),
        ((X, X, float("nan")), "temperature: found nan"),
        ((X, X, torch.tensor(0.0)), "temperature: found 0.0"),
        ((X, X, torch.ones(1)), r"temperature: found torch.float32 of shape \(1,\)"),
        ((X, X, torch.tensor(1)), "temperature: found torch.int64"),
        ((X, X, torch.ones((), device="meta")), "devices differ"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        nt_xent(*arguments)


def test_bad_impl(monkeypatch):
    names = "'native', 'reference', 'triton'"
    with pytest.raises(ValueError, match=f"impl: found 'fast', expected None, {names}"):
        nt_xent(X, X, impl="fast")
    with monkeypatch.context() as patch:
        patch.setattr("clmer.ops._dispatch.has_triton", lambda: False)
        with pytest.raises(RuntimeError, match=r"not installed; `pip install \"clmer\[triton\]\"`"):
            nt_xent(X, X, impl="triton")
    if importlib.util.find_spec("triton"):
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        with pytest.raises(RuntimeError, match="found 'cpu' tensors.*TRITON_INTERPRET=1"):
            nt_xent(X, X, impl="triton")
