"""`cross_attention`: attention between modalities, fused."""

from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import attention_weights, cross_attention_reference
from clmer.ops.attention.sdpa import scaled_dot_product_attention

__all__ = [
    "attention_weights",
    "cross_attention",
    "cross_attention_reference",
    "scaled_dot_product_attention",
]
