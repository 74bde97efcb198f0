"""`clmer::cross_attention`: the kernels' calls, the schema, fakes, autograd, vmap."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    below_autograd,
    is_plain,
    is_tracing,
    library,
    no_double_backward,
    reference_gradients,
)
from clmer.ops.attention.gpu import cuda_backward, cuda_forward, triton_backward, triton_forward
from clmer.ops.attention.reference import compute_dtype, cross_attention_reference

# --- registration: any leading dimensions; bias and mask of full rank, each size 1 or full -------
# impl "" is the native kernel on the CPU and Triton's on a GPU.
library.define(
    "cross_attention(Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, "
    "Tensor? attn_mask, Tensor? attn_bias, Tensor? seed, float dropout_p, float scale, "
    'bool is_causal, str impl="") -> (Tensor, Tensor)'
)
library.define(
    "cross_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
    "Tensor out, Tensor lse, Tensor? key_padding_mask, Tensor? attn_mask, Tensor? attn_bias, "
    'Tensor? seed, float dropout_p, float scale, bool is_causal, bool bias_grad, str impl="") '
    "-> (Tensor, Tensor, Tensor, Tensor)"
)


def native_forward(
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
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The kernel itself; `weights` [..., Lq, Lk], if given, takes the weights or their mean."""
    tensors = (query, key, value, mask, attn_mask, bias, seed)
    out = ordered_like(query) if query.shape[-1] == value.shape[-1] else None
    results = (want_lse, out, weights, torch.get_num_threads())
    return _C.attention_forward(*tensors, dropout_p, scale, is_causal, *results)


