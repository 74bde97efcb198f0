import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn

import clmer
from clmer._native import _C, _capsule
from clmer.nn import Bandpass
from clmer.ops.bandpass.op import sosfilt_reference
from clmer.ops.bandpass.zero_phase import sosfiltfilt
from clmer.signal import butter_bandpass

SOS = torch.from_numpy(butter_bandpass(4, 45, 128))


def exact(x, sos, state):
    """SciPy in long double: [..., T], [S, 6], [..., S, 2] -> y, state."""
    zi = np.moveaxis(state.numpy(), -2, 0).astype(np.longdouble)
    y, out = scipy.signal.sosfilt(sos.numpy().astype(np.longdouble), x.numpy(), -1, zi)
    return y, np.moveaxis(out, 0, -2)


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 63), (17, 64), (2, 3, 65), (33, 257), (4, 0), (0, 9)]
)
@pytest.mark.parametrize("sections", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_scipy(simd_level, shape, sections, dtype):
    torch.manual_seed(0)
    sos = SOS.repeat(3, 1)[:sections].contiguous()
    x = torch.randn(shape).to(dtype)
    state = torch.randn(*shape[:-1], sections, 2, dtype=torch.float64)
    y, out = clmer.sosfilt(x, sos, state)
    assert y.dtype == dtype
    if x.numel() == 0:
        assert y.shape == x.shape
        assert torch.equal(out, state)
        return
    zi = np.moveaxis(state.numpy(), -2, 0)
    scipys, scipys_state = scipy.signal.sosfilt(sos.numpy(), x.numpy(), -1, zi)
    scipys_state = np.moveaxis(scipys_state, 0, -2)
    want, want_state = exact(x, sos, state)
    triples = ((y, scipys.astype(x.numpy().dtype), want), (out, scipys_state, want_state))
    for ours, theirs, truth in triples:
        floor = 8 * torch.finfo(ours.dtype).eps * np.abs(truth).max()
        assert np.abs(ours.numpy() - truth).max() <= max(2 * np.abs(theirs - truth).max(), floor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_chunking_gives_the_same_bits(simd_level, dtype):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((19, 1000))).to(dtype)
    whole, end = clmer.sosfilt(x, SOS)
    cuts = [0, *sorted(rng.choice(1000, 12, replace=False)), 1000]
    state, parts = None, []
    for a, b in zip(cuts, cuts[1:], strict=False):
        y, state = clmer.sosfilt(x[:, a:b], SOS, state)
        parts.append(y)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(state, end)


def test_threads_and_pointers_do_not_change_bits():
    x = torch.randn(100, 2000)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(clmer.sosfilt(x, SOS)[0])
    torch.set_num_threads(before)
    _C.set_exchange_api(None)
    results.append(clmer.sosfilt(x, SOS)[0])
    _C.set_exchange_api(_capsule)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_float32_keeps_its_precision_under_an_offset():
    x = torch.randn(4, 4000) + 4200
    y, _ = clmer.sosfilt(x, SOS)
    want, _ = exact(x, SOS, torch.zeros(4, 4, 2, dtype=torch.float64))
    assert np.abs(y.numpy() - want).max() <= 8 * 1.2e-7 * np.abs(want).max()


def test_non_contiguous_and_half_inputs():
    x = torch.randn(64, 5).T
    assert torch.equal(clmer.sosfilt(x, SOS)[0], clmer.sosfilt(x.contiguous(), SOS)[0])
    y, _ = clmer.sosfilt(x.bfloat16(), SOS)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(
        y.float(), clmer.sosfilt(x.bfloat16().float(), SOS)[0], rtol=1e-2, atol=1e-2
    )


def test_reference_and_its_second_derivative():
    x = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(clmer.sosfilt(x, SOS, state), sosfilt_reference(x, SOS, state))
    assert torch.autograd.gradgradcheck(
        lambda x, z: clmer.sosfilt(x, SOS, z, impl="reference")[0].square(), (x, state)
    )


def test_gradients(simd_level):
    x = torch.randn(3, 70, dtype=torch.float64, requires_grad=True)
    state = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, z: clmer.sosfilt(x, SOS, z), (x, state))


