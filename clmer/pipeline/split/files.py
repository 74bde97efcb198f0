"""A split's files: what is written of a model, and what is read into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clmer.errors import ConfigError, DataError
from clmer.nn import Encoder
from clmer.nn.random_state import drawn_from, seeded
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.floor import LINEAR, floor_tensors
from clmer.pipeline.models import CONTRASTIVE, ChosenModel, chosen_models, member_names
from clmer.pipeline.run_files import damaged
from clmer.pipeline.split.baselines import BASELINES, Baseline, baseline_file, baseline_names
from clmer.pipeline.split.notes import TOKENIZER, foreign
from clmer.pipeline.split.parts import Part, Parts
from clmer.pipeline.tokenizer import Tokenizer

if TYPE_CHECKING:
    from clmer.pipeline.split.model import SplitModel


def parts_of(model: SplitModel) -> dict[str, Part]:
    """Tensors and notes of all files of a split's model, by their names."""
    found: dict[str, Part] = {TOKENIZER: model.tokenizer_state()}
    if model.encoders:
        weights = {
            f"{name}.encoder.{key}": value
            for name, encoder in model.encoders.items()
            for key, value in encoder.state_dict().items()
        }
        found[CONTRASTIVE] = weights, {}
    floors, baselines = {}, {}
    for name, floor in model.floors.items():
        fitted = model.models[name]
        if name == "+".join(fitted.chosen.modalities):  # CLMER's name in results
            floors[name] = floor
        else:
            baselines[name] = Baseline(floor, fitted.chosen.modalities, fitted.band)
    if floors:
        found[LINEAR] = floor_tensors(floors), {}
    if baselines:
        found[BASELINES] = baseline_file(baselines)
    for name, fitted in model.models.items():
        names = member_names(name, len(fitted.members))[: len(fitted.members)]
        for part, member in zip(names, fitted.members, strict=True):
            found[part] = member.state_dict(), {}
    return found


def wanted_model(
    parts: Parts, config: ModelConfig, tokenizer: Tokenizer, wanted: str | None
) -> tuple[str, ChosenModel]:
    """A model and its name: the first, or the one wanted.

    Raises:
        DataError: there is no such model (which there are), or the notes are damaged.
    """
    try:
        models = chosen_models(config, tuple(tokenizer.modalities))
    except ConfigError as error:
        raise damaged(parts.path(TOKENIZER), "notes.config", error) from error
    name = next(iter(models), "svm") if wanted is None else wanted
    if name not in models:
        kept = [*models, *baseline_names(parts)]
        expected = ", ".join(kept) or "a run with a model that the loop trains"
        raise DataError(parts.source, "model", name, expected)
    return name, models[name]


@torch.no_grad()
def token_shapes(
    tokenizer: Tokenizer, encoders: Mapping[str, Encoder], device: torch.device, parts: Parts
) -> dict[str, tuple[int, int]]:
    """(tokens, features) of each modality, from one window of zeros.

    Raises:
        DataError: the encoders or the statistics are not of these modalities.
    """
    blank = {
        name: torch.zeros(1, len(modality.channels), tokenizer.lengths[name], device=device)
        for name, modality in tokenizer.modalities.items()
    }
    try:
        plain = replace(tokenizer, by_reference=False)  # shapes, which no reference changes
        tokens = plain.arrange(plain.features(blank, encoders))
    except (ValueError, RuntimeError, KeyError) as error:
        raise foreign(parts.path(TOKENIZER), error) from error
    return {name: (part.shape[1], part.shape[2]) for name, part in tokens.items()}


def filled(make: Callable[[], Any], weights: Mapping[str, Tensor], path: Path) -> Any:
    """A model with a file's weights, made only where they fit it: a size is not believed.

    Raises:
        DataError: they do not fit (which).
    """
    try:
        with torch.device("meta"):
            wanted = {name: part.shape for name, part in make().state_dict().items()}
    except (ValueError, RuntimeError, OverflowError) as error:  # sizes that no model has
        raise foreign(path, error) from error
    found = {name: part.shape for name, part in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            differing = f"{name} {_shape(found.get(name))}, not {_shape(wanted.get(name))}"
            raise foreign(path, differing)
    with drawn_from(seeded(0)):  # weights that are overwritten, and no draw of the caller's
        model = make()
    model.load_state_dict(weights)
    return model


def _shape(shape: Sequence[int] | None) -> str:
    return "absent" if shape is None else str(list(shape))
