"""The linear models that stand beside a split's own in its results, kept so that they can be used.

In a split's file `BASELINES`: tensors as in `clmer.pipeline.floor.floor_tensors`, and in its notes
of each model, by the name that results give it, the modalities and the features that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from clmer.baselines import MODELS
from clmer.baselines.logistic import LinearFloor
from clmer.json_files import ANY, NUMBER
from clmer.pipeline.floor import floor_tensors, take_floor
from clmer.pipeline.models import ChosenModel, FittedModel, chosen_models
from clmer.pipeline.run_files import check, damaged, read_tensors, readable
from clmer.pipeline.split.notes import TOKENIZER, read_model_config
from clmer.pipeline.targets import Target
from clmer.pipeline.tokenizer import Tokenizer
from clmer.pipeline.window_features import Band, linear_features

#: Name of the split's file.
BASELINES = "baselines"
_NOTES = {"models": {ANY: {"modalities": [str], "band": [NUMBER]}}}


class Baseline(NamedTuple):
    """A linear model of hand-made features.

    Args:
        floor: fitted.
        modalities: what it reads.
        band: edges in Hz of the EEG that preparation kept, of one that reads band powers; None of
            one that reads all hand-made features.
    """

    floor: LinearFloor
    modalities: tuple[str, ...]
    band: Band | None


def baseline_file(models: Mapping[str, Baseline]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and notes of the file."""
    tensors = floor_tensors({name: each.floor for name, each in models.items()})
    notes = {
        name: {"modalities": list(each.modalities), "band": list(each.band or ())}
        for name, each in models.items()
    }
    return tensors, {"models": notes}


def baseline_names(folder: Path) -> list[str]:
    """The models in a split's folder, in the order of the results; none of an earlier version's.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / f"{BASELINES}.safetensors"
    return [*_read(path)[1]["models"]] if readable(path, path.is_file) else []


def kept_names(folder: Path) -> list[str]:
    """The models that `SplitModel.load` takes of a folder, those under study first.

    Raises:
        DataError: a file is damaged.
    """
    path = folder / f"{TOKENIZER}.safetensors"
    if not readable(path, path.is_file):
        return []
    notes = read_tensors(path)[1]
    config = read_model_config(notes, path)
    if not config.fusion:
        return []
    names = [each["name"] for each in notes["modalities"]]
    return [*chosen_models(config, names), *baseline_names(folder)]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, notes = read_tensors(path)
    check(notes, _NOTES, path, "notes")
    return tensors, notes


def read_baseline(
    folder: Path, name: str, tokenizer: Tokenizer, target: Target
) -> tuple[FittedModel, Tokenizer]:
    """One of `baseline_names`, and the tokenizer of what it reads.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / f"{BASELINES}.safetensors"
    tensors, notes = _read(path)
    found = notes["models"][name]
    modalities: Sequence[str] = found["modalities"]
    unknown = [each for each in modalities if each not in tokenizer.modalities]
    if unknown or not modalities or len(found["band"]) not in (0, 2):
        raise damaged(path, f"notes.models.{name}", found, "modalities of this run")
    band = (found["band"][0], found["band"][1]) if found["band"] else None
    tokenizer = tokenizer.of(tuple(modalities), "raw")
    blank = {
        modality.name: np.zeros((1, len(modality.channels), tokenizer.lengths[modality.name]))
        for modality in tokenizer.modalities.values()
    }
    features = linear_features(tokenizer.modalities, blank, band)
    widths = {block: part.shape[1] for block, part in features.items()}
    try:
        floor = take_floor(tensors, name, widths, target.outputs)
    except ValueError as error:
        raise damaged(path, "contents", error, "what this run wrote") from error
    # The spec is not asked for where no network is trained.
    chosen = ChosenModel(MODELS["clmer"], tuple(modalities))
    return FittedModel(chosen, [], floor, band), tokenizer
