"""From windows to a model's tokens, with statistics of a split's training part or a reference.

windows [N, C, T] -> `standardise` -> x -> `features` -> z -> `arrange` -> tokens. The statistics in
a `Tokenizer` come from the training part alone, are saved beside the weights and apply to any
windows. Under a reference each person's windows are standardised against it instead.

A modality that a window lacks (`clmer.features.is_missing`) counts in no statistics; it is zeros in
x and NaN in tokens, by which `clmer.nn.Fusion` knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clmer.data.store.store import Modality, Store
from clmer.features import is_missing
from clmer.nn import Encoder, as_tokens
from clmer.nn.encoder import encode, missing_rows
from clmer.pipeline.reference import (
    FLAT,
    FLAT_SHARE,
    ReadAgainst,
    ReferenceRows,
    Scale,
    eeg_rows,
)
from clmer.pipeline.window_features import block_features

_CHUNK = 2048
#: Bins of a spectrum token, equally wide in log frequency, and their range in Hz.
_BINS, _LOW, _HIGH = 16, 0.5, 45.0


@dataclass(frozen=True, eq=False)
class WindowArrays:
    """Windows as arrays, prepared and not standardised.

    Args:
        modalities: by name, in the order a model stacks them.
        arrays: [N, C, T] of each, in memory or mapped.
        people: [N] whose window each is; None for one person's.
        reference: [N] bool, windows that are their person's reference, see
            `clmer.pipeline.reference`; None without one.
        recordings: [N] the recording that each comes from, in the order of time within each; None
            where it is not known.
    """

    modalities: Mapping[str, Modality]
    arrays: Mapping[str, np.ndarray]
    people: np.ndarray | None = None
    reference: np.ndarray | None = None
    recordings: np.ndarray | None = None

    @classmethod
    def of(cls, store: Store, reference: np.ndarray | None = None) -> WindowArrays:
        """All windows of a store, mapped."""
        arrays = {name: store.array(name) for name in store.modalities}
        windows = store.windows
        return cls(store.modalities, arrays, windows.subject, reference, windows.recording)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def read_against(self) -> ReferenceRows | None:
        """What the windows are read against; None without a reference."""
        if self.reference is None:
            return None
        people = np.zeros(len(self)) if self.people is None else self.people
        return ReferenceRows(people, self.reference)

    @cached_property
    def _features(self) -> dict[tuple[str, ...], dict[str, np.ndarray]]:
        return {}

    def features_of(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Hand-made features [N, F] of some modalities, see `block_features`; computed once."""
        if (key := tuple(names)) not in self._features:
            chosen = {name: self.modalities[name] for name in names}
            self._features[key] = block_features(chosen, self.arrays, self.read_against)
        return self._features[key]

    def rows(self, rows: np.ndarray) -> WindowArrays:
        """Some of the windows, copied."""
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        columns = (self.people, self.reference, self.recordings)
        kept = (None if column is None else column[rows] for column in columns)
        return WindowArrays(self.modalities, arrays, *kept)


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """From windows to tokens, with one split's statistics.

    Args:
        modalities: by name, in the order the model stacks them.
        lengths: T, samples (or frames) of a window, by modality.
        kind: what a token is. "raw": a channel's samples; "channel" or "time": encoder features,
            see `clmer.nn.as_tokens`; "spectrum": a channel's log power spectrum.
        by_reference: whether windows are standardised against their person's reference, see
            `clmer.pipeline.reference.windows_by_person`, and not by `windows`.
        windows: scale of each channel, [C, 1] float64, by modality; none under a reference.
        tokens: scale of the features, by modality; none for "raw", or before `fit_tokens`.
    """

    modalities: Mapping[str, Modality]
    lengths: Mapping[str, int]
    kind: str
    by_reference: bool
    windows: Mapping[str, Scale]
    tokens: Mapping[str, Scale] = field(default_factory=dict)

    @classmethod
    def fit(cls, windows: WindowArrays, train: np.ndarray, kind: str) -> Tokenizer:
        """Statistics of the windows in the rows `train`; under a reference there are none."""
        arrays, scales = windows.arrays, {}
        by_reference = windows.reference is not None
        if not by_reference:
            for name, x in arrays.items():
                there = train[~_missing(x[train], windows.modalities[name])]
                scales[name] = Scale(*_statistics(x, there if len(there) else train))
        lengths = {name: array.shape[2] for name, array in arrays.items()}
        return cls(windows.modalities, lengths, kind, by_reference, scales)

    def constant(self) -> dict[str, tuple[str, ...]]:
        """Channels that do not vary in training and become zeros, by modality; none elsewhere."""
        found = {}
        for name, scale in self.windows.items():
            flat = scale.std[:, 0].isinf().tolist()
            channels = zip(self.modalities[name].channels, flat, strict=True)
            found[name] = tuple(channel for channel, is_flat in channels if is_flat)
        return {name: channels for name, channels in found.items() if channels}

    def standardise(
        self,
        windows: Mapping[str, np.ndarray],
        device: torch.device,
        reference: ReadAgainst | None = None,
    ) -> dict[str, Tensor]:
        """Windows whose channels have mean 0 and standard deviation 1; zeros where it is missing.

        Under a reference they have so in every person's reference, and EEG is aligned.

        Args:
            windows: [N, C, T] of each modality, as prepared.
            device: where the result goes.
            reference: what they are read against, where there is one.

        Returns:
            [N, C, T] float32 by modality.

        Raises:
            ValueError: a reference is missing; a person is not known by it (who).
        """
        against = self._against(reference)
        return {
            name: torch.from_numpy(self._standardised(name, windows[name], against)).to(device)
            for name in self.modalities
        }

    def _against(self, reference: ReadAgainst | None) -> ReadAgainst | None:
        """The reference that was trained with, if any was."""
        if self.by_reference and reference is None:
            raise ValueError(
                "reference: found none, expected the one of these people: in training everyone's "
                "windows were standardised by theirs"
            )
        return reference if self.by_reference else None

    def _standardised(
        self, name: str, windows: np.ndarray, against: ReadAgainst | None
    ) -> np.ndarray:
        missing = _missing(windows, self.modalities[name])
        if against is not None:
            return against.windows(name, windows, eeg_rows(self.modalities[name]), missing)
        out = np.array(windows, dtype=np.float32)  # the one copy
        for start in range(0, len(out), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] = _scaled(out[part], self.windows[name])
        out[missing] = 0.0
        return out

    def features(
        self,
        x: Mapping[str, Tensor],
        encoders: Mapping[str, Encoder],
        reference: ReadAgainst | None = None,
        encoded: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """What tokens are made of, by modality, before it is standardised.

        Under a reference log power and encoder features are z-scored by it, person by person.

        Args:
            x: [N, C, T], from `standardise`.
            encoders: of each modality; used by "channel" and "time".
            reference: as in `standardise`.
            encoded: is given what the encoders made of x, by modality.

        Returns:
            Encoder features [N, F, T'], log power [N, C, bins], or x as it is; NaN where a modality
            is missing.
        """
        if self.kind == "spectrum":
            z = {name: log_power(part, self.modalities[name].fs) for name, part in x.items()}
        elif self.kind in ("channel", "time"):
            z = {name: encode(encoders[name], part) for name, part in x.items()}
            if encoded is not None:
                encoded.update(z)
        else:
            z = dict(x)
        z = {name: without_missing(part, x[name]) for name, part in z.items()}
        against = self._against(reference)
        if self.kind == "raw" or against is None:
            return z
        return {
            name: against.values(f"{name}/tokens", part, self._over) for name, part in z.items()
        }

    @property
    def _over(self) -> tuple[int, ...]:
        """What statistics of features run over: windows, and an encoder's time steps."""
        return (0,) if self.kind == "spectrum" else (0, 2)

    def fit_tokens(
        self,
        x: Mapping[str, Tensor],
        encoders: Mapping[str, Encoder],
        train: np.ndarray,
        reference: ReadAgainst | None = None,
    ) -> tuple[Tokenizer, dict[str, Tensor]]:
        """These inputs with the features' statistics over the rows `train`, and all tokens.

        Features come out of a ReLU, or a logarithm, with a large common offset: each encoder
        feature is standardised over windows and time, each spectral bin over windows.
        """
        z = self.features(x, encoders, reference)
        if self.kind == "raw":
            return self, self.arrange(z)
        scales = {}
        for name, part in z.items():
            known = part[torch.from_numpy(train).to(part.device)]
            known = known[~known[:, 0, 0].isnan()]
            std = known.std(self._over, correction=0, keepdim=True).clamp(min=1e-6)
            scales[name] = Scale(known.mean(self._over, keepdim=True), std)
        fitted = replace(self, tokens=scales)
        return fitted, fitted.arrange(z)

    def arrange(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features, standardised, as tokens [N, tokens, features a token] of each modality."""
        if self.kind == "raw":
            return raw_tokens(self, z)
        out = {}
        for name, part in z.items():
            count, scale = self.modalities[name].tokens, self.tokens[name]
            part = (part - scale.mean) / scale.std
            if self.kind == "spectrum":
                out[name] = part.reshape(part.shape[0], count, -1)
            else:
                out[name] = as_tokens(part, "time" if self.kind == "time" else count).contiguous()
        return out

    def of(self, names: Sequence[str], kind: str) -> Tokenizer:
        """These inputs for some of the modalities, and for tokens of this kind ("raw" has none)."""
        keep = {name: self.tokens[name] for name in names if kind == self.kind != "raw"}
        return replace(
            self,
            modalities={name: self.modalities[name] for name in names},
            kind=kind,
            tokens=keep,
        )

    def to(self, device: torch.device) -> Tokenizer:
        """These inputs with the features' statistics on a device."""
        moved = {n: Scale(s.mean.to(device), s.std.to(device)) for n, s in self.tokens.items()}
        return replace(self, tokens=moved)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and notes that `from_state` makes the same inputs of."""
        tensors = {
            f"{part}/{name}/{key}": value
            for part, scales in (("windows", self.windows), ("tokens", self.tokens))
            for name, scale in scales.items()
            for key, value in scale._asdict().items()
        }
        notes = {
            "modalities": [asdict(modality) for modality in self.modalities.values()],
            "lengths": dict(self.lengths),
            "kind": self.kind,
            "by_reference": self.by_reference,
        }
        return tensors, notes

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Tokenizer:
        """Undo `state`.

        Raises:
            KeyError: something is missing.
        """
        modalities = {m["name"]: Modality.of(m) for m in notes["modalities"]}
        scales: dict[str, dict[str, Scale]] = {"windows": {}, "tokens": {}}
        for part, name in sorted({tuple(key.split("/")[:2]) for key in tensors}):
            keys = (f"{part}/{name}/{key}" for key in Scale._fields)
            scales[part][name] = Scale(*(tensors[key] for key in keys))
        return cls(modalities, notes["lengths"], notes["kind"], notes["by_reference"], **scales)


def _statistics(windows: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [C, 1] over rows and time, in float64, a chunk at a time."""
    parts = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
    count = len(rows) * windows.shape[2]
    mean = sum(windows[part].sum((0, 2), dtype=np.float64) for part in parts) / count
    variance, peak = np.zeros(len(mean)), np.zeros(len(mean))
    for part in parts:
        x = windows[part]
        variance += np.square(x - mean[:, None]).sum((0, 2)) / count
        np.maximum(peak, np.abs(x).max((0, 2)), out=peak)
    std = np.sqrt(variance)
    std[std <= np.maximum(FLAT, FLAT_SHARE * peak)] = np.inf
    return torch.from_numpy(mean[:, None]), torch.from_numpy(std[:, None])


def _scaled(x: np.ndarray, scale: Scale) -> np.ndarray:
    return ((x - scale.mean.numpy()) / scale.std.numpy()).astype(np.float32)


def raw_tokens(source: Tokenizer, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A token is a channel: [N, C, T] -> [N, tokens, C T / tokens]; `source` has the modalities."""
    return {
        name: without_missing(part, part).reshape(part.shape[0], source.modalities[name].tokens, -1)
        for name, part in x.items()
    }


def _missing(windows: np.ndarray, modality: Modality) -> np.ndarray:
    """[N] bool, windows that lack the modality."""
    missing = np.zeros(len(windows), dtype=bool)
    for start in range(0, len(windows), _CHUNK):
        part = slice(start, start + _CHUNK)
        missing[part] = is_missing(windows[part], modality)
    return missing


def without_missing(values: Tensor, x: Tensor) -> Tensor:
    """Values [N, ...] with NaN where a standardised window [N, C, T] is missing: zeros."""
    return values.masked_fill(missing_rows(x).view(-1, *[1] * (values.dim() - 1)), torch.nan)


def log_power(x: Tensor, fs: float) -> Tensor:
    """Log power spectrum of each row: amplitude and rhythm, without phase.

    Hann-windowed periodogram, averaged in up to 16 bins between 0.5 and 45 Hz that are equally
    wide in log frequency (and at least one Fourier bin).

    Args:
        x: [N, C, T], sampled at fs.
        fs: in Hz.

    Returns:
        [N, C, bins].
    """
    return torch.cat([log_power_of_chunk(rows, fs) for rows in x.split(_CHUNK)])


def log_power_of_chunk(x: Tensor, fs: float) -> Tensor:
    """`log_power` of so many windows as memory takes at once."""
    length = x.shape[2]
    window = torch.hann_window(length, device=x.device)
    edges = _bin_edges(length, fs)
    centred = x - x.mean(2, keepdim=True)
    power = torch.fft.rfft(centred * window).abs().square()
    bins = [power[:, :, a:b].mean(2) for a, b in zip(edges, edges[1:], strict=False)]
    return torch.stack(bins, 2).clamp(min=1e-9).log()


def _bin_edges(length: int, fs: float) -> list[int]:
    """Fourier indices where bins begin, ascending, the last one past the end."""
    wanted = np.geomspace(_LOW, min(_HIGH, fs / 2), _BINS + 1) * length / fs
    edges = [max(1, round(wanted[0]))]
    for edge in wanted[1:]:
        edges.append(max(round(edge), edges[-1] + 1))
    return [edge for edge in edges if edge <= length // 2 + 1]
