"""The three ops. Each page holds one: function, validation, reference, registration, autograd."""

from clmer.ops.bandpass import sosfilt, sosfilt_reference

__all__ = ["sosfilt", "sosfilt_reference"]
