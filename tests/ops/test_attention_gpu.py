"""cross_attention on a GPU in both forms: the CPU's cases, repeats, graphs, streams, bounds."""

from functools import partial

import pytest
import torch
from support.attention_cases import CASES, cancelling, of_output, problem, truth
from test_attention import SHAPES, assert_close, eager, inputs, results, visible

from clmer._native import _C
from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import cross_attention_reference, dropout_mask

pytestmark = pytest.mark.gpu

#: Further tiles: several heads a tile, the widest features, whole heads of 128.
MORE = [(3, 4, 8, 8), (8, 5, 16, 16), (64, 60, 32, 64), (128, 128, 64, 64), (20, 30, 256, 70)]
EVERY = [*SHAPES, *MORE]


#: The size of what cancels, by form: see attention_cases.
TERMS = {"triton": cancelling, "cuda": of_output}


def each_form(*shapes, marks=()):
    """Runs a test on every form's own of these shapes; `marks` are the CUDA form's alone."""
    pairs = [pytest.param("triton", shape) for shape in shapes]
    for shape in shapes:
        if max(shape[:2]) <= 128 and max(shape[2:]) <= 64:
            pairs.append(pytest.param("cuda", shape, marks=marks))
    return pytest.mark.parametrize(("impl", "shape"), pairs)


@pytest.fixture
def form(impl):
    """The function under test."""
    if impl == "cuda" and _C.why_no_cuda():
        pytest.skip(f"impl='cuda': {_C.why_no_cuda()}")
    return partial(cross_attention, impl=impl)


def on_gpu(value):
    return value.cuda() if isinstance(value, torch.Tensor) else value


def moved(tensors, options):
    """The same problem on the GPU."""
    return [on_gpu(t) for t in tensors], {name: on_gpu(value) for name, value in options.items()}


def gpu_results(form, tensors, options):
    tensors, options = moved(tensors, options)
    return [x.cpu() for x in results(form, *tensors, **options)]


@pytest.mark.parametrize("case", CASES)
@each_form(*EVERY)
def test_equals_the_equation(form, impl, shape, case):
    tensors, options = problem(shape, case, lead=(2, 3))
    ours = gpu_results(form, tensors, options)
    plain = gpu_results(cross_attention_reference, tensors, options)
    assert_close(ours, plain, truth(tensors, options), terms=TERMS[impl](tensors, options))


@pytest.mark.parametrize("case", ["plain", "all"])
@each_form(*EVERY)
def test_causal(form, impl, shape, case):
    tensors, options = problem(shape, case, lead=(2, 3))
    earlier = torch.ones(shape[:2], dtype=torch.bool).tril()
    shown = options["attn_mask"]
    masked = options | {"attn_mask": earlier if shown is None else shown & earlier}
    ours = gpu_results(form, tensors, options | {"is_causal": True})
    plain = gpu_results(cross_attention_reference, tensors, masked)
    assert_close(ours, plain, truth(tensors, masked), terms=TERMS[impl](tensors, masked))


