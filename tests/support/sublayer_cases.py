"""Inputs of the sublayer ops, the ops written another way, and their exact values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clmer import ops

#: S, B, L, d, h, hidden: a single element, odd sizes around vectors and tiles, CLMER's own.
SHAPES = [(1, 1, 1, 2, 1, 1), (2, 3, 7, 13, 1, 29), (2, 2, 49, 24, 3, 96), (6, 8, 50, 40, 5, 160)]
NAMES = ["project_heads", "merge_heads", "feed_forward"]


class Case(NamedTuple):
    """An op, its reference, the same in einsums, what to call them with."""

    op: Callable[..., Any]
    reference: Callable[..., Any]
    plain: Callable[..., Any]
    inputs: list[Tensor]
    options: dict[str, Any]


# --- the ops in einsums ---------------------------------------------------------------------------
def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.einsum("sbli,sio->sblo", x, weight) + bias[:, None]


def project(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> tuple[Tensor, ...]:
    y = affine(F.layer_norm(x, x.shape[-1:]), weight, bias)
    parts = y.split(x.shape[-1], -1)
    return tuple(part.unflatten(3, (num_heads, -1)).transpose(2, 3).contiguous() for part in parts)


def merge(x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x + affine(heads.transpose(2, 3).flatten(3), weight, bias)


def feed(x: Tensor, *weights: Tensor) -> Tensor:
    hidden = F.relu(affine(F.layer_norm(x, x.shape[-1:]), *weights[:2]))
    return x + affine(hidden, *weights[2:])


def case(
    name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64, grad: bool = True
) -> Case:
    s, b, length, d, h, hidden = shape
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> Tensor:
        drawn = torch.randn(*size, dtype=torch.float64, generator=generator).mul_(0.5)
        return drawn.to(dtype).requires_grad_(grad)

    x, heads = random(s, b, length, d), random(s, b, h, length, d // h)
    if name == "project_heads":
        inputs, options = [x, random(s, d, 3 * d), random(s, 1, 3 * d)], {"num_heads": h}
        return Case(ops.project_heads, ops.project_heads_reference, project, inputs, options)
    if name == "merge_heads":
        inputs = [x, heads, random(s, d, d), random(s, 1, d)]
        return Case(ops.merge_heads, ops.merge_heads_reference, merge, inputs, {})
    sizes = ((s, d, hidden), (s, 1, hidden), (s, hidden, d), (s, 1, d))
    inputs = [x, *(random(*size) for size in sizes)]
    return Case(ops.feed_forward, ops.feed_forward_reference, feed, inputs, {})


def tensors(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)


def results(form: Callable[..., Any], inputs: list[Tensor], options: Any) -> list[Tensor]:
    """Outputs, and the inputs' gradients for `output_gradients`."""
    outs = tensors(form(*inputs, **options))
    grads = [g.to(o.dtype) for g, o in zip(output_gradients(outs), outs, strict=True)]
    return [t.detach() for t in (*outs, *torch.autograd.grad(outs, inputs, grads))]


def output_gradients(outs: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outs]


# --- exact ----------------------------------------------------------------------------------------
Long = NDArray[np.longdouble]


def exact(name: str, found: Case) -> list[Long]:
    """`results` in long double, with the derivatives by hand."""
    x, *rest = (t.detach().double().numpy().astype(np.longdouble) for t in found.inputs)
    if name == "merge_heads":
        heads, weight, bias = rest
        rows = heads.swapaxes(2, 3).reshape(x.shape)
        y = x + rows @ weight[:, None] + bias[:, None]
        (grad,) = _grads([y], x)
        from_rows, *others = _through(grad, rows, weight)
        count = heads.shape[2]
        return [y, grad, from_rows.reshape(*x.shape[:3], count, -1).swapaxes(2, 3), *others]
    normed, factor = _norm(x)
    if name == "project_heads":
        (weight, bias), count = rest, found.options["num_heads"]
        y = normed @ weight[:, None] + bias[:, None]
        parts = [_split(part, count) for part in np.split(y, y.shape[-1] // x.shape[-1], -1)]
        joined = [g.swapaxes(2, 3).reshape(x.shape) for g in _grads(parts, x)]
        from_normed, *others = _through(np.concatenate(joined, -1), normed, weight)
        return [*parts, _through_norm(from_normed, normed, factor), *others]
    weight1, bias1, weight2, bias2 = rest
    before = normed @ weight1[:, None] + bias1[:, None]
    hidden = np.maximum(before, 0)
    y = x + hidden @ weight2[:, None] + bias2[:, None]
    (grad,) = _grads([y], x)
    from_hidden, *second = _through(grad, hidden, weight2)
    from_normed, *first = _through(from_hidden * (before > 0), normed, weight1)
    return [y, grad + _through_norm(from_normed, normed, factor), *first, *second]


def _grads(outs: list[Long], like: Long) -> list[Long]:
    shaped = [torch.empty(out.shape) for out in outs]
    return [g.numpy().astype(like.dtype) for g in output_gradients(shaped)]


def _split(rows: Long, count: int) -> Long:
    return rows.reshape(*rows.shape[:3], count, -1).swapaxes(2, 3)


def _norm(x: Long) -> tuple[Long, Long]:
    centred = x - x.mean(-1, keepdims=True)
    factor = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + np.longdouble("1e-5"))
    return centred * factor, factor


def _through_norm(grad: Long, normed: Long, factor: Long) -> Long:
    slope = (grad * normed).mean(-1, keepdims=True)
    return factor * (grad - grad.mean(-1, keepdims=True) - normed * slope)


def _through(grad: Long, rows: Long, weight: Long) -> tuple[Long, Long, Long]:
    """Gradients of rows, W and b for rows W + b."""
    streams = grad.shape[0]
    flat = [t.reshape(streams, -1, t.shape[-1]) for t in (rows, grad)]
    grad_weight = flat[0].swapaxes(1, 2) @ flat[1]
    return grad @ weight[:, None].swapaxes(2, 3), grad_weight, flat[1].sum(1, keepdims=True)
