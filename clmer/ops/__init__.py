"""The three ops. Each page holds one: function, validation, reference, registration, autograd."""

from clmer.ops.attention import cross_attention
from clmer.ops.attention_reference import attention_weights, cross_attention_reference
from clmer.ops.bandpass import sosfilt, sosfilt_reference
from clmer.ops.bandpass_zero_phase import sosfiltfilt
from clmer.ops.ntxent import nt_xent
from clmer.ops.ntxent_reference import nt_xent_reference

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