@pytest.mark.parametrize("case", ["plain", "all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_form(*EVERY)
def test_half_types_are_no_worse_than_plain_pytorch_in_them(form, impl, shape, dtype, case):
    tensors, options = problem(shape, case, dtype, lead=(2, 3))
    ours = gpu_results(form, tensors, options)
    q, k, _, _, _ = tensors
    mask, shown, p = (options[n] for n in ("key_padding_mask", "attn_mask", "dropout_p"))
    hidden = torch.zeros(*q.shape[:-1], k.shape[-2], dtype=torch.bool)
    hidden = hidden if mask is None else hidden | mask[..., None, :]
    hidden = hidden if shown is None else hidden | ~shown
    keep = dropout_mask(options["seed"], hidden.shape, p) if p else ~torch.zeros_like(hidden)
    plain = gpu_results(eager, tensors, dict(hidden=hidden, keep=keep, dropout_p=p))
    rounded = [[x.to(dtype) for x in each] for each in (ours, plain)]
    assert_close(*rounded, truth(tensors, options), terms=TERMS[impl](tensors, options))


@each_form((16, 16, 16, 16))
def test_tf32_only_where_it_is_allowed(form, shape):
    """Factors that tf32 rounds away: 1 + 2^-12 is 1 in it."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    q = torch.full((1, 16, 16), 1 + 2**-12, device="cuda")
    found = {}
    try:
        for setting in ("ieee", "tf32"):
            matmul.fp32_precision = setting
            eye = torch.eye(16, device="cuda").expand(1, 16, 16) * (1 + 2**-12)
            found[setting] = form(q, q, eye)[0, 0, 0].item()
    finally:
        matmul.fp32_precision = before
    assert found["ieee"] == pytest.approx((1 + 2**-12) / 16, rel=1e-6)
    assert found["tf32"] == pytest.approx(1 / 16, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_form((3, 4, 8, 8), (50, 50, 16, 16), (128, 128, 64, 64), (300, 300, 9, 4))
def test_fifty_repeats_give_the_same_bits(form, shape, dtype):
    tensors, options = moved(*problem(shape, "all", dtype, lead=(2, 48)))
    first = results(form, *tensors, **options)
    for _ in range(50):
        again = results(form, *tensors, **options)
        assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


@each_form((7, 5, 8, 8), (50, 50, 16, 16), (128, 128, 64, 64), (300, 200, 8, 8))
def test_captured_in_a_graph(form, shape):
    tensors, options = moved(*problem(shape, "all"))
    *leaves, grad = (t.detach().clone() for t in tensors)
    for leaf in leaves:
        leaf.requires_grad_()

    def call():
        out = form(*leaves[:3], attn_bias=leaves[3], **options)
        return out, *torch.autograd.grad(out, leaves, grad)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()  # compiles
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call()
    with torch.no_grad():
        for leaf in leaves:
            leaf.mul_(0.5)
    graph.replay()
    torch.cuda.synchronize()
    for x, y in zip(captured, call(), strict=True):
        assert torch.equal(x, y)


@each_form((50, 50, 16, 16))
def test_runs_on_the_current_stream(form, shape):
    """A stream that is still busy writing the inputs: only work queued behind it sees them."""
    tensors, options = moved(*problem(shape, "plain", lead=(16, 8)))
    want = results(form, *tensors, **options)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = [None if t is None else torch.full_like(t, torch.nan) for t in tensors]
        torch.cuda._sleep(100_000_000)
        for to, source in zip(late, tensors, strict=True):
            if to is not None:
                to.copy_(source)
        found = results(form, *late, **options)
    stream.synchronize()
    for x, y in zip(want, found, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_form(
    *((3, 5, 8, 8), (50, 47, 16, 16), (33, 65, 20, 7), (128, 120, 64, 64), (140, 131, 8, 8)),
    marks=pytest.mark.sanitizer,
)
def test_what_lies_around_is_neither_read_nor_written(form, impl, shape, dtype, monkeypatch):
    """Inputs amid NaN, which would reach results; of results those that torch allocates."""
    from clmer.ops.attention import gpu as attention_gpu

    forward = getattr(attention_gpu, f"{impl}_forward")
    backward = getattr(attention_gpu, f"{impl}_backward")

    def framed(tensor):
        """The tensor within a larger buffer of NaN (True for masks), and the buffer."""
        if tensor is None:
            return None, None
        poison = True if tensor.dtype == torch.bool else torch.nan
        buffer = tensor.new_full((tensor.numel() + 2048,), poison)
        inner = buffer[1024:-1024].view(tensor.shape)
        inner.copy_(tensor)
        return inner, buffer

    tensors, options = moved(*problem(shape, "all", dtype))
    masks = {n: options[n] for n in ("key_padding_mask", "attn_mask")}
    framed_tensors, buffers = zip(*map(framed, (*tensors, *masks.values())), strict=True)
    before = [b.clone() for b in buffers]
    made: list[torch.Tensor] = []
    new_empty = torch.Tensor.new_empty

    def framed_empty(self, size, **kwargs):
        if size == 0:  # Triton's own
            return new_empty(self, size, **kwargs)
        size = torch.Size(size)
        buffer = new_empty(self, (size.numel() + 2048,), **kwargs).fill_(torch.nan)
        made.append(buffer)
        return buffer[1024:-1024].view(size)

    q, k, v, b, grad, padding, shown = framed_tensors
    terms = (padding, shown[None], b[None], options["seed"], options["dropout_p"], 0.3)
    want = forward(*(t.clone() for t in (q, k, v)), *terms)
    want += backward(grad.clone(), q, k, v, *want, *terms, True)
    monkeypatch.setattr(torch.Tensor, "new_empty", framed_empty)
    found = forward(q, k, v, *terms)
    found += backward(grad, q, k, v, *found, *terms, True)
    monkeypatch.undo()
    for x, y in zip(want, found, strict=True):
        assert torch.equal(x, y)
    assert len(made) == (6 if impl == "triton" else 1)
    for buffer, old in zip(buffers, before, strict=True):
        assert torch.equal(buffer.view(torch.uint8), old.view(torch.uint8))
    for buffer in made:
        assert buffer[:1024].isnan().all()
        assert buffer[-1024:].isnan().all()


@each_form((3, 3, 8, 8))
def test_more_heads_than_a_grid_is_high(form, shape):
    """Past 65,535 heads, and offsets past 2^31 elements."""
    q = torch.randn(70_001, 3, 8, device="cuda")
    out = form(q, q, q)
    torch.testing.assert_close(out[-5:], cross_attention_reference(*[q[-5:]] * 3))
    if torch.cuda.get_device_properties(0).total_memory < 20 << 30:
        pytest.skip("the second half needs 20 GiB")
    wide = torch.empty(2**16, 2, 2**14 + 8, dtype=torch.bfloat16, device="cuda")[..., :16]
    wide.copy_(torch.randn(2**16, 2, 16, device="cuda"))
    out = form(wide, wide, wide)
    want = cross_attention_reference(*[wide[-5:].contiguous()] * 3)
    torch.testing.assert_close(out[-5:], want, rtol=2e-2, atol=2e-2)


@each_form((9, 20, 4, 5), (100, 70, 4, 5), (140, 150, 4, 5))
def test_what_masks_hide_leaks_nothing(form, shape):
    rows, keys, *_ = shape
    q, k, v, b, _, grad = map(on_gpu, inputs(shape, torch.float32, bias=(2, 3, rows, keys)))
    shown = visible((3, rows, keys)).cuda()
    pairs = shown.expand(2, 3, rows, keys)
    unseen, blind = ~pairs.any(-2), ~pairs.any(-1)
    clean = results(form, q, k, v, b, grad, attn_mask=shown)
    q[blind], k[unseen], v[unseen], grad[blind] = torch.nan, torch.inf, torch.nan, torch.nan
    b[~pairs] = torch.nan
    dirty = results(form, q, k, v, b, grad, attn_mask=shown)
    for x, y in zip(clean, dirty, strict=True):
        assert torch.equal(x, y)
        assert x.isfinite().all()


@each_form((9, 20, 8, 8))
def test_compilers_see_one_op(form, impl, shape):
    tensors, options = moved(*problem(shape, "all"))
    *leaves, _ = tensors

    def call(q, k, v, b):
        return form(q, k, v, attn_bias=b, **options).sin()

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    found = []
    for either in (call, compiled):
        copies = [t.detach().clone().requires_grad_() for t in leaves]
        out = either(*copies)
        found.append((out.detach(), *torch.autograd.grad(out.sum(), copies)))
    for x, y in zip(*found, strict=True):
        assert torch.equal(x, y)
    q, k, v, b = leaves
    masks = (options["key_padding_mask"], options["attn_mask"][None], b[None], options["seed"])
    torch.library.opcheck(
        torch.ops.clmer.cross_attention.default, (q, k, v, *masks, 0.3, 0.5, True, impl)
    )


@pytest.mark.parametrize(
    ("rows", "width", "dtype", "impl"),
    [
        (50, 16, torch.float32, "cuda"),
        (50, 16, torch.bfloat16, "cuda"),
        (200, 16, torch.bfloat16, "triton"),
        (200, 16, torch.float32, "reference"),
        (50, 16, torch.float64, "reference"),
    ],
)
def test_the_default_is_the_faster_form(rows, width, dtype, impl):
    q = torch.randn(2, 3, rows, width, device="cuda", dtype=dtype)
    assert torch.equal(cross_attention(q, q, q), cross_attention(q, q, q, impl=impl))
    with pytest.raises(RuntimeError, match="no kernel for 'cuda' tensors"):
        cross_attention(q, q, q, impl="native")
