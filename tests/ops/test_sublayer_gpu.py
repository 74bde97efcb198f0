"""The sublayer ops in Triton on a GPU: the interpreter's cases, and what only a device can show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.sublayer_cases import NAMES, Case, case, output_gradients, results, tensors
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
    on,
    triton,
    truth,
)
from torch import Tensor

pytestmark = pytest.mark.gpu

#: The paper's streams and self-attention layers at DEAP's batch, wide rows, rows past many tiles.
LARGE = [(6, 64, 50, 40, 5, 160), (3, 64, 50, 80, 5, 320), (6, 64, 15, 40, 5, 160),
         (1, 7, 129, 128, 8, 512)]  # fmt: skip
OPS = torch.ops.clmer


@pytest.fixture
def precision() -> Any:
    """Sets how float32 is multiplied, and sets it back."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision

    def set_to(setting: str) -> None:
        matmul.fp32_precision = setting

    yield set_to
    matmul.fp32_precision = before


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, *LARGE], ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_equation(
    name: str, shape: tuple[int, ...], drops: bool, precision: Any
) -> None:
    precision("ieee")
    check_the_equation(name, shape, drops, "cuda")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        *((torch.bfloat16, shape) for shape in (*SHAPES[1:], *LARGE, (1, 2, 33, 256, 8, 1024))),
        *((torch.float16, shape) for shape in SHAPES[1:4]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_half_types(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check_half_type(name, shape, dtype, "cuda")


@pytest.mark.parametrize(
    "check",
    [
        check_masks,
        check_many_projections,
        check_no_rows,
        check_strides,
        check_what_is_not_finite_shows,
    ],
)
def test_as_in_the_interpreter(check: Any, precision: Any) -> None:
    precision("ieee")
    check("cuda")


def test_masks_of_a_whole_batch() -> None:
    check_masks("cuda", (6, 64, 50))


@pytest.mark.sanitizer
def test_what_lies_around_is_not_read() -> None:
    check_what_lies_around_is_not_read("cuda")


def test_fifty_repeats_give_the_same_bits() -> None:
    check_repeats("cuda", 50)


@pytest.mark.parametrize("name", NAMES)
def test_tf32_only_where_it_is_allowed(name: str, precision: Any) -> None:
    """With it errors are those of ten bits; without, of float32's."""
    found, errors = case(name, (2, 3, 20, 32, 4, 64), torch.float32), {}
    want = truth(found, found.options)[0]
    for setting in ("ieee", "tf32"):
        precision(setting)
        got = triton(found, "cuda", found.options)[0]
        errors[setting] = float((got - want).abs().max() / want.abs().max())
    assert errors["ieee"] < 2e-6
    assert 1e-5 < errors["tf32"] < 5e-3


@pytest.mark.parametrize("shape", [(2, 3, 7, 13, 1, 29), LARGE[0]], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_captured_in_a_graph(name: str, shape: tuple[int, ...]) -> None:
    found = case(name, shape, torch.float32)
    options = {**found.options, **dropping(name, "cuda"), "impl": "triton"}
    leaves = on("cuda", found)
    grads = [g.float().cuda() for g in output_gradients(tensors(found.op(*leaves, **options)))]

    def call() -> tuple[Tensor, ...]:
        outs = tensors(found.op(*leaves, **options))
        return (*outs, *torch.autograd.grad(outs, leaves, grads))

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
    for got, want in zip(captured, call(), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_the_current_stream(name: str) -> None:
    """A stream that is still busy writing the inputs: only work queued behind it sees them."""
    found = case(name, LARGE[0], torch.float32)
    leaves = on("cuda", found)
    want = results(found.op, leaves, {**found.options, "impl": "triton"})
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = [torch.full_like(t, torch.nan) for t in leaves]
        torch.cuda._sleep(100_000_000)
        for to, source in zip(late, leaves, strict=True):
            to.copy_(source.detach())
        got = results(
            found.op, [t.requires_grad_() for t in late], {**found.options, "impl": "triton"}
        )
    stream.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_compilers_see_one_op(name: str) -> None:
    found = case(name, (2, 3, 7, 12, 3, 20), torch.float32)
    options = {**found.options, **dropping(name, "cuda"), "impl": "triton"}

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(out.sin() for out in tensors(found.op(*inputs, **options)))

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    plain, whole = (results(form, on("cuda", found), {}) for form in (call, compiled))
    assert all(torch.equal(a, b) for a, b in zip(plain, whole, strict=True))
    torch.use_deterministic_algorithms(False)
    torch.library.opcheck(getattr(OPS, name).default, _arguments(name, found))


def _arguments(name: str, found: Case) -> list[Any]:
    """Of the registered op."""
    inputs: list[Any] = on("cuda", found)
    drops = dropping(name, "cuda")
    if name == "project_heads":
        return [*inputs, found.options["num_heads"]]
    if name == "merge_heads":
        return [*inputs, drops["seed"], drops["dropout_p"]]
    names = ("hidden_seed", "seed", "hidden_dropout_p", "dropout_p")
    return [*inputs, *(drops[each] for each in names)]


@pytest.mark.parametrize("name", NAMES)
def test_vmap_folds_what_is_mapped(name: str) -> None:
    found = case(name, (2, 2, 3, 4, 2, 5), torch.float32, grad=False)
    rows = 2 if name == "merge_heads" else 1
    inputs = [t.cuda() for t in found.inputs]
    stacked = [torch.stack([t, t + 1]) for t in inputs[:rows]]

    def call(*given: Tensor) -> tuple[Tensor, ...]:
        return tensors(found.op(*given, *inputs[rows:], **found.options, impl="triton"))

    mapped = torch.func.vmap(call)(*stacked)
    for i in range(2):
        one = call(*(t[i] for t in stacked))
        assert all(torch.equal(got[i], want) for got, want in zip(mapped, one, strict=True))


def test_the_default_is_the_reference_until_it_is_measured() -> None:
    found = case("feed_forward", (2, 3, 7, 12, 3, 20), torch.float32)
    got, want = (
        results(found.op, on("cuda", found), {"impl": impl}) for impl in (None, "reference")
    )
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    with pytest.raises(RuntimeError, match="no kernel for 'cuda' tensors"):
        found.op(*on("cuda", found), impl="native")
