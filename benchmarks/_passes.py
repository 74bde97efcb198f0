"""Forward, backward and both of a differentiable op, for every way of writing it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from _measure import Comparison, extra_memory
from torch import Tensor

#: Inputs that want a gradient -> result.
Form = Callable[..., Tensor]
Inputs = tuple[Tensor, ...]


def compiled(form: Form) -> dict[str, Form]:
    """torch.compile of a form, anew for each shape; nothing where there is no C++ compiler."""
    if not (shutil.which("g++") or shutil.which("clang++")):
        return {}
    torch._dynamo.reset()
    return {"compiled": torch.compile(form, dynamic=False, fullgraph=True)}


def forward(form: Form, inputs: Inputs) -> None:
    """Without a gradient to come."""
    with torch.no_grad():
        form(*inputs)


def both(form: Form, inputs: Inputs, grad: Tensor) -> tuple[float, float]:
    """Seconds of the forward that keeps what the backward needs, and of the backward."""
    start = time.perf_counter()
    out = form(*inputs)
    middle = time.perf_counter()
    grads = torch.autograd.grad(out, inputs, grad)
    del out, grads
    return middle - start, time.perf_counter() - middle


def passes(form: Form, inputs: Inputs, grad: Tensor) -> dict[str, float]:
    """Milliseconds of each pass."""
    start = time.perf_counter()
    forward(form, inputs)
    alone = time.perf_counter() - start
    first, second = both(form, inputs, grad)
    times = {"forward": alone, "backward": second, "both": first + second}
    return {which: 1e3 * took for which, took in times.items()}


def agree(forms: Mapping[str, Form], truth: Form, inputs: Inputs, grad: Tensor) -> None:
    """What computes something else has no place in a table."""
    wanted = torch.autograd.grad(truth(*inputs), inputs, grad)
    for name, form in forms.items():
        found = torch.autograd.grad(form(*inputs), inputs, grad)
        for each, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(each, other, rtol=1e-3, atol=1e-4, msg=name)


def memory_cell(which: str, forms: Sequence[Form], inputs: Inputs, grad: Tensor) -> str:
    """What the resident set grows by, MiB, form by form; the backward's is that of both."""
    if which == "backward":
        return ""
    peaks = []
    for form in forms:
        peak = extra_memory(
            (lambda form=form: forward(form, inputs))
            if which == "forward"
            else (lambda form=form: both(form, inputs, grad))
        )
        peaks.append("?" if peak is None else f"{peak:.0f}" if peak >= 10 else f"{peak:.1f}")
    return " / ".join(peaks)


def fastest_cell(result: Comparison, names: Sequence[str], unit: float = 1.0) -> tuple[str, str]:
    """The fastest of these by its median, and its times."""
    name = min(names, key=lambda each: result.medians[each])
    return name, f"{result.cell(name, unit)} {name}"