@pytest.mark.filterwarnings("error::UserWarning")
def test_second_and_forward_derivatives():
    x = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    call = lambda x, z: clmer.sosfilt(x, SOS, z)  # noqa: E731
    assert torch.autograd.gradcheck(
        call, (x, state), check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(
        lambda x, z: tuple(each.pow(3) for each in call(x, z)), (x, state), check_fwd_over_rev=True
    )


@pytest.mark.filterwarnings("error::UserWarning")
def test_derivatives_by_functorch():
    x, state = torch.randn(3, 9, dtype=torch.float64), torch.randn(3, 4, 2, dtype=torch.float64)

    def loss(impl):
        def of(x, z):
            y, end = clmer.sosfilt(x, SOS, z, impl=impl)
            both_ways = clmer.ops.sosfiltfilt(y, SOS, padlen=3, impl=impl)
            return y.pow(3).sum() + end.square().sum() + both_ways.sum()

        return of

    ours, plain = loss(None), loss("reference")
    for found, want in zip(
        torch.func.grad(ours, (0, 1))(x, state),
        torch.func.grad(plain, (0, 1))(x, state),
        strict=True,
    ):
        torch.testing.assert_close(found, want)
    tangents = (torch.ones_like(x), torch.ones_like(state))
    torch.testing.assert_close(
        torch.func.jvp(ours, (x, state), tangents), torch.func.jvp(plain, (x, state), tangents)
    )
    torch.testing.assert_close(
        torch.func.hessian(ours)(x, state), torch.func.hessian(plain)(x, state)
    )
    each = torch.func.vmap(torch.func.grad(ours))(x, state)
    torch.testing.assert_close(each, torch.func.grad(plain)(x, state))
    with pytest.raises(ValueError, match="vmap over sos"):
        torch.func.vmap(lambda sos: torch.func.jvp(lambda x: clmer.sosfilt(x, sos)[0], (x,), (x,)))(
            SOS[None]
        )


@pytest.mark.parametrize("shape", [(3, 17), (0, 5), (2, 0)])
def test_opcheck(shape):
    x = torch.randn(shape, requires_grad=True)
    state = torch.randn(shape[0], 4, 2, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.clmer.sosfilt, (x, SOS, state))
    torch.library.opcheck(torch.ops.clmer.sosfilt_backward, (x.detach(), state.detach(), SOS))


def test_compile_and_vmap():
    x = torch.randn(3, 17, requires_grad=True)

    def loss(x):
        return clmer.sosfilt(x * 2, SOS)[0].square().sum()

    (want,) = torch.autograd.grad(loss(x), x)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (got,) = torch.autograd.grad(compiled(x), x)
    torch.testing.assert_close(got, want)
    mapped = torch.vmap(lambda row: clmer.sosfilt(row, SOS)[0])(x)
    assert torch.equal(mapped, clmer.sosfilt(x, SOS)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 3, dtype=torch.int64)}, "expected a floating-point dtype"),
        ({"sos": torch.ones(4, 5, dtype=torch.float64)}, r"expected \[S, 6\]"),
        ({"sos": SOS.float()}, "torch.float64"),
        ({"sos": 2 * SOS}, "should be all ones"),
        ({"state": torch.zeros(2, 3, 2, dtype=torch.float64)}, r"expected \(2, 4, 2\)"),
        ({"impl": "cuda!"}, "expected None, 'native', 'reference'"),
        ({"sos": SOS.repeat(20, 1)}, "at most 64"),
    ],
)
def test_errors(change, message):
    arguments = {"x": torch.ones(2, 3), "sos": SOS, "state": None, "impl": None} | change
    with pytest.raises(ValueError, match=message):
        clmer.sosfilt(**arguments)


def test_a_missing_backend_is_refused():
    x = torch.ones(2, 3, device="meta")
    with pytest.raises(RuntimeError, match="no kernel for 'meta'"):
        clmer.sosfilt(x, SOS.to("meta"), torch.zeros(2, 4, 2, dtype=torch.float64, device="meta"),
                      impl="native")  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device is at hand")
def test_a_cuda_op_that_cannot_run_names_the_reason():
    built = clmer.build_info()["cuda"] is not None
    reason = "CUDA driver|CUDA-capable device" if built else "built without CUDA"
    with pytest.raises(RuntimeError, match=rf"impl='cuda': .*({reason})"):
        clmer.sosfilt(torch.ones(2, 3), SOS, impl="cuda")


