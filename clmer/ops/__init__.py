"""The ops. Each folder holds one: function, validation, reference, registration, autograd."""

from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import attention_weights, cross_attention_reference
from clmer.ops.attention.sdpa import scaled_dot_product_attention
from clmer.ops.bandpass.op import sosfilt, sosfilt_reference
from clmer.ops.bandpass.zero_phase import sosfiltfilt
from clmer.ops.export import decompositions
from clmer.ops.ntxent.op import nt_xent
from clmer.ops.ntxent.reference import nt_xent_reference
from clmer.ops.script import refuse_script
from clmer.ops.sublayer.op import feed_forward, merge_heads, project_heads
from clmer.ops.sublayer.reference import (
    feed_forward_reference,
    merge_heads_reference,
    project_heads_reference,
)

__all__ = [
    "attention_weights",
    "cross_attention",
    "cross_attention_reference",
    "decompositions",
    "feed_forward",
    "feed_forward_reference",
    "merge_heads",
    "merge_heads_reference",
    "nt_xent",
    "nt_xent_reference",
    "project_heads",
    "project_heads_reference",
    "scaled_dot_product_attention",
    "sosfilt",
    "sosfilt_reference",
    "sosfiltfilt",
]

for _name in __all__:
    refuse_script(globals()[_name])
