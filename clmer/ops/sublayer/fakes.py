"""What the sublayer ops return, by shape and device alone: for compilers."""

from __future__ import annotations

from torch import Tensor


def project_heads(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> list[Tensor]:
    """`clmer::project_heads`."""
    stack, batch, length, dim = x.shape
    shape = (stack, batch, num_heads, length, dim // num_heads)
    return [x.new_empty(shape) for _ in range(weight.shape[-1] // dim)]


def project_heads_backward(
    grads: Tensor, x: Tensor, weight: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """Gradients of x, weight and bias."""
    return *_empties(x, weight), _bias_like(weight)


def merge_heads(x: Tensor, *_: object) -> Tensor:
    """`clmer::merge_heads`."""
    return x.new_empty(x.shape)


def merge_heads_backward(
    grad_y: Tensor, heads: Tensor, weight: Tensor, *_: object
) -> tuple[Tensor, ...]:
    """Gradients of heads, weight and bias."""
    return *_empties(heads, weight), _bias_like(weight)


def feed_forward(x: Tensor, weight1: Tensor, *_: object) -> tuple[Tensor, ...]:
    """`clmer::feed_forward`: a GPU keeps no hidden rows."""
    kept = 0 if x.is_cuda else weight1.shape[-1]
    return x.new_empty(x.shape), x.new_empty((*x.shape[:-1], kept))


def feed_forward_backward(
    grad_y: Tensor, x: Tensor, hidden: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor,
    *_: object,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of x, both weights and biases."""
    return *_empties(x, weight1, bias1, weight2), _bias_like(weight2)


def _empties(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in tensors)


def _bias_like(weight: Tensor) -> Tensor:
    return weight.new_empty((weight.shape[0], 1, weight.shape[2]))
