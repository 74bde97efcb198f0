"""The sublayer ops in Triton without a GPU: interpreted on small shapes, and compiled for GPUs."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from support.places import needs_triton
from support.sublayer_cases import NAMES, case, results
from support.sublayer_gpu_cases import (
    SHAPES,
    check_half_type,
    check_many_projections,
    check_masks,
    check_no_rows,
    check_repeats,
    check_strides,
    check_the_equation,
    check_what_is_not_finite_shows,
    check_what_lies_around_is_not_read,
    dropping,
)
from test_ntxent import run_in_child, run_in_interpreter

from clmer.ops import feed_forward, merge_heads

SMALL = (2, 2, 3, 4, 2, 5)


# ---- children: one start of Triton's interpreter for several checks ------------------------------
def check_results() -> None:
    for name in NAMES:
        for shape in SHAPES:
            for drops in (False, True) if name != "project_heads" else (False,):
                check_the_equation(name, shape, drops, "cpu")


def check_half_types() -> None:
    for name in NAMES:
        for shape in SHAPES[1:4]:
            for dtype in (torch.bfloat16, torch.float16):
                check_half_type(name, shape, dtype, "cpu")
    check_many_projections("cpu")


def check_rows() -> None:
    check_masks("cpu")
    check_no_rows("cpu")
    check_strides("cpu")
    check_repeats("cpu", 1)
    check_what_lies_around_is_not_read("cpu")
    check_what_is_not_finite_shows("cpu")


def check_arguments() -> None:
    for name in NAMES:
        found = case(name, SMALL, torch.float32)
        with pytest.raises(ValueError, match="impl='triton': found torch.float64"):
            found.op(*case(name, SMALL).inputs, **found.options, impl="triton")
        for dtype, most in ((torch.float32, 128), (torch.float16, 256)):
            wide = case(name, (1, 1, 2, most + 1, 1, 2), dtype)
            with pytest.raises(ValueError, match=f"d = {most + 1}, expected at most {most}; use"):
                wide.op(*wide.inputs, **wide.options, impl="triton")
        out = found.op(*found.inputs, **found.options, impl="triton")
        first = out if isinstance(out, torch.Tensor) else out[0]
        with pytest.raises(RuntimeError, match=f"{name}: the triton backward has no gradient"):
            torch.autograd.grad(first.sum(), found.inputs[1], create_graph=True)
    check_direct_calls_reach_no_foreign_memory()
    check_no_integer_is_specialised()


def check_no_integer_is_specialised() -> None:
    """A GPU's launch refuses one that is: here nothing is compiled, and nothing would say so."""
    from clmer.kernels import sublayer_launches
    from clmer.kernels.sublayer_terms import INTEGERS

    seen = set()
    with mock.patch.object(sublayer_launches, "launch", wraps=sublayer_launches.launch) as spy:
        for name in NAMES:
            found = case(name, SMALL, torch.float32)
            results(found.op, found.inputs, {**found.options, **dropping(name), "impl": "triton"})
    for call in spy.call_args_list:
        kernel, _, arguments, constants, _ = call.args
        names = kernel.arg_names
        assert set(names[len(arguments) :]) == set(constants), kernel.__name__
        integers = {n for n, a in zip(names, arguments, strict=False) if isinstance(a, int)}
        assert integers <= set(INTEGERS), kernel.__name__
        seen.add(kernel.__name__)
    assert len(seen) == 10


