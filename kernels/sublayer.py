"""The sublayer ops in Triton: `project_heads`, `merge_heads`, `feed_forward` and their gradients.

Plan: sublayer_linear.py has the kernels of the first two, sublayer_feed.py those of the last,
sublayer_terms.py what they share, sublayer_launches.py their tiles. A row of features stands whole
in a tile, so that its norm is taken there; programs are numbered along the grid's first dimension.
Launches: one forward (for four tensors of heads each), three backward: rows, weights, and the sum
of the weights' planes. float32 is multiplied as three products of tf32, which keep its digits, or
as one where torch.backends.cuda.matmul allows tf32. A launch waits for nothing: CUDA graphs may
hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from clmer.kernels.sublayer_feed import feed_forward_rows, feed_grad_rows, feed_grad_weights
from clmer.kernels.sublayer_launches import Call, call_of
from clmer.kernels.sublayer_launches import variants as variants
from clmer.kernels.sublayer_linear import (
    merge_forward,
    merge_grad_rows,
    merge_grad_weights,
    project_forward,
    project_grad_rows,
    project_grad_weights,
)

_PER_LAUNCH = 4  # tensors of heads


def _dropout(seed: Tensor | None, p: float, like: Tensor, prefix: str = "") -> dict[str, Any]:
    """A mask's arguments, as the kernels name them."""
    if seed is not None and (seed.dtype != torch.int64 or seed.dim() or seed.device != like.device):
        raise ValueError(
            f"{prefix}seed: found {seed.dtype} {tuple(seed.shape)} on {seed.device}, expected 0-d "
            f"torch.int64 on {like.device}"
        )
    names = (f"{prefix}seed", f"{prefix}threshold", f"{prefix}grown")
    return dict(zip(names, (seed, int(p * 2**32), 1.0 / (1.0 - p)), strict=True))


def _heads_shape(x: Tensor, num_heads: int) -> tuple[int, ...]:
    """[S, B, h, L, d / h] for rows x [S, B, L, d]."""
    if x.dim() != 4 or num_heads < 1 or x.shape[-1] % num_heads:
        raise ValueError(
            f"found rows {tuple(x.shape)} and {num_heads} heads, expected [S, B, L, d] and a "
            "divisor of d"
        )
    streams, batch, length, dim = x.shape
    return streams, batch, num_heads, length, dim // num_heads


def _dense(like: Tensor, /, **tensors: tuple[Tensor, tuple[int, ...]]) -> list[Tensor]:
    """The tensors, contiguous.

    Raises:
        ValueError: a kernel would leave a tensor of that shape, or does not take its dtype.
    """
    if like.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"impl='triton': found {like.dtype}, expected float32 or half precision")
    for name, (tensor, shape) in tensors.items():
        if tensor.shape != shape or tensor.dtype != like.dtype or tensor.device != like.device:
            raise ValueError(
                f"{name}: found {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}, expected "
                f"{like.dtype} {shape} on {like.device}"
            )
    return [tensor.contiguous() for tensor, _ in tensors.values()]


Form = TypeVar("Form", bound=Callable[..., Any])


def _widened_in_interpreter(form: Form) -> Form:
    """Without a GPU bfloat16 in float32: the interpreter's tl.dot takes it for integers."""

    @wraps(form)
    def call(*arguments: Any) -> Any:
        x = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        if x.is_cuda or x.dtype != torch.bfloat16:
            return form(*arguments)

        def wide(each: Any) -> Any:
            is_half = isinstance(each, Tensor) and each.dtype == torch.bfloat16
            return each.float() if is_half else each

        return tree_map(Tensor.bfloat16, form(*tree_map(wide, arguments)))

    return call  # type: ignore[return-value]


