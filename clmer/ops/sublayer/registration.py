"""The sublayer ops as torch knows them: schemas, kernels, fakes, autograd, vmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    below_autograd,
    is_plain,
    is_tracing,
    library,
    no_double_backward,
    reference_gradients,
)
from clmer.ops.sublayer import fakes, gpu
from clmer.ops.sublayer.reference import feed_forward_steps, merged, project_heads_reference

library.define("project_heads(Tensor x, Tensor weight, Tensor bias, int num_heads) -> Tensor[]")
library.define(
    "project_heads_backward(Tensor grads, Tensor x, Tensor weight, int num_heads) "
    "-> (Tensor, Tensor, Tensor)"
)
library.define(
    "merge_heads(Tensor x, Tensor heads, Tensor weight, Tensor bias, Tensor? seed, "
    "float dropout_p) -> Tensor"
)
library.define(  # the gradient of x is grad_y itself
    "merge_heads_backward(Tensor grad_y, Tensor heads, Tensor weight, Tensor? seed, "
    "float dropout_p) -> (Tensor, Tensor, Tensor)"
)
library.define(  # y and the hidden rows behind ReLU and dropout: on a GPU [S, B, L, 0]
    "feed_forward(Tensor x, Tensor weight1, Tensor bias1, Tensor weight2, Tensor bias2, "
    "Tensor? hidden_seed, Tensor? seed, float hidden_dropout_p, float dropout_p) "
    "-> (Tensor, Tensor)"
)
library.define(
    "feed_forward_backward(Tensor grad_y, Tensor x, Tensor hidden, Tensor weight1, Tensor bias1, "
    "Tensor weight2, Tensor? hidden_seed, Tensor? seed, float hidden_dropout_p, float dropout_p) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


# --- kernels --------------------------------------------------------------------------------------
def _project_heads(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> list[Tensor]:
    tensors = (x.contiguous(), weight.contiguous(), bias.contiguous())
    return _C.project(*tensors, num_heads, torch.get_num_threads())


def _project_heads_backward(
    grads: Tensor | Sequence[Tensor], x: Tensor, weight: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """The gradients of x, weight and bias; those that come in may be stacked."""
    dense = [grad.contiguous() for grad in grads]
    arguments = (x.contiguous(), _transposed(weight), num_heads, torch.get_num_threads())
    grad_x, *chunks = _C.project_backward(dense, *arguments)
    return grad_x, *_summed(chunks)


def _merge_heads(
    x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, seed: Tensor | None, dropout_p: float
) -> Tensor:
    tensors = (x.contiguous(), heads.contiguous(), weight.contiguous(), bias.contiguous())
    return _C.merge(*tensors, seed, dropout_p, torch.get_num_threads())


def _merge_heads_backward(
    grad_y: Tensor, heads: Tensor, weight: Tensor, seed: Tensor | None, dropout_p: float
) -> tuple[Tensor, ...]:
    """The gradients of heads, weight and bias."""
    tensors = (grad_y.contiguous(), heads.contiguous(), _transposed(weight))
    arguments = (seed, dropout_p, torch.get_num_threads())
    grad_heads, *chunks = _C.merge_backward(*tensors, *arguments)
    return grad_heads, *_summed(chunks)


def _feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_seed: Tensor | None,
    seed: Tensor | None,
    hidden_dropout_p: float,
    dropout_p: float,
    want_hidden: bool = True,
) -> tuple[Tensor, Tensor | None]:
    weights = (weight1.contiguous(), bias1.contiguous(), weight2.contiguous(), bias2.contiguous())
    dropouts = (hidden_seed, seed, hidden_dropout_p, dropout_p)
    threads = torch.get_num_threads()
    return _C.feed_forward(x.contiguous(), *weights, *dropouts, want_hidden, threads)


def _feed_forward_backward(
    grad_y: Tensor,
    x: Tensor,
    hidden: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    hidden_seed: Tensor | None,
    seed: Tensor | None,
    hidden_dropout_p: float,
    dropout_p: float,
) -> tuple[Tensor, ...]:
    """The gradients of x, weight1, bias1, weight2 and bias2."""
    rows = (grad_y.contiguous(), x.contiguous(), hidden.contiguous())
    weights = (_transposed(weight1), _transposed(weight2))
    dropouts = (hidden_seed, seed, hidden_dropout_p, dropout_p)
    arguments = (*rows, *weights, *dropouts, torch.get_num_threads())
    grad_x, *chunks = _C.feed_forward_backward(*arguments)
    return grad_x, *_summed(chunks)


def _transposed(weight: Tensor) -> Tensor:
    return weight.transpose(1, 2).contiguous()


def _summed(chunks: Sequence[Tensor]) -> list[Tensor]:
    return [chunk.sum(0) for chunk in chunks]


# --- autograd -------------------------------------------------------------------------------------
class _Form(NamedTuple):
    """An op's forward and backward: its kernels themselves, or the registered op."""

    impl: str
    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]


