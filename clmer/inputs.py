"""From a prepared store to what a split trains on: standardised windows, then tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from clmer.data.cache import Store
from clmer.nn import Encoder, as_tokens

_CHUNK = 2048
#: Bins of a spectrum token, equally wide in log frequency, and their range in Hz.
_BINS, _LOW, _HIGH = 16, 0.5, 45.0
_FLAT = 1e-12  # a channel with less variance than this carries nothing: it becomes zeros


def standardise(
    store: Store, name: str, train: np.ndarray, normalize: str, device: torch.device
) -> Tensor:
    """One modality's windows, each channel with mean 0 and standard deviation 1.

    Args:
        store: prepared windows.
        name: modality.
        train: rows whose statistics count under "train".
        normalize: "train", or "subject": every person's own windows, labels unseen (transductive).
        device: where the result goes.

    Returns:
        [N, C, T] float32.
    """
    windows = store.array(name)
    out = np.array(windows)  # [N, C, T], the one copy
    if normalize == "subject":
        subjects = store.windows.subject
        for person in np.unique(subjects):
            rows = np.flatnonzero(subjects == person)
            out[rows] = _scaled(out[rows], *_statistics(windows, rows))
    else:
        mean, std = _statistics(windows, train)
        for start in range(0, len(out), _CHUNK):
            out[start : start + _CHUNK] = _scaled(out[start : start + _CHUNK], mean, std)
    return torch.from_numpy(out).to(device)


def _statistics(windows: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [C, 1] over rows and time, in float64, a chunk at a time."""
    parts = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
    count = len(rows) * windows.shape[2]
    mean = sum(windows[part].sum((0, 2), dtype=np.float64) for part in parts) / count
    centred = (windows[part] - mean[:, None] for part in parts)
    variance = sum(np.square(part).sum((0, 2)) for part in centred) / count
    std = np.where(variance > _FLAT, np.sqrt(variance), np.inf)
    return mean[:, None], std[:, None]


def _scaled(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return ((x - mean) / std).astype(np.float32)


@torch.no_grad()
def encode(encoder: Encoder, x: Tensor) -> Tensor:
    """Features [N, F, T'] of all windows, dropout off, batch norm frozen."""
    encoder.eval()
    return torch.cat([encoder(part) for part in x.split(_CHUNK)])


def raw_tokens(store: Store, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A token is a channel: [N, C, T] -> [N, tokens, C T / tokens]."""
    return {
        name: part.reshape(len(part), store.modalities[name].tokens, -1) for name, part in x.items()
    }


def contrastive_tokens(
    store: Store,
    x: Mapping[str, Tensor],
    encoders: Mapping[str, Encoder],
    tokens: str,
    train: np.ndarray,
) -> dict[str, Tensor]:
    """Tokens out of encoder features: as many as `raw_tokens` has, or one a time step.

    Features come out of a ReLU with a large common offset: each is standardised with the training
    windows' mean and standard deviation over windows and time.
    """
    out = {}
    for name, part in x.items():
        z = encode(encoders[name], part)  # [N, F, T']
        known = z[torch.from_numpy(train).to(z.device)]
        std = known.std((0, 2), correction=0, keepdim=True)
        z = (z - known.mean((0, 2), keepdim=True)) / std.clamp(min=1e-6)
        out[name] = as_tokens(
            z, "time" if tokens == "time" else store.modalities[name].tokens
        ).contiguous()
    return out


def spectrum_tokens(store: Store, x: Mapping[str, Tensor], train: np.ndarray) -> dict[str, Tensor]:
    """A token is a channel's log power spectrum: amplitude and rhythm, without phase.

    Hann-windowed periodogram of each row, averaged in up to 16 bins between 0.5 and 45 Hz that are
    equally wide in log frequency (and at least one Fourier bin), log, and standardised with the
    training windows' statistics.

    Args:
        store: prepared windows.
        x: [N, C, T] of each modality.
        train: rows whose statistics count.

    Returns:
        [N, tokens, C bins / tokens] by modality.
    """
    out = {}
    for name, part in x.items():
        modality, length = store.modalities[name], part.shape[2]
        window = torch.hann_window(length, device=part.device)
        edges = _bin_edges(length, modality.fs)
        powers = []
        for rows in part.split(_CHUNK):
            centred = rows - rows.mean(2, keepdim=True)
            power = torch.fft.rfft(centred * window).abs().square()
            bins = [power[:, :, a:b].mean(2) for a, b in zip(edges, edges[1:], strict=False)]
            powers.append(torch.stack(bins, 2).clamp(min=1e-9).log())
        z = torch.cat(powers)  # [N, C, bins]
        known = z[torch.from_numpy(train).to(z.device)]
        z = (z - known.mean(0)) / known.std(0, correction=0).clamp(min=1e-6)
        out[name] = z.reshape(len(z), modality.tokens, -1)
    return out


def _bin_edges(length: int, fs: float) -> list[int]:
    """Fourier indices where bins begin, ascending, the last one past the end."""
    wanted = np.geomspace(_LOW, min(_HIGH, fs / 2), _BINS + 1) * length / fs
    edges = [max(1, round(wanted[0]))]
    for edge in wanted[1:]:
        edges.append(max(round(edge), edges[-1] + 1))
    return [edge for edge in edges if edge <= length // 2 + 1]
