"""`cross_attention` with the arguments of PyTorch's SDPA, and in its place for a whole model."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clmer.ops.attention.checks import MAX_DIMS
from clmer.ops.attention.op import cross_attention

_PYTORCH = F.scaled_dot_product_attention


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    impl: str | None = None,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention`, argument by argument.

        O = dropout(softmax(scale Q K^T + attn_mask)) V

    Args:
        query: [..., Hq, Lq, D], or fewer dimensions down to [Lq, D]; float32, float64, bfloat16 or
            float16. Under autocast all three are cast to its dtype, as PyTorch's are.
        key: [..., H, Lk, D]. Leading dimensions broadcast; nothing is copied for that.
        value: [..., H, Lk, Dv].
        attn_mask: broadcastable to [..., Hq, Lq, Lk]: bool (True = takes part), or floating point,
            which is added to the scores and may require a gradient.
        dropout_p: probability in [0, 1] of dropping a weight, in evaluation too, as PyTorch has it.
        is_causal: query i sees the keys 0 to i alone.
        scale: None is 1 / sqrt(D).
        enable_gqa: Hq may be a multiple of H: query heads i Hq / H to (i + 1) Hq / H - 1 attend to
            head i of key and value.
        impl: as for `cross_attention`.

    Returns:
        O [..., Hq, Lq, Dv], on the CPU (with Dv = D) in query's memory order. A query that sees no
        key gives zeros. What dropout drops differs from what it drops in PyTorch.

    Raises:
        RuntimeError: attn_mask beside is_causal, which PyTorch refuses too.
        ValueError: nested tensors, shapes, dtypes or devices that do not fit.

    Source: PyTorch 2.9 to 2.13, torch.nn.functional.scaled_dot_product_attention.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "scaled_dot_product_attention: found attn_mask and is_causal=True, expected one of "
            "them; cross_attention takes both"
        )
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if isinstance(tensor, Tensor) and tensor.is_nested:
            raise ValueError(
                f"{name}: found a nested tensor, expected a padded one: to_padded_tensor(0.0), and "
                "a mask that hides the padding"
            )
        if not isinstance(tensor, Tensor) or tensor.dim() < 2:
            found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name}: found {found}, expected a tensor [..., length, features]")
    query, key, value = to_autocast(query, key, value)
    if attn_mask is not None and attn_mask.is_floating_point():
        bias, attn_mask = attn_mask, None
    else:
        bias = None
    groups = 1
    if enable_gqa:
        groups = _groups(query, key, value)
        if groups > 1:
            query = query.unflatten(-3, (-1, groups))
            key, value = key.unsqueeze(-3), value.unsqueeze(-3)
            attn_mask, bias = (group_heads(t, groups) for t in (attn_mask, bias))
    out = cross_attention(
        *_broadcast(query, key, value),
        attn_mask=attn_mask,
        attn_bias=bias,
        is_causal=is_causal,
        dropout_p=dropout_p,
        scale=scale,
        impl=impl,
    )
    return out.flatten(-4, -3) if groups > 1 else out


def group_heads(tensor: Tensor | None, groups: int) -> Tensor | None:
    """[..., Hq or 1, Lq, Lk] as [..., H or 1, Hq / H or 1, Lq, Lk]; lower ranks as they are."""
    if tensor is None or tensor.dim() < 3:
        return tensor
    if tensor.shape[-3] == 1:
        return tensor.unsqueeze(-3)
    return tensor.unflatten(-3, (-1, groups))


def to_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Autocast's dtype for all where it is on, as for PyTorch's own; else what came."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device) or torch.float64 in {t.dtype for t in tensors}:
        return tensors
    return tuple(t.to(torch.get_autocast_dtype(device)) for t in tensors)


def _groups(query: Tensor, key: Tensor, value: Tensor) -> int:
    """Query heads per head of key and value."""
    if min(t.dim() for t in (query, key, value)) < 3:
        raise ValueError(
            f"enable_gqa: found query {tuple(query.shape)}, key {tuple(key.shape)}, value "
            f"{tuple(value.shape)}, expected heads in the third dimension from the right of each"
        )
    heads, shared = query.shape[-3], key.shape[-3]
    if value.shape[-3] != shared or shared == 0 or heads % shared:
        raise ValueError(
            f"enable_gqa: found {heads} query heads, {shared} of key, {value.shape[-3]} of value, "
            "expected a multiple of one number that key and value share"
        )
    return heads // shared


def _broadcast(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All with the leading dimensions that theirs broadcast to."""
    if query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        return query, key, value
    try:
        lead = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"found query {tuple(query.shape)}, key {tuple(key.shape)}, value "
            f"{tuple(value.shape)}, expected leading dimensions that broadcast"
            + (
                ", or enable_gqa=True for fewer heads in key and value"
                if query.dim() > 2 and key.dim() > 2 and query.shape[-3] != key.shape[-3]
                else ""
            )
        ) from None
    query, key, value = (t.expand(*lead, *t.shape[-2:]) for t in (query, key, value))
    return query, key, value


