"""ShallowConvNet: filter bank common spatial patterns as a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from clmer.nn.checks import check_at_least, named_inputs, only_input
from clmer.nn.dropout import Dropout

#: Rate in Hz that the original's kernel and pooling are meant for, and these in samples.
RATE, KERNEL, POOL, STRIDE = 250.0, 25, 75, 15
#: Smallest mean power whose logarithm is taken.
_LEAST = 1e-6


def lengths(fs: float, samples: int) -> dict[str, int]:
    """Kernel, pooling and stride that last as long at `fs` Hz as the original's at 250 Hz.

    Args:
        fs: samples a second.
        samples: of a window; a pooling that does not fit becomes the mean over the window.
    """
    kernel, pool, stride = (max(1, round(n * fs / RATE)) for n in (KERNEL, POOL, STRIDE))
    return {"kernel": kernel, "pool": max(1, min(pool, samples - kernel + 1)), "stride": stride}


class ShallowConvNet(nn.Module):
    """Classifier of one multi-channel signal.

        y = batch_norm(spatial(temporal(x)));  p = log(mean over `pool` samples of y^2)
        logits = W dropout(p)

    Log power of learned rhythms in learned directions.

    Args:
        inputs: {name: (C channels, T samples)}, one signal.
        classes: number of classes.
        filters: of both convolutions.
        kernel, pool, stride: samples; `lengths` has the original's for another rate.
        dropout: ahead of the last layer.

    Source: Schirrmeister et al., Deep learning with convolutional neural networks for EEG decoding
    and visualization (2017), https://github.com/braindecode/braindecode, Shallow ConvNet.
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
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        name, channels, samples = only_input("ShallowConvNet", inputs)
        check_at_least("ShallowConvNet", 1, classes=classes, filters=filters, kernel=kernel)
        check_at_least("ShallowConvNet", 1, pool=pool, stride=stride)
        if samples < kernel + pool - 1:
            raise ValueError(
                f"ShallowConvNet: {name} has {samples} samples a window, expected at least "
                f"{kernel + pool - 1} (convolution over {kernel}, pooling over {pool})"
            )
        self.inputs = dict(inputs)
        steps = (samples - kernel + 1 - pool) // stride + 1
        self.filters = nn.Sequential(
            nn.Conv2d(1, filters, (1, kernel)),
            nn.Conv2d(filters, filters, (channels, 1), bias=False),
            nn.BatchNorm2d(filters),
        )
        self.pool = nn.AvgPool2d((1, pool), (1, stride))
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(steps * filters, classes)

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: the signal [B, C, T], by name or alone in a list.

        Returns:
            [B, classes].

        Raises:
            ValueError: the signal is missing or of the wrong shape.
        """
        (signal,) = named_inputs("ShallowConvNet", self.inputs, x).values()
        power = self.pool(self.filters(signal[:, None]).square())
        logits: Tensor = self.classifier(self.dropout(power.clamp(min=_LEAST).log().flatten(1)))
        return logits
