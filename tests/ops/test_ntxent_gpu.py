"""`nt_xent(impl="triton")` on a GPU: the interpreter's cases, and what only a device can show."""

import pytest
import torch
from support.ntxent_cases import views
from test_ntxent_triton import CASES, HALF_CASES, assert_half_close, assert_within_plain_error

from clmer.ops.ntxent.op import nt_xent

pytestmark = pytest.mark.gpu


def step(a, b, tau=0.2):
    """Loss and gradients; tau a number, which no launch waits for."""
    loss = nt_xent(a, b, tau, impl="triton")
    # no graph outlives the call, or its leaves would tie a later capture to this stream
    return loss.detach(), *torch.autograd.grad(loss.sum(), (a, b))


def on_gpu(shape, dtype=torch.float32):
    return [v.cuda().requires_grad_() for v in views(shape, dtype)]


@pytest.mark.parametrize(("shape", "tau"), [*CASES, ((3, 700, 128), 0.2), ((2100, 260), 0.2)])
@pytest.mark.parametrize("normalize", [True, False])
def test_equals_the_equation(shape, tau, normalize):
    assert_within_plain_error(shape, tau, normalize, "cuda")


@pytest.mark.parametrize(("shape", "tau"), [*HALF_CASES, ((1500, 128), 0.25), ((1500, 768), 0.25)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(shape, tau, dtype):
    assert_half_close(shape, tau, dtype, "cuda")


@pytest.mark.parametrize("shape", [(700, 300), (2, 350, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_several_squares_of_several_tiles(monkeypatch, shape, dtype):
    monkeypatch.setattr("clmer.kernels.ntxent._EDGE", 512)
    if dtype == torch.float32:
        assert_within_plain_error(shape, 0.2, True, "cuda")
    else:
        assert_half_close(shape, 0.2, dtype, "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 128, 128), (2, 1100, 40), (4500, 300)])
def test_fifty_times_the_same_bits(shape, dtype):
    a, b = on_gpu(shape, dtype)
    first = step(a, b)
    for _ in range(50):
        assert all(torch.equal(x, y) for x, y in zip(first, step(a, b), strict=True))


@pytest.mark.parametrize("shape", [(3, 128, 128), (2100, 300)])
def test_in_a_cuda_graph(shape):
    a, b = on_gpu(shape)
    want = step(a, b)  # compiles
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for each in step(a, b):
            each.sum()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step(a, b)
    graph.replay()
    assert all(torch.equal(x, y) for x, y in zip(found, want, strict=True))
    with torch.no_grad():
        a.copy_(a.flip(-2))
    graph.replay()
    assert all(torch.equal(x, y) for x, y in zip(found, step(a, b), strict=True))


def test_on_a_stream_of_its_own():
    a, b = on_gpu((3, 128, 128))
    want = step(a, b)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late = [(v.detach() * 1).requires_grad_() for v in (a, b)]  # ready only after the sleep
        found = step(*late)
    stream.synchronize()
    assert all(torch.equal(x, y) for x, y in zip(found, want, strict=True))


@pytest.mark.parametrize("shape", [(7, 19), (3, 33, 40), (70, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_outside_is_read(shape, dtype):
    """Views inside buffers of NaN: the loss is finite, and NaN stays all around."""
    want = step(*on_gpu(shape, dtype))
    buffers, inner = [], []
    for view in on_gpu(shape, dtype):
        buffer = torch.full((view.numel() + 512,), float("nan"), dtype=dtype, device="cuda")
        part = buffer[256:-256].view(view.shape)
        part.copy_(view.detach())
        buffers.append(buffer)
        inner.append(part.detach().requires_grad_())
    found = step(*inner)
    assert all(torch.equal(x, y) for x, y in zip(found, want, strict=True))
    for buffer in buffers:
        assert buffer[:256].isnan().all()
        assert buffer[-256:].isnan().all()


def test_learnt_temperature_waits_for_nothing():
    a, b = on_gpu((3, 128, 128))
    tau = torch.tensor(0.2, device="cuda", requires_grad=True)
    nt_xent(a, b, tau, impl="triton").sum().backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        nt_xent(a, b, tau, impl="triton").sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert tau.grad.isfinite()


def test_the_default_is_triton_where_it_may_be_called_outright():
    a, b = on_gpu((2, 40, 24))
    assert torch.equal(nt_xent(a, b), nt_xent(a, b, impl="triton"))
    compiled = torch.compile(nt_xent, backend="aot_eager")
    torch.testing.assert_close(compiled(a, b), nt_xent(a, b))
    wide = [view.double() for view in (a, b)]
    assert torch.equal(nt_xent(*wide), nt_xent(*wide, impl="reference"))


def test_the_defaults_second_derivatives_are_the_references():
    a, b = on_gpu((2, 40, 24))
    tau = torch.tensor(0.2, device="cuda", requires_grad=True)
    found = []
    for impl in (None, "reference"):
        loss = nt_xent(a, b, tau, impl=impl).square().sum()
        grads = torch.autograd.grad(loss, (a, b, tau), create_graph=True)
        penalty = sum(grad.square().sum() for grad in grads)
        found.append([*grads, *torch.autograd.grad(penalty, (a, b, tau))])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)
