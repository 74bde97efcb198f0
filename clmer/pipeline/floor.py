"""The linear floor of a split's models: on what it is fitted, what is held out, how it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clmer.baselines.logistic import LinearFloor
from clmer.data.splits import Split
from clmer.pipeline.targets import Target
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays
from clmer.pipeline.window_features import block_features

#: Name of a split's file that holds the floors of all its models.
LINEAR = "linear"


class Offsets(NamedTuple):
    """What a network corrects.

    Args:
        floor: the fitted linear model.
        log_odds: [N, K] its log-odds of all windows.
        validation: [len(val)] which of the validation part's rows are held out together.
    """

    floor: LinearFloor
    log_odds: np.ndarray
    validation: np.ndarray


def fit_floor(
    windows: WindowArrays,
    modalities: Sequence[str],
    y: np.ndarray,
    split: Split,
    target: Target,
    seed: int,
) -> Offsets:
    """Fit the floor on the training and validation parts: C needs no rows of its own.

    Its log-odds of those rows come from fits without their groups, so that a network sees in
    training what it will see of new people; those of all other rows from the whole fit.

    Args:
        windows: all windows.
        modalities: those that it reads.
        y: [N] label of each.
        split: its test rows are not looked at.
        target: what is predicted.
        seed: of the run.
    """
    rows = np.sort(np.concatenate([split.train, split.val]))
    features = windows.features_of(modalities)
    own = {name: part[rows] for name, part in features.items()}
    groups = held_together(windows, split)
    floor, held_out = target.floor(own, y[rows], groups, seed)
    log_odds = floor.log_odds(features)
    log_odds[rows] = held_out
    return Offsets(floor, log_odds, groups[np.searchsorted(rows, split.val)])


def held_together(windows: WindowArrays, split: Split) -> np.ndarray:
    """What cross-validation inside training holds out together, for its rows in ascending order.

    People; recordings where the training part has one person, or where the protocol itself has
    people in both training and validation; single windows where it has recordings in both.
    """
    rows = np.sort(np.concatenate([split.train, split.val]))
    for owners in (windows.people, windows.recordings):
        if owners is None:
            continue
        several = len(np.unique(owners[rows])) > 1
        if several and not np.isin(owners[split.val], owners[split.train]).any():
            return np.asarray(owners[rows])
    return np.arange(len(rows))


# --- files ----------------------------------------------------------------------------------------
def floor_tensors(floors: Mapping[str, LinearFloor]) -> dict[str, Tensor]:
    """Floors by model as the tensors of one file."""
    tensors = {}
    for model, floor in floors.items():
        tensors[f"{model}/bias"] = torch.from_numpy(floor.bias)
        for name in floor.weights:
            for key in ("mean", "scale", "weights"):
                tensors[f"{model}/{name}/{key}"] = torch.from_numpy(getattr(floor, key)[name])
    return tensors


def read_floor(
    tensors: Mapping[str, Tensor], model: str, tokenizer: Tokenizer, classes: int
) -> LinearFloor:
    """Undo `floor_tensors` for one model.

    Args:
        tensors: what the file holds.
        model: its name.
        tokenizer: of the modalities that it reads.
        classes: K.

    Raises:
        ValueError: a tensor is missing or of another shape.
    """
    blank = {
        name: np.zeros((1, len(modality.channels), tokenizer.lengths[name]))
        for name, modality in tokenizer.modalities.items()
    }
    features = block_features(tokenizer.modalities, blank)
    return take_floor(tensors, model, {k: part.shape[1] for k, part in features.items()}, classes)


def take_floor(
    tensors: Mapping[str, Tensor], model: str, widths: Mapping[str, int], classes: int
) -> LinearFloor:
    """`read_floor` of a model whose blocks' widths are known."""

    def take(key: str, *shape: int) -> np.ndarray:
        found = tensors.get(f"{model}/{key}")
        if found is None or found.shape != shape:
            shown = "nothing" if found is None else list(found.shape)
            raise ValueError(f"{model}/{key}: {shown}, not {list(shape)}")
        return found.double().numpy()

    return LinearFloor(
        {name: take(f"{name}/mean", width) for name, width in widths.items()},
        {name: take(f"{name}/scale", width) for name, width in widths.items()},
        {name: take(f"{name}/weights", classes, width) for name, width in widths.items()},
        take("bias", classes),
    )
