"""The three ops. Each page holds one: function, validation, reference, registration, autograd."""

from clmer.ops.attention.op import cross_attention
from clmer.ops.attention.reference import attention_weights, cross_attention_reference
from clmer.ops.bandpass.op import sosfilt, sosfilt_reference
from clmer.ops.bandpass.zero_phase import sosfiltfilt
from clmer.ops.ntxent.op import nt_xent
from clmer.ops.ntxent.reference import nt_xent_reference

__all__ = [
    "attention_weights",
    "cross_attention",
    "cross_attention_reference",
    "nt_xent",
    "nt_xent_reference",
    "sosfilt",
    "sosfilt_reference",
    "sosfiltfilt",
]
