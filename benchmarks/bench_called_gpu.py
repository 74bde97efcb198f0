"""Where the time of one attention call goes before the GPU works: a split in microseconds.

    pytest benchmarks/bench_called_gpu.py --benchmark-only           # skipped without a GPU
    python benchmarks/bench_called_gpu.py                            # the CPU's kernel, without one

`rows()` is what tools/gpu_check.sh calls. At the sizes of the paper a call takes longer on the CPU
than its kernels on the GPU. Each part is timed alone, by the wall clock over many calls whose
kernels are done before the next ones begin; the total is timed whole, and "rest" is what the parts
leave of it:

    function    an autograd.Function that computes nothing, through torch.autograd.grad
    checks      the op's page: arguments, choice of form, seed
    allocation  the tensors that the kernels write
    stream      device and stream: asking for the current ones, and setting the device
    plan        Triton: tiles, strides, the arguments by name
    key         Triton: finding the compiled form under what it depends on
    launcher    Triton: the compiled form's own call; CUDA: binding, plan and launch
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from unittest import mock

import pytest
import torch
from _measure import digits, table
from torch import Tensor

from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.registered import IMPLEMENTATIONS

TITLE = "one call of cross_attention, forward + backward: us"
#: The paper's pairs, batch and heads; tokens, features.
SHAPE = (6, 64, 5, 50, 8)
PARTS = ("function", "checks", "allocation", "stream", "plan", "key", "launcher")
Split = dict[str, float]


class Empty(torch.autograd.Function):
    """What any operation written in Python takes."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return q.view_as(q)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return grad, grad, grad


def microseconds(
    call: Callable[[], object], device: str, rounds: int = 15, calls: int = 20
) -> float:
    """Of one call on the CPU: the median over rounds, each behind an idle device."""
    times = []
    for _ in range(rounds + 2):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append(1e6 * (time.perf_counter() - start) / calls)
    return median(times[2:])


class Call:
    """One form's forward and backward on fixed tensors, whole and in parts.

    Args:
        impl: "triton" or "cuda" on a GPU, "native" on the CPU.
        device: where.
        shape: pairs, batch, heads, tokens, features.
    """

    def __init__(self, impl: str, device: str, shape: tuple[int, ...] = SHAPE) -> None:
        torch.manual_seed(0)
        self.impl, self.device, self.form = impl, device, IMPLEMENTATIONS[impl]
        self.leaves = tuple(torch.randn(shape, device=device).requires_grad_() for _ in range(3))
        self.plain = tuple(t.detach() for t in self.leaves)
        self.grad = torch.randn(shape, device=device)
        self.constants = (0.0, shape[-1] ** -0.5, False)
        self.terms = (None,) * 4  # masks, bias, seed
        self.results = self.forward()

    def whole(self) -> object:
        """As a model calls it."""
        out = cross_attention(*self.leaves, impl=self.impl)
        return torch.autograd.grad(out, self.leaves, self.grad)

    def checked(self) -> object:
        """The forward without autograd."""
        with torch.no_grad():
            return cross_attention(*self.plain, impl=self.impl)

    def forward(self) -> Any:
        """The form's own."""
        return self.form.forward(*self.plain, *self.terms, *self.constants)

    def backward(self) -> Any:
        """The form's own."""
        tensors = (self.grad, *self.plain, *self.results, *self.terms)
        return self.form.backward(*tensors, *self.constants, False)

    def allocate(self) -> object:
        """O and the log-sum-exp, and three gradients."""
        q = self.plain[0]
        lse = q.new_empty(q.shape[:-1], dtype=torch.float32)
        return [q.new_empty(q.shape) for _ in range(4)], lse

    def find_stream(self) -> object:
        """What the forward and the backward ask for."""
        q = self.plain[0]
        for _ in range(2):
            if self.impl == "triton":
                with torch.cuda.device_of(q):
                    torch.cuda.current_device()
            else:
                found = torch.cuda.current_stream(q.device).cuda_stream
        return None if self.impl == "triton" else found

    def launches(self) -> list[tuple[Any, ...]]:
        """What Triton's kernels are launched with, forward and backward."""
        from clmer.kernels import attention

        with mock.patch.object(attention, "launch", side_effect=attention.launch) as spy:
            self.forward()
            self.backward()
        return [tuple(call.args) for call in spy.call_args_list]

    def split(self) -> Split:
        """Microseconds of each part, their total, and what they leave of it."""
        us = lambda call: microseconds(call, self.device)  # noqa: E731
        own = us(self.forward) + us(self.backward)
        parts = {
            "function": us(
                lambda: torch.autograd.grad(Empty.apply(*self.leaves), self.leaves, self.grad)
            ),
            "checks": us(self.checked) - us(self.forward),
            "allocation": us(self.allocate),
        }
        if self.device == "cuda":
            parts["stream"] = us(self.find_stream)
        if self.impl == "triton":
            parts |= self._launched(us)
            parts["plan"] = own - sum(parts[n] for n in ("allocation", "stream", "key", "launcher"))
        else:
            parts["launcher"] = own - sum(parts.get(n, 0.0) for n in ("allocation", "stream"))
        total = us(self.whole)
        return {**parts, "rest": total - sum(parts.values()), "total": total}

    def _launched(self, us: Callable[[Callable[[], object]], float]) -> Split:
        from clmer.kernels import _launch

        found = {"key": 0.0, "launcher": 0.0}
        for kernel, programs, arguments, constants, options in self.launches():
            form, behind, _ = next(f for f in _launch._FORMS.values() if f[2] is kernel)
            taken, grid = (*arguments, *behind), (programs, 1, 1)
            alone = us(lambda form=form, grid=grid, taken=taken: form[grid](*taken))
            every = (kernel, programs, arguments, constants, options)
            found["launcher"] += alone
            found["key"] += us(lambda every=every: _launch.launch(*every)) - alone
        return found


