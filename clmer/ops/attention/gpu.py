"""`cross_attention` on GPUs: Triton (kernels/attention.py), CUDA (csrc/attention/gpu_*)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clmer._native import _C
from clmer.kernels._precision import float32_precision
from clmer.ops._dispatch import compiles_triton, is_made_for, why_no_cuda


def best_on_gpu(query: Tensor, key: Tensor, value: Tensor) -> str:
    """What impl=None takes on a GPU: the faster form, as measured (docs/attention.md)."""
    longest = max(query.shape[-2], key.shape[-2])
    widest = max(query.shape[-1], value.shape[-1])
    single = query.dtype == torch.float32
    if query.dtype == torch.float64 or not is_made_for(query.device):
        return "reference"
    if single and widest > 32 and longest > 80:  # more shared memory than some GPUs have
        return "reference"
    if longest <= 128 and widest <= 64 and not why_no_cuda():
        return "cuda"
    if not single and widest <= 256 and compiles_triton():
        return "triton"
    return "reference"


def triton_forward(query: Tensor, *rest: Any, want_lse: bool = True) -> tuple[Tensor, Tensor]:
    """The Triton kernel, which gives the log-sum-exp too at no extra cost."""
    _refuse_float64("triton", query)
    from clmer.kernels.attention import attention_forward  # Triton is an extra

    return attention_forward(query, *rest)


def triton_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Its gradients."""
    from clmer.kernels.attention import attention_backward

    return attention_backward(*args)


def cuda_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
    want_lse: bool = True,
) -> tuple[Tensor, Tensor]:
    """The CUDA kernel, which gives the log-sum-exp too at no extra cost.

    Raises:
        ValueError: float64, or lengths or features that it does not take.
    """
    _refuse_float64("cuda", query)
    _refuse_long(query, value)
    tensors = (_adjacent(query), _adjacent(key), _adjacent(value), mask, attn_mask, bias, seed)
    how = (_tf32(query), _stream(query))
    return _C.attention_short_forward(*tensors, dropout_p, scale, is_causal, *how)


def cuda_backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
    bias_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Its gradients; with `bias_grad` dS takes [..., Lq, Lk] float32."""
    grad_scores = None
    if bias is not None and bias_grad:
        grad_scores = lse.new_empty((*lse.shape, key.shape[-2]))
    operands = (_adjacent(grad_out), _adjacent(query), _adjacent(key), _adjacent(value))
    tensors = (*operands, out, lse, mask, attn_mask, bias, seed)
    how = (grad_scores, _tf32(query), _stream(query))
    grads = _C.attention_short_backward(*tensors, dropout_p, scale, is_causal, *how)
    if grad_scores is None or bias is None:
        return *grads, None
    return *grads, grad_scores.sum_to_size(bias.shape)


def _refuse_float64(impl: str, query: Tensor) -> None:
    if query.dtype == torch.float64:
        raise ValueError(f"impl={impl!r}: found float64, expected float32 or half precision")


def _refuse_long(query: Tensor, value: Tensor) -> None:
    refusal = _C.attention_short_refusal(*query.shape[-2:], *value.shape[-2:])
    if refusal:
        raise ValueError(f"impl='cuda': {refusal}; use impl='triton'")


def _adjacent(tensor: Tensor) -> Tensor:
    """With the features of a row side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _tf32(query: Tensor) -> bool:
    return query.dtype == torch.float32 and float32_precision() == "tf32"


def _stream(query: Tensor) -> int:
    return torch.cuda.current_stream(query.device).cuda_stream if query.is_cuda else 0
