"""`Bandpass`: the band-pass as a layer, differentiable in its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clmer.ops import sosfilt
from clmer.signal import butter_bandpass


class Bandpass(nn.Module):
    """Causal Butterworth band-pass along the last dimension, from a state of zeros.

    Args:
        fs: sampling rate in Hz.
        low: lower -3 dB edge in Hz; None gives a low-pass.
        high: upper -3 dB edge in Hz; None gives a high-pass.
        order: of the prototype.

    Shape:
        x [..., T] -> y [..., T], of x's dtype. The coefficients are a buffer, float64 whatever the
        module is cast to; nothing is learnt.
    """

    sos: Tensor

    def __init__(self, fs: float, low: float | None, high: float | None, order: int = 4) -> None:
        super().__init__()
        self.fs, self.low, self.high, self.order = fs, low, high, order
        self.register_buffer("sos", torch.from_numpy(butter_bandpass(low, high, fs, order)))

    def forward(self, x: Tensor) -> Tensor:
        """Filter x [..., T]."""
        y, _ = sosfilt(x, self.sos)
        return y

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        exact = self.sos
        super()._apply(fn, recurse)
        self.sos = exact.to(self.sos.device)  # `.half()` must not round coefficients
        return self

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"fs={self.fs}, low={self.low}, high={self.high}, order={self.order}"