def test_the_layer_is_the_op():
    layer = Bandpass(128, 4, 45)
    x = torch.randn(2, 3, 50, requires_grad=True)
    y = nn.Sequential(layer, nn.ReLU())(x)
    assert torch.equal(y, clmer.sosfilt(x, SOS)[0].relu())
    y.sum().backward()
    assert x.grad is not None
    layer.half()
    assert layer.sos.dtype == torch.float64
    assert torch.equal(layer.sos, SOS)
    assert set(layer.state_dict()) == {"sos"}
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), layer(x))


def test_the_layers_gradient_is_exact():
    layer = Bandpass(128, 4, 45)
    x = torch.randn(2, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    with pytest.raises(ValueError, match="0 < low < high < 64"):
        Bandpass(128, 45, 4)


@pytest.mark.parametrize("lengths", [(0, 1, 2, 3, 5, 7), (31, 127, 129, 512, 513, 1021)])
def test_the_adjoint_at_odd_lengths(simd_level, lengths):
    """<filter x, g> = <x, adjoint g>, in both arguments, whatever the tiles do."""
    for length in lengths:
        torch.manual_seed(length)
        x, grad_y = torch.randn(2, 7, length, dtype=torch.float64)
        state, grad_end = torch.randn(2, 7, 4, 2, dtype=torch.float64)
        y, end = torch.ops.clmer.sosfilt(x, SOS, state)
        grad_x, grad_state = torch.ops.clmer.sosfilt_backward(grad_y, grad_end, SOS)
        left = (y * grad_y).sum() + (end * grad_end).sum()
        right = (x * grad_x).sum() + (state * grad_state).sum()
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_rounded_checkpoints_and_meta_devices_keep_the_layers_filter():
    for fs, low, high in ((500, 1, 45), (250, 0.5, 40), (1000, 0.1, 40), (250, None, 40)):
        layer = Bandpass(fs, low, high)
        want = layer.sos.clone()
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            saved = {name: value.to(dtype) for name, value in layer.state_dict().items()}
            for assign in (False, True):
                layer.load_state_dict(saved, assign=assign)
                assert torch.equal(layer.sos, want)
            layer.load_state_dict({"sos": saved["sos"].double()})
            assert torch.equal(layer.sos, want)
        both = nn.Sequential(nn.BatchNorm1d(2), layer).to("meta")
        assert layer.sos.is_meta
        both.to_empty(device="cpu")
        assert torch.equal(layer.sos, want)
        with torch.device("meta"):
            made = Bandpass(fs, low, high)
        made.to_empty(device="cpu").load_state_dict({"sos": want})
        assert torch.equal(made.sos, want)


def test_another_filters_checkpoint_is_refused():
    layer = nn.Sequential(nn.Identity(), Bandpass(500, 1, 45))
    want = layer[1].sos.clone()
    for other in (Bandpass(128, 8, 13), Bandpass(500, 1, 45.1), Bandpass(500, 1, 45, 2)):
        for dtype in (torch.float64, torch.float32):
            saved = {"1.sos": other.sos.to(dtype)}
            with pytest.raises(RuntimeError, match=r"1.sos: found .*another filter|size mismatch"):
                layer.load_state_dict(saved)
            assert torch.equal(layer[1].sos, want)
    with pytest.raises(RuntimeError, match="Missing key"):
        layer.load_state_dict({})


def test_arrays_are_refused_by_name():
    x = torch.randn(2, 30)
    for call in (clmer.sosfilt, sosfiltfilt):
        with pytest.raises(ValueError, match="sos: found ndarray, expected a tensor; torch.from_n"):
            call(x, SOS.numpy())
        with pytest.raises(ValueError, match=r"x: found ndarray.*clmer.signal filters arrays"):
            call(x.numpy(), SOS)
    with pytest.raises(ValueError, match="state: found ndarray"):
        clmer.sosfilt(x, SOS, np.zeros((2, 4, 2)))


def test_a_pole_at_one_has_no_steady_state():
    with pytest.raises(ValueError, match="pole at z = 1"):
        sosfiltfilt(torch.randn(2, 30), torch.tensor([[1.0, 0, 0, 1, -1, 0]]).double())