def report_row(impl: str, split: Split, others: Split, floor_ms: float) -> dict[str, Any]:
    """In the schema of tools/gpu_report.py.

    Args:
        impl: the form.
        split: its parts in us.
        others: us of other ways, as called.
        floor_ms: what must move, over the rate of a copy.
    """
    shown = ", ".join(f"{name} {split[name]:.0f}" for name in (*PARTS, "rest") if name in split)
    contenders = {name: us / 1e3 for name, us in others.items()}
    return {
        "op": "attention, one call",
        "case": f"{impl}, {' x '.join(map(str, SHAPE))}, us: {shown}",
        "dtype": "float32",
        "ours_ms": split["total"] / 1e3,
        "contenders": contenders,
        "floor_ms": floor_ms,
        "floor_kind": "bytes",
        "ratio": 1e3 * min(contenders.values()) / split["total"],
        "extra": {"us": split},
    }


def rows() -> Iterator[dict[str, Any]]:
    """Both forms, beside batched SDPA."""
    from _measure_gpu import copy_rate

    floor = None
    for impl in ("cuda", "triton"):
        call = Call(impl, "cuda")
        floor = floor or 1e3 * 11 * call.grad.numel() * 4 / copy_rate()
        flat = tuple(t.detach().flatten(0, 1).requires_grad_() for t in call.leaves)
        grad = call.grad.flatten(0, 1)

        def sdpa(flat: Any = flat, grad: Tensor = grad) -> object:
            out = torch.nn.functional.scaled_dot_product_attention(*flat)
            return torch.autograd.grad(out, flat, grad)

        yield report_row(impl, call.split(), {"batched SDPA": microseconds(sdpa, "cuda")}, floor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_speed(benchmark) -> None:
    found = benchmark.pedantic(lambda: [*rows()], rounds=1)
    for row in found:
        cells = {name: digits(us) for name, us in row["extra"]["us"].items()}
        table(TITLE).rows.append({"form": row["case"].split(",")[0], **cells})
    benchmark.extra_info |= {"rows": found}


if __name__ == "__main__":
    print(json.dumps(Call("native", "cpu", (1, 2, 2, 10, 8)).split(), indent=1))