def check_direct_calls_reach_no_foreign_memory() -> None:
    from clmer.kernels import sublayer

    x, heads = torch.zeros(2, 3, 4, 6), torch.zeros(2, 3, 2, 4, 3)
    wide = torch.zeros(1, 1, 200, 200)
    w, b, seed = torch.zeros(2, 6, 6), torch.zeros(2, 1, 6), torch.tensor(1)
    for call, message in (
        (lambda: sublayer.project_heads(x[0], w, b, 2), r"found rows \(3, 4, 6\) and 2 heads"),
        (lambda: sublayer.project_heads(x, w, b, 4), "found rows .* and 4 heads, expected"),
        (lambda: sublayer.project_heads(x, w[..., :5], b, 2), r"weight: found .* \(2, 6, 5\)"),
        (lambda: sublayer.project_heads(x, w.double(), b, 2), "weight: found torch.float64"),
        (lambda: sublayer.project_heads_backward([heads[:1]], x, w, 2), r"grads\[0\]: found"),
        (lambda: sublayer.merge_heads(x, x, w, b, None, 0.0), "and 0 heads, expected"),
        (lambda: sublayer.merge_heads(x, heads, w[:1], b, None, 0.0), "weight: found"),
        (lambda: sublayer.merge_heads(x, heads, w, b, b, 0.1), "seed: found torch.float32"),
        (lambda: sublayer.merge_heads_backward(x, heads[:, :2], w, None, 0.0), "heads: found"),
        (lambda: sublayer.feed_forward(x, w, b, w[:, :5], b, None, None, 0.0, 0.0), "weight2: f"),
        (lambda: sublayer.feed_forward(x, w, b, w, b[:1], None, None, 0.0, 0.0), "bias2: found"),
        (
            lambda: sublayer.feed_forward_backward(x[:1], x, w, b, w, None, seed, 0.0, 0.1),
            "grad_y: found",
        ),
        (
            lambda: sublayer.project_heads(wide, wide[0], wide[0, :, :1], 1),
            "d = 200 in torch.float32, expected at most 128",
        ),
        (
            lambda: sublayer.feed_forward(x.int(), w, b, w, b, None, None, 0.0, 0.0),
            "found torch.int32, expected float32 or half",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@needs_triton
@pytest.mark.parametrize("check", [check_results, check_half_types, check_rows, check_arguments])
def test_in_the_interpreter(check: Callable[[], None]) -> None:
    run_in_interpreter(check)


# ---- without the interpreter ---------------------------------------------------------------------
@needs_triton
def test_on_the_cpu_it_takes_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for name in NAMES:
        found = case(name, SMALL, torch.float32)
        with pytest.raises(RuntimeError, match="only runs in its interpreter"):
            found.op(*found.inputs, **found.options, impl="triton")


def test_without_triton_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clmer.ops._dispatch.has_triton", lambda: False)
    found = case("merge_heads", SMALL, torch.float32)
    with pytest.raises(RuntimeError, match="the package triton is not installed"):
        merge_heads(*found.inputs, impl="triton")


def test_a_gpu_keeps_no_hidden_rows() -> None:
    """What compilers see of the op on a GPU: fake tensors need none."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(2, 3, 4, 6, device="cuda")
        w1, b1 = torch.empty(2, 6, 8, device="cuda"), torch.empty(2, 1, 8, device="cuda")
        w2, b2 = torch.empty(2, 8, 6, device="cuda"), torch.empty(2, 1, 6, device="cuda")
        y, hidden = torch.ops.clmer.feed_forward(x, w1, b1, w2, b2, None, None, 0.0, 0.0)
        assert y.shape == x.shape
        assert hidden.shape == (2, 3, 4, 0)
        y = feed_forward(x, w1, b1, w2, b2)  # None is the reference there, until it is measured
        assert y.device.type == "cuda"


def check_compilation() -> None:
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from clmer.kernels.sublayer import variants

    chosen = [
        v for v in variants() if " 40 bf16 ieee dropout" in v.name or v.name == "sum_parts bf16"
    ]
    assert len(chosen) == 10
    for i, variant in enumerate(chosen):
        source = ASTSource(variant.kernel, variant.signature, constexprs=variant.constexprs)
        target = GPUTarget("cuda", (80, 90, 100)[i % 3], 32)
        built = compile(source, target=target, options=variant.options)
        assert built.metadata.shared <= 99 << 10, variant.name  # the smallest of these families
        assert "atom" not in built.asm["ptx"], variant.name
        assert "mma" in built.asm["ptx"] or "sum_parts" in variant.name, variant.name


@needs_triton
def test_compiles_for_gpus() -> None:
    run_in_child(check_compilation, TRITON_INTERPRET="0")
