"""What the stages of a finished split left in a run's folder, held against its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clmer.errors import DataError
from clmer.nn import Encoder
from clmer.pipeline.config import CHOICES
from clmer.pipeline.run_files import ANY, NUMBER, check, damaged, readable
from clmer.pipeline.run_folder import read_tensors, weights_of
from clmer.pipeline.tokenizer import Inputs

_MOST_VALUES = 2**28  # of one window


def read_stage(folder: Path, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a finished stage left: its tensors and notes.

    Raises:
        DataError: it left nothing, or the file is damaged.
    """
    path = weights_of(stage)
    if not readable(folder / path, (folder / path).is_file):
        raise DataError(
            folder,
            str(path),
            "nothing",
            f"what the stage {stage} leaves when it is finished",
            "The same training command with --resume makes it.",
        )
    return read_tensors(folder / path)


def filled(make: Callable[[], Any], weights: Mapping[str, Tensor], folder: Path, stage: str) -> Any:
    """A model with a file's weights, made only where they fit it: a size is not believed.

    Raises:
        DataError: the file is of another model.
    """
    try:
        with torch.device("meta"):
            wanted = {name: part.shape for name, part in make().state_dict().items()}
    except (ValueError, RuntimeError, OverflowError) as error:  # sizes that no model has
        raise foreign(folder, stage, error) from error
    found = {name: part.shape for name, part in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            differing = f"{name} {_shape(found.get(name))}, not {_shape(wanted.get(name))}"
            raise foreign(folder, stage, differing)
    model = make()
    model.load_state_dict(weights)
    return model


def _shape(shape: Sequence[int] | None) -> str:
    return "absent" if shape is None else str(list(shape))


_NOTES = {
    "modalities": [{"name": str, "tokens": int, "fs": NUMBER, "channels": [str]}],
    "lengths": {ANY: int},
    "kind": str,
    "normalize": str,
    "classes": [str],
}


def read_inputs(
    tensors: Mapping[str, Tensor], notes: Mapping[str, Any], folder: Path, stage: str
) -> Inputs:
    """A split's statistics out of its file.

    Raises:
        DataError: they are of another run, or damaged.
    """
    path = folder / weights_of(stage)
    check(notes, _NOTES, path, "notes")
    try:
        inputs = Inputs.from_state(tensors, notes)
    except (KeyError, TypeError, ValueError) as error:
        raise foreign(folder, stage, error) from error
    kinds = ("raw", *CHOICES["tokens"])
    if inputs.kind not in kinds or inputs.normalize not in CHOICES["normalize"]:
        raise foreign(folder, stage, f"{inputs.kind}, {inputs.normalize}")
    if not inputs.modalities or len(notes["classes"]) < 2:
        raise foreign(folder, stage, "no modalities or classes")
    for name, modality in inputs.modalities.items():
        size = len(modality.channels) * inputs.lengths.get(name, 0)
        if name not in inputs.windows and inputs.normalize == "train":
            raise foreign(folder, stage, f"no statistics of {name}")
        if not 0 < size <= _MOST_VALUES or not 1 <= modality.tokens <= size or modality.fs <= 0:
            raise foreign(folder, stage, f"{name}: {size} values, {modality.tokens} tokens")
        for each in inputs.windows.get(name, ()):
            if each.shape != (len(modality.channels), 1):
                raise foreign(folder, stage, f"{name}: statistics {list(each.shape)}")
    return inputs


@torch.no_grad()
def blank_tokens(
    inputs: Inputs,
    encoders: Mapping[str, Encoder],
    device: torch.device,
    folder: Path,
    stage: str,
) -> dict[str, Tensor]:
    """The tokens of one window of zeros, to see their shapes.

    Raises:
        DataError: the statistics are of other tokens.
    """
    blank = {
        name: torch.zeros(1, len(modality.channels), inputs.lengths[name], device=device)
        for name, modality in inputs.modalities.items()
    }
    try:
        return inputs.arrange(inputs.features(blank, encoders))
    except (ValueError, RuntimeError, KeyError) as error:
        raise foreign(folder, stage, error) from error


def foreign(folder: Path, stage: str, found: object) -> DataError:
    """What to say of a stage's file that is not what the configuration asks for."""
    path = folder / weights_of(stage)
    return damaged(path, "contents", found, f"those of {stage} by {folder / 'config.json'}")
