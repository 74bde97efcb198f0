"""Which way the fusion's sublayers go: the op, or plain PyTorch where it does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.sublayer_cases import NAMES, case, tensors
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clmer.nn import Fusion, sublayer

SMALL = (2, 3, 7, 12, 3, 20)
CALLS = {
    "project_heads": sublayer.project,
    "merge_heads": sublayer.merge,
    "feed_forward": sublayer.feed_forward,
}


class Seen(TorchDispatchMode):
    """The names of all ops that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        self.names.append(function.__name__.split(".")[0])
        return function(*args, **(kwargs or {}))


def call(name: str, inputs: list[Tensor], dropout: float = 0.0) -> tuple[Tensor, ...]:
    heads = {"heads": SMALL[4]} if name == "project_heads" else {}
    more = {"dropout": dropout} if name != "project_heads" else {}
    return tensors(CALLS[name](*inputs, **heads, **more))


@pytest.mark.parametrize("name", NAMES)
def test_the_op_where_it_fits(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        found = case(name, SMALL, dtype, grad=False)
        with Seen() as seen:
            got = call(name, found.inputs)
        assert seen.names == [name]
        want = tensors(found.op(*found.inputs, **found.options))
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("where", ["autocast", "bfloat16", "meta"])
@pytest.mark.parametrize("name", NAMES)
def test_plain_pytorch_where_it_does_not(name: str, where: str) -> None:
    found = case(name, SMALL, torch.float32, grad=False)
    want = tensors(found.op(*found.inputs, **found.options))
    inputs = found.inputs
    if where != "autocast":
        inputs = [t.to(torch.bfloat16 if where == "bfloat16" else "meta") for t in inputs]
    with Seen() as seen, torch.autocast("cpu", torch.bfloat16, enabled=where == "autocast"):
        got = call(name, inputs)
        dropped = call(name, inputs, 0.5)
    assert name not in seen.names
    for lowered, each, single in zip(got, dropped, want, strict=True):
        assert lowered.shape == each.shape == single.shape
        if where != "meta":
            assert (lowered - single).abs().max() > 0  # bfloat16 products
            torch.testing.assert_close(lowered.float(), single, rtol=0.05, atol=0.05)


def test_a_compiled_fusion_holds_the_ops_and_computes_the_same() -> None:
    torch.manual_seed(0)
    model = Fusion({"physio": (4, 16), "au": (2, 7)}, 3, token_length=5, dim=12, heads=3,
                   cross_layers=1, memory_layers=1, embedding_dropout=0.0)  # fmt: skip
    model.mlp[2].p = 0.0  # another mask when compiled
    x = [torch.randn(2, 4, 16), torch.randn(2, 2, 7)]
    names: set[str] = set()

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        names.update(str(node.target) for node in graph.graph.nodes)
        return graph

    torch.compile(model, backend=backend)(x)
    assert {f"clmer.{name}" for name in NAMES} <= {n.removesuffix(".default") for n in names}
    compiled, runs = torch.compile(model, backend="aot_eager"), []
    for form in (model, compiled):
        torch.manual_seed(1)
        logits = form(x)
        grads = torch.autograd.grad(logits.square().sum(), tuple(model.parameters()))
        runs.append([logits, *grads])
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
