"""What the ops share: direct calls of the registered ops, export, dtypes that none takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode

import clmer
from clmer.nn import Bandpass, NTXentLoss
from clmer.nn.dropout import drop
from clmer.ops import (
    cross_attention,
    feed_forward,
    merge_heads,
    nt_xent,
    project_heads,
    sosfilt,
    sosfiltfilt,
)
from clmer.signal import butter_bandpass

OPS = torch.ops.clmer
F64 = torch.float64
X, ONE = torch.zeros(2, 3, 4), torch.ones((), dtype=F64)
SIGNAL, SOS = torch.zeros(2, 5), torch.zeros(2, 6, dtype=F64)
STATE = torch.zeros(2, 2, 2, dtype=F64)
NO_MASKS, NO_DROPOUT = (None, None, None), (None, 0.0, 1.0, False)
# [S, B, L, d], weights and biases of sublayers, heads
ROWS, W, B = torch.zeros(2, 3, 5, 6), torch.zeros(2, 6, 6), torch.zeros(2, 1, 6)
W1, B1, W2, HEADS = (
    torch.zeros(2, 6, 4), torch.zeros(2, 1, 4), torch.zeros(2, 4, 6), torch.zeros(2, 3, 2, 5, 3)
)  # fmt: skip
HIDDEN, PLAIN = torch.zeros(2, 3, 5, 4), (None, None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        ("sosfilt", (SIGNAL, SOS[:, :5], STATE), "sos: found shape"),
        ("sosfilt", (SIGNAL, SOS, STATE[:1]), "state: found shape"),
        ("sosfilt", (SIGNAL, SOS, STATE[:, :1]), "state: found shape"),
        ("sosfilt", (SIGNAL, SOS.repeat(40, 1), STATE.repeat(1, 40, 1)), "too many sections"),
        ("sosfilt", (SIGNAL, SOS[:0], STATE[:, :0]), "no sections"),
        ("sosfilt_backward", (SIGNAL, STATE[:1], SOS), "state: found shape"),
        ("nt_xent", (X, X[:, :2], ONE, True), "view_b: found shape"),
        ("nt_xent", (X, X, -ONE, True), "temperature: expected a finite number > 0"),
        ("nt_xent", (X, X, ONE * torch.nan, True, False), "temperature: expected a finite number"),
        (
            "nt_xent_backward",
            (torch.ones(2), X, X, ONE, torch.zeros(2, 4, 2, dtype=F64), True),
            "stats: found shape",
        ),
        (
            "nt_xent_backward",
            (torch.ones(1), X, X, ONE, torch.zeros(2, 4, 6, dtype=F64), True),
            "grad_loss: found shape",
        ),
        ("cross_attention", (X, X[:1], X, *NO_MASKS, *NO_DROPOUT), "key has shape"),
        ("cross_attention", (X, X[..., :2], X, *NO_MASKS, *NO_DROPOUT), "key has shape"),
        ("cross_attention", (X, X, X[:, :2], *NO_MASKS, *NO_DROPOUT), "value has shape"),
        (
            "cross_attention",
            (X, X, X, None, None, torch.zeros(2, 2, 3), *NO_DROPOUT),
            "attn_bias has shape",
        ),
        (
            "cross_attention",
            (X, X, X, torch.zeros(2, 2, dtype=torch.bool), None, None, *NO_DROPOUT),
            "key_padding_mask has shape",
        ),
        (
            "cross_attention",
            (X, X, X, None, torch.zeros(2, 4, 3, dtype=torch.bool), None, *NO_DROPOUT),
            "attn_mask has shape",
        ),
        (
            "cross_attention",
            (X, X, X, None, torch.zeros(2, 3, 3), None, *NO_DROPOUT),
            "attn_mask: expected bool",
        ),
        (
            "cross_attention",
            (X, X, X, *NO_MASKS, torch.zeros(0, dtype=torch.int64), 0.5, 1.0, False),
            "seed",
        ),
        (
            "cross_attention_backward",
            (X[:, :2], X, X, X, X, X[..., 0], *NO_MASKS, *NO_DROPOUT, False),
            "grad_out has shape",
        ),
        ("project_heads", (ROWS[0], W, B, 2), r"expected .* tensors \[S, B, L, dim\]"),
        ("project_heads", (ROWS.int(), W, B, 2), "expected float32 or float64 CPU tensors"),
        ("project_heads", (ROWS, W, B, 4), "heads must divide dim"),
        ("project_heads", (ROWS, W, B, 0), "heads must divide dim"),
        ("project_heads", (ROWS[..., :0], W, B, 1), "heads must divide dim"),
        ("project_heads", (ROWS, W[0], B, 2), "weight of whole heads"),
        ("project_heads", (ROWS, W[..., :0], B[..., :0], 2), "1 to 64 tensors of heads"),
        ("project_heads", (ROWS, W.repeat(1, 1, 65), B.repeat(1, 1, 65), 2), "1 to 64 tensors"),
        ("project_heads", (ROWS, W[:1], B, 2), "weight: found shape"),
        ("project_heads", (ROWS, W.double(), B, 2), "weight: found shape .*, expected a contig"),
        ("project_heads", (ROWS, W, B[:, 0], 2), "bias: found shape"),
        ("project_heads_backward", (HEADS[None, :, :2], ROWS, W, 2), "heads: found shape"),
        ("project_heads_backward", (HEADS.repeat(2, 1, 1, 1, 1, 1), ROWS, W, 2), "weight_t: found"),
        ("project_heads_backward", (HEADS[None], ROWS, W[:1], 2), "weight_t: found shape"),
        ("merge_heads", (ROWS, ROWS, W, B, None, 0.0), r"heads \[S, B, h, L, dim / h\]"),
        ("merge_heads", (ROWS, HEADS[:1], W, B, None, 0.0), "heads: found shape"),
        ("merge_heads", (ROWS, HEADS[..., :2], W, B, None, 0.0), "heads: found shape"),
        ("merge_heads", (ROWS, HEADS, W1, B, None, 0.0), "weight: found shape"),
        ("merge_heads", (ROWS, HEADS, W, B1, None, 0.0), "bias: found shape"),
        ("merge_heads", (ROWS, HEADS, W, B, ONE, 0.5), "seed: expected 0-d int64"),
        ("merge_heads_backward", (ROWS[:, :2], HEADS, W, None, 0.0), "heads: found shape"),
        ("merge_heads_backward", (ROWS, HEADS, W1, None, 0.0), "weight_t: found shape"),
        ("feed_forward", (ROWS, W1[0], B1, W2, B, *PLAIN), r"weight1 \[S, dim, hidden\]"),
        ("feed_forward", (ROWS, W1[..., :0], B1, W2, B, *PLAIN), r"weight1 \[S, dim, hidden\]"),
        ("feed_forward", (ROWS, W1, B, W2, B, *PLAIN), "bias1: found shape"),
        ("feed_forward", (ROWS, W1, B1, W, B, *PLAIN), "weight2: found shape"),
        ("feed_forward", (ROWS, W1, B1, W2, B1, *PLAIN), "bias2: found shape"),
        ("feed_forward", (ROWS, W1, B1, W2, B, None, ONE, 0.0, 0.5), "seed: expected 0-d int64"),
        (
            "feed_forward_backward",
            (ROWS[:1], ROWS, HIDDEN, W1, B1, W2, *PLAIN),
            "grad: found shape",
        ),
        (
            "feed_forward_backward",
            (ROWS, ROWS, HIDDEN[:1], W1, B1, W2, *PLAIN),
            "kept: found shape",
        ),
        ("feed_forward_backward", (ROWS, ROWS, ROWS, W1, B1, W2, *PLAIN), "weight1_t: found shape"),
        (
            "feed_forward_backward",
            (ROWS, ROWS, HIDDEN, W1, B1, W, *PLAIN),
            "weight2_t: found shape",
        ),
    ],
)
def test_direct_calls_reach_no_foreign_memory(op, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(OPS, op)(*arguments)


MAP, OFFSET = torch.randn(1, 4, 4), torch.randn(1, 1, 4)


class Module(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: clmer.sosfilt(x, torch.from_numpy(butter_bandpass(4, 45, 128)))[0],
        lambda x: clmer.nt_xent(x, x + 1),
        lambda x: cross_attention(x, x, x),
        lambda x: cross_attention(x, x, x, dropout_p=0.5, impl="reference"),
        lambda x: sum(project_heads(x[None], MAP.repeat(1, 1, 2), OFFSET.repeat(1, 1, 2), 2)),
        lambda x: merge_heads(x[None], x[None, :, None], MAP, OFFSET, dropout_p=0.5),
        lambda x: feed_forward(x[None], MAP, OFFSET, MAP, OFFSET, hidden_dropout_p=0.5),
    ],
    ids=[
        "sosfilt",
        "nt_xent",
        "cross_attention",
        "dropout reference",
        "project_heads",
        "merge_heads",
        "feed_forward",
    ],
)
def test_exported_with_any_number_of_rows(function):
    batch = torch.export.Dim("batch")
    module = Module(function)
    exported = torch.export.export(module, (torch.randn(3, 5, 4),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 5, 4, requires_grad=True)
    torch.manual_seed(0)
    (want,) = torch.autograd.grad(module(x).square().sum(), x)
    torch.manual_seed(0)
    (grad,) = torch.autograd.grad(exported.module()(x).square().sum(), x)
    torch.testing.assert_close(grad, want)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: cross_attention(x, x, x),
        lambda x: clmer.nt_xent(x, x),
        lambda x: clmer.sosfilt(x, torch.from_numpy(butter_bandpass(4, 45, 128))),
        lambda x: project_heads(x[None], x, x, 1),
        lambda x: merge_heads(x[None], x, x, x),
        lambda x: feed_forward(x[None], x, x, x, x),
    ],
)
def test_dtypes_that_no_kernel_takes_are_named(call):
    with pytest.raises(ValueError, match=r"found torch.float8_e5m2, expected .*torch.bfloat16"):
        call(torch.zeros(2, 3, 4).to(torch.float8_e5m2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "op",
    [
        lambda x, impl: cross_attention(x, x, x, impl=impl),
        lambda x, impl: clmer.nt_xent(x, x + 1, impl=impl),
        lambda x, impl: project_heads(x[None], x.view(1, 8, 12)[..., :8], x[:1, :1], 2, impl=impl)[
            0
        ],
        lambda x, impl: merge_heads(
            x[None, :, :, :6], x[None, :, None, :, :6], x[:1, :, :6], x[:1, :1, :6], impl=impl
        ),
        lambda x, impl: feed_forward(
            x[None, :, :, :6], x[:1, :, :6], x[:1, :1, :6], x[:1, :, :6], x[:1, :1, :6], impl=impl
        ),
    ],
)
def test_autocast_lowers_no_implementation(op, dtype):
    x = torch.randn(2, 6, 8).to(dtype)
    for impl in ("native", "reference"):
        with torch.autocast("cpu", torch.bfloat16):
            lowered = op(x, impl)
        assert torch.equal(lowered, op(x, impl))


SECTION = torch.tensor([[1.0, 0.2, 0.1, 1.0, -0.5, 0.1]], dtype=F64)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (cross_attention, ((2, 4, 8), (2, 5, 8), (2, 5, 3))),
        (nt_xent, ((2, 6, 8), (2, 6, 8))),
        (lambda x: sosfilt(x, SECTION)[0], ((3, 50),)),
        (lambda *t: project_heads(*t, 2)[1], ((2, 3, 5, 4), (2, 4, 8), (2, 1, 8))),
        (merge_heads, ((2, 3, 5, 4), (2, 3, 2, 5, 2), (2, 4, 4), (2, 1, 4))),
        (feed_forward, ((2, 3, 5, 4), (2, 4, 7), (2, 1, 7), (2, 7, 4), (2, 1, 4))),
    ],
)
def test_a_batch_of_gradients_is_each_of_them(op, shapes):
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    out = op(*inputs)
    batch = torch.randn(3, *out.shape)
    together = torch.autograd.grad(out, inputs, batch, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(out, inputs, grad, retain_graph=True) for grad in batch]
    for found, one_by_one in zip(together, zip(*each, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(one_by_one), rtol=0, atol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_tensors_need_not_be_on_the_current_gpu():
    device = torch.device("cuda", 1)
    assert torch.cuda.current_device() == 0
    sos = torch.from_numpy(butter_bandpass(4, 45, 128))
    x = torch.randn(4, 50)
    y, _ = clmer.sosfilt(x.to(device), sos.to(device))
    torch.testing.assert_close(y.cpu(), clmer.sosfilt(x, sos)[0])
    loss = clmer.nt_xent(x.to(device), x.to(device) + 1, impl="triton")
    torch.testing.assert_close(loss.cpu(), clmer.nt_xent(x, x + 1))
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize("grad", [False, True])
def test_ops_under_a_fake_tensor_mode(grad):
    with FakeTensorMode():
        x, sos = torch.randn(2, 100, requires_grad=grad), torch.randn(4, 6, dtype=torch.float64)
        q = torch.randn(2, 3, 8, requires_grad=grad)
        w, b = torch.randn(1, 8, 8), torch.randn(1, 1, 8)
        for y, shape in (
            (sosfilt(x, sos)[0], (2, 100)),
            (sosfiltfilt(x, sos), (2, 100)),
            (Bandpass(500, 1, 45)(x), (2, 100)),
            (cross_attention(q, q, q, dropout_p=0.1), (2, 3, 8)),
            (nt_xent(x, x, torch.tensor(0.2)), ()),
            (project_heads(q[None], w, b, 4)[0], (1, 2, 4, 3, 2)),
            (merge_heads(q[None], q[None, :, None], w, b, dropout_p=0.1), (1, 2, 3, 8)),
            (feed_forward(q[None], w, b, w, b, hidden_dropout_p=0.1), (1, 2, 3, 8)),
        ):
            assert y.shape == shape
            if grad:
                y.sum().backward()
    assert isinstance(x.grad, FakeTensor) == grad


def test_ops_on_fake_tensors_outside_of_their_mode():
    mode = FakeTensorMode()
    with mode:
        x, sos, tau = torch.randn(2, 100), torch.randn(4, 6, dtype=torch.float64), torch.tensor(0.2)
    assert sosfilt(x, sos)[0].shape == (2, 100)
    assert nt_xent(x, x, tau).shape == ()


def test_ops_under_a_default_device():
    q, x = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 100, requires_grad=True)
    sos = torch.from_numpy(butter_bandpass(4, 45, fs=128))
    w, b = torch.randn(1, 8, 8), torch.randn(1, 1, 8)
    try:
        torch.set_default_device("meta")
        cross_attention(q, q, q, dropout_p=0.1).sum().backward()
        nt_xent(x, x, 0.2).backward()
        nt_xent(x, x, 0.2, labels=torch.zeros(2, dtype=torch.int64, device="cpu")).backward()
        sosfilt(x, sos)[0].sum().backward()
        sosfiltfilt(x, sos).sum().backward()
        drop(x, 0.5).sum().backward()
        (y,) = project_heads(q[None], w, b, 2)
        y = merge_heads(q[None], y, w, b, dropout_p=0.1)
        feed_forward(y, w, b, w, b, hidden_dropout_p=0.1, dropout_p=0.1).sum().backward()
    finally:
        torch.set_default_device(None)
    assert q.grad is not None
    assert q.grad.device.type == x.grad.device.type == "cpu"


def test_views_of_two_dtypes_under_autocast():
    a, b = torch.randn(6, 8).bfloat16().requires_grad_(), torch.randn(6, 8, requires_grad=True)
    want = nt_xent(a.float(), b, 0.5)
    with pytest.raises(ValueError, match="expected one floating-point dtype"):
        nt_xent(a, b, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for loss in (nt_xent(a, b, 0.5), NTXentLoss(0.5)(a, b), nt_xent(b, a, 0.5)):
            torch.testing.assert_close(loss, want)
            loss.backward()
    assert a.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["cross_attention", "sosfilt"])
def test_a_gpu_form_on_the_cpu_says_what_it_found(name):
    q, sos = torch.randn(2, 3, 8), torch.from_numpy(butter_bandpass(4, 45, fs=128))
    call = {"cross_attention": lambda: cross_attention(q, q, q, impl="cuda")}
    call |= {"sosfilt": lambda: sosfilt(q, sos, impl="cuda")}
    with pytest.raises(RuntimeError, match="found 'cpu' tensors, expected 'cuda' ones.*impl=None"):
        call[name]()


EXIT = """
import threading, time, sys, os
import numpy as np, torch, clmer
from clmer import signal
from clmer.nn import CrossModalAttention
torch.set_num_threads(1)
x, q = np.random.randn(4, 100_000), torch.randn(8, 150, 32)
p, (a, b) = q.clone().requires_grad_(), torch.randn(2, 128, 64)
w, c = torch.randn(1, 32, 32), torch.randn(1, 1, 32)
sos = signal.butter_bandpass(1, 45, 500)
stream, rows, tensor = signal.Bandpass(1, 45, 500), torch.from_numpy(x), torch.from_numpy(sos)
module = CrossModalAttention(32, 4, batch_first=True)
{early}
def loop():
    while True: {call}
