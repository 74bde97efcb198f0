"""How float32 products take their factors on tensor cores."""

from __future__ import annotations

import torch


def float32_precision() -> str:
    """Triton's input_precision for float32: "tf32" where torch's own products take it, or "ieee".

    `torch.backends.cuda.matmul.fp32_precision`, which is "none" where the general setting decides.
    """
    setting = torch.backends.cuda.matmul.fp32_precision
    if setting == "none":
        setting = torch.backends.fp32_precision  # type: ignore[attr-defined]
    return "tf32" if setting == "tf32" else "ieee"
