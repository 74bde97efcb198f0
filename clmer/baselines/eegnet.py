"""EEGNet: a compact network of depthwise and separable convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from clmer.nn.checks import check_at_least, named_inputs, only_input
from clmer.nn.dropout import Dropout

#: Samples at 128 Hz, which the original is meant for: first kernel (0.5 s), separable kernel (at
#: 32 Hz behind the first pooling), both poolings.
RATE, KERNEL, SEPARABLE, POOLS = 128.0, 64, 16, (4, 8)


def kernels(fs: float) -> dict[str, int]:
    """Kernels and poolings that last as long at `fs` Hz as the original's at 128 Hz."""
    ratio = fs / RATE
    pool, last = max(1, round(POOLS[0] * ratio)), POOLS[1]
    return {"kernel": max(2, round(KERNEL * ratio)), "separable": SEPARABLE, "pool": pool,
            "last_pool": last}  # fmt: skip


class EEGNet(nn.Module):
    """Classifier of one multi-channel signal.

        F_1 filters over time, batch norm; D spatial filters of each over all channels (depthwise),
        batch norm, ELU, mean over `pool` samples; depthwise filters over time and F_2 = F_1 D
        mixtures of them, batch norm, ELU, mean over `last_pool` steps; a linear layer.

    Spatial filters have norm at most 1, rows of the last layer at most 0.25, kept by scaling them
    down where they are read.

    Args:
        inputs: {name: (C channels, T samples)}, one signal.
        classes: number of classes.
        filters: F_1.
        depth: D.
        kernel, separable: lengths of the two filters over time.
        pool, last_pool: samples that are averaged; `kernels` has the original's for another rate.
        dropout: behind both poolings; 0.5 within a person, 0.25 across people in the original.

    Source: Lawhern et al., EEGNet: a compact convolutional neural network for EEG-based
    brain-computer interfaces (2018), https://github.com/vlawhern/arl-eegmodels, EEGNet-8,2.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, int]],
        classes: int,
        *,
        filters: int = 8,
        depth: int = 2,
        kernel: int = KERNEL,
        separable: int = SEPARABLE,
        pool: int = POOLS[0],
        last_pool: int = POOLS[1],
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        name, channels, samples = only_input("EEGNet", inputs)
        check_at_least("EEGNet", 1, classes=classes, filters=filters, depth=depth, kernel=kernel)
        check_at_least("EEGNet", 1, separable=separable, pool=pool, last_pool=last_pool)
        if samples < pool * last_pool:
            raise ValueError(
                f"EEGNet: {name} has {samples} samples a window, expected at least "
                f"{pool * last_pool} (averages over {pool}, then {last_pool})"
            )
        self.inputs = dict(inputs)
        width = filters * depth
        self.time = nn.Conv2d(1, filters, (1, kernel), bias=False)
        self.same = same(kernel)
        self.time_norm = nn.BatchNorm2d(filters)
        self.space = nn.Conv2d(filters, width, (channels, 1), groups=filters, bias=False)
        self.pooled = nn.Sequential(
            nn.BatchNorm2d(width), nn.ELU(), nn.AvgPool2d((1, pool)), Dropout(dropout)
        )
        self.separable = nn.Sequential(
            same(separable),
            nn.Conv2d(width, width, (1, separable), groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ELU(),
            nn.AvgPool2d((1, last_pool)),
            Dropout(dropout),
        )
        self.classifier = nn.Linear(width * (samples // pool // last_pool), classes)

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: the signal [B, C, T], by name or alone in a list.

        Returns:
            [B, classes].

        Raises:
            ValueError: the signal is missing or of the wrong shape.
        """
        (signal,) = named_inputs("EEGNet", self.inputs, x).values()
        filtered = self.time_norm(self.time(self.same(signal[:, None])))  # [B, F_1, C, T]
        space = at_most(self.space.weight, 1.0)
        rhythms = nn.functional.conv2d(filtered, space, groups=self.space.groups)
        steps = self.separable(self.pooled(rhythms)).flatten(1)
        weight = at_most(self.classifier.weight, 0.25)
        return nn.functional.linear(steps, weight, self.classifier.bias)


def same(kernel: int) -> nn.ZeroPad2d:
    """Zeros around the samples, so that a filter leaves as many as there were."""
    return nn.ZeroPad2d(((kernel - 1) // 2, kernel // 2, 0, 0))


def at_most(weight: Tensor, norm: float) -> Tensor:
    """Rows of a weight, those that are longer scaled down to `norm`."""
    size = weight.flatten(1).norm(dim=1).clamp(min=norm)
    return weight * (norm / size).reshape(-1, *[1] * (weight.ndim - 1))
