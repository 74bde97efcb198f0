"""The sublayer ops on GPUs: Triton (kernels/sublayer.py)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: The widest rows d that the kernels take, by dtype.
MAX_DIM = {torch.float32: 128, torch.bfloat16: 256, torch.float16: 256}


def check_triton(x: Tensor) -> None:
    """Raises ValueError for rows x [S, B, L, d] that impl="triton" does not take."""
    most = MAX_DIM.get(x.dtype)
    if most is None:
        raise ValueError(f"impl='triton': found {x.dtype}, expected float32 or half precision")
    if x.shape[-1] > most:
        raise ValueError(
            f"impl='triton': found x {x.dtype} with d = {x.shape[-1]}, expected at most {most}; "
            "use impl='reference' or None"
        )


def is_interpreted(impl: str, x: Tensor) -> bool:
    """Whether Triton's form runs on the CPU, where the registered op is the native one."""
    return impl == "triton" and not x.is_cuda


def project_heads(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> list[Tensor]:
    """`clmer::project_heads`."""
    from clmer.kernels import sublayer  # Triton is an extra

    return sublayer.project_heads(x, weight, bias, num_heads)


def project_heads_backward(
    grads: Tensor | Sequence[Tensor], x: Tensor, weight: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """The gradients of x, weight and bias; those that come in may be stacked."""
    from clmer.kernels import sublayer

    return sublayer.project_heads_backward(list(grads), x, weight, num_heads)


def merge_heads(
    x: Tensor, heads: Tensor, weight: Tensor, bias: Tensor, seed: Tensor | None, dropout_p: float
) -> Tensor:
    """`clmer::merge_heads`."""
    from clmer.kernels import sublayer

    return sublayer.merge_heads(x, heads, weight, bias, seed, dropout_p)


def merge_heads_backward(
    grad_y: Tensor, heads: Tensor, weight: Tensor, seed: Tensor | None, dropout_p: float
) -> tuple[Tensor, ...]:
    """The gradients of heads, weight and bias."""
    from clmer.kernels import sublayer

    return sublayer.merge_heads_backward(grad_y, heads, weight, seed, dropout_p)


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
    want_hidden: bool = True,
) -> tuple[Tensor, Tensor]:
    """`clmer::feed_forward`: y, and no hidden rows, which the backward computes again."""
    from clmer.kernels import sublayer

    arguments = (x, weight1, bias1, weight2, bias2, hidden_seed, seed, hidden_dropout_p, dropout_p)
    return sublayer.feed_forward(*arguments), x.new_empty((*x.shape[:-1], 0))


def feed_forward_backward(
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
    from clmer.kernels import sublayer

    tensors = (grad_y, x, weight1, bias1, weight2, hidden_seed, seed)
    return sublayer.feed_forward_backward(*tensors, hidden_dropout_p, dropout_p)
