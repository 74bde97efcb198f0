"""CLMER: emotion recognition from EEG-centred physiology and serialised faces, on fused kernels."""

from clmer._native import build_info
from clmer.ops import cross_attention, nt_xent, sosfilt

__version__ = "0.1.0"
__all__ = ["__version__", "build_info", "cross_attention", "nt_xent", "sosfilt"]
