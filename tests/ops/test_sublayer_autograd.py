"""The sublayer ops under autograd, compilers, functorch and whoever looks at torch's ops."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from support.sublayer_cases import NAMES, case, results, tensors
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clmer.ops import _dispatch, feed_forward, merge_heads, project_heads

SMALL = (2, 2, 3, 4, 2, 5)
SEEDS = (torch.tensor(3), torch.tensor(-5))
OPS = torch.ops.clmer


def dropping(name: str) -> dict[str, Any]:
    if name == "merge_heads":
        return {"dropout_p": 0.4, "seed": SEEDS[0]}
    hidden = {"hidden_dropout_p": 0.3, "hidden_seed": SEEDS[0]}
    return {**hidden, "dropout_p": 0.4, "seed": SEEDS[1]} if name == "feed_forward" else {}


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: str, impl: str) -> None:
    found = case(name, SMALL)
    for options in ({}, dropping(name)):

        def call(*inputs: Tensor, options: Any = options) -> Any:
            return found.op(*inputs, **found.options, **options, impl=impl)

        assert torch.autograd.gradcheck(call, found.inputs)
        if impl == "reference":
            assert torch.autograd.gradgradcheck(call, found.inputs)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning comes again, as in a fresh process."""
    monkeypatch.setattr(_dispatch, "_told", set())


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_take_the_reference_and_say_so_once(
    name: str, drops: bool, told: None
) -> None:
    found = case(name, SMALL)
    options = {**found.options, **(dropping(name) if drops else {})}

    def call(*inputs: Tensor) -> Any:
        return tuple(out.square() for out in tensors(found.op(*inputs, **options)))

    with pytest.warns(UserWarning, match=f"{name}: taking its plain PyTorch form"):
        assert torch.autograd.gradgradcheck(call, found.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.autograd.gradgradcheck(call, found.inputs)
    for i, each in enumerate(found.inputs):  # the only one that needs a gradient
        given = [t.detach() for t in found.inputs]
        assert torch.autograd.gradgradcheck(
            lambda t, i=i, given=given: call(*given[:i], t, *given[i + 1 :]), each
        )
    outs = tensors(found.op(*found.inputs, **options, impl="native"))
    message = rf"{name}: the native backward has no gradient of its own.*impl='reference'"
    with pytest.raises(RuntimeError, match=message):
        torch.autograd.grad(outs[0].sum(), found.inputs[1], create_graph=True)


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_functorch_derivatives_take_the_reference(name: str, told: None) -> None:
    found = case(name, SMALL, grad=False)
    x, *rest = found.inputs

    def loss(x: Tensor, impl: str | None = None) -> Tensor:
        outs = tensors(found.op(x, *rest, **found.options, impl=impl))
        return torch.stack([out.square().sum() for out in outs]).sum()

    with pytest.warns(UserWarning, match=f"{name}: taking its plain PyTorch form"):
        gradient = torch.func.grad(loss)(x)
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(gradient, want)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        slope = torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent
        with pytest.raises(RuntimeError, match=r"jvp|forward"):
            loss(dual, "native")
    torch.testing.assert_close(slope, want.sum())
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda x: loss(x, "native"))(x)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_needs_a_gradient_gets_one(name: str) -> None:
    found = case(name, SMALL)
    want = results(found.op, found.inputs, found.options)[-len(found.inputs) :]
    for i, gradient in enumerate(want):
        inputs = [t.detach().requires_grad_(j == i) for j, t in enumerate(found.inputs)]
        got = results(lambda t, i=i, a=inputs: found.op(*a[:i], t, *a[i + 1 :], **found.options),
                      [inputs[i]], {})  # fmt: skip
        assert torch.equal(got[-1], gradient)
    inputs = [t.detach() for t in found.inputs]
    assert not tensors(found.op(*inputs, **found.options))[0].requires_grad


def test_heads_that_nobody_used_get_zeros() -> None:
    found = case("project_heads", SMALL)
    _, second, _ = project_heads(*found.inputs, 2)
    got = torch.autograd.grad(second.sum(), found.inputs)
    _, second, _ = project_heads(*found.inputs, 2, impl="reference")
    for a, b in zip(got, torch.autograd.grad(second.sum(), found.inputs), strict=True):
        torch.testing.assert_close(a, b)


# --- the registered ops ---------------------------------------------------------------------------
def arguments(name: str, shape: tuple[int, ...], grad: bool, drops: bool) -> list[Any]:
    """Of the registered op."""
    inputs: list[Any] = case(name, shape, grad=grad).inputs
    if name == "project_heads":
        return [*inputs, shape[4]]
    if name == "merge_heads":
        return [*inputs, SEEDS[0] if drops else None, 0.4 if drops else 0.0]
    seeds = SEEDS if drops else (None, None)
    return [*inputs, *seeds, 0.3 if drops else 0.0, 0.4 if drops else 0.0]