@cache
def _registered(name: str) -> _Form:
    """The op, with autograd left out of its forward."""
    op = getattr(torch.ops.clmer, name)

    def forward(*arguments: Any) -> Any:
        with below_autograd():
            return op(*arguments)

    return _Form("registered", name, forward, getattr(torch.ops.clmer, f"{name}_backward"))


def _backward_of(form: _Form, *grads: Tensor) -> _Form:
    """The form for the backward: what ran forward, unless a mode or a compiler is active."""
    if gpu.is_interpreted(form.impl, grads[0]):
        if torch.is_grad_enabled():
            raise no_double_backward(form.name, form.impl)
        return form
    outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(*grads)
    return form if outright else _registered(form.name)


def _takes_reference(explicit: bool) -> bool:
    """Whether a backward is to be differentiated again, and nobody named the op's form."""
    return torch.is_grad_enabled() and not explicit and not is_tracing()


class _ProjectHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, form, explicit, x, weight, bias, num_heads):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight, bias)
        ctx.form, ctx.explicit, ctx.num_heads = form, explicit, num_heads
        return tuple(form.forward(x, weight, bias, num_heads))

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        x, weight, bias = ctx.saved_tensors
        if _takes_reference(ctx.explicit):
            reference = partial(project_heads_reference, num_heads=ctx.num_heads)
            found = reference_gradients("project_heads", reference, (x, weight, bias), grads)
        else:
            form = _backward_of(ctx.form, *grads)
            grads = torch.stack(grads) if form.impl == "registered" else grads
            found = form.backward(grads, x, weight, ctx.num_heads)
        return None, None, *found, None


class _MergeHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, form, explicit, x, heads, weight, bias, seed, dropout_p):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(heads, weight, bias, seed)
        ctx.form, ctx.explicit, ctx.dropout_p = form, explicit, dropout_p
        return form.forward(x, heads, weight, bias, seed, dropout_p)

    @staticmethod
    def backward(ctx, grad_y):  # type: ignore[no-untyped-def]
        heads, weight, bias, seed = ctx.saved_tensors
        if _takes_reference(ctx.explicit):
            reference = partial(merged, dropout_p=ctx.dropout_p, seed=seed)
            found = reference_gradients("merge_heads", reference, (heads, weight, bias), grad_y)
        else:
            backward = _backward_of(ctx.form, grad_y).backward
            found = backward(grad_y, heads, weight, seed, ctx.dropout_p)
        return None, None, grad_y, *found, None, None


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, form, explicit, x, weight1, bias1, weight2, bias2, hidden_seed, seed, *probabilities
    ):
        weights = (weight1, bias1, weight2, bias2)
        y, hidden = form.forward(x, *weights, hidden_seed, seed, *probabilities)
        ctx.save_for_backward(x, hidden, *weights, hidden_seed, seed)
        ctx.form, ctx.explicit, ctx.probabilities = form, explicit, probabilities
        ctx.mark_non_differentiable(hidden)
        ctx.set_materialize_grads(False)
        return y, hidden

    @staticmethod
    def backward(ctx, grad_y, _):  # type: ignore[no-untyped-def]
        if grad_y is None:
            return (None,) * 11
        x, hidden, weight1, bias1, weight2, bias2, *seeds = ctx.saved_tensors
        inputs = (x, weight1, bias1, weight2, bias2)
        if _takes_reference(ctx.explicit):

            def reference(*given):  # type: ignore[no-untyped-def]
                return feed_forward_steps(*given, *seeds, *ctx.probabilities)[0]

            found = reference_gradients("feed_forward", reference, inputs, grad_y)
        else:
            backward = _backward_of(ctx.form, grad_y).backward
            found = backward(grad_y, x, hidden, *inputs[1:4], *seeds, *ctx.probabilities)
        return None, None, *found, None, None, None, None


class Sublayer(NamedTuple):
    """An op: its kernels, their fakes, its autograd, and what its arguments are.

    Args:
        native: the kernels on the CPU.
        triton: those on a GPU.
        fakes: of the forward and of the backward.
        function: its autograd.Function.
        rows: leading arguments [S, B, ...].
        weights: arguments [S, ...] behind them.
        seeds: arguments behind those.
    """

    native: _Form
    triton: _Form
    fakes: tuple[Callable[..., Any], Callable[..., Any]]
    function: Any
    rows: int
    weights: int
    seeds: int


