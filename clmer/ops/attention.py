"""`cross_attention`: softmax(Q K^T) V without the matrix, for many small heads or a few long ones.

The plain PyTorch form is in attention_reference.py; csrc/attention.h, attention_cpu.cpp;
kernels/attention.py (Triton).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    below_autograd,
    check_dtype,
    choose_impl,
    is_plain,
    is_tracing,
    library,
    no_double_backward,
    wants_gradient,
)
from clmer.ops.attention_reference import (
    check_seed,
    compute_dtype,
    cross_attention_reference,
)

_NATIVE = ("cpu",)
#: impl=None on a GPU: "reference" until the Triton form has been measured there, then "triton".
_ON_GPU = "reference"
_MAX_DIMS = 7


def cross_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """Scaled dot-product attention of one sequence's tokens over another's.

        O = dropout(softmax(scale Q K^T + attn_bias)) V

    All leading dimensions (modality pairs, batch, heads) go into one call. The forward keeps O and
    the row's log-sum-exp, the backward recomputes the weights: memory O(L D), never Lq x Lk.

    Args:
        query: [..., Lq, D], float32, float64, bfloat16 or float16; any strides.
        key: [..., Lk, D], query's leading dimensions and dtype.
        value: [..., Lk, Dv].
        key_padding_mask: bool, broadcastable to [..., Lk]; True = ignore. For queries [B, H, Lq, D]
            and a mask [B, Lk] pass `mask[:, None]`.
        attn_mask: bool, broadcastable to [..., Lq, Lk]; True = takes part, as in
            `F.scaled_dot_product_attention` and unlike key_padding_mask.
        attn_bias: floating point, broadcastable to [..., Lq, Lk], added to the scores; its gradient
            is summed over the broadcast dimensions. -inf gives the weight 0 like a mask, but what
            stands behind it is read: there a NaN spreads, which the masks prevent.
        dropout_p: probability in [0, 1) of dropping a weight; the kept ones grow by 1 / (1 - p).
        scale: None is 1 / sqrt(D).
        seed: 0-d int64, the key of the dropout mask; None draws one with `torch.randint`. The mask
            is a hash of (seed, leading index, row, column), the same in every implementation.
        impl: None, "native" (CPU), "reference" (plain PyTorch, differentiable any number of times)
            or "triton" (GPU; elsewhere in Triton's interpreter; not float64; D and Dv up to 256).
            None is native on the CPU and the reference on a GPU, until the Triton form has been
            measured there.

    Returns:
        O [..., Lq, Dv] of query's dtype. The masks give a hidden pair the weight 0, exactly. A
        query that sees no key gives zeros, and its gradients are zeros. Such a query (with its
        gradient that comes in) and a key or value that no query of its head sees may hold
        anything, NaN and Inf included: nothing else notices. A key that is hidden from some
        queries and seen by others must be finite: 0 times its NaN is NaN in the former too.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or dropout_p outside [0, 1).
        RuntimeError: an `impl` that cannot run on these tensors; second derivatives of the native
            or Triton form.

    Source: the paper's Eq. 5-6; row-wise log-sum-exp and recomputation as in Dao et al.,
    FlashAttention (2022).
    """
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        found = ", ".join(type(each).__name__ for each in (query, key, value))
        raise ValueError(f"query, key, value: found {found}, expected tensors")
    if key.dtype != query.dtype or value.dtype != query.dtype:
        query, key, value = _promoted(query, key, value)
    _check(query, key, value, key_padding_mask, attn_mask, attn_bias, dropout_p)
    if impl is None and query.is_cpu:
        impl = "native"
    else:
        wish = _ON_GPU if impl is None and query.is_cuda else impl
        impl = choose_impl(wish, query.device, _NATIVE, also=("triton",))
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else float(scale)
    seed = check_seed(seed, dropout_p, query.device) if dropout_p != 0.0 else None
    if impl == "reference":
        return cross_attention_reference(
            query,
            key,
            value,
            key_padding_mask=key_padding_mask,
            attn_mask=attn_mask,
            attn_bias=attn_bias,
            dropout_p=dropout_p,
            scale=scale,
            seed=seed,
        )
    lead = query.dim() - 2
    if key_padding_mask is not None:
        key_padding_mask = _to_rank(key_padding_mask, lead + 1)
    if attn_mask is not None:
        attn_mask = _to_rank(attn_mask, lead + 2)
    if attn_bias is not None:
        attn_bias = _to_rank(attn_bias.to(compute_dtype(query.dtype)), lead + 2)
    tensors = (query, key, value, key_padding_mask, attn_mask, attn_bias, seed)
    constants = (float(dropout_p), scale)
    form = _TRITON if impl == "triton" else _NATIVE_FORM
    interpreted = impl == "triton" and not query.is_cuda  # the op would be the native kernel
    if not interpreted and is_tracing():
        out, _ = torch.ops.clmer.cross_attention(*tensors, *constants)
    elif not interpreted and not is_plain(*tensors):
        out, _ = _autograd(*tensors, *constants)
    elif torch.is_grad_enabled() and wants_gradient(query, key, value, attn_bias):
        out, _ = _CrossAttention.apply(form, *tensors, *constants)
    else:
        out, _ = form.forward(*tensors, *constants, want_lse=False)
    return out


def _promoted(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under autocast the three may differ, and the widest floating-point dtype is taken."""
    tensors = (query, key, value)
    autocast = torch.is_autocast_enabled(query.device.type)
    if not autocast or not all(t.is_floating_point() for t in tensors):
        return tensors
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    dropout_p: float,
) -> None:
    dims = query.dim()
    if not 2 <= dims <= _MAX_DIMS or key.dim() != dims or value.dim() != dims:
        raise _misfit(query, key, value, f"the same 2 to {_MAX_DIMS} dimensions in each")
    *lead, rows, dim = query.shape
    *key_lead, keys, key_dim = key.shape
    *value_lead, values, _ = value.shape
    if key_lead != lead or value_lead != lead:
        raise _misfit(query, key, value, "equal leading dimensions")
    if key_dim != dim or values != keys:
        expected = "query [..., Lq, D], key [..., Lk, D] and value [..., Lk, Dv]"
        raise _misfit(query, key, value, expected)
    check_dtype("query", query)
    if key.dtype != query.dtype or value.dtype != query.dtype:
        raise ValueError(
            f"found query {query.dtype}, key {key.dtype}, value {value.dtype}, "
            "expected one floating-point dtype"
        )
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p: found {dropout_p}, expected 0 <= p < 1")
    device = query.device
    if key.device != device or value.device != device:
        raise ValueError(f"devices differ: query {device}, key {key.device}, value {value.device}")
    if key_padding_mask is not None:
        _check_bool("key_padding_mask", key_padding_mask, "ignore")
        _check_fits("key_padding_mask", key_padding_mask, (*lead, keys), device)
    if attn_mask is not None:
        _check_bool("attn_mask", attn_mask, "takes part")
        _check_fits("attn_mask", attn_mask, (*lead, rows, keys), device)
    if bias is not None:
        check_dtype("attn_bias", bias)
        _check_fits("attn_bias", bias, (*lead, rows, keys), device)