def why_not(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> str:
    """Why a call is better left to PyTorch: it would be refused, or no kernel is there for it."""
    from clmer.ops.attention.gpu import best_on_gpu

    if query.is_nested or key.is_nested or value.is_nested:
        return "nested tensors"
    if max(query.dim(), key.dim(), value.dim()) + enable_gqa > MAX_DIMS:
        return f"more than {MAX_DIMS - enable_gqa} dimensions"
    if not query.is_floating_point() or query.element_size() == 1:
        return f"{query.dtype}"
    if is_causal and attn_mask is not None:
        return "attn_mask and is_causal together, which PyTorch refuses"
    if query.is_cuda and best_on_gpu(query, key, value) == "reference":
        return f"no GPU kernel for {query.dtype} of this length and width"
    if not query.is_cuda and not query.is_cpu:
        return f"tensors on {query.device.type}"
    return ""


class sdpa_kernel:
    """A block in which `F.scaled_dot_product_attention` is `clmer.scaled_dot_product_attention`.

        with clmer.nn.sdpa_kernel() as calls:
            model(x)
        print(calls)  # 12 calls taken; 1 left to PyTorch: nested tensors (1)

    Every module that holds the function, by whatever name it imported it, finds the other one, in
    all threads, until the block ends. The backward of what was computed inside may run outside.
    Attention that does not call the function (products written out, the fast path of
    `nn.TransformerEncoderLayer` in evaluation) is not seen; `clmer.nn.replace_attention` is for
    `nn.MultiheadAttention`. A compiled model counts where it is traced, once.

    Attributes:
        taken: calls computed by `cross_attention`.
        left: calls left to PyTorch, by reason.

    Raises:
        RuntimeError: entered within another such block.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.left: Counter[str] = Counter()
        self._places: list[tuple[dict[str, Any], str]] = []

    def __enter__(self) -> sdpa_kernel:
        """Put the function everywhere where PyTorch's is."""
        if F.scaled_dot_product_attention is not _PYTORCH:
            raise RuntimeError(
                "sdpa_kernel: F.scaled_dot_product_attention is another function already "
                f"({F.scaled_dot_product_attention}), expected PyTorch's own"
            )
        for module in [*sys.modules.values()]:
            names = getattr(module, "__dict__", None)
            if isinstance(names, dict) and names is not globals():
                found = [name for name, value in [*names.items()] if value is _PYTORCH]
                self._places += [(names, name) for name in found]

        def sdpa(*args: Any, **options: Any) -> Tensor:
            return self._call(*args, **options)

        for names, name in self._places:
            names[name] = sdpa
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put PyTorch's back."""
        while self._places:
            names, name = self._places.pop()
            names[name] = _PYTORCH

    def _call(self, *args: Any, **options: Any) -> Tensor:
        reason = why_not(*args, **options)
        if reason:
            self.left[reason] += 1
            return _PYTORCH(*args, **options)
        self.taken += 1
        return scaled_dot_product_attention(*args, **options)

    def __repr__(self) -> str:
        """How many calls were taken, and how many left and why."""
        text = f"{self.taken} calls taken"
        if self.left:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self.left.items())
            text += f"; {sum(self.left.values())} left to PyTorch: {reasons}"
        return text