def native_backward(
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
    """The kernel itself; the bias gradient only where there is one."""
    parts = None
    if bias is not None and bias_grad:
        parts = bias.new_zeros((_bias_parts(query, bias), *bias.shape))
    tensors = (grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed)
    ordered = (ordered_like(query), ordered_like(key), ordered_like(value))
    how = (dropout_p, scale, is_causal)
    grads = _C.attention_backward(*tensors, *how, parts, *ordered, torch.get_num_threads())
    return (*grads, None if parts is None else parts.sum(0))


def ordered_like(tensor: Tensor) -> Tensor | None:
    """Room for a result in the memory order of `tensor`, or None: a contiguous one will do."""
    if tensor.is_contiguous():
        return None
    room = torch.empty_like(tensor)
    return room if room.stride(-1) == 1 else None


def _bias_parts(query: Tensor, bias: Tensor) -> int:
    """How many partial sums of the bias gradient: by shape alone, so that threads change no bit."""
    slices = bias.shape[:-2].numel()
    sharing = query.shape[:-2].numel() // max(slices, 1)
    return max(1, min(sharing, 16 // max(slices, 1)))


#: Device -> the op's kernels there, the first of which is taken for the impl "".
_DEVICES = {"CPU": ("native",), "CUDA": ("triton", "cuda")}


class _Form(NamedTuple):
    """Kernels that may be called outright."""

    name: str
    forward: Callable[..., tuple[Tensor, Tensor | None]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor | None]]

    def bypasses_dispatcher(self, tensor: Tensor) -> bool:
        """Whether a GPU's form runs on the CPU, interpreted: the op has the native kernel there."""
        return self.name in _DEVICES["CUDA"] and not tensor.is_cuda


IMPLEMENTATIONS = {
    implementation.name: implementation
    for implementation in (
        _Form("native", native_forward, native_backward),
        _Form("triton", triton_forward, triton_backward),
        _Form("cuda", cuda_forward, cuda_backward),
    )
}


def _op_form(device: str, impl: str) -> _Form:
    names = _DEVICES[device]
    if impl and impl not in names:
        raise RuntimeError(f"impl={impl!r} has no kernel for {device} (which has {names})")
    return IMPLEMENTATIONS[impl or names[0]]


def _op_forward(device: str, *args: Any) -> tuple[Tensor, Tensor | None]:
    args, impl = _split_impl(args, 10)
    return _op_form(device, impl).forward(*args)


def _op_backward(device: str, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    args, impl = _split_impl(args, 14)
    grad_out, query, key, value, out, lse, *rest = args
    out = out if device == "CPU" and out.stride(-1) == 1 else out.contiguous()
    operands = (grad_out, query, key, value, out, lse.contiguous())
    dq, dk, dv, grad_bias = _op_form(device, impl).backward(*operands, *rest)
    return dq, dk, dv, lse.new_empty(0) if grad_bias is None else grad_bias


def _split_impl(args: tuple[Any, ...], count: int) -> tuple[tuple[Any, ...], str]:
    """The first `count` arguments, and impl: the dispatcher leaves out what is the default."""
    return args[:count], args[count] if len(args) > count else ""


for _device in _DEVICES:
    library.impl("cross_attention", partial(_op_forward, _device), _device)
    library.impl("cross_attention_backward", partial(_op_backward, _device), _device)


@torch.library.register_fake("clmer::cross_attention", lib=library)
def _fake(  # type: ignore[no-untyped-def]
    query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, is_causal, impl=""
):
    out = _fake_like(query) if query.shape[-1] == value.shape[-1] else None
    if out is None:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    return out, query.new_empty(query.shape[:-1], dtype=compute_dtype(query.dtype))


@torch.library.register_fake("clmer::cross_attention_backward", lib=library)
def _fake_backward(  # type: ignore[no-untyped-def]
    grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed, dropout_p, scale, is_causal,
    bias_grad, impl="",
):  # fmt: skip
    grads = (_fake_like(t) for t in (query, key, value))
    made = tuple(
        t.new_empty(t.shape) if grad is None else grad
        for t, grad in zip((query, key, value), grads, strict=True)
    )
    return (*made, lse.new_empty(bias.shape if bias_grad else 0))


def _fake_like(tensor: Tensor) -> Tensor | None:
    """What `ordered_like` gives the native kernel; a GPU's results are contiguous."""
    return ordered_like(tensor) if tensor.device.type == "cpu" else None


# --- autograd -----------------------------------------------------------------------------------
def _dispatched(*args: Any) -> tuple[Tensor, Tensor]:
    args, impl = _split_impl(args, 10)
    return CrossAttention.apply(registered(impl), True, *args)


@cache
def registered(impl: str) -> _Form:
    """The op itself, with autograd left out."""

    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        with below_autograd():
            return torch.ops.clmer.cross_attention(*args, impl)

    def backward(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return torch.ops.clmer.cross_attention_backward(*args, impl)

    return _Form(impl, forward, backward)


class CrossAttention(torch.autograd.Function):
    """One form's forward and backward; `explicit`: the caller named the form."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, implementation, explicit, query, key, value, mask, attn_mask, bias, seed, *constants
    ):
        """O [..., Lq, Dv] and the log-sum-exp [..., Lq], which has no gradient."""
        out, lse = implementation.forward(
            query, key, value, mask, attn_mask, bias, seed, *constants
        )
        ctx.save_for_backward(query, key, value, out, lse, mask, attn_mask, bias, seed)
        ctx.constants = constants
        ctx.implementation = implementation
        ctx.explicit = explicit
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
        """The gradients; under create_graph=True, if no form was named, those of the reference."""
        if grad_out is None:
            return (None,) * 12
        bias_grad = ctx.needs_input_grad[7]
        if torch.is_grad_enabled() and not ctx.explicit and not is_tracing():
            dq, dk, dv, grad_bias = _reference_backward(
                grad_out, *ctx.saved_tensors, *ctx.constants
            )
        else:
            apart = ctx.implementation.bypasses_dispatcher(grad_out)
            if apart and torch.is_grad_enabled():
                raise no_double_backward("cross_attention", ctx.implementation.name)
            outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(grad_out)
            backward = (
                ctx.implementation if outright or apart else registered(ctx.implementation.name)
            ).backward
            dq, dk, dv, grad_bias = backward(
                grad_out, *ctx.saved_tensors, *ctx.constants, bias_grad
            )
        grads = (dq, dk, dv, None, None, grad_bias if bias_grad else None)
        return None, None, *grads, None, *(None for _ in ctx.constants)


def _reference_backward(
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
) -> list[Tensor | None]:
    """The gradients as functions that can be differentiated again."""
    how: dict[str, Any] = {"key_padding_mask": mask, "attn_mask": attn_mask, "scale": scale}
    how |= {"is_causal": is_causal, "dropout_p": dropout_p, "seed": seed}

    def reference(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None) -> Tensor:
        return cross_attention_reference(q, k, v, attn_bias=added, **how)

    inputs = (query, key, value, bias)
    return reference_gradients("cross_attention", reference, inputs, grad_out)


def _autograd_backward(grad_out: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (grad_out, *args)
    ):
        _, impl = _split_impl(args, 13)
        names = _DEVICES["CUDA" if grad_out.is_cuda else "CPU"]
        raise no_double_backward("cross_attention", impl or names[0])
    with below_autograd():
        return torch.ops.clmer.cross_attention_backward(grad_out, *args)


library.impl("cross_attention", _dispatched, "Autograd")
library.impl("cross_attention_backward", _autograd_backward, "Autograd")


@torch.library.register_vmap("clmer::cross_attention", lib=library)
def _vmap(  # type: ignore[no-untyped-def]
    info, in_dims, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, is_causal,
    impl="",
):  # fmt: skip
    constants = (dropout_p, scale, is_causal, impl)
    if seed is not None:  # folded, the mask would depend on the mapped index
        tensors = (query, key, value, mask, attn_mask, bias, seed)
        columns = [
            [t] * info.batch_size if dim is None else t.unbind(dim)
            for t, dim in zip(tensors, in_dims, strict=False)
        ]
        rows = [
            torch.ops.clmer.cross_attention(*row, *constants) for row in zip(*columns, strict=True)
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
    return torch.ops.clmer.cross_attention(*folded, seed, *constants), (0, 0)
