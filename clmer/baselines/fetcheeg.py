"""FetchEEG: band powers of short stretches, attention over time and over channels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer.nn.attention import CrossModalAttention
from clmer.nn.checks import check_at_least, named_inputs, only_input
from clmer.nn.dropout import Dropout

#: Bands in Hz, both ends included; neighbours share a bin where one falls on their edge.
BANDS = ((1.0, 4.0), (4.0, 8.0), (8.0, 14.0), (14.0, 31.0), (31.0, 50.0))
#: Stretches of a window, in seconds.
STRETCH = 0.25
#: Power that is told from silence, in the square of the signal's unit.
FLOOR = 1e-10


class BandPowers(nn.Module):
    """Log power in each band, of each stretch and channel: x [B, C, T] -> [B, W, C, bands].

    Hann-windowed periodograms of the W = T // stretch stretches, mean removed (Welch's estimate
    with one segment), summed over a band's bins. Nothing is learnt; the mean and variance of each
    channel's band over batch and stretches, as of batch norm, make it standard.

    Args:
        channels: C.
        stretch: samples.
        fs: sampling rate in Hz.
    """

    window: Tensor
    bins: Tensor

    def __init__(self, channels: int, stretch: int, fs: float) -> None:
        super().__init__()
        frequency = torch.fft.rfftfreq(stretch, 1 / fs)
        inside = [((frequency >= low) & (frequency <= high)).float() for low, high in BANDS]
        # A band above half the rate, or narrower than a bin, would be a constant.
        held = torch.stack([band for band in inside if band.any()], dim=1)
        window = torch.hann_window(stretch)
        self.stretch, self.bands = stretch, held.shape[1]
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bins", 2 * held / (fs * window.square().sum()), persistent=False)
        self.standardise = nn.BatchNorm1d(channels * self.bands, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Band powers of x [B, C, T]."""
        parts = x.unfold(2, self.stretch, self.stretch)  # [B, C, W, stretch]
        centred = parts - parts.mean(3, keepdim=True)
        density = torch.fft.rfft(centred * self.window).abs().square()
        power = (density @ self.bins).clamp(min=FLOOR).log()  # [B, C, W, bands]
        columns = power.transpose(2, 3).flatten(1, 2)  # [B, C bands, W]
        rows: Tensor = self.standardise(columns).unflatten(1, (-1, self.bands))
        return rows.permute(0, 3, 1, 2)


class PostNormLayer(nn.Module):
    """`nn.TransformerEncoderLayer`'s default form on `cross_attention`.

        y = LN_1(x + MultiHead(x, x, x));  z = LN_2(y + W_2 relu(W_1 y))

    Args:
        dim: d, features of a token.
        heads: divides d.
        hidden: units of the feed-forward part.
        dropout: on weights, behind the ReLU and on both branches.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = CrossModalAttention(dim, heads, dropout=dropout, batch_first=True)
        self.attention_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Update x [B, L, d]."""
        y, _ = self.attention(x, x, x, need_weights=False)
        x = self.attention_norm(x + self.dropout(y))
        hidden = self.dropout(F.relu(self.widen(x)))
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.narrow(hidden)))
        return out


def head_count(dim: int, most: int = 8) -> int:
    """The largest number of heads up to `most` that divides `dim`.

    The original asks for 8 whatever its tokens are: those of its own data (14 channels) have 42 and
    36 features, or 70 and 60, none of which 8 divides.
    """
    return max(heads for heads in range(1, most + 1) if dim % heads == 0)


class FetchEEG(nn.Module):
    """Two transformers over the same band powers P [W, C, F], read together.

        t = T(P as W tokens of C F features);  c = S(P as C tokens of W F features)
        logits = A dropout(relu([t, c]))

    Neither knows positions. W = T // stretch; F bands.

    Args:
        inputs: {name: (C channels, T samples)}, one signal.
        classes: number of classes.
        fs: sampling rate in Hz.
        layers: of each transformer.
        hidden: units of their feed-forward parts.
        dropout: inside the transformers.
        output_dropout: ahead of the classifier.

    Departures from the original code: channel tokens there are a `reshape` of [W, C, F] to
    [C, W F], which mixes channels and stretches; here the dimensions change places first. Powers
    are logarithms and standardised, where the code takes them as they are. Heads: `head_count`.
    All five bands that it names, of which it comments two out.

    Source: Liang et al., FetchEEG: a hybrid approach combining feature extraction and
    temporal-channel joint attention for EEG-based emotion classification (2024),
    https://github.com/liangyubuaa/FetchEEG, whose sizes are the defaults.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, int]],
        classes: int,
        *,
        fs: float = 128.0,
        layers: int = 6,
        hidden: int = 2048,
        dropout: float = 0.1,
        output_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        name, channels, samples = only_input("FetchEEG", inputs)
        check_at_least("FetchEEG", 1, classes=classes, hidden=hidden)
        check_at_least("FetchEEG", 0, layers=layers)
        stretch = round(STRETCH * fs)
        if samples < stretch:
            raise ValueError(
                f"FetchEEG: {name} has {samples} samples a window, expected at least {stretch} "
                f"({STRETCH:g} s at {fs:g} Hz)"
            )
        self.inputs = dict(inputs)
        self.powers = BandPowers(channels, stretch, fs)
        stretches, bands = samples // stretch, self.powers.bands

        def transformer(dim: int) -> nn.Sequential:
            heads = head_count(dim)
            return nn.Sequential(
                *(PostNormLayer(dim, heads, hidden, dropout) for _ in range(layers))
            )

        self.temporal = transformer(channels * bands)
        self.channel = transformer(stretches * bands)
        self.dropout = Dropout(output_dropout)
        self.classifier = nn.Linear(2 * stretches * channels * bands, classes)

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: the signal [B, C, T], by name or alone in a list.

        Returns:
            [B, classes].

        Raises:
            ValueError: the signal is missing or of the wrong shape.
        """
        (signal,) = named_inputs("FetchEEG", self.inputs, x).values()
        powers = self.powers(signal)  # [B, W, C, F]
        over_time = self.temporal(powers.flatten(2))  # [B, W, C F]
        over_channels = self.channel(powers.transpose(1, 2).flatten(2))  # [B, C, W F]
        joint = torch.cat((over_time.flatten(1), over_channels.flatten(1)), dim=1)
        logits: Tensor = self.classifier(self.dropout(F.relu(joint)))
        return logits
