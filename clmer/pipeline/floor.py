"""The linear floor of a split's models: on what it is fitted, what is held out, how it is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clmer.baselines.logistic import Features, LinearFloor
from clmer.data.splits import Split
from clmer.nn import Encoder
from clmer.nn.contrastive import pooled
from clmer.nn.encoder import encode, missing_rows
from clmer.pipeline.reference import Known
from clmer.pipeline.targets import Target
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays
from clmer.pipeline.window_features import block_features

#: Name of a split's file that holds the floors of all its models.
LINEAR = "linear"
#: Windows that are encoded at a time.
_CHUNK = 2048


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


@torch.no_grad()
def encoder_blocks(encoders: Mapping[str, Encoder], known: Known) -> dict[str, np.ndarray]:
    """What encoders make of windows, as a block of features for each modality.

        f = [mean_t z, sd_t z],  z = encoder(x)

    Encoders of stage 1 saw the training part's windows and no labels, so that labels of people
    held out inside it are as unknown to these features as to hand-made ones.

    Args:
        encoders: by modality.
        known: standardised windows; under a reference features are z-scored by it.

    Returns:
        [N, 2 F] float64 by `encoder_block`, NaN where the modality is missing.
    """
    blocks = {}
    for name, encoder in encoders.items():
        x = known.arrays[name]
        z = (known.encoded or {}).get(name)
        parts = (encode(encoder, part) for part in x.split(_CHUNK)) if z is None else [z]
        f = torch.cat([pooled(part) for part in parts]).double()
        block = f.masked_fill(missing_rows(x)[:, None], torch.nan).cpu().numpy()
        if known.reference is not None:
            block = known.reference.values(encoder_block(name), block)
        blocks[encoder_block(name)] = block
    return blocks


def encoder_block(modality: str) -> str:
    """Name of the block of a modality's encoder."""
    return f"{modality}/encoder"


def floor_features(
    windows: WindowArrays, modalities: Collection[str], encoded: Features
) -> dict[str, np.ndarray]:
    """All that the floor of some modalities reads: hand-made features, and those of encoders.

    Args:
        windows: all windows.
        modalities: those that are read.
        encoded: `encoder_blocks` of the same windows; empty without stage 1.
    """
    own = {encoder_block(name) for name in modalities}
    return windows.features_of(tuple(modalities)) | {
        name: part for name, part in encoded.items() if name in own
    }


def fit_floor(
    features: Features,
    windows: WindowArrays,
    y: np.ndarray,
    split: Split,
    target: Target,
    seed: int,
) -> Offsets:
    """Fit the floor on the training and validation parts: C needs no rows of its own.

    Its log-odds of those rows come from fits without their groups, so that a network sees in
    training what it will see of new people; those of all other rows from the whole fit.

    Args:
        features: of all windows, see `floor_features`.
        windows: the same, whose people and recordings say what is held out together.
        y: [N] label of each.
        split: its test rows are not looked at.
        target: what is predicted.
        seed: of the run.
    """
    rows = np.sort(np.concatenate([split.train, split.val]))
    own = {name: part[rows] for name, part in features.items()}
    groups = held_together(windows, split)
    floor, held_out = target.floor(own, y[rows], groups, seed, rows)
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
    tensors: Mapping[str, Tensor],
    model: str,
    tokenizer: Tokenizer,
    encoders: Mapping[str, Encoder],
    classes: int,
) -> LinearFloor:
    """Undo `floor_tensors` for one model.

    Floors of earlier versions read no encoders, and their files hold nothing of them.

    Args:
        tensors: what the file holds.
        model: its name.
        tokenizer: of the modalities that it reads.
        encoders: of stage 1, of the same modalities; empty without it.
        classes: K.

    Raises:
        ValueError: a tensor is missing or of another shape.
    """
    blank = {
        name: np.zeros((1, len(modality.channels), tokenizer.lengths[name]))
        for name, modality in tokenizer.modalities.items()
    }
    features = block_features(tokenizer.modalities, blank)
    widths = {name: part.shape[1] for name, part in features.items()}
    encoded = {encoder_block(name): 2 * each.features for name, each in encoders.items()}
    if any(key.startswith(f"{model}/{name}/") for key in tensors for name in encoded):
        widths |= encoded
    return take_floor(tensors, model, widths, classes)


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
