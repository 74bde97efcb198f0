"""What is read of a split's files: tensors, the model that is wanted, and weights into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clmer.errors import ConfigError, DataError
from clmer.nn import Encoder
from clmer.nn.random_state import drawn_from, seeded
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.models import ChosenModel, chosen_models
from clmer.pipeline.run_files import damaged, read_tensors, readable
from clmer.pipeline.split.baselines import baseline_names
from clmer.pipeline.split.notes import TOKENIZER, foreign
from clmer.pipeline.tokenizer import Tokenizer


def read_part(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and notes of one of a split's files.

    Raises:
        DataError: it is not there (what makes it), or damaged.
    """
    path = folder / f"{name}.safetensors"
    if not readable(path, path.is_file):
        raise DataError(
            folder.parent.parent,
            str(path.relative_to(folder.parent.parent)),
            "nothing",
            f"what training leaves when {folder.name}/{name} is finished",
            "The same training command with --resume makes it.",
        )
    return read_tensors(path)


def wanted_model(
    folder: Path, config: ModelConfig, tokenizer: Tokenizer, wanted: str | None
) -> tuple[str, ChosenModel]:
    """A model and its name: the first, or the one wanted.

    Raises:
        DataError: there is no such model (which there are), or the notes are damaged.
    """
    try:
        models = chosen_models(config, tuple(tokenizer.modalities))
    except ConfigError as error:
        raise damaged(folder / f"{TOKENIZER}.safetensors", "notes.config", error) from error
    name = next(iter(models), "svm") if wanted is None else wanted
    if name not in models:
        kept = [*models, *baseline_names(folder)]
        expected = ", ".join(kept) or "a run with a model that the loop trains"
        raise DataError(folder, "model", name, expected)
    return name, models[name]


@torch.no_grad()
def token_shapes(
    tokenizer: Tokenizer, encoders: Mapping[str, Encoder], device: torch.device, folder: Path
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
        raise foreign(folder / f"{TOKENIZER}.safetensors", error) from error
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