for _ in range(3): threading.Thread(target=loop, daemon=True).start()
time.sleep(0.3)
sys.exit(5)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "signal.sosfilt(sos, x)",
        "signal.sosfiltfilt(sos, x)",
        "stream.push(x)",
        "clmer.sosfilt(rows, tensor)",
        "clmer.cross_attention(q, q, q)",
        "clmer.cross_attention(p, p, p).sum().backward()",
        "clmer.nt_xent(a, b)",
        "module(q, q, q)",
        "clmer.feed_forward(q[None], w, c, w, c)",
        "clmer.feed_forward(p[None], w, c, w, c).sum().backward()",
    ],
)
def test_daemon_threads_leave_the_exit_code_alone(call):
    ended = run_script(EXIT.format(call=call, early=""))
    assert (ended.returncode, ended.stderr) == (5, "")


def test_an_exit_handler_may_wait_for_a_thread():
    early = """
import atexit
done = threading.Event()
def few():
    for _ in range(3):
        time.sleep(0.3)
        clmer.cross_attention(q, q, q)
    done.set()
waited = threading.Thread(target=few, daemon=True)
waited.start()
def last():  # registered before the native module's own handler, so that it runs behind it
    done.wait(60)
    os.write(1, b"done" if done.is_set() else b"stuck")
atexit.unregister(_C.let_threads_stop)
atexit.register(last)
atexit.register(_C.let_threads_stop)
"""
    ended = run_script(
        EXIT.format(call="time.sleep(9)", early="from clmer._native import _C" + early)
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (5, "done", "")


def run_script(text):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False
    )
