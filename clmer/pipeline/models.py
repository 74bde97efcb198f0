"""The models that a configuration names, and how each is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clmer.baselines import FITTED, MODELS, TANGENT, ModelSizes, ModelSpec
from clmer.baselines.logistic import LinearFloor
from clmer.baselines.tangent import eeg_of
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.nn import Encoder, feature_count
from clmer.nn.encoder import SpectralEncoder
from clmer.nn.fusion import Fusion, FusionStack
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.objectives import SPECTRAL, objective_of
from clmer.pipeline.targets import Target
from clmer.pipeline.tokenizer import WindowArrays
from clmer.pipeline.window_features import Band

Tokens = dict[str, Tensor]  # modality -> [N, tokens, features]
#: Name of stage 1, and of the split's file with its encoders.
CONTRASTIVE = "contrastive"
_CHUNK = 512
#: Windows up to which members are computed as one, which waits for the processor less often.
_FEW = 64


class ChosenModel(NamedTuple):
    """A model to train, and the modalities that it reads."""

    spec: ModelSpec
    modalities: tuple[str, ...]


def chosen_models(config: ModelConfig, present: Sequence[str]) -> dict[str, ChosenModel]:
    """The models that `models` and `ablation` name, in that order, but those of `FITTED`.

    CLMER is called by its modalities (with `ablation="single"` each alone follows the whole), all
    others by their own name.

    Raises:
        ConfigError: a model cannot be trained on these modalities.
    """
    models = {}
    for name in config.models:
        if name in FITTED:
            continue
        spec = MODELS[name]
        try:
            modalities = spec.takes(present)
        except ValueError as error:
            raise ConfigError(f"`models={name}`, `modalities`: {error}") from error
        if name != "clmer":
            models[name] = ChosenModel(spec, modalities)
            continue
        models["+".join(modalities)] = ChosenModel(spec, modalities)
        if config.ablation == "single":
            models |= {single: ChosenModel(spec, (single,)) for single in modalities}
    return models


def has_floor(config: ModelConfig, spec: ModelSpec) -> bool:
    """Whether a model has a linear floor; CLMER alone can."""
    return spec.name == "clmer" and config.classifier != "fusion"


def build_model(
    spec: ModelSpec,
    shapes: Mapping[str, tuple[int, int]],
    classes: int,
    config: ModelConfig,
    fs: float,
) -> nn.Module:
    """A model for tokens of these shapes.

    Args:
        spec: which model.
        shapes: (tokens, features) by modality.
        classes: number of classes.
        config: sizes.
        fs: samples a second of the first modality.

    Raises:
        ConfigError: it cannot be built for them.
    """
    sizes = ModelSizes(**{each.name: getattr(config, each.name) for each in fields(ModelSizes)})
    try:
        return spec.build(shapes, classes, sizes, fs)
    except ValueError as error:
        hint = "Choose another model, or other `modalities` or `window_s`."
        raise ConfigError(f"`models={spec.name}`: {error}. {hint}") from error


def check_models(config: ModelConfig, windows: WindowArrays, classes: int) -> None:
    """Refuse early what cannot be trained on these windows.

    Raises:
        ConfigError: a model cannot be trained on the modalities, or on windows of this length.
    """
    if TANGENT in config.models:
        try:
            eeg_of(windows.modalities)
        except ValueError as error:
            raise ConfigError(f"`models={TANGENT}`: {error}") from error
    for spec, modalities in chosen_models(config, tuple(windows.modalities)).values():
        if spec.tokens != "raw":
            continue  # known once the encoders are
        shapes = {}
        for name in modalities:
            _, channels, samples = windows.arrays[name].shape
            tokens = windows.modalities[name].tokens
            shapes[name] = (tokens, channels * samples // tokens)
        build_model(spec, shapes, classes, config, windows.modalities[modalities[0]].fs)


def build_encoder(config: ModelConfig, modality: Modality, length: int) -> Encoder:
    """An encoder of a configuration's size for a modality's windows of `length` samples."""
    features = feature_count(modality.tokens, config.width)
    channels, sizes = len(modality.channels), {"width": config.width, "features": features}
    if objective_of(config, modality) in SPECTRAL:
        return SpectralEncoder(channels, length, modality.fs, **sizes)
    return Encoder(channels, length, **sizes)


def member_names(name: str, members: int) -> list[str]:
    """A model's name, and those of its further members."""
    return [name, *(f"{name}-{number + 1}" for number in range(1, members))]


@torch.no_grad()
def outputs_of(
    model: nn.Module, tokens: Tokens, rows: np.ndarray, offset: np.ndarray | None = None
) -> np.ndarray:
    """What a model gives for windows, [len(rows), outputs] float64.

    Args:
        model: gives [B, outputs] of tokens.
        tokens: of all windows.
        rows: the windows asked for.
        offset: [N, outputs] of all windows that the model corrects; None for none.
    """
    if model.training:
        model.eval()
    parts = torch.from_numpy(rows).split(_CHUNK)
    found = [model({name: t[part] for name, t in tokens.items()}) for part in parts]
    said = torch.cat(found).double().cpu().numpy()
    return np.asarray(said if offset is None else said + offset[rows])


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained classifier.

    Args:
        chosen: which one, of which modalities.
        members: its networks, whose probabilities are averaged; none of a linear classifier.
        floor: the linear model that they correct; None of a network alone.
        band: of a floor that reads band powers, see `clmer.pipeline.window_features`.
    """

    chosen: ChosenModel
    members: Sequence[nn.Module]
    floor: LinearFloor | None = None
    band: Band | None = None

    @cached_property
    def stack(self) -> FusionStack | None:
        """The members as one, made when few windows are first asked for; None where they are not
        several of CLMER's.
        """
        fusions = [member for member in self.members if isinstance(member, Fusion)]
        return FusionStack(fusions) if 1 < len(fusions) == len(self.members) else None

    def predict(
        self, target: Target, tokens: Tokens, features: Mapping[str, np.ndarray], rows: np.ndarray
    ) -> np.ndarray:
        """What the members say together: log-probabilities [len(rows), classes], or ratings.

        Args:
            target: says what their outputs mean.
            tokens: what the members read, of all windows.
            features: what the floor reads, of all windows.
            rows: the windows asked for.
        """
        offset = None if self.floor is None else self.floor.log_odds(features)
        if not self.members:
            assert offset is not None
            return target.decode(offset[rows])
        stack = self.stack if len(rows) <= _FEW else None
        if stack is not None:
            own = {name: part[torch.from_numpy(rows)] for name, part in tokens.items()}
            found = stack(own).double().cpu().numpy()
            outputs = list(found if offset is None else found + offset[rows])
        else:
            outputs = [outputs_of(member, tokens, rows, offset) for member in self.members]
        return target.mean([target.decode(each) for each in outputs])
