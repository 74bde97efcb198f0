"""`sosfilt`: a cascade of second-order sections, in one pass or in chunks."""

from clmer.ops.bandpass.op import sosfilt, sosfilt_reference
from clmer.ops.bandpass.zero_phase import sosfiltfilt

__all__ = ["sosfilt", "sosfilt_reference", "sosfiltfilt"]
