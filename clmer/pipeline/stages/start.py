"""Encoders of another study, from which stage 1 starts (`init`).

Of each modality of the same name are copied: the convolutions and batch norms of the encoder, with
their running statistics; of the first one what belongs to channels of the same name
(`clmer.data.channels.find`: whatever case, prefix or reference; T3 is T7). Everything else starts
anew: other channels and modalities, features that the other encoder has not (their number follows
from that of the channels), the objective's projection head and summary, the optimiser. Windows are
standardised by the new study's own statistics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch

from clmer.data.channels import find
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.nn import Encoder
from clmer.nn.encoder import SpectralEncoder
from clmer.nn.random_state import drawn_from, seeded
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import build_encoder

_MOST_NAMED = 12


class Copied(NamedTuple):
    """What an encoder took over.

    Args:
        channels: names of the channels whose weights were copied.
        anew: those of the others.
        features: of the encoder's features, how many were copied; `of` are all.
    """

    channels: tuple[str, ...]
    anew: tuple[str, ...]
    features: int
    of: int


@dataclass(frozen=True, eq=False)
class Start:
    """Encoders that were trained on another study.

    Args:
        modalities: what they read, by name.
        encoders: of the same.
    """

    modalities: Mapping[str, Modality]
    encoders: Mapping[str, Encoder]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights, hex."""
        found = hashlib.sha256()
        for name, encoder in sorted(self.encoders.items()):
            for key, value in encoder.state_dict().items():
                found.update(f"{name}.{key}{list(value.shape)}".encode())
                found.update(value.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def copied(
        self, config: ModelConfig, modalities: Mapping[str, Modality], lengths: Mapping[str, int]
    ) -> dict[str, Copied]:
        """What new encoders would take over, by modality, see `fill`; nothing is kept.

        Raises:
            ConfigError: as `fill`; or none of the modalities is among these.
        """
        found = {}
        with drawn_from(seeded(0)):
            for name, modality in modalities.items():
                found[name] = self.fill(build_encoder(config, modality, lengths[name]), modality)
        if not any(each.channels for each in found.values()):
            theirs = "; ".join(f"{n}: {_listed(m.channels)}" for n, m in self.modalities.items())
            own = "; ".join(f"{n}: {_listed(m.channels)}" for n, m in modalities.items())
            raise ConfigError(
                f"`init`: found encoders of {theirs}, expected some of these modalities and "
                f"channels: {own}"
            )
        return found

    @torch.no_grad()
    def fill(self, encoder: Encoder, modality: Modality) -> Copied:
        """Copy what fits into a new encoder, in place.

        Args:
            encoder: of the modality, newly drawn.
            modality: of the new study.

        Raises:
            ConfigError: both have the modality, and the encoders' width, kind, rate or kernel, or
                a channel's type, are not the same; a channel fits several of theirs.
        """
        name, total = modality.name, encoder.features
        if name not in self.encoders:
            return Copied((), modality.channels, 0, total)
        old, known = self.encoders[name], self.modalities[name]
        self._check(encoder, modality)
        pairs = _pairs(modality, known)
        if not pairs:
            return Copied((), modality.channels, 0, total)
        ours, theirs = encoder.state_dict(), old.state_dict()
        rows = ours["blocks.0.0.weight"].shape[1] // len(modality.channels)
        at = torch.tensor([i * rows + k for i, _ in pairs for k in range(rows)])
        come = torch.tensor([j * rows + k for _, j in pairs for k in range(rows)])
        shared = min(total, old.features)
        for key, value in ours.items():
            new = theirs[key].to(value.device)
            if key == "blocks.0.0.weight":
                value[:, at] = new[:, come]
            elif key.startswith("input_norm.") and value.ndim:
                value[at] = new[come]
            elif key.startswith("blocks.2.") and value.ndim:
                value[:shared] = new[:shared]
            else:
                value.copy_(new)
        channels = tuple(modality.channels[i] for i, _ in pairs)
        anew = tuple(each for each in modality.channels if each not in channels)
        return Copied(channels, anew, shared, total)

    def _check(self, encoder: Encoder, modality: Modality) -> None:
        """Refuse encoders of a modality that cannot be compared with a new one."""
        old, known = self.encoders[modality.name], self.modalities[modality.name]
        ours, theirs = _traits(encoder, modality), _traits(old, known)
        for what, (expected, hint) in ours.items():
            found = theirs[what][0]
            if found != expected:
                raise ConfigError(
                    f"`init`: {modality.name}: found {what} {found}, expected {expected}; {hint}"
                )


def _traits(encoder: Encoder, modality: Modality) -> dict[str, tuple[Any, str]]:
    """What two encoders must share, and what to do where they do not."""
    first = cast(Any, encoder.blocks[0])[0]
    spectral = isinstance(encoder, SpectralEncoder)
    kernel = f"of {first.kernel_size[0]} samples, every {first.stride[0]}"
    return {
        "an encoder of": ("log power" if spectral else "samples", "choose the same `objective`"),
        "a rate of": (f"{modality.fs:g} Hz", "take encoders of this rate"),
        "a width of": (first.out_channels, "choose the same `width`"),
        "first kernels": (kernel, "choose a `window_s` on the same side of 256 samples"),
        "bands": (getattr(encoder, "edges", None), "choose the same `window_s`"),
    }


def _pairs(modality: Modality, known: Modality) -> list[tuple[int, int]]:
    """Places of the channels that both have: in the new modality, and in the known one."""
    pairs = []
    for i, channel in enumerate(modality.channels):
        try:
            j = find(channel, known.channels)
        except LookupError as error:
            raise ConfigError(
                f"`init`: {modality.name}: found several channels for {channel}, expected one: "
                f"{error}"
            ) from error
        if j is None:
            continue
        if modality.kinds and known.kinds and modality.kinds[i] != known.kinds[j]:
            raise ConfigError(
                f"`init`: {modality.name}: found {known.channels[j]} of type {known.kinds[j]}, "
                f"expected {modality.kinds[i]}, as {channel} is here; rename the modality, or "
                "state the channels' types"
            )
        pairs.append((i, j))
    return pairs


def start_lines(copied: Mapping[str, Copied], digest: str) -> list[str]:
    """What encoders took over, a sentence per modality.

    Args:
        copied: of `Start.copied`.
        digest: of the weights.
    """
    lines = []
    for name, each in copied.items():
        if not each.channels:
            lines.append(f"init: {name} starts anew; nothing of it is in the encoders given.")
            continue
        said = (
            f"init: {name} starts from encoders of another study (SHA-256 {digest[:12]}...): "
            f"{len(each.channels)} of {len(each.channels) + len(each.anew)} channels"
        )
        said += f"; anew: {_listed(each.anew)}" if each.anew else ""
        if each.features < each.of:
            said += f"; {each.of - each.features} of {each.of} features anew"
        lines.append(f"{said}.")
    return lines


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{' '.join(names[:_MOST_NAMED])}{more}"


def check_start(config: ModelConfig, start: Start | None) -> None:
    """Refuse encoders to start from where stage 1 does not run, or is chosen.

    Raises:
        ConfigError: it is so.
    """
    if start is None:
        return
    if not config.pretrains:
        raise ConfigError("`init`: found encoders, expected none: stage 1 does not run")
    if config.select == "inner":
        raise ConfigError(
            "`init` with `select=inner`, which chooses stage 1: leave one of them out"
        )