def _misfit(query: Tensor, key: Tensor, value: Tensor, expected: str) -> ValueError:
    found = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    return ValueError(f"found {found}, expected {expected}")


def _check_bool(name: str, mask: Tensor, true: str) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(
            f"{name}: found {mask.dtype}, expected torch.bool (True = {true}); "
            "additive masks go into attn_bias"
        )


def _check_fits(name: str, tensor: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    fits = tensor.dim() <= len(shape) and all(
        size in (1, full)
        for size, full in zip(reversed(tensor.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name}: found {tuple(tensor.shape)}, expected something broadcastable to {shape} "
            f"(dimensions align at the right; a mask [B, Lk] for [B, H, Lq, D] is mask[:, None])"
        )
    if tensor.device != device:
        raise ValueError(f"devices differ: query on {device}, {name} on {tensor.device}")


def _to_rank(tensor: Tensor, rank: int) -> Tensor:
    return tensor[(None,) * (rank - tensor.dim())]


# --- registration: any leading dimensions; bias and mask of full rank, each size 1 or full -------
library.define(
    "cross_attention(Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, "
    "Tensor? attn_mask, Tensor? attn_bias, Tensor? seed, float dropout_p, float scale) "
    "-> (Tensor, Tensor)"
)
library.define(
    "cross_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
    "Tensor out, Tensor lse, Tensor? key_padding_mask, Tensor? attn_mask, Tensor? attn_bias, "
    "Tensor? seed, float dropout_p, float scale, bool bias_grad) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    want_lse: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """The kernel itself."""
    tensors = (query, key, value, mask, attn_mask, bias, seed)
    return _C.attention_forward(*tensors, dropout_p, scale, want_lse, torch.get_num_threads())


def _backward(
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
    bias_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The kernel itself; the bias gradient only where there is one."""
    parts = None
    if bias is not None and bias_grad:
        parts = bias.new_zeros((_bias_parts(query, bias), *bias.shape))
    tensors = (grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed)
    grads = _C.attention_backward(*tensors, dropout_p, scale, parts, torch.get_num_threads())
    return (*grads, None if parts is None else parts.sum(0))


def _bias_parts(query: Tensor, bias: Tensor) -> int:
    """How many partial sums of the bias gradient: by shape alone, so that threads change no bit."""
    slices = bias.shape[:-2].numel()
    sharing = query.shape[:-2].numel() // max(slices, 1)
    return max(1, min(sharing, 16 // max(slices, 1)))


def _triton_forward(query: Tensor, *rest: Any, want_lse: bool = True) -> tuple[Tensor, Tensor]:
    """The Triton kernel, which gives the log-sum-exp for nothing."""
    if query.dtype == torch.float64:
        raise ValueError("impl='triton': found float64, expected float32 or half precision")
    from clmer.kernels import attention  # Triton is an extra

    return attention.attention_forward(query, *rest)


def _triton_backward(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    from clmer.kernels import attention

    return attention.attention_backward(*args)


class _Form(NamedTuple):
    """Kernels that may be called outright."""

    forward: Callable[..., tuple[Tensor, Tensor | None]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor | None]]


_NATIVE_FORM = _Form(_forward, _backward)
_TRITON = _Form(_triton_forward, _triton_backward)


def _op_backward(
    form: _Form,
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out, lse = out.contiguous(), lse.contiguous()
    dq, dk, dv, grad_bias = form.backward(grad_out, query, key, value, out, lse, *rest)
    return dq, dk, dv, lse.new_empty(0) if grad_bias is None else grad_bias


for _device, _form in (("CPU", _NATIVE_FORM), ("CUDA", _TRITON)):
    library.impl("cross_attention", _form.forward, _device)
    library.impl("cross_attention_backward", partial(_op_backward, _form), _device)


@torch.library.register_fake("clmer::cross_attention", lib=library)
def _fake(query, key, value, mask, attn_mask, bias, seed, dropout_p, scale):  # type: ignore[no-untyped-def]
    out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    return out, query.new_empty(query.shape[:-1], dtype=compute_dtype(query.dtype))


@torch.library.register_fake("clmer::cross_attention_backward", lib=library)
def _fake_backward(  # type: ignore[no-untyped-def]
    grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed, dropout_p, scale, bias_grad
):
    grads = tuple(t.new_empty(t.shape) for t in (query, key, value))
    return (*grads, lse.new_empty(bias.shape if bias_grad else 0))


# --- autograd -----------------------------------------------------------------------------------
def _autograd(*args: Any) -> tuple[Tensor, Tensor]:
    return _CrossAttention.apply(_REGISTERED, *args)


def _below_autograd(*args: Any) -> tuple[Tensor, Tensor]:
    with below_autograd():
        return torch.ops.clmer.cross_attention(*args)


_REGISTERED = _Form(_below_autograd, torch.ops.clmer.cross_attention_backward)


class _CrossAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, form, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale
    ):
        out, lse = form.forward(query, key, value, mask, attn_mask, bias, seed, dropout_p, scale)
        ctx.save_for_backward(query, key, value, out, lse, mask, attn_mask, bias, seed)
        ctx.constants = dropout_p, scale
        ctx.form = form
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
        if grad_out is None:
            return (None,) * 10
        interpreted = ctx.form is _TRITON and not grad_out.is_cuda
        if interpreted and torch.is_grad_enabled():
            raise no_double_backward("cross_attention", "triton")
        outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(grad_out)
        backward = (ctx.form if outright or interpreted else _REGISTERED).backward
        bias_grad = ctx.needs_input_grad[6]
        dq, dk, dv, grad_bias = backward(grad_out, *ctx.saved_tensors, *ctx.constants, bias_grad)
        return None, dq, dk, dv, None, None, grad_bias if bias_grad else None, None, None, None


def _autograd_backward(grad_out: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (grad_out, *args)
    ):
        raise no_double_backward("cross_attention", "triton" if grad_out.is_cuda else "native")
    with below_autograd():
        return torch.ops.clmer.cross_attention_backward(grad_out, *args)


library.impl("cross_attention", _autograd, "Autograd")
library.impl("cross_attention_backward", _autograd_backward, "Autograd")


@torch.library.register_vmap("clmer::cross_attention", lib=library)
def _vmap(info, in_dims, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale):  # type: ignore[no-untyped-def]
    if seed is not None:  # folded, the mask would depend on the mapped index
        tensors = (query, key, value, mask, attn_mask, bias, seed)
        columns = [
            [t] * info.batch_size if dim is None else t.unbind(dim)
            for t, dim in zip(tensors, in_dims, strict=False)
        ]
        rows = [
            torch.ops.clmer.cross_attention(*row, dropout_p, scale)
            for row in zip(*columns, strict=True)
        ]
        return tuple(torch.stack(outs) for outs in zip(*rows, strict=True)), (0, 0)

    def front(tensor: Tensor | None, dim: int | None, expand: bool) -> Tensor | None:
        if tensor is None:
            return None
        if dim is not None:
            return tensor.movedim(dim, 0)
        return tensor.expand(info.batch_size, *tensor.shape) if expand else tensor[None]

    tensors = (query, key, value, mask, attn_mask, bias)
    folded = [front(t, in_dims[i], expand=i < 3) for i, t in enumerate(tensors)]
    return torch.ops.clmer.cross_attention(*folded, seed, dropout_p, scale), (0, 0)