# --- project_heads --------------------------------------------------------------------------------
@_widened_in_interpreter
def project_heads(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> list[Tensor]:
    """The op `clmer::project_heads`, whose page has validated the arguments.

    Args:
        x: [S, B, L, d]; float32 with d <= 128, bfloat16 or float16 with d <= 256.
        weight: [S, d, n d].
        bias: [S, 1, n d].
        num_heads: h.

    Returns:
        n tensors [S, B, h, L, d / h].
    """
    shape, dim, outputs = _heads_shape(x, num_heads), x.shape[-1], weight.shape[-1]
    x, weight, bias = _dense(
        x,
        x=(x, x.shape),
        weight=(weight, (shape[0], dim, outputs // dim * dim)),
        bias=(bias, (shape[0], 1, outputs)),
    )
    call = call_of(x, width=shape[-1], outputs=outputs)
    heads = [x.new_empty(shape) for _ in range(outputs // dim)]
    with torch.cuda.device_of(x):  # Triton launches on the current device
        for group in _groups(heads):
            call.by_rows(project_forward, {"x": x, "weight": weight, "bias": bias, **group})
    return heads


@_widened_in_interpreter
def project_heads_backward(
    grads: Sequence[Tensor], x: Tensor, weight: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias from those of the heads."""
    shape, dim = _heads_shape(x, num_heads), x.shape[-1]
    outputs = len(grads) * dim
    named = {f"grads[{i}]": (grad, shape) for i, grad in enumerate(grads)}
    x, weight, *grads = _dense(
        x, x=(x, x.shape), weight=(weight, (shape[0], dim, outputs)), **named
    )
    call = call_of(x, width=shape[-1], outputs=outputs)
    groups = list(_groups(grads))
    dx = x.new_empty(x.shape, dtype=x.dtype if len(groups) == 1 else torch.float32)
    dw, db = weight.new_empty(weight.shape), weight.new_empty((shape[0], 1, outputs))
    blocks = call.blocks(project_grad_weights, dim)
    sums = call.sums(project_grad_weights, len(grads) * blocks, dw, db)
    with torch.cuda.device_of(x):
        for group in groups:
            rows = {**group, "x": x, "weight": weight, "grad_x": dx}
            call.by_rows(project_grad_rows, rows, ADDS=group["first"] > 0)
            call.by_columns(project_grad_weights, group["parts"] * blocks, sums, {**group, "x": x})
        sums.add()
    return dx.to(x.dtype), dw, db


def _groups(parts: Sequence[Tensor]) -> Iterator[dict[str, Any]]:
    """Tensors of heads as launches take them."""
    for first in range(0, len(parts), _PER_LAUNCH):
        group = parts[first : first + _PER_LAUNCH]
        missing = [None] * (_PER_LAUNCH - len(group))
        named = {f"part{i}": part for i, part in enumerate((*group, *missing))}
        yield {**named, "first": first, "parts": len(group)}


# --- merge_heads ----------------------------------------------------------------------------------
def _count(heads: Tensor) -> int:
    """How many heads there are in [S, B, h, L, d / h]."""
    return heads.shape[2] if heads.dim() == 5 else 0


@_widened_in_interpreter
def merge_heads(
    x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, seed: Tensor | None, dropout_p: float
) -> Tensor:
    """The op `clmer::merge_heads`.

    Args:
        x: [S, B, L, d], see `project_heads`.
        heads: [S, B, h, L, d / h].
        weight: [S, d, d].
        bias: [S, 1, d].
        seed: 0-d int64 where there is dropout.
        dropout_p: probability of dropping an element.

    Returns:
        y [S, B, L, d].
    """
    shape, streams, dim = _heads_shape(x, _count(heads)), x.shape[0], x.shape[-1]
    x, heads, weight, bias = _dense(
        x,
        x=(x, x.shape),
        heads=(heads, shape),
        weight=(weight, (streams, dim, dim)),
        bias=(bias, (streams, 1, dim)),
    )
    out = x.new_empty(x.shape)
    tensors = {"x": x, "heads": heads, "weight": weight, "bias": bias, "out": out}
    call = call_of(x, width=shape[-1])
    with torch.cuda.device_of(x):
        call.by_rows(merge_forward, {**tensors, **_dropout(seed, dropout_p, x)})
    return out


@_widened_in_interpreter
def merge_heads_backward(
    grad_y: Tensor, heads: Tensor, weight: Tensor, seed: Tensor | None, dropout_p: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of heads, weight and bias; that of x is grad_y itself."""
    shape, dim = _heads_shape(grad_y, _count(heads)), grad_y.shape[-1]
    streams = shape[0]
    grad_y, heads, weight = _dense(
        grad_y,
        grad_y=(grad_y, grad_y.shape),
        heads=(heads, shape),
        weight=(weight, (streams, dim, dim)),
    )
    d_heads, dw = heads.new_empty(heads.shape), weight.new_empty(weight.shape)
    db = weight.new_empty((streams, 1, dim))
    call = call_of(grad_y, width=shape[-1])
    blocks = call.blocks(merge_grad_weights, dim)
    sums = call.sums(merge_grad_weights, blocks, dw, db)
    more = {"grad_y": grad_y, "heads": heads, "weight": weight, "grad_heads": d_heads}
    more |= _dropout(seed, dropout_p, grad_y)
    with torch.cuda.device_of(grad_y):
        call.by_rows(merge_grad_rows, more)
        call.by_columns(merge_grad_weights, blocks, sums, more)
        sums.add()
    return d_heads, dw, db


# --- feed_forward ---------------------------------------------------------------------------------
@_widened_in_interpreter
def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_seed: Tensor | None,
    seed: Tensor | None,
    hidden_dropout_p: float,
    dropout_p: float,
) -> Tensor:
    """The op `clmer::feed_forward`, which keeps no hidden rows here.

    Args:
        x: [S, B, L, d], see `project_heads`.
        weight1: [S, d, H].
        bias1: [S, 1, H].
        weight2: [S, H, d].
        bias2: [S, 1, d].
        hidden_seed: 0-d int64 where there is inner dropout.
        seed: of the outer one.
        hidden_dropout_p: of the inner dropout.
        dropout_p: of the outer one.

    Returns:
        y [S, B, L, d].
    """
    call, more = _feed(x, weight1, bias1, weight2)
    (bias2,) = _dense(x, bias2=(bias2, (x.shape[0], 1, x.shape[-1])))
    out = x.new_empty(x.shape)
    more |= {"bias2": bias2, "out": out, **_dropout(seed, dropout_p, x)}
    more |= _dropout(hidden_seed, hidden_dropout_p, x, "hidden_")
    with torch.cuda.device_of(x):
        call.by_rows(feed_forward_rows, more)
    return out


@_widened_in_interpreter
def feed_forward_backward(
    grad_y: Tensor,
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    hidden_seed: Tensor | None,
    seed: Tensor | None,
    hidden_dropout_p: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, weight1, bias1, weight2 and bias2; hidden rows are computed again."""
    call, more = _feed(x, weight1, bias1, weight2)
    (grad_y,) = _dense(x, grad_y=(grad_y, x.shape))
    dx = x.new_empty(x.shape)
    dw1, db1, dw2 = (t.new_empty(t.shape) for t in (weight1, bias1, weight2))
    db2 = x.new_empty((x.shape[0], 1, x.shape[-1]))
    blocks = call.blocks(feed_grad_weights, weight1.shape[-1])
    sums = call.sums(feed_grad_weights, blocks, dw1, db1, dw2, db2)
    more |= {"grad_y": grad_y, "grad_x": dx, **_dropout(seed, dropout_p, x)}
    more |= _dropout(hidden_seed, hidden_dropout_p, x, "hidden_")
    with torch.cuda.device_of(x):
        call.by_rows(feed_grad_rows, more)
        call.by_columns(feed_grad_weights, blocks, sums, more)
        sums.add()
    return dx, dw1, db1, dw2, db2


def _feed(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor
) -> tuple[Call, dict[str, Any]]:
    """A call, and the tensors that every kernel of it reads."""
    streams, dim, hidden = x.shape[0], x.shape[-1], weight1.shape[-1]
    names = ("x", "weight1", "bias1", "weight2")
    dense = _dense(
        x,
        x=(x, x.shape),
        weight1=(weight1, (streams, dim, hidden)),
        bias1=(bias1, (streams, 1, hidden)),
        weight2=(weight2, (streams, hidden, dim)),
    )
    return call_of(x, hidden=hidden), dict(zip(names, dense, strict=True))
