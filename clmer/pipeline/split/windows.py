"""Windows as a split's model takes them: checked, and a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from clmer.pipeline.tokenizer import Tokenizer

Windows = Mapping[str, np.ndarray]  # modality -> [N, C, T]


def in_parts(x: Mapping[str, Tensor], size: int) -> Iterator[dict[str, Tensor]]:
    """Windows or their tokens, `size` at a time."""
    for start in range(0, len(next(iter(x.values()))), size):
        yield {name: part[start : start + size] for name, part in x.items()}


def checked_windows(tokenizer: Tokenizer, windows: Windows) -> dict[str, np.ndarray]:
    """Windows as arrays, in the model's order; raises as `SplitModel.known`."""
    if set(windows) != set(tokenizer.modalities):
        raise ValueError(f"windows: found {[*windows]}, expected {[*tokenizer.modalities]}")
    arrays = {name: np.asarray(windows[name]) for name in tokenizer.modalities}
    count = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        shape = (count, len(tokenizer.modalities[name].channels), tokenizer.lengths[name])
        if array.shape != shape or not count:
            raise ValueError(
                f"windows[{name!r}]: found {array.shape}, expected {shape}: "
                f"windows, channels, samples at {tokenizer.modalities[name].fs:g} per second"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"windows[{name!r}]: found values that are not finite")
    return arrays
