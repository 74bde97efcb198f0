"""`sosfilt` on a GPU: the CPU's cases, bit for bit those of the host form, and what a GPU adds."""

import pytest
import torch
from support import bandpass_cases as cases

import clmer
from clmer._native import _C
from clmer.ops import sosfiltfilt

pytestmark = pytest.mark.gpu
forms = pytest.mark.parametrize(("form", "warps"), [*cases.FORMS, ("tiled", 8), ("split", 8)])


def both(x, sos, state, form, warps, adjoint=False, walk=1):
    """The host form's results and the GPU's, on the CPU."""
    host = cases.by(x, sos, state, form, warps, adjoint, walk)
    found = cases.by(x.cuda(), sos.cuda(), state.cuda(), form, warps, adjoint, walk)
    return host, tuple(t.cpu() for t in found)


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@forms
@pytest.mark.parametrize("time", cases.LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("adjoint", [False, True])
def test_has_the_bits_of_the_host_form(form, warps, time, dtype, adjoint):
    x, state = cases.operands(35, time, 4, dtype)
    assert_same_bits(*both(x, cases.SOS, state, form, warps, adjoint))


@forms
@pytest.mark.parametrize("count", [1, 3, 8, 9, 17, 64])
def test_any_number_of_sections(form, warps, count):
    cases.skip_unless_it_takes(form, count)
    x, state = cases.operands(3, 2100, count)
    assert_same_bits(*both(x, cases.sections(count), state, form, warps))


@forms
@pytest.mark.parametrize("name", cases.HARD)
@pytest.mark.parametrize("adjoint", [False, True])
def test_hard_filters(form, warps, name, adjoint):
    sos = torch.from_numpy(cases.HARD[name])
    x, state = cases.operands(3, 20_000, len(sos), offset=4200)
    assert_same_bits(*both(x, sos, state, form, warps, adjoint))


@pytest.mark.parametrize("time", [20_000, 20_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("adjoint", [False, True])
def test_parts_of_several_tiles(time, dtype, adjoint):
    x, state = cases.operands(3, time, 4, dtype)
    assert_same_bits(*both(x, cases.SOS, state, "split", 2, adjoint, walk=4))


@pytest.mark.parametrize("count", [4, 17])
@pytest.mark.parametrize("time", [2048, 2300])
def test_more_rows_than_blocks_that_a_gpu_holds(count, time):
    x, state = cases.operands(5000, time, count, torch.float32)
    assert_same_bits(*both(x, cases.sections(count), state, "tiled", 1))


def test_where_rows_do_not_begin_at_16_bytes():
    x, state = cases.operands(5, 4100, 4, torch.float32)
    buffer = torch.empty(x.numel() + 1, device="cuda")
    shifted = buffer[1:].view(x.shape).copy_(x)
    args = cases.SOS.cuda(), state.cuda(), "tiled", 4
    assert_same_bits(cases.by(shifted, *args), cases.by(x.cuda(), *args))


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 3, 65), (33, 512), (33, 513), (5, 8064), (2, 40_000), (16_400, 40)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_scipy_whatever_the_form(shape, dtype):
    x, state = cases.operands(torch.Size(shape[:-1]).numel(), shape[-1], 4, dtype)
    x, state = x.reshape(shape), state.reshape(*shape[:-1], 4, 2)
    found = clmer.sosfilt(x.cuda(), cases.SOS.cuda(), state.cuda())
    flat = x.flatten(0, -2), cases.SOS, state.flatten(0, -3)
    y, end = found[0].flatten(0, -2), found[1].flatten(0, -3)
    cases.assert_as_good_as_scipy((y, end), *flat)


@pytest.mark.parametrize("shape", [(4, 0), (0, 9), (0, 2000)])
def test_empty(shape):
    x, state = torch.randn(shape, device="cuda"), torch.randn(shape[0], 4, 2, dtype=torch.float64)
    y, end = clmer.sosfilt(x, cases.SOS.cuda(), state.cuda())
    assert y.shape == shape
    assert torch.equal(end.cpu(), state)


@pytest.mark.parametrize("time", [70, 1100])
def test_gradients(time):
    x, state = (t[:2].cuda().requires_grad_() for t in cases.operands(2, time, 4))
    sos = cases.SOS.cuda()
    assert torch.autograd.gradcheck(
        lambda x, z: clmer.sosfilt(x, sos, z), (x, state), fast_mode=True, check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(
        lambda x, z: clmer.sosfilt(x, sos, z)[0].square(), (x, state), fast_mode=True
    )


@pytest.mark.parametrize("length", [31, 513, 5000, 40_000])
def test_the_adjoint(length):
    """<filter x, g> = <x, adjoint g>, in both arguments."""
    torch.manual_seed(length)
    x, grad_y = torch.randn(2, 7, length, dtype=torch.float64, device="cuda")
    state, grad_end = torch.randn(2, 7, 4, 2, dtype=torch.float64, device="cuda")
    sos = cases.SOS.cuda()
    y, end = torch.ops.clmer.sosfilt(x, sos, state)
    grad_x, grad_state = torch.ops.clmer.sosfilt_backward(grad_y, grad_end, sos)
    left = (y * grad_y).sum() + (end * grad_end).sum()
    right = (x * grad_x).sum() + (state * grad_state).sum()
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("time", [1, 65])
def test_opcheck(time):
    x, state = (t.cuda().requires_grad_() for t in cases.operands(3, time, 4))
    sos = cases.SOS.cuda()
    torch.library.opcheck(torch.ops.clmer.sosfilt, (x, sos, state))
    torch.library.opcheck(torch.ops.clmer.sosfilt_backward, (x.detach(), state.detach(), sos))


def test_short_chunks_give_the_bits_of_one_pass():
    x, sos = torch.randn(19, 512, device="cuda"), cases.SOS.cuda()
    whole, end = clmer.sosfilt(x, sos)
    state, parts = None, []
    for chunk in x.split([1, 31, 32, 33, 15, 400], 1):
        y, state = clmer.sosfilt(chunk, sos, state)
        parts.append(y)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(state, end)


@forms
def test_fifty_runs_have_the_same_bits(form, warps):
    x, state = (t.cuda() for t in cases.operands(40, 5000, 4, torch.float32))
    sos = cases.SOS.cuda()
    first = cases.by(x, sos, state, form, warps)
    for _ in range(50):
        assert_same_bits(cases.by(x, sos, state, form, warps), first)


@pytest.mark.parametrize("shape", [(32, 128), (40, 8064), (3, 50_000)])
def test_a_graph_replays_it(shape):
    sos, x = cases.SOS.cuda(), torch.randn(shape, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        clmer.sosfilt(x, sos)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, end = clmer.sosfilt(x, sos)
    for _ in range(2):
        x.copy_(torch.randn(shape))
        graph.replay()
        assert_same_bits((y, end), clmer.sosfilt(x, sos))


@pytest.mark.parametrize("shape", [(32, 128), (40, 8064), (3, 50_000)])
def test_it_runs_on_the_current_stream(shape):
    """x is written late on a stream of its own: a launch elsewhere would read what was before."""
    sos, late = cases.SOS.cuda(), torch.randn(shape, device="cuda")
    want = clmer.sosfilt(late, sos)
    x = torch.zeros(shape, device="cuda")
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.copy_(late)
        found = clmer.sosfilt(x, sos)
    assert not stream.query(), "the call waited for the device"
    stream.synchronize()
    assert_same_bits(found, want)


@pytest.mark.sanitizer
@forms
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("time", [33, 1025, 5000])
def test_nothing_is_read_or_written_outside(form, warps, adjoint, time):
    """Inputs amid NaN, which would reach results; memcheck sees writes (tools/gpu_check.sh)."""
    x, state = cases.operands(5, time, 4, torch.float32)
    want = cases.by(x, cases.SOS, state, form, warps, adjoint)
    buffers, views = [], []
    for tensor in (x, cases.SOS, state):
        buffer = torch.full((tensor.numel() + 2048,), float("nan"), dtype=tensor.dtype).cuda()
        view = buffer[1024:-1024].view(tensor.shape)
        view.copy_(tensor)
        buffers.append(buffer)
        views.append(view)
    found = cases.by(*views, form, warps, adjoint)
    assert_same_bits([t.cpu() for t in found], want)
    for buffer, view, tensor in zip(buffers, views, (x, cases.SOS, state), strict=True):
        assert buffer[:1024].isnan().all()
        assert buffer[-1024:].isnan().all()
        assert torch.equal(view.cpu(), tensor)


def test_zero_phase():
    x = torch.randn(3, 9000, device="cuda")
    y = sosfiltfilt(x, cases.SOS.cuda())
    torch.testing.assert_close(y.cpu(), sosfiltfilt(x.cpu(), cases.SOS), rtol=0, atol=1e-6)


def test_impl_by_name():
    x, sos = torch.randn(3, 900, device="cuda"), cases.SOS.cuda()
    assert _C.why_no_cuda() == ""
    assert_same_bits(clmer.sosfilt(x, sos, impl="cuda"), clmer.sosfilt(x, sos, impl="native"))
    with pytest.raises(RuntimeError, match="found 'cpu' tensors"):
        clmer.sosfilt(x.cpu(), cases.SOS, impl="cuda")
