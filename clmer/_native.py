"""Loads `clmer._C` after torch, whose OpenMP pool it shares, and tells it how tensors cross."""

from __future__ import annotations

import atexit
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

__all__ = ["_C", "build_info"]

try:
    import_module("clmer._C")
except ImportError as error:
    raise ImportError(
        "clmer._C is not built for this Python: run `pip install .` in the clone (it needs a C++17 "
        f"compiler). The loader said: {error}"
    ) from error

if TYPE_CHECKING:
    from clmer import _C
else:
    _C = sys.modules["clmer._C"]
_capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
_C.set_exchange_api(_capsule)
# Daemon threads that come back from a kernel while Python shuts down must not take its lock.
atexit.register(_C.let_threads_stop)


def build_info() -> dict[str, Any]:
    """What the native module was built with and what runs here.

    Returns:
        `compiler`, `simd_levels` (built), `simd_in_use`, `cuda` (the toolkit's version, None for a
        CPU build), `cuda_architectures`, `cuda_why` (why they were built, or not), `torch`
        (running), `cuda_available` (a usable device).
    """
    return {
        **_C.build_info(),
        "torch": torch.__version__,
        "cuda_available": torch.cuda.is_available(),
    }