PROJECT_HEADS = Sublayer(
    _Form("native", "project_heads", _project_heads, _project_heads_backward),
    _Form("triton", "project_heads", gpu.project_heads, gpu.project_heads_backward),
    (fakes.project_heads, fakes.project_heads_backward),
    _ProjectHeads, rows=1, weights=2, seeds=0,
)  # fmt: skip
MERGE_HEADS = Sublayer(
    _Form("native", "merge_heads", _merge_heads, _merge_heads_backward),
    _Form("triton", "merge_heads", gpu.merge_heads, gpu.merge_heads_backward),
    (fakes.merge_heads, fakes.merge_heads_backward),
    _MergeHeads, rows=2, weights=2, seeds=1,
)  # fmt: skip
FEED_FORWARD = Sublayer(
    _Form("native", "feed_forward", _feed_forward, _feed_forward_backward),
    _Form("triton", "feed_forward", gpu.feed_forward, gpu.feed_forward_backward),
    (fakes.feed_forward, fakes.feed_forward_backward),
    _FeedForward, rows=1, weights=4, seeds=2,
)  # fmt: skip


def run(op: Sublayer, impl: str, explicit: bool, *arguments: Any) -> Any:
    """The op's result: by its kernel, or by the registered op if a mode or a compiler is active.

    Args:
        op: which.
        impl: "native" or "triton".
        explicit: the caller named the form, so that its second derivatives are an error.
        arguments: as the registered op takes them.
    """
    form = op.triton if impl == "triton" else op.native
    tensors = arguments[: op.rows + op.weights]
    if not gpu.is_interpreted(impl, tensors[0]):
        if is_tracing():
            return getattr(torch.ops.clmer, form.name)(*arguments)
        if not is_plain(*tensors, *arguments[len(tensors) : len(tensors) + op.seeds]):
            return op.function.apply(_registered(form.name), explicit, *arguments)
    if torch.is_grad_enabled() and any_requires_grad(*tensors):
        return op.function.apply(form, explicit, *arguments)
    if op is FEED_FORWARD:
        return form.forward(*arguments, want_hidden=False)
    return form.forward(*arguments)


def _autograd(op: Sublayer, *arguments: Any) -> Any:
    found = op.function.apply(_registered(op.native.name), True, *arguments)
    return [*found] if op is PROJECT_HEADS else found


def _autograd_backward(name: str, *arguments: Any) -> Any:
    if torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in arguments
    ):
        raise no_double_backward(name, "triton" if arguments[0].is_cuda else "native")
    with below_autograd():
        return getattr(torch.ops.clmer, f"{name}_backward")(*arguments)


# --- vmap -----------------------------------------------------------------------------------------
def _vmap(op: Sublayer, info: Any, in_dims: Sequence[int | None], *arguments: Any) -> Any:
    """The mapped dimension as more samples where all share the weights, else as more streams."""
    call, n = getattr(torch.ops.clmer, op.native.name), info.batch_size
    tensors = op.rows + op.weights
    if any(seed is not None for seed in arguments[tensors : tensors + op.seeds]):
        return _one_by_one(call, n, in_dims, arguments), 0
    shared = all(dim is None for dim in in_dims[op.rows : tensors])
    at, count = (1, op.rows) if shared else (0, tensors)
    folded = (
        _folded(t, dim, n, at) for t, dim in zip(arguments[:count], in_dims[:count], strict=True)
    )
    found = call(*folded, *arguments[count:])
    return tree_map(lambda t: t.unflatten(at, (n, -1)), found), at


def _folded(tensor: Tensor, dim: int | None, n: int, at: int) -> Tensor:
    if dim is None:
        shape = tensor.shape
        tensor = tensor.unsqueeze(at).expand(*shape[:at], n, *shape[at:])
    else:
        tensor = tensor.movedim(dim, at)
    return tensor.flatten(at, at + 1)


def _one_by_one(call: Any, n: int, in_dims: Sequence[int | None], arguments: Any) -> Any:
    """For masks: folded, they would depend on the mapped index."""
    columns = [
        [each] * n if dim is None else each.unbind(dim)
        for each, dim in zip(arguments, in_dims, strict=True)
    ]
    found = [call(*row) for row in zip(*columns, strict=True)]
    return tree_map(lambda *each: torch.stack(each), *found)


for _op in (PROJECT_HEADS, MERGE_HEADS, FEED_FORWARD):
    _name = _op.native.name
    for _form, _device in ((_op.native, "CPU"), (_op.triton, "CUDA")):
        library.impl(_name, _form.forward, _device)
        library.impl(f"{_name}_backward", _form.backward, _device)
    torch.library.register_fake(f"clmer::{_name}", _op.fakes[0], lib=library)
    torch.library.register_fake(f"clmer::{_name}_backward", _op.fakes[1], lib=library)
    library.impl(_name, partial(_autograd, _op), "Autograd")
    library.impl(f"{_name}_backward", partial(_autograd_backward, _name), "Autograd")
    torch.library.register_vmap(f"clmer::{_name}", partial(_vmap, _op), lib=library)
