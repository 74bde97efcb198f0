"""What stage 1 minimises for a modality, and by which views: by its kind of signal, or as asked.

- paper: Eq. 1-4, on samples (`clmer.nn.ContrastiveModel`).
- pooled: NT-Xent on features pooled over time (`clmer.nn.contrastive.PooledContrast`).
- spectral: the same on log power over time (`clmer.nn.encoder.SpectralEncoder`), time in order.
- neighbour: as spectral; the second view is made of the window before or after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clmer.data.face.windows import FACE_ROWS
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.nn.views import Views
from clmer.pipeline.config import ModelConfig

#: The views of each objective. TS-TCC's, as far as these options can say: scale (2, 1.1), jitter
#: (0, 0.8).
VIEWS: Mapping[str, Views] = {
    "paper": Views(),
    "pooled": Views(scale=(1.0, 1.0), both=True),
    "spectral": Views(scale=(1.0, 1.0), both=True, pieces=1),
    "neighbour": Views(scale=(1.0, 0.0), pieces=1),
}
#: Those that read log power.
SPECTRAL = ("spectral", "neighbour")
#: The objective of "auto" by kind of signal, as measured (docs/model.md).
AUTO: Mapping[str, str] = {"motion": "pooled", "physiology": "pooled", "face": "pooled"}
#: Types that are motion, or that nothing is known of.
_MOTION = {"acc", "gyro", "magn", "other"}


def signal_kind(modality: Modality) -> str:
    """The kind of a modality's signals: "face", "physiology", or "motion" (any other series)."""
    if modality.name in FACE_ROWS and not modality.kinds:
        return "face"
    return "motion" if set(modality.kinds) <= _MOTION else "physiology"


def objective_of(config: ModelConfig, modality: Modality) -> str:
    """What a modality's encoder is trained by: a key of `VIEWS`."""
    return AUTO[signal_kind(modality)] if config.objective == "auto" else config.objective


def views_of(config: ModelConfig, modality: Modality) -> Views:
    """How a modality's views are made: its objective's own, but for what the options say.

    Raises:
        ConfigError: axes are to be turned, and its channels are no threes.
    """
    asked: dict[str, Any] = {
        name: getattr(config, f"view_{name}") for name in ("scale", "both", "jitter", "pieces")
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if config.view_rotation and signal_kind(modality) == "motion":
        if len(modality.channels) % 3:
            raise ConfigError(
                f"`view_rotation`: found {len(modality.channels)} channels in {modality.name}, "
                "expected threes (x, y, z of each sensor) in that order"
            )
        asked["rotation"] = config.view_rotation
    return replace(VIEWS[objective_of(config, modality)], **asked)


def describe(config: ModelConfig, modalities: Mapping[str, Modality]) -> str:
    """The objectives in words: "pooled (acc, gyro), paper (ecg)"."""
    names: dict[str, list[str]] = {}
    for name, modality in modalities.items():
        names.setdefault(objective_of(config, modality), []).append(name)
    if len(names) == 1:
        return next(iter(names))
    return ", ".join(f"{objective} ({', '.join(own)})" for objective, own in names.items())
