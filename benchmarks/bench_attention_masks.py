"""`cross_attention` under masks against SDPA under the same, float32 on the CPU, 16 heads.

    pytest benchmarks/bench_attention_masks.py --benchmark-only

Times are median/minimum in ms of a causal mask, said by the flag, by a boolean matrix [L, L] or by
a float one of 0 and -inf, and of a boolean mask [B, 16, L, L] in which each pair is hidden with
probability 0.3. "ratio" is SDPA's median over ours, of the same form. The last columns: ours
without a mask, and the weights of every head's pass averaged beside the output.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from _measure import compare_passes, table
from _passes import agree, passes
from torch import Tensor
from torch.nn import functional as F

from clmer import scaled_dot_product_attention
from clmer.ops.attention.weights import cross_attention_with_weights

HEADS = 16
TITLE = "cross_attention under masks, float32: ms median/minimum"


def forms_of(length: int, batch: int) -> dict[str, dict[str, object]]:
    """What a mask is said by -> the options that say it."""
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    added = torch.zeros(length, length).masked_fill(~earlier, -torch.inf)
    drawn = torch.rand(batch, HEADS, length, length) > 0.3
    drawn[..., 0] = True
    return {
        "is_causal": {"is_causal": True},
        "causal, bool": {"attn_mask": earlier},
        "causal, float": {"attn_mask": added},
        "any, bool": {"attn_mask": drawn},
    }


@pytest.mark.parametrize("dim", [16, 64])
@pytest.mark.parametrize("length", [48, 128, 256])
def test_masks(benchmark, length: int, dim: int) -> None:
    torch.manual_seed(0)
    batch = max(1, 512 // length)
    qkv = tuple(torch.randn(batch, HEADS, length, dim, requires_grad=True) for _ in range(3))
    grad = torch.randn(batch, HEADS, length, dim)
    said = forms_of(length, batch)
    forms = {}
    for name, options in said.items():
        ours = partial(scaled_dot_product_attention, **options)
        plain = partial(F.scaled_dot_product_attention, **options)
        agree({"ours": ours}, plain, qkv, grad)
        forms |= {f"ours {name}": ours, f"SDPA {name}": plain}
    forms["ours, no mask"] = scaled_dot_product_attention
    forms["ours, with weights"] = with_weights
    runs = {name: lambda form=form: passes(form, qkv, grad) for name, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 9), rounds=1)
    for which in ("forward", "both"):
        result = results[which]
        row = {"B x 16 heads, L, D": f"{batch} x {HEADS}, {length}, {dim}", "pass": which}
        for name in said:
            ratio = result.medians[f"SDPA {name}"] / result.medians[f"ours {name}"]
            row[name] = f"{result.cell(f'ours {name}')} ({ratio:.2f}x)"
        row |= {name: result.cell(name) for name in ("ours, no mask", "ours, with weights")}
        table(TITLE).rows.append(row)


def with_weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The output; the averaged weights are made and dropped, as by nn.MultiheadAttention."""
    return cross_attention_with_weights(q, k, v)[0]
