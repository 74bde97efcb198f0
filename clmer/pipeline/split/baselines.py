"""The linear models that stand beside a split's own in its results, kept so that they can be used.

In a split's file `BASELINES`: tensors as in `clmer.pipeline.floor.floor_tensors`, and in its notes
of each model, by the name that results give it, the modalities and the features that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from clmer.baselines import MODELS
from clmer.baselines.logistic import LinearFloor
from clmer.json_files import ANY, NUMBER
from clmer.pipeline.floor import floor_tensors, take_floor
from clmer.pipeline.models import ChosenModel, FittedModel, chosen_models
from clmer.pipeline.run_files import check, damaged
from clmer.pipeline.split.notes import TOKENIZER, read_model_config
from clmer.pipeline.split.parts import Part, Parts
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


def baseline_names(parts: Parts) -> list[str]:
    """The models among a split's parts, in the order of the results; none of an earlier version's.

    Raises:
        DataError: the file is damaged.
    """
    return [*_read(parts)[1]["models"]] if parts.has(BASELINES) else []


def kept_names(parts: Parts) -> list[str]:
    """The models that `SplitModel.load` takes of a split's parts, those under study first.

    Raises:
        DataError: a file is damaged.
    """
    if not parts.has(TOKENIZER):
        return []
    notes = parts.read(TOKENIZER)[1]
    config = read_model_config(notes, parts.path(TOKENIZER))
    if not config.fusion:
        return []
    names = [each["name"] for each in notes["modalities"]]
    return [*chosen_models(config, names), *baseline_names(parts)]


def _read(parts: Parts) -> Part:
    tensors, notes = parts.read(BASELINES)
    check(notes, _NOTES, parts.path(BASELINES), "notes")
    return tensors, notes


def read_baseline(
    parts: Parts, name: str, tokenizer: Tokenizer, target: Target
) -> tuple[FittedModel, Tokenizer]:
    """One of `baseline_names`, and the tokenizer of what it reads.

    Raises:
        DataError: the file is damaged.
    """
    path = parts.path(BASELINES)
    tensors, notes = _read(parts)
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
