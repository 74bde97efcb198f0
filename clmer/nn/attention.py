"""`nn.MultiheadAttention` on `clmer.ops.cross_attention`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clmer.nn.checks import NotScriptable
from clmer.nn.random_state import new_seed
from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.weights import cross_attention_with_weights

#: Where the mark stands among the forward pre-hooks: no handle of torch has this number.
_MARK = -1


class CrossModalAttention(NotScriptable, nn.MultiheadAttention):
    """Multi-head attention with `nn.MultiheadAttention`'s constructor, forward and state_dict.

        head_i = softmax(Q W_i^Q (K W_i^K)^T / sqrt(d)) V W_i^V;  output = [head_1 .. head_h] W^O

    Two differences: a query whose keys are all masked attends to nothing (zeros before W^O, where
    `nn.MultiheadAttention` gives NaN), and in cross-attention a key that a boolean key_padding_mask
    ignores may hold NaN (in self-attention it is a query as well). The weights are built only when
    asked for, on the CPU in the pass that makes the output. `nn.TransformerEncoderLayer` calls
    this module in eval mode too, instead of its own fast path: a forward pre-hook that does nothing
    keeps it from reading the weights itself.

    Args:
        embed_dim: features E of queries and outputs.
        num_heads: heads h, each of d = E / h features.
        dropout: probability in [0, 1] of dropping a weight in training; at 1 nothing is left but
            out_proj's bias.
        bias: biases in all projections.
        add_bias_kv: a learnt key and value behind the others.
        add_zero_attn: a key and value of zeros behind the others.
        kdim: features of keys, None for E.
        vdim: features of values, None for E.
        batch_first: [B, L, E] instead of [L, B, E].
        device: of the parameters.
        dtype: of the parameters.
        impl: as in `clmer.cross_attention`; "reference" is plain PyTorch. It is an attribute too,
            which may be changed at any time.

    Source: the paper's Eq. 5-6; Vaswani et al., Attention Is All You Need (2017).
    """

    impl: str | None = None
    _instead = (
        "script a copy after clmer.nn.restore_attention(copy), whose results and state_dict are "
        "the same, or use torch.compile or torch.export"
    )

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        impl: str | None = None,
    ) -> None:
        super().__init__(
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            kdim,
            vdim,
            batch_first,
            device,
            dtype,
        )
        self.mark(impl)

    @classmethod
    def from_torch(
        cls, module: nn.MultiheadAttention, *, impl: str | None = None
    ) -> CrossModalAttention:
        """This module in another's place: the very parameters, mode, hooks and all other fields.

        Nothing is copied: the parameters are the same objects, so that an optimizer made for the
        other trains this one. Hooks run here as well; a handle takes them from the other only
        (`clmer.nn.replace_attention` keeps the module itself, and with it the handles).

        Args:
            module: an `nn.MultiheadAttention`, which is left as it is.
            impl: as in the constructor.

        Raises:
            ValueError: a subclass, or a module whose forward was set on the object, both of which
                may compute something else.
        """
        if type(module) is not nn.MultiheadAttention or "forward" in vars(module):
            found = "one with a forward of its own" if "forward" in vars(module) else type(module)
            raise ValueError(
                f"from_torch: found {found}, expected nn.MultiheadAttention itself: another may "
                "compute something else, which would be lost"
            )
        ours = cls.__new__(cls)
        for name, field in vars(module).items():
            vars(ours)[name] = copy.copy(field) if isinstance(field, (dict, set)) else field
        ours.mark(impl)
        return ours

    def mark(self, impl: str | None = None) -> None:
        """Make a module whose class was set what the constructor makes: fast paths see a hook."""
        self._forward_pre_hooks[_MARK] = _keeps_fast_paths_off
        if impl is not None:
            self.impl = impl

    def unmark(self) -> None:
        """Undo `mark`, for `clmer.nn.restore_attention`."""
        self._forward_pre_hooks.pop(_MARK, None)
        vars(self).pop("impl", None)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: [B, Lq, E] under batch_first, else [Lq, B, E]; or [Lq, E].
            key: [B, Lk, kdim], [Lk, B, kdim] or [Lk, kdim].
            value: [B, Lk, vdim], [Lk, B, vdim] or [Lk, vdim].
            key_padding_mask: [B, Lk] or [Lk]; bool (True = ignore) or floating point (added: where
                it is -inf a key has no weight, but must be finite).
            need_weights: also return the weights, after dropout as `nn.MultiheadAttention` does;
                they cost the matrix that the output alone never builds, and little time.
            attn_mask: [Lq, Lk] or [B * H, Lq, Lk]; bool (True = ignore) or added; differentiable.
            average_attn_weights: mean over heads, [B, Lq, Lk]; else [B, H, Lq, Lk].
            is_causal: a hint that attn_mask is causal; attn_mask must be given with it.

        Returns:
            The output in query's layout, and the weights or None.

        Raises:
            ValueError: shapes or dtypes that do not fit, or is_causal without attn_mask.
        """
        if query.is_nested:
            return self._nested(query, key, value, key_padding_mask, attn_mask, need_weights)
        if is_causal and attn_mask is None:
            raise ValueError("is_causal is a hint about attn_mask: found no attn_mask with it")
        batched = query.dim() == 3
        if query.dim() not in (2, 3) or not query.dim() == key.dim() == value.dim():
            raise ValueError(
                f"found query {tuple(query.shape)}, key {tuple(key.shape)}, value "
                f"{tuple(value.shape)}, expected three dimensions each, or two without a batch"
            )
        self._check_widths(query, key, value)
        same_kv, same_qk = key is value, query is key
        if not batched:
            query, key, value = query[None], key[None], value[None]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        batch_first = self.batch_first or not batched
        batch, rows = query.shape[:2] if batch_first else query.shape[1::-1]
        keys = key.shape[1 if batch_first else 0]
        self._check_masks(batch, rows, keys, key_padding_mask, attn_mask)
        mask, shown, bias = self._masks(key_padding_mask, attn_mask)
        if mask is not None and not same_qk:
            # NaN times a zero gradient would still reach the projections' weights.
            hidden = (mask[:, 0] if batch_first else mask[:, 0].T)[..., None]
            key = key.masked_fill(hidden, 0.0)
            value = key if same_kv else value.masked_fill(hidden, 0.0)
        # Projected as they lie, [B, L, E] or [L, B, E], and back to that: nothing is copied.
        heads_first = (0, 2, 1, 3) if batch_first else (1, 2, 0, 3)  # to [B, H, L, E / H]
        as_given = (0, 2, 1, 3) if batch_first else (2, 0, 1, 3)
        rows_of = self._project(query, key, value, same_qk and same_kv, same_kv)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).permute(heads_first) for t in rows_of)
        k, v, mask, shown, bias = self._extend(k, v, mask, shown, bias)
        dropout_p = self.dropout if self.training else 0.0
        terms: dict[str, Any] = {"key_padding_mask": mask, "attn_mask": shown, "attn_bias": bias}
        terms |= {"dropout_p": dropout_p, "seed": new_seed(dropout_p, q.device), "impl": self.impl}
        weights = None
        if need_weights:
            heads, weights = cross_attention_with_weights(
                q, k, v, **terms, average=average_attn_weights
            )
        else:
            heads = cross_attention(q, k, v, **terms)
        out = self.out_proj(heads.permute(as_given).flatten(2))
        if not batched:
            return out[0], None if weights is None else weights[0]
        return out, weights

    def _nested(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        padding: Tensor | None,
        attn_mask: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Self-attention of the nested tensors that `nn.TransformerEncoder` makes in eval mode."""
        if need_weights or not (query is key is value and padding is attn_mask is None):
            raise ValueError(
                "nested tensors: expected self-attention without masks and need_weights=False; "
                "for anything else pass padded tensors and key_padding_mask"
            )
        lengths = query._nested_tensor_size()[:, :1].to(query.device)
        x = query.to_padded_tensor(0.0)
        kept = torch.arange(x.shape[1], device=x.device) < lengths
        x = x if self.batch_first else x.transpose(0, 1)
        out, _ = self(x, x, x, key_padding_mask=~kept, need_weights=False)
        return torch._nested_tensor_from_mask(
            out if self.batch_first else out.transpose(0, 1), kept
        ), None

    def _check_widths(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        asked = {"embed_dim": self.embed_dim, "kdim": self.kdim, "vdim": self.vdim}
        named = {"query": query, "key": key, "value": value}
        for (name, x), (size, width) in zip(named.items(), asked.items(), strict=True):
            if x.shape[-1] != width:
                raise ValueError(
                    f"{name}: found shape {tuple(x.shape)}, expected {width} features ({size}) in "
                    "the last dimension"
                )
        if key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                f"found key {tuple(key.shape)} and value {tuple(value.shape)}, expected as many "
                "tokens in both"
            )
        axis = 0 if self.batch_first else 1
        if query.dim() == 3 and query.shape[axis] != key.shape[axis]:
            order = "[B, L, E]" if self.batch_first else "[L, B, E]"
            raise ValueError(
                f"found query {tuple(query.shape)} and key {tuple(key.shape)}, expected one batch "
                f"size; batch_first={self.batch_first} takes {order}"
            )

    def _check_masks(
        self,
        batch: int,
        rows: int,
        keys: int,
        padding: Tensor | None,
        attn_mask: Tensor | None,
    ) -> None:
        if padding is not None and padding.shape != (batch, keys):
            raise ValueError(
                f"key_padding_mask: found shape {tuple(padding.shape)}, expected "
                f"[{batch}, {keys}], or [{keys}] without a batch"
            )
        for name, mask in (("key_padding_mask", padding), ("attn_mask", attn_mask)):
            if mask is not None and mask.dtype != torch.bool and not mask.is_floating_point():
                raise ValueError(
                    f"{name}: found {mask.dtype}, expected torch.bool (True = ignore) or a "
                    "floating-point dtype (added)"
                )
        matrix = (rows, keys)
        if attn_mask is not None and attn_mask.shape not in (
            matrix,
            (batch * self.num_heads, *matrix),
        ):
            raise ValueError(
                f"attn_mask: found shape {tuple(attn_mask.shape)}, expected [{rows}, {keys}] or "
                f"[{batch * self.num_heads}, {rows}, {keys}]"
            )

    def _masks(
        self, padding: Tensor | None, attn_mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The masks as `cross_attention` takes them: key_padding_mask, attn_mask, attn_bias."""
        mask = shown = bias = None
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.unflatten(0, (-1, self.num_heads))
            if attn_mask.dtype == torch.bool:
                shown = ~attn_mask
            else:
                bias = attn_mask
        if padding is not None:
            if padding.dtype == torch.bool:
                mask = padding[:, None]  # [B, 1, Lk]
            else:
                added = padding[:, None, None, :]
                bias = added if bias is None else bias + added
        return mask, shown, bias

    def _project(
        self, query: Tensor, key: Tensor, value: Tensor, packed: bool, packed_kv: bool
    ) -> tuple[Tensor, ...]:
        """The three projections, in one product where the inputs are one tensor."""
        e, w, b = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        biases = (None, None, None) if b is None else b.chunk(3)
        if w is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            return tuple(map(F.linear, (query, key, value), weights, biases))
        if packed:
            return F.linear(query, w, b).chunk(3, -1)
        if packed_kv:
            q = F.linear(query, w[:e], biases[0])
            return q, *F.linear(key, w[e:], None if b is None else b[e:]).chunk(2, -1)
        return tuple(map(F.linear, (query, key, value), w.chunk(3), biases))

    def _extend(
        self,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        shown: Tensor | None,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Appends the learnt key (add_bias_kv) and the zero key (add_zero_attn), never masked."""
        shape = (k.shape[0], self.num_heads, 1, self.head_dim)
        extra = 0
        if self.bias_k is not None and self.bias_v is not None:
            learnt = (self.bias_k, self.bias_v)
            k, v = (
                torch.cat([t, b.view(1, self.num_heads, 1, -1).expand(shape).to(t.dtype)], 2)
                for t, b in zip((k, v), learnt, strict=True)
            )
            extra += 1
        if self.add_zero_attn:
            k, v = (torch.cat([t, t.new_zeros(shape)], 2) for t in (k, v))
            extra += 1
        if extra and mask is not None:
            mask = F.pad(mask, (0, extra))
        if extra and shown is not None:
            shown = F.pad(shown, (0, extra), value=True)
        if extra and bias is not None:
            bias = F.pad(bias, (0, extra))
        return k, v, mask, shown, bias


def _keeps_fast_paths_off(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """A forward pre-hook: `nn.TransformerEncoderLayer` calls modules that have one, in any mode."""
