"""`cross_attention` in the place of PyTorch's SDPA for a whole model, for the time of a block."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from clmer.ops.attention.sdpa import scaled_dot_product_attention, why_not

_PYTORCH = F.scaled_dot_product_attention


class sdpa_kernel:
    """A block in which `F.scaled_dot_product_attention` is `clmer.scaled_dot_product_attention`.

        with clmer.nn.sdpa_kernel() as calls:
            model(x)
        print(calls)  # 12 calls taken; 1 left to PyTorch: nested tensors (1)

    Every module that holds the function, by whatever name it imported it, finds the other one, in
    all threads, until the block ends. The backward of what was computed inside may run outside.
    Attention that does not call the function (products written out, the fast path of
    `nn.TransformerEncoderLayer` in evaluation) is not seen; `clmer.nn.replace_attention` is for
    `nn.MultiheadAttention`. A compiled model counts where it is traced, once.

    Attributes:
        taken: calls computed by `cross_attention`.
        left: calls left to PyTorch, by reason.

    Raises:
        RuntimeError: entered within another such block.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.left: Counter[str] = Counter()
        self._places: list[tuple[dict[str, Any], str]] = []

    def __enter__(self) -> sdpa_kernel:
        """Put the function everywhere where PyTorch's is."""
        if F.scaled_dot_product_attention is not _PYTORCH:
            raise RuntimeError(
                "sdpa_kernel: F.scaled_dot_product_attention is another function already "
                f"({F.scaled_dot_product_attention}), expected PyTorch's own"
            )
        for module in [*sys.modules.values()]:
            names = getattr(module, "__dict__", None)
            if isinstance(names, dict) and names is not globals():
                found = [name for name, value in [*names.items()] if value is _PYTORCH]
                self._places += [(names, name) for name in found]

        def sdpa(*args: Any, **options: Any) -> Tensor:
            return self._call(*args, **options)

        for names, name in self._places:
            names[name] = sdpa
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put PyTorch's back."""
        while self._places:
            names, name = self._places.pop()
            names[name] = _PYTORCH

    def _call(self, *args: Any, **options: Any) -> Tensor:
        reason = why_not(*args, **options)
        if reason:
            self.left[reason] += 1
            return _PYTORCH(*args, **options)
        self.taken += 1
        return scaled_dot_product_attention(*args, **options)

    def __repr__(self) -> str:
        """How many calls were taken, and how many left and why."""
        text = f"{self.taken} calls taken"
        if self.left:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self.left.items())
            text += f"; {sum(self.left.values())} left to PyTorch: {reasons}"
        return text
