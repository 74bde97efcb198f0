"""EEG-Conformer: convolutions over time and channels, then a transformer over the pooled steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from clmer import ops
from clmer.nn.checks import check_at_least, check_heads, named_inputs, only_input
from clmer.nn.dropout import Dropout
from clmer.nn.random_state import new_seed

#: Rate in Hz that the original's kernel and pooling are meant for.
RATE = 250.0
#: Samples at that rate: convolution over time, average pooling, its stride (0.1, 0.3, 0.06 s).
KERNEL, POOL, STRIDE = 25, 75, 15


def spans(fs: float) -> dict[str, int]:
    """Kernel, pooling and stride that last as long at `fs` Hz as the original's at 250 Hz.

    At 128 Hz: 13, 38 and 8, which make 10 tokens of a 1-s window.
    """
    lengths = {"kernel": KERNEL, "pool": POOL, "stride": STRIDE}
    return {name: max(1, round(samples * fs / RATE)) for name, samples in lengths.items()}


class ConformerLayer(nn.Module):
    """One pre-norm layer of the transformer, GELU in its feed-forward part.

        y = x + dropout(W_o softmax(Q K^T / sqrt(d)) V);  z = y + dropout(W_2 gelu(W_1 LN(y)))

    The original divides by sqrt(d), not by the square root of a head's share of d.

    Args:
        dim: d, features of a token.
        heads: divides d.
        dropout: on weights, on both branches, and behind the GELU.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale, self.attention_dropout = heads, dim**-0.5, dropout
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(4 * dim, dim),
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Update x [B, L, d]."""
        heads = self.project(self.norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each [B, heads, L, d / heads]
        p = self.attention_dropout if self.training else 0.0
        y = ops.cross_attention(
            query,
            key,
            value,
            scale=self.scale,
            dropout_p=p,
            seed=new_seed(p, x.device),
        )
        x = x + self.dropout(self.out(y.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.feed_forward(x)
        return out


class EEGConformer(nn.Module):
    """Classifier of one multi-channel signal.

    Convolution over time (1 x `kernel`), convolution over all channels (C x 1), batch norm, ELU,
    average pooling in steps of `stride`, a linear map to d features: a token a step. Transformer
    layers, then all tokens side by side through two hidden layers (256, 32).

    Args:
        inputs: {name: (C channels, T samples)}, one signal.
        classes: number of classes.
        filters: of both convolutions.
        kernel, pool, stride: samples; `spans` has the original's for another rate.
        dim: d, features of a token.
        depth: transformer layers.
        heads: of every attention; divides d.
        dropout: everywhere but ahead of the last layer, where it is 0.3.

    Left out of the original code: a second classification head that nothing calls, the choice of
    the epoch by its test accuracy, and its augmentation (segments of a class recombined), because
    every model here trains through one loop on the same windows.

    Source: Song et al., EEG Conformer: Convolutional Transformer for EEG Decoding and Visualization
    (2022), https://github.com/eeyhsong/EEG-Conformer, whose sizes for 22 channels x 1000 samples at
    250 Hz are the defaults.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, int]],
        classes: int,
        *,
        filters: int = 40,
        kernel: int = KERNEL,
        pool: int = POOL,
        stride: int = STRIDE,
        dim: int = 40,
        depth: int = 6,
        heads: int = 10,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        name, channels, samples = only_input("EEGConformer", inputs)
        check_at_least("EEGConformer", 1, classes=classes, filters=filters, kernel=kernel)
        check_at_least("EEGConformer", 1, pool=pool, stride=stride, dim=dim, heads=heads)
        check_at_least("EEGConformer", 0, depth=depth)
        check_heads("EEGConformer", dim, heads)
        if samples < kernel + pool - 1:
            raise ValueError(
                f"EEGConformer: {name} has {samples} samples a window, expected at least "
                f"{kernel + pool - 1} (convolution over {kernel}, pooling over {pool})"
            )
        self.inputs = dict(inputs)
        #: Tokens of a window.
        self.steps = (samples - kernel + 1 - pool) // stride + 1
        self.patches = nn.Sequential(
            nn.Conv2d(1, filters, (1, kernel)),
            nn.Conv2d(filters, filters, (channels, 1)),
            nn.BatchNorm2d(filters),
            nn.ELU(),
            nn.AvgPool2d((1, pool), (1, stride)),
            Dropout(dropout),
            nn.Conv2d(filters, dim, 1),
        )
        self.layers = nn.Sequential(*(ConformerLayer(dim, heads, dropout) for _ in range(depth)))
        self.classifier = nn.Sequential(
            nn.Linear(self.steps * dim, 256),
            nn.ELU(),
            Dropout(dropout),
            nn.Linear(256, 32),
            nn.ELU(),
            Dropout(0.3),
            nn.Linear(32, classes),
        )

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: the signal [B, C, T], by name or alone in a list.

        Returns:
            [B, classes].

        Raises:
            ValueError: the signal is missing or of the wrong shape.
        """
        (signal,) = named_inputs("EEGConformer", self.inputs, x).values()
        tokens = self.patches(signal[:, None]).flatten(2).transpose(1, 2)  # [B, steps, d]
        logits: Tensor = self.classifier(self.layers(tokens).flatten(1))
        return logits
