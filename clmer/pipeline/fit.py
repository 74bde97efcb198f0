"""`fit_split`: the training of one split, from windows to a `SplitModel`.

Training, the scikit-learn classifier and the estimate of the training time call it. Read it first;
the loop over epochs is `clmer.pipeline.stages.loop.fit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from clmer.baselines.logistic import Features
from clmer.data.splits import Split
from clmer.errors import ConfigError
from clmer.nn import Encoder
from clmer.nn.random_state import own_random_state
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.floor import (
    LINEAR,
    Offsets,
    encoder_blocks,
    fit_floor,
    floor_features,
    floor_tensors,
)
from clmer.pipeline.models import (
    ChosenModel,
    FittedModel,
    Tokens,
    chosen_models,
    has_floor,
)
from clmer.pipeline.options.reference import NONE
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.reference import Known
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.split.notes import TOKENIZER
from clmer.pipeline.stages.classifiers import Classifiers
from clmer.pipeline.stages.contrastive import fit_encoders, random_encoders
from clmer.pipeline.stages.loop import Recorder, Unrecorded
from clmer.pipeline.stages.select import Classify, candidates, choose
from clmer.pipeline.stages.start import Start, check_start
from clmer.pipeline.stages.tuned import feature_scales, linear_start, tuned
from clmer.pipeline.targets import RowWeights, Target, fit_target
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays, raw_tokens


def fit_split(
    config: ModelConfig,
    windows: WindowArrays,
    y: np.ndarray,
    split: Split,
    *,
    classes: tuple[str, ...],
    device: torch.device | str = "cpu",
    recorder: Recorder | None = None,
    ranks: Ranks | None = None,
    name: str = "split1",
    weights: RowWeights | None = None,
    start: Start | None = None,
) -> SplitModel:
    """Train both stages on a split's training part.

    Args:
        config: what to train, its sizes, for how long.
        windows: all windows, N of them.
        y: [N] class of each, -1 for none; or its rating, NaN for none.
        split: rows to train on, and those by which the epoch is chosen (none: the last one is
            kept). Its test rows are not looked at.
        classes: names, in the order of y's numbers; none where `config.target` is "rating".
        device: where to train.
        recorder: keeps progress, so that a killed fit goes on; None keeps nothing.
        ranks: processes that share stage 1; None for this one alone. Stage 2 is trained by the
            first: the other ranks' result has no classifiers.
        name: of the split; seeds and the recorder's names follow from it.
        weights: what windows count in the losses of the floor and of stage 2; None for balanced
            classes, or 1 of a rating. Stage 1 and all statistics count every row once.
        start: encoders of another study that stage 1 starts from; None for a random start.

    Returns:
        The trained model. The caller's random state is what it was before; fits in several threads
        end as each would alone.

    Raises:
        ConfigError: a model cannot be trained on these windows; `start` does not fit; a correction
            has no validation part; there is no reference where `config.reference` asks for one, or
            one that it does not ask for.
        DataError: a loss was not finite; a file of the recorder is damaged or cannot be written.
    """
    device = torch.device(device)
    recorder, ranks = recorder or Unrecorded(), ranks or Ranks()
    if (config.reference == NONE) != (windows.reference is None):
        found = "none" if windows.reference is None else "one"
        raise ConfigError(f"`reference={config.reference}`: found {found} among the windows")
    check_start(config, start)
    if config.select == "inner" and weights is not None:
        raise ConfigError("`select=inner`: found weights of windows, expected none")
    if config.select == "inner":
        return _fit_selected(config, windows, y, split, classes, device, recorder, ranks, name)
    target = fit_target(config.target, classes, y, split.train, weights)
    corrects = config.fusion and config.classifier == "corrected" and "clmer" in config.models
    if corrects and not len(split.val):
        raise ConfigError(
            "`classifier=corrected`: found no validation windows, by which the correction is "
            "chosen; hold some back, or take `classifier=linear` or `classifier=fusion`"
        )
    with own_random_state(device):
        tokenizer = Tokenizer.fit(windows, split.train, config.token_kind)
        x = tokenizer.standardise(windows.arrays, device, windows.read_against)
        encoders: dict[str, Encoder] = {}
        if config.pretrains:
            encoders = fit_encoders(config, windows, x, split, recorder, ranks, name, start)
        known = Known(x, windows.read_against)
        tokenizer, tokens = fit_tokens(tokenizer, split.train, known, encoders)
        models: dict[str, FittedModel] = {}
        if config.fusion and ranks.leads:
            read = {} if config.classifier == "fusion" else encoders
            encoded = encoder_blocks(read, known)
            if config.encoders != "frozen":
                tokens["stage"] = x  # the models have encoders of their own
            for key, chosen in chosen_models(config, tuple(windows.modalities)).items():
                if config.encoders != "frozen" and chosen.spec.tokens == "stage":
                    chosen = _tuned(config, chosen, tokenizer, encoders, x, y, split, target)
                part = select_tokens(chosen, tokens)
                fs = windows.modalities[chosen.modalities[0]].fs
                floor = _floor(config, chosen, windows, encoded, y, split, target)
                trainer = Classifiers(config, part, y, split, target, fs, device, recorder, floor)
                models[key] = trainer.fit(chosen, f"{name}/{key}")
    model = SplitModel(config, tokenizer, encoders, models, target.unweighted(), device)
    if model.floors:
        recorder.save_tensors(f"{name}/{LINEAR}", floor_tensors(model.floors), {})
    recorder.save_tensors(f"{name}/{TOKENIZER}", *model.tokenizer_state())
    return model


def _fit_selected(
    config: ModelConfig,
    windows: WindowArrays,
    y: np.ndarray,
    split: Split,
    classes: tuple[str, ...],
    device: torch.device,
    recorder: Recorder,
    ranks: Ranks,
    name: str,
) -> SplitModel:
    """Choose a configuration inside the training part, then train it (`select=inner`)."""
    if ranks.group is not None:
        raise ConfigError(
            f"`select=inner`: found {ranks.count} processes that share a split, expected at most "
            "as many as there are splits; start fewer"
        )
    classify = _classify(windows, y, classes, device, name)
    selected = choose(config, windows, y, split, classify, recorder, name)
    model = fit_split(
        candidates(config)[selected.name],
        windows,
        y,
        split,
        classes=classes,
        device=device,
        recorder=recorder,
        name=name,
    )
    return replace(model, selection=selected)


def _classify(
    windows: WindowArrays, y: np.ndarray, classes: tuple[str, ...], device: torch.device, name: str
) -> Classify:
    """Training and prediction of a candidate on a part of a split (`select=inner`)."""

    def classify(config: ModelConfig, part: Split) -> np.ndarray:
        model = fit_split(config, windows, y, part, classes=classes, device=device, name=name)
        key, fitted = next(iter(model.models.items()))
        reference = windows.read_against
        x = model.tokenizer.standardise(windows.arrays, device, reference)
        known = Known(x, reference)
        tokens, names = all_tokens(model, known), fitted.chosen.modalities
        features: Features = {}
        if fitted.floor is not None:
            features = floor_features(windows, names, encoder_blocks(model.encoders, known))
        own = select_tokens(model.models[key].chosen, tokens) if fitted.members else {}
        return fitted.predict(model.target, own, features, part.test).argmax(1)

    return classify


def _tuned(
    config: ModelConfig,
    chosen: ChosenModel,
    tokenizer: Tokenizer,
    encoders: Mapping[str, Encoder],
    x: Mapping[str, Tensor],
    y: np.ndarray,
    split: Split,
    target: Target,
) -> ChosenModel:
    """A model with encoders of its own; those of stage 1 begin where a linear model ends.

    That is the floor where there is one, else logistic regression on their features; a rating
    without a floor begins at its mean.
    """
    own = {name: encoders[name] for name in chosen.modalities if name in encoders}
    scales, start = feature_scales(own, x, split.train), None
    if own and target.classes and not has_floor(config, chosen.spec):
        start = linear_start(own, scales, x, y, split.train, target.outputs)
    return tuned(config, chosen, tokenizer, own, scales, start)


def _floor(
    config: ModelConfig,
    chosen: ChosenModel,
    windows: WindowArrays,
    encoded: Features,
    y: np.ndarray,
    split: Split,
    target: Target,
) -> Offsets | None:
    """The linear floor of a model, where it has one."""
    if not has_floor(config, chosen.spec):
        return None
    features = floor_features(windows, chosen.modalities, encoded)
    return fit_floor(features, windows, y, split, target, config.seed)


def fit_control(
    model: SplitModel,
    windows: WindowArrays,
    tokens: Mapping[str, Tokens],
    encoded: Features,
    y: np.ndarray,
    split: Split,
    recorder: Recorder,
    name: str,
) -> FittedModel:
    """A split's first classifier, trained once more on other labels.

    Args:
        model: the split's, whose tokens are taken.
        windows: all windows.
        tokens: of all windows, see `all_tokens`.
        encoded: the same windows by `encoder_blocks`.
        y: [N] the other labels.
        split: what the model was trained on.
        recorder: keeps progress.
        name: of the control, "split1/permuted".
    """
    chosen = next(iter(model.models.values())).chosen
    part = select_tokens(chosen, tokens)
    fs = model.tokenizer.modalities[chosen.modalities[0]].fs
    target, device = model.target, model.device
    with own_random_state(device):
        floor = _floor(model.config, chosen, windows, encoded, y, split, target)
        trainer = Classifiers(model.config, part, y, split, target, fs, device, recorder, floor)
        return trainer.fit(chosen, name)


def fit_ablation(
    model: SplitModel,
    windows: WindowArrays,
    x: Mapping[str, Tensor],
    y: np.ndarray,
    split: Split,
    recorder: Recorder,
    name: str,
) -> dict[str, tuple[FittedModel, Tokens, Features]]:
    """A split's first model without what stage 1 learnt, like for like (`ablation="stages"`).

    Args:
        model: the split's.
        windows: all windows.
        x: the same, standardised.
        y: [N] classes.
        split: what the model was trained on.
        recorder: keeps progress.
        name: of the split.

    Returns:
        By name, each with the tokens and the encoders' features that it reads. "random encoders":
        drawn as those of stage 1 before their training, batch norms fitted to the training windows,
        frozen; where stage 2 trains encoders, from this start. "no encoders": a channel's samples
        as tokens, and a floor of hand-made features alone.
    """
    config, names, device = model.config, tuple(windows.modalities), model.device
    chosen = next(iter(chosen_models(config, names).values()))
    fs = windows.modalities[chosen.modalities[0]].fs
    known = Known(x, windows.read_against)
    made: dict[str, tuple[ChosenModel, Tokens, Features]] = {}
    with own_random_state(device):
        encoders = random_encoders(config, windows.modalities, x, split.train)
        if config.encoders == "frozen":
            again, tokens = chosen, fit_tokens(model.tokenizer, split.train, known, encoders)[1]
        else:
            scratch = replace(config, encoders="scratch", ablation="none")
            again, tokens = tuned(scratch, chosen, model.tokenizer, {}), {"stage": dict(x)}
        made["random encoders"] = again, tokens["stage"], encoder_blocks(encoders, known)
        raw = chosen._replace(spec=replace(chosen.spec, tokens="raw"))
        made["no encoders"] = raw, raw_tokens(model.tokenizer, x), {}
        fitted = {}
        for key, (each, read, encoded) in made.items():
            part = {modality: read[modality] for modality in each.modalities}
            floor = _floor(config, each, windows, encoded, y, split, model.target)
            trainer = Classifiers(config, part, y, split, model.target, fs, device, recorder, floor)
            fitted[key] = trainer.fit(each, f"{name}/{key.replace(' ', '-')}"), part, encoded
    return fitted


# --- tokens --------------------------------------------------------------------------------------
def fit_tokens(
    tokenizer: Tokenizer,
    train: np.ndarray,
    known: Known,
    encoders: Mapping[str, Encoder],
) -> tuple[Tokenizer, dict[str, Tokens]]:
    """The tokens of every kind that a `ModelSpec` names, and the tokenizer that makes them.

    Args:
        tokenizer: the split's.
        train: rows whose statistics count.
        known: standardised windows, with their reference where there is one.
        encoders: of stage 1, where there is one.
    """
    tokenizer, stage = tokenizer.fit_tokens(known.arrays, encoders, train, known.reference)
    return tokenizer, {"stage": stage, "raw": raw_tokens(tokenizer, known.arrays)}


@torch.no_grad()
def all_tokens(model: SplitModel, known: Known) -> dict[str, Tokens]:
    """The tokens of every kind, of standardised windows, by a trained split."""
    return {"stage": model.tokens(known), "raw": raw_tokens(model.tokenizer, known.arrays)}


def select_tokens(chosen: ChosenModel, tokens: Mapping[str, Tokens]) -> Tokens:
    """What one model reads of the tokens."""
    return {
        name: chosen.spec.readable(tokens[chosen.spec.tokens][name]) for name in chosen.modalities
    }
