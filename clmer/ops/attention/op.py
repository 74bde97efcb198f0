"""`cross_attention`: softmax(Q K^T) V without the matrix, for many small heads or a few long ones.

The plain PyTorch form is in reference.py, calls of the GPU kernels in gpu.py; the kernels are in
csrc/attention/ (args.h, cpu_*, gpu_*) and kernels/attention.py (Triton).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    below_autograd,
    choose_impl,
    is_plain,
    is_tracing,
    library,
    no_double_backward,
)
from clmer.ops.attention.checks import check, number, padding_over_heads, promoted, to_rank
from clmer.ops.attention.gpu import (
    best_on_gpu,
    cuda_backward,
    cuda_forward,
    triton_backward,
    triton_forward,
)
from clmer.ops.attention.reference import check_seed, compute_dtype, cross_attention_reference

_NATIVE = ("cpu",)


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
        key_padding_mask: bool, True = ignore: [Lk], or query's leading dimensions, each of its size
            or 1, and Lk. For queries [B, H, Lq, D] also [B, Lk], as in `nn.MultiheadAttention`: the
            same keys for all heads, be H equal to B or not. Beside more leading dimensions fewer
            align at the right, and are refused where they fit in other places too.
        attn_mask: bool, broadcastable to [..., Lq, Lk]; True = takes part, as in
            `F.scaled_dot_product_attention` and unlike key_padding_mask. As there, dimensions align
            at the right: [H, Lq, Lk] is of the heads, be B equal to H or not.
        attn_bias: floating point, broadcastable to [..., Lq, Lk], added to the scores; its gradient
            is summed over the broadcast dimensions. -inf gives the weight 0 like a mask, but what
            stands behind it is read: there a NaN spreads, which the masks prevent.
        dropout_p: probability in [0, 1) of dropping a weight; the kept ones grow by 1 / (1 - p).
        scale: a constant; None is 1 / sqrt(D). One that is learnt goes into query.
        seed: 0-d int64, the key of the dropout mask; None draws one with `torch.randint`. The mask
            is a hash of (seed, leading index, row, column), the same in every implementation.
        impl: None, "native" (CPU), "reference" (plain PyTorch, differentiable any number of times),
            "triton" (GPU; elsewhere in Triton's interpreter; not float64; D and Dv up to 256) or
            "cuda" (GPU; not float64; Lq and Lk up to 128, D and Dv up to 64). None is native on the
            CPU; on a GPU of architecture 8.0 or later "cuda" where it fits and was built (in
            float32 past 80 tokens up to 32 features), else "triton" for half types up to its widths
            where it finds a C compiler, else the reference.

    Returns:
        O [..., Lq, Dv] of query's dtype. The masks give a hidden pair the weight 0, exactly. A
        query that sees no key gives zeros, and its gradients are zeros. Such a query (with its
        gradient that comes in) and a key or value that no query of its head sees may hold
        anything, NaN and Inf included: nothing else notices. A key that is hidden from some
        queries and seen by others must be finite: 0 times its NaN is NaN in the former too.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or dropout_p outside [0, 1).
        RuntimeError: an `impl` that cannot run on these tensors; second derivatives of any but the
            reference.

    Source: the paper's Eq. 5-6; row-wise log-sum-exp and recomputation as in Dao et al.,
    FlashAttention (2022).
    """
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        found = ", ".join(type(each).__name__ for each in (query, key, value))
        raise ValueError(f"query, key, value: found {found}, expected tensors")
    if key.dtype != query.dtype or value.dtype != query.dtype:
        query, key, value = promoted(query, key, value)
    if isinstance(key_padding_mask, Tensor):
        key_padding_mask = padding_over_heads(key_padding_mask, query.shape[:-2])
    check(query, key, value, key_padding_mask, attn_mask, attn_bias, dropout_p)
    if impl is None and query.is_cpu:
        impl = "native"
    else:
        wish = best_on_gpu(query, key, value) if impl is None and query.is_cuda else impl
        impl = choose_impl(wish, query.device, _NATIVE, also=("triton", "cuda"))
    scale = (query.shape[-1] or 1) ** -0.5 if scale is None else number(scale)
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
        key_padding_mask = to_rank(key_padding_mask, lead + 1)
    if attn_mask is not None:
        attn_mask = to_rank(attn_mask, lead + 2)
    if attn_bias is not None:
        attn_bias = to_rank(attn_bias.to(compute_dtype(query.dtype)), lead + 2)
    tensors = (query, key, value, key_padding_mask, attn_mask, attn_bias, seed)
    constants = (float(dropout_p), scale)
    implementation = _IMPLEMENTATIONS[impl]
    apart = implementation.bypasses_dispatcher(query)
    if not apart and is_tracing():
        out, _ = torch.ops.clmer.cross_attention(*tensors, *constants, impl)
    elif not apart and not is_plain(*tensors):
        out, _ = _autograd(*tensors, *constants, impl)
    elif torch.is_grad_enabled() and any_requires_grad(query, key, value, attn_bias):
        out, _ = _CrossAttention.apply(implementation, *tensors, *constants)
    else:
        out, _ = implementation.forward(*tensors, *constants, want_lse=False)
    return out


