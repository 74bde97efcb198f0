"""What a Triton module says of its kernels, so that tools can compile them without a GPU."""

from __future__ import annotations

from typing import Any, NamedTuple


class Variant(NamedTuple):
    """One kernel as it may be launched, for ahead-of-time compilation."""

    name: str
    kernel: Any  # a triton.JITFunction
    signature: dict[str, str]  # argument name -> "*fp32", "i32", "constexpr", ...
    constexprs: dict[str, Any]
    options: dict[str, int]  # num_warps, num_stages
