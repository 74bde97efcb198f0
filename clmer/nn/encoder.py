"""The convolutional encoder of the contrastive stage, and its output as fusion tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from clmer.nn.checks import NotScriptable
from clmer.nn.dropout import Dropout
from clmer.nn.shard import BatchNorm, current_group
from clmer.nn.sublayer import takes_kernel
from clmer.ops.normpool import norm_relu_pool

#: Series longer than this many samples get the long, strided first kernel.
LONG_SERIES = 256
#: Bands of a spectrogram in Hz: delta, theta, alpha, beta, gamma.
BANDS_HZ = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))


def feature_count(tokens: int, width: int = 32) -> int:
    """Smallest multiple of `tokens` that is at least 4 `width`: the features F of an encoder.

    Args:
        tokens: fusion tokens of the modality (physio 40, landmarks 3, au 2 on DEAP).
        width: channels of the encoder's first block.
    """
    if tokens < 1 or width < 1:
        raise ValueError(
            f"feature_count: tokens and width must be >= 1, got tokens={tokens}, width={width}"
        )
    return math.ceil(4 * width / tokens) * tokens


class Encoder(NotScriptable, nn.Module):
    """Three convolutional blocks over time: x [B, C, T] -> z [B, F, T'].

    Each block is Conv1d - BatchNorm - ReLU - MaxPool(2). Kernels are 8 wide with padding 4, the
    first one 25 with stride 3 and padding 12 for series over 256 samples. The pools pad by one, so
    a block of stride 1 maps T to (T + 1) // 2 + 1 and T' is at least 2 for any T >= 1: 25 frames
    give T' = 5, 128 samples 18, 640 samples 29.

    Args:
        channels: C, the rows of the series (landmarks 204, not their 3 tokens).
        length: T, samples a window.
        width: channels of the first block; the second has twice as many.
        features: F, channels of the third block; 4 `width` by default, see `feature_count`.
        dropout: on z. Ahead of a BatchNorm (TS-TCC has it behind the first block) it would inflate
            the running variances, and evaluation would no longer match training.

    Source: Section III-C; TS-TCC's encoder.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        *,
        width: int = 32,
        features: int | None = None,
        dropout: float = 0.35,
    ) -> None:
        super().__init__()
        if min(channels, length, width) < 1 or (features is not None and features < 1):
            raise ValueError(
                "Encoder: channels, length, width and features must be >= 1, got "
                f"channels={channels}, length={length}, width={width}, features={features}"
            )
        self.channels, self.length = channels, length
        self.features = 4 * width if features is None else features
        kernel, stride = (25, 3) if length > LONG_SERIES else (8, 1)
        self.blocks = nn.Sequential(
            _Block(channels, width, kernel, stride),
            _Block(width, 2 * width, 8),
            _Block(2 * width, self.features, 8),
        )
        self.dropout = Dropout(dropout)
        steps = length
        for size, step in ((kernel, stride), (8, 1), (8, 1)):
            steps = ((steps + 2 * (size // 2) - size) // step + 1) // 2 + 1
        #: T', time steps of the output.
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Encode x [B, C, T] as z [B, F, T'].

        Raises:
            ValueError: x is not [B, channels, length].
        """
        return self.convolve(self.prepare(x))

    def prepare(self, x: Tensor) -> Tensor:
        """What the blocks see of x [B, C, T]: here x itself."""
        if x.ndim != 3 or x.shape[1:] != (self.channels, self.length):
            raise ValueError(
                f"Encoder: expected x [B, {self.channels}, {self.length}], got {list(x.shape)}"
            )
        return x

    def convolve(self, x: Tensor) -> Tensor:
        """Encode what `prepare` gave."""
        z: Tensor = self.dropout(self.blocks(x))
        return z

    def token_shape(self, tokens: int | Literal["time"]) -> tuple[int, int]:
        """(tokens, features a token) of `as_tokens(z, tokens)`, as `Fusion` asks for them."""
        if tokens == "time":
            return self.steps, self.features
        _check_tokens(self.features, tokens)
        return tokens, self.features // tokens * self.steps


class SpectralEncoder(Encoder):
    """An encoder of a window's log power, channels x bands over time, in the place of its samples.

    Args:
        channels: C.
        length: T, samples a window.
        fs: samples a second.
        width, features, dropout: as in `Encoder`.

    Source: ours.
    """

    def __init__(
        self,
        channels: int,
        length: int,
        fs: float,
        *,
        width: int = 32,
        features: int | None = None,
        dropout: float = 0.35,
    ) -> None:
        size, hop, edges = _spectrogram(length, fs)
        rows, steps = channels * len(edges), (length - size) // hop + 1
        super().__init__(rows, steps, width=width, features=features, dropout=dropout)
        self.channels, self.length = channels, length
        self.fs, self.size, self.hop, self.edges = fs, size, hop, edges
        self.input_norm = nn.BatchNorm1d(rows, affine=False)

    def prepare(self, x: Tensor) -> Tensor:
        """Log power [B, C bands, steps] of x [B, C, T], standardised row by row."""
        power = log_spectrogram(super().prepare(x), self.fs)
        normed: Tensor = self.input_norm(power)
        return normed


def log_spectrogram(x: Tensor, fs: float) -> Tensor:
    """Log power in the EEG bands, one second at a time, every eighth of a second.

    Args:
        x: [B, C, T], sampled at fs.
        fs: in Hz.

    Returns:
        [B, C bands, steps], channel-major; of a window shorter than a second one step.
    """
    size, hop, edges = _spectrogram(x.shape[2], fs)
    frames = x.unfold(2, size, hop)  # [B, C, steps, size]
    window = torch.hann_window(size, device=x.device, dtype=x.dtype)
    centred = (frames - frames.mean(3, keepdim=True)) * window
    power = torch.fft.rfft(centred).abs().square()
    bands = torch.stack([power[..., a:b].mean(3) for a, b in edges], dim=2)  # [B, C, bands, steps]
    return bands.clamp(min=1e-6).log().flatten(1, 2)


def _spectrogram(length: int, fs: float) -> tuple[int, int, list[tuple[int, int]]]:
    """Samples of a frame and from frame to frame; first and last Fourier bin of each band."""
    size = min(length, round(fs))
    edges = [
        (max(1, round(low * size / fs)), min(size // 2 + 1, round(high * size / fs)))
        for low, high in BANDS_HZ
    ]
    edges = [(a, b) for a, b in edges if b > a] or [(0, size // 2 + 1)]
    return size, max(1, round(fs / 8)), edges


@torch.no_grad()
def encode(encoder: Encoder, x: Tensor, chunk: int = 2048) -> Tensor:
    """Features [N, F, T'] of x [N, C, T], `chunk` windows at a time, in evaluation mode."""
    if encoder.training:
        encoder.eval()
    return torch.cat([encoder(part) for part in x.split(chunk)])


def missing_rows(x: Tensor) -> Tensor:
    """[N] bool: standardised windows [N, C, T] that lack the signal, which are all zeros."""
    return ~x.flatten(1).any(1)


def as_tokens(z: Tensor, tokens: int | Literal["time"]) -> Tensor:
    """Encoder output as fusion tokens.

    Args:
        z: [B, F, T'].
        tokens: their number C, a divisor of F: token c is the F / C features that follow feature
            c F / C, over all T' steps. Or "time": a token is one encoder time step.

    Returns:
        [B, C, (F / C) T'], or [B, T', F] for "time".

    Raises:
        ValueError: F is not a multiple of C.
    """
    if z.ndim != 3:
        raise ValueError(f"as_tokens: expected z [B, F, T'], got {list(z.shape)}")
    if tokens == "time":
        return z.transpose(1, 2)
    _check_tokens(z.shape[1], tokens)
    return z.reshape(z.shape[0], tokens, -1)


def _check_tokens(features: int, tokens: int | str) -> None:
    if not isinstance(tokens, int) or tokens < 1 or features % tokens:
        raise ValueError(
            f"tokens: expected 'time' or a divisor of the encoder's {features} features "
            f"(see feature_count), got {tokens!r}"
        )


def _has_hooks(module: nn.Module) -> bool:
    """Whether something waits for a module's own call."""
    hooks = module._forward_hooks, module._forward_pre_hooks
    return any((*hooks, module._backward_hooks, module._backward_pre_hooks))


class _Block(nn.Sequential):
    """Conv1d - BatchNorm - ReLU - MaxPool(2); on the CPU one kernel for all behind the Conv1d."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
            BatchNorm(outputs),
            nn.ReLU(),
            nn.MaxPool1d(2, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, inputs, T] to [B, outputs, T']."""
        convolve, norm, relu, pool = self
        z: Tensor = convolve(x)
        if type(norm) is not BatchNorm or any(_has_hooks(each) for each in (norm, relu, pool)):
            seen: Tensor = pool(relu(norm(z)))
            return seen
        values = z.shape[0] * z.shape[2]
        alone = not norm.training or (current_group() is None and values > 1)
        if not alone or not takes_kernel(z):
            plain: Tensor = pool(relu(norm(z)))
            return plain
        stats = None if norm.training else norm.statistics()
        z, found = norm_relu_pool(z, norm.weight, norm.bias, norm.eps, stats)
        if norm.training:
            norm.track(found[0], found[1], values)
        return z