# --- registration: any leading dimensions; bias and mask of full rank, each size 1 or full -------
# impl "" is the native kernel on the CPU and Triton's on a GPU.
library.define(
    "cross_attention(Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, "
    "Tensor? attn_mask, Tensor? attn_bias, Tensor? seed, float dropout_p, float scale, "
    'str impl="") -> (Tensor, Tensor)'
)
library.define(
    "cross_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, "
    "Tensor out, Tensor lse, Tensor? key_padding_mask, Tensor? attn_mask, Tensor? attn_bias, "
    'Tensor? seed, float dropout_p, float scale, bool bias_grad, str impl="") '
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


_IMPLEMENTATIONS = {
    implementation.name: implementation
    for implementation in (
        _Form("native", _forward, _backward),
        _Form("triton", triton_forward, triton_backward),
        _Form("cuda", cuda_forward, cuda_backward),
    )
}


def _op_form(device: str, impl: str) -> _Form:
    names = _DEVICES[device]
    if impl and impl not in names:
        raise RuntimeError(f"impl={impl!r} has no kernel for {device} (which has {names})")
    return _IMPLEMENTATIONS[impl or names[0]]


def _op_forward(device: str, *args: Any) -> tuple[Tensor, Tensor | None]:
    args, impl = _split_impl(args, 9)
    return _op_form(device, impl).forward(*args)


def _op_backward(device: str, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    args, impl = _split_impl(args, 13)
    grad_out, query, key, value, out, lse, *rest = args
    operands = (grad_out, query, key, value, out.contiguous(), lse.contiguous())
    dq, dk, dv, grad_bias = _op_form(device, impl).backward(*operands, *rest)
    return dq, dk, dv, lse.new_empty(0) if grad_bias is None else grad_bias


def _split_impl(args: tuple[Any, ...], count: int) -> tuple[tuple[Any, ...], str]:
    """The first `count` arguments, and impl: the dispatcher leaves out what is the default."""
    return args[:count], args[count] if len(args) > count else ""


for _device in _DEVICES:
    library.impl("cross_attention", partial(_op_forward, _device), _device)
    library.impl("cross_attention_backward", partial(_op_backward, _device), _device)


@torch.library.register_fake("clmer::cross_attention", lib=library)
def _fake(query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, impl=""):  # type: ignore[no-untyped-def]
    out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    return out, query.new_empty(query.shape[:-1], dtype=compute_dtype(query.dtype))


@torch.library.register_fake("clmer::cross_attention_backward", lib=library)
def _fake_backward(  # type: ignore[no-untyped-def]
    grad_out, query, key, value, out, lse, mask, attn_mask, bias, seed, dropout_p, scale, bias_grad,
    impl="",
):  # fmt: skip
    grads = tuple(t.new_empty(t.shape) for t in (query, key, value))
    return (*grads, lse.new_empty(bias.shape if bias_grad else 0))


# --- autograd -----------------------------------------------------------------------------------
def _autograd(*args: Any) -> tuple[Tensor, Tensor]:
    args, impl = _split_impl(args, 9)
    return _CrossAttention.apply(_registered(impl), *args)


@cache
def _registered(impl: str) -> _Form:
    """The op itself, with autograd left out."""

    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        with below_autograd():
            return torch.ops.clmer.cross_attention(*args, impl)

    def backward(*args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return torch.ops.clmer.cross_attention_backward(*args, impl)

    return _Form(impl, forward, backward)


class _CrossAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, implementation, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale
    ):
        out, lse = implementation.forward(
            query, key, value, mask, attn_mask, bias, seed, dropout_p, scale
        )
        ctx.save_for_backward(query, key, value, out, lse, mask, attn_mask, bias, seed)
        ctx.constants = dropout_p, scale
        ctx.implementation = implementation
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    def backward(ctx, grad_out, _):  # type: ignore[no-untyped-def]
        if grad_out is None:
            return (None,) * 10
        apart = ctx.implementation.bypasses_dispatcher(grad_out)
        if apart and torch.is_grad_enabled():
            raise no_double_backward("cross_attention", ctx.implementation.name)
        outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(grad_out)
        backward = (
            ctx.implementation if outright or apart else _registered(ctx.implementation.name)
        ).backward
        bias_grad = ctx.needs_input_grad[6]
        dq, dk, dv, grad_bias = backward(grad_out, *ctx.saved_tensors, *ctx.constants, bias_grad)
        return None, dq, dk, dv, None, None, grad_bias if bias_grad else None, None, None, None


def _autograd_backward(grad_out: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in (grad_out, *args)
    ):
        _, impl = _split_impl(args, 12)
        names = _DEVICES["CUDA" if grad_out.is_cuda else "CPU"]
        raise no_double_backward("cross_attention", impl or names[0])
    with below_autograd():
        return torch.ops.clmer.cross_attention_backward(grad_out, *args)


library.impl("cross_attention", _autograd, "Autograd")
library.impl("cross_attention_backward", _autograd_backward, "Autograd")


@torch.library.register_vmap("clmer::cross_attention", lib=library)
def _vmap(  # type: ignore[no-untyped-def]
    info, in_dims, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, impl=""
):
    if seed is not None:  # folded, the mask would depend on the mapped index
        tensors = (query, key, value, mask, attn_mask, bias, seed)
        columns = [
            [t] * info.batch_size if dim is None else t.unbind(dim)
            for t, dim in zip(tensors, in_dims, strict=False)
        ]
        rows = [
            torch.ops.clmer.cross_attention(*row, dropout_p, scale, impl)
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
    return torch.ops.clmer.cross_attention(*folded, seed, dropout_p, scale, impl), (0, 0)
