"""`Bandpass`: the band-pass as a layer, differentiable in its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clmer.nn.checks import NotScriptable
from clmer.ops import sosfilt
from clmer.signal import butter_bandpass


class Bandpass(NotScriptable, nn.Module):
    """Causal Butterworth band-pass along the last dimension, from a state of zeros.

    Args:
        fs: sampling rate in Hz.
        low: lower -3 dB edge in Hz; None gives a low-pass.
        high: upper -3 dB edge in Hz; None gives a high-pass.
        order: of the prototype.

    Shape:
        x [..., T] -> y [..., T], of x's dtype. The coefficients are a buffer, float64 whatever the
        module is cast to; nothing is learnt. What the arguments say holds: a checkpoint whose
        floats were rounded, and `to("meta")` with `to_empty`, leave the coefficients as they are,
        and a checkpoint of another filter is refused.
    """

    sos: Tensor

    def __init__(self, fs: float, low: float | None, high: float | None, order: int = 4) -> None:
        super().__init__()
        self.fs, self.low, self.high, self.order = fs, low, high, order
        self.register_buffer("sos", self._design())

    def forward(self, x: Tensor) -> Tensor:
        """Filter x [..., T]."""
        y, _ = sosfilt(x, self.sos)
        return y

    def _design(self) -> Tensor:
        return torch.from_numpy(butter_bandpass(self.low, self.high, self.fs, self.order))

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        super()._apply(fn, recurse)
        # `.half()` must not round the coefficients, and `.to_empty()` not lose them.
        self.sos = self._design().to(self.sos.device)
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args):  # type: ignore[no-untyped-def]
        name = prefix + "sos"
        own, found = self._design(), state_dict.get(name)
        if found is not None and found.shape == own.shape:
            if not found.is_meta and not _is_rounded(found.detach().cpu(), own):
                args[-1].append(
                    f"{name}: found the coefficients of another filter, expected those of {self}; "
                    "build the layer with the checkpoint's own band"
                )
            state_dict = {**state_dict, name: own}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"fs={self.fs}, low={self.low}, high={self.high}, order={self.order}"


def _is_rounded(found: Tensor, own: Tensor) -> bool:
    """Whether these are the same coefficients, as some dtype, or another SciPy, rounds them."""
    found = found.double()
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        eps, rounded = torch.finfo(dtype).eps, own.to(dtype).double()
        if torch.equal(found.to(dtype).double(), found) and torch.allclose(
            found, rounded, rtol=eps, atol=0.0
        ):
            return True
    return torch.allclose(found, own, rtol=1e-9, atol=0.0)