@pytest.mark.parametrize("shape", [SMALL, (0, *SMALL[1:]), (2, 0, *SMALL[2:]), (2, 2, 0, 4, 2, 5)])
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, drops: bool, shape: tuple[int, ...]) -> None:
    torch.use_deterministic_algorithms(False)
    torch.library.opcheck(getattr(OPS, name).default, arguments(name, shape, True, drops))
    given = arguments(name, shape, False, drops)
    found = getattr(OPS, name)(*given)
    if name == "project_heads":
        x, weight, _, heads = given
        backward = [torch.randn(3, *found[0].shape, dtype=x.dtype), x, weight, heads]
    elif name == "merge_heads":
        backward = [torch.randn_like(found), *given[1:3], *given[4:]]
    else:
        x, weight1, bias1, weight2, _, *rest = given
        backward = [torch.randn_like(x), x, found[1], weight1, bias1, weight2, *rest]
    torch.library.opcheck(getattr(OPS, f"{name}_backward").default, backward)


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_compiled_whole(name: str, drops: bool) -> None:
    found = case(name, SMALL)
    options = {**found.options, **(dropping(name) if drops else {})}
    options = {k: v for k, v in options.items() if not k.endswith("seed")}  # drawn in the graph

    def call(*inputs: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return tuple(out.sin() for out in tensors(found.op(*inputs, **options)))

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    runs = []
    for form in (call, compiled):
        torch.manual_seed(1)
        runs.append(results(form, found.inputs, options))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


class Dropping(torch.nn.Module):
    def forward(self, x: Tensor, *weights: Tensor) -> Tensor:
        return feed_forward(x, *weights, hidden_dropout_p=0.5, dropout_p=0.5)


@pytest.mark.parametrize("form", ["export", "compile"])
def test_a_graph_draws_fresh_masks_each_call(form: str) -> None:
    module, inputs = Dropping(), case("feed_forward", SMALL).inputs
    if form == "export":
        graph = torch.export.export(module, tuple(inputs)).module()
    else:
        graph = torch.compile(module, fullgraph=True, backend="aot_eager")
    runs = []
    for call, seed in ((graph, 1), (graph, None), (graph, 1), (module, 1)):
        if seed is not None:
            torch.manual_seed(seed)
        runs.append(results(call, inputs, {}))
    first, second, again, eager = runs
    assert not torch.equal(first[0], second[0])
    for a, b, c in zip(first, again, eager, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


# --- vmap -----------------------------------------------------------------------------------------
def mapped_and_looped(name: str, dims: tuple[int | None, ...], options: Any) -> Any:
    """Outputs of both, and gradients of the inputs."""
    n = 3
    plain, found = case(name, SMALL), []
    inputs = [
        t if dim is None else torch.stack([t.detach() + i for i in range(n)], dim).requires_grad_()
        for t, dim in zip(plain.inputs, dims, strict=True)
    ]

    def one(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tensors(plain.op(*inputs, **plain.options, **options))

    def looped(*inputs: Tensor) -> tuple[Tensor, ...]:
        rows = [
            one(*(t if d is None else t.select(d, i) for t, d in zip(inputs, dims, strict=True)))
            for i in range(n)
        ]
        return tuple(torch.stack(outs) for outs in zip(*rows, strict=True))

    for form in (torch.func.vmap(one, in_dims=dims), looped):
        found.append(results(form, inputs, {}))
    return found


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("mapped", ["rows", "weights", "all", "one weight"])
@pytest.mark.parametrize("name", NAMES)
def test_vmap_is_a_loop(name: str, mapped: str, impl: str, drops: bool) -> None:
    rows = 2 if name == "merge_heads" else 1
    weights = len(case(name, SMALL).inputs) - rows
    dims = {
        "rows": (1, *[0] * (rows - 1), *[None] * weights),
        "weights": (*[None] * rows, *[0] * weights),
        "all": (*[2] * rows, *[1] * weights),
        "one weight": (*[None] * rows, 2, *[None] * (weights - 1)),
    }[mapped]
    options = {**(dropping(name) if drops else {}), "impl": impl}
    got, want = mapped_and_looped(name, dims, options)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_draws_as_it_is_told(randomness: str) -> None:
    inputs = case("merge_heads", SMALL, grad=False).inputs
    drawn = torch.func.vmap(lambda *t: merge_heads(*t, dropout_p=0.5), randomness=randomness)(
        *(t.expand(2, *t.shape) for t in inputs)
    )
    assert torch.equal(drawn[0], drawn[1]) == (randomness == "same")


# --- who looks on ---------------------------------------------------------------------------------
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_calls_past_the_dispatcher_hide_from_nobody_who_looks(name: str, grad: bool) -> None:
    found = case(name, SMALL, grad=grad)
    x, *rest = found.inputs
    want = tensors(found.op(*found.inputs, **found.options))
    with torch.autograd.profiler.profile() as profile:
        found.op(*found.inputs, **found.options)
    assert f"clmer::{name}" in {event.name for event in profile.function_events}

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen: list[str] = []
    with Seen():
        outs = tensors(found.op(*found.inputs, **found.options))
        if grad:
            torch.autograd.grad(outs[0].sum(), x)
    assert seen[0].startswith(f"clmer.{name}.")
    assert any(each.startswith(f"clmer.{name}_backward") for each in seen) == grad
    negated = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert negated.is_neg()
    for a, b in zip(tensors(found.op(negated, *rest, **found.options)), want, strict=True):
        assert torch.equal(a, b)
    if grad:
        outs = tensors(found.op(*found.inputs, **found.options))
        sign = torch.complex(torch.zeros_like(outs[0]), -torch.ones_like(outs[0])).conj().imag
        got, plain = (
            torch.autograd.grad(outs[0], rest[0], g, retain_graph=True)
            for g in (sign.detach(), torch.ones_like(outs[0]))
        )
        assert torch.equal(got[0], plain[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_holds_the_op() -> None:
    inputs = case("feed_forward", SMALL, grad=False).inputs
    traced = torch.jit.trace(lambda *a: feed_forward(*a).sin(), inputs)
    assert "clmer::feed_forward" in str(traced.graph)
    others = [t + 1 for t in inputs]
    assert torch.equal(traced(*others), feed_forward(*others).sin())
