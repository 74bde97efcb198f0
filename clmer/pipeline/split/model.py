"""What a split trained, from windows to probabilities; `fit_split` makes it, files keep it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clmer.baselines.logistic import LinearFloor
from clmer.nn import Encoder
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.floor import LINEAR, encoder_block, encoder_blocks, read_floor
from clmer.pipeline.models import (
    CONTRASTIVE,
    FittedModel,
    Tokens,
    build_encoder,
    build_model,
    has_floor,
    member_names,
)
from clmer.pipeline.reference import (
    LEAST,
    GivenReference,
    Known,
    PersonReference,
    PersonScales,
    ReferenceFit,
    ReferenceRows,
    check_one_person,
)
from clmer.pipeline.reference_rows import check_given
from clmer.pipeline.run_files import write_tensors
from clmer.pipeline.split.baselines import baseline_names, read_baseline
from clmer.pipeline.split.files import filled, parts_of, token_shapes, wanted_model
from clmer.pipeline.split.notes import (
    TOKENIZER,
    foreign,
    read_model_config,
    read_split_target,
    read_tokenizer,
)
from clmer.pipeline.split.parts import Parts, SplitFolder
from clmer.pipeline.split.windows import Windows, checked_windows
from clmer.pipeline.stages.tuned import tuned
from clmer.pipeline.targets import Target, check_has_classes
from clmer.pipeline.tokenizer import Tokenizer, raw_tokens
from clmer.pipeline.window_features import Band, linear_features

if TYPE_CHECKING:  # inference needs no loop
    from clmer.pipeline.stages.select import Selection


#: Hand-made features by the modalities, and the band, that they are made of.
SharedFeatures = dict[tuple[tuple[str, ...], Band | None], dict[str, np.ndarray]]


class SharedFit(NamedTuple):
    """Hand-made features of one person's reference, and the scales that they gave, by the same."""

    features: SharedFeatures
    scales: dict[Hashable, PersonScales]


@dataclass(frozen=True, eq=False)
class SplitModel:
    """What one split trained.

    Args:
        config: sizes and what was trained.
        tokenizer: the split's statistics.
        encoders: of each modality; none without the contrastive stage.
        models: the classifiers by name; the first is used where none is named. None without a
            fusion stage.
        target: what they predict: classes or a rating.
        device: where all of it is.
        selection: how the configuration was chosen; None where it was given, or of a loaded model.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    encoders: Mapping[str, Encoder]
    models: Mapping[str, FittedModel]
    target: Target
    device: torch.device
    selection: Selection | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the probabilities' columns; none of a rating."""
        return self.target.classes

    def __post_init__(self) -> None:
        members = (member for each in self.models.values() for member in each.members)
        for model in (*self.encoders.values(), *members):
            model.eval()

    def __repr__(self) -> str:
        names = ", ".join(self.models) or "no classifier"
        return f"SplitModel({names}; {', '.join(self.classes) or 'rating'}; on {self.device})"

    def known(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        reference: GivenReference | None = None,
    ) -> Known:
        """Windows, checked and standardised, with the reference that they are read against.

        Args:
            windows: [N, C, T] by modality, as `clmer.data.store.prepare` stores them.
            people: [N] whose each is, where a reference is needed; None for one person's.
            reference: what is known of people, see `clmer.pipeline.reference.GivenReference`, where
                the model was trained with it.

        Raises:
            ConfigError: a reference is missing (how to record one), or not asked for.
            ValueError: a modality is missing, unknown or of the wrong shape; there are no windows,
                or some that are not finite; a person is not known by the reference (who).
        """
        return self._standardised(self._whole(windows, people, reference))

    def _whole(
        self, windows: Windows, people: np.ndarray | None, reference: GivenReference | None
    ) -> Known:
        """Windows, checked and as prepared, with what they are read against."""
        checked = checked_windows(self.tokenizer, windows)
        check_given(self.config.reference, reference)
        if reference is None:
            return Known(checked)
        if not isinstance(reference, Mapping | PersonReference):
            count = len(next(iter(checked.values())))
            return Known(checked, ReferenceRows.given(people, reference, count))
        check_one_person(people)
        if isinstance(reference, Mapping):
            reference = self.known_person(reference)
        return Known(checked, reference.of(self))

    def known_person(self, reference: Windows, shared: SharedFit | None = None) -> PersonReference:
        """One person's reference, worked through once, to be given as `reference` from then on.

        Args:
            reference: [M, C, T] by modality, as prepared.
            shared: what other splits' models have made of the same windows; added to.

        Raises:
            ConfigError: the model was trained without a reference, or with "all".
            ValueError: it is no windows, they do not fit, or they are fewer than
                `clmer.pipeline.reference.LEAST`.
        """
        check_given(self.config.reference, reference)
        if not isinstance(reference, Mapping):
            found = type(reference).__name__
            raise ValueError(f"reference: found {found}, expected windows [M, C, T] by modality")
        whole = Known(checked_windows(self.tokenizer, reference))
        count = len(next(iter(whole.arrays.values())))
        if count < LEAST:
            raise ValueError(
                f"reference: found {count} windows of this person, expected at least {LEAST}"
            )
        made, scales = SharedFit({}, {}) if shared is None else shared
        fit = ReferenceFit(of_features=scales)
        whole = whole._replace(reference=fit)
        known = self._standardised(whole)
        self.tokens(known)
        for fitted in self.models.values():
            self._features(fitted, whole, known, made)
        return PersonReference({self: fit.fitted()}, count)

    def _standardised(self, whole: Known) -> Known:
        x = self.tokenizer.standardise(whole.arrays, self.device, whole.reference)
        return whole._replace(arrays=x, encoded={})

    def tokens(self, known: Known) -> Tokens:
        """What CLMER reads of windows from `known`: tokens, or these where it has own encoders."""
        if self.config.encoders != "frozen":
            return dict(known.arrays)
        return self._tokens(self.tokenizer, known)

    @torch.no_grad()
    def _tokens(self, tokenizer: Tokenizer, known: Known) -> Tokens:
        x = {name: known.arrays[name] for name in tokenizer.modalities}
        z = tokenizer.features(x, self.encoders, known.reference, known.encoded)
        return tokenizer.arrange(z)

    def tokens_for(self, name: str, known: Known) -> Tokens:
        """The tokens that a model reads, of windows from `known`."""
        chosen = self.models[name].chosen
        if chosen.spec.tokens == "raw":
            part = {modality: known.arrays[modality] for modality in chosen.modalities}
            found = raw_tokens(self.tokenizer, part)
        elif self.config.encoders != "frozen":
            found = {modality: known.arrays[modality] for modality in chosen.modalities}
        else:
            tokenizer = self.tokenizer.of(chosen.modalities, self.tokenizer.kind)
            found = self._tokens(tokenizer, known)
        return {modality: chosen.spec.readable(part) for modality, part in found.items()}

    @torch.inference_mode()
    def predictions(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        model: str = "",
        reference: GivenReference | None = None,
        shared: SharedFeatures | None = None,
    ) -> np.ndarray:
        """What the members say together: log-probabilities, or the rating.

        Args:
            windows: [N, C, T] by modality.
            people: as in `known`.
            reference: as in `known`.
            model: which of `models`; "" for the first.
            shared: hand-made features that other splits' models have made of the same windows and
                reference; what is missing is added.

        Returns:
            [N, classes] or [N], float64.

        Raises:
            KeyError: no such model.
            ConfigError, ValueError: as `known`.
        """
        fitted = self.models[name := model or next(iter(self.models))]
        whole = self._whole(windows, people, reference)
        reads_x = fitted.members or self._read_by_floor(fitted)
        known = self._standardised(whole) if reads_x else whole
        tokens = self.tokens_for(name, known) if fitted.members else {}
        features = self._features(fitted, whole, known, {} if shared is None else shared)
        count = len(next(iter(windows.values())))
        return fitted.predict(self.target, tokens, features, np.arange(count))

    def _features(
        self, fitted: FittedModel, whole: Known, known: Known, made: SharedFeatures
    ) -> dict[str, np.ndarray]:
        """What a model's floor reads of windows, as prepared and standardised; none without one."""
        if fitted.floor is None:
            return {}
        if (key := (fitted.chosen.modalities, fitted.band)) not in made:
            used = {each: self.tokenizer.modalities[each] for each in fitted.chosen.modalities}
            reference = None if whole.reference is None else whole.reference.for_features(key)
            made[key] = linear_features(used, whole.arrays, fitted.band, reference)
        return made[key] | encoder_blocks(self._read_by_floor(fitted), known)

    def _read_by_floor(self, fitted: FittedModel) -> dict[str, Encoder]:
        """The encoders whose features a model's floor reads; none of an earlier version's."""
        read = {} if fitted.floor is None else fitted.floor.weights
        return {name: each for name, each in self.encoders.items() if encoder_block(name) in read}

    def log_probabilities(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        model: str = "",
        reference: GivenReference | None = None,
    ) -> np.ndarray:
        """Log of the members' mean probability, [N, classes]; a TypeError of a rating's model."""
        check_has_classes(self.target)
        return self.predictions(windows, people, model, reference)

    def predict_proba(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        model: str = "",
        reference: GivenReference | None = None,
    ) -> np.ndarray:
        """Probability of each class, [N, classes]; the arguments are `log_probabilities`'."""
        return np.exp(self.log_probabilities(windows, people, model, reference))

    def predict(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        model: str = "",
        reference: GivenReference | None = None,
    ) -> np.ndarray:
        """Name of the most probable class, or the rating, [N]; arguments as `predictions`."""
        said = self.predictions(windows, people, model, reference)
        return np.array(self.classes)[said.argmax(1)] if self.classes else said

    @property
    def floors(self) -> dict[str, LinearFloor]:
        """The linear floor of each model that has one, by the model's name."""
        return {name: each.floor for name, each in self.models.items() if each.floor is not None}

    # --- files ----------------------------------------------------------------------------------
    def tokenizer_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and notes of the file `TOKENIZER`: all that is needed to build the rest."""
        tensors, notes = self.tokenizer.state()
        own = {each.name: getattr(self.config, each.name) for each in fields(ModelConfig)}
        return tensors, notes | self.target.notes() | {"config": own}

    def save(self, folder: Path | str) -> None:
        """Write the model into a folder, which is made; `load` reads it.

        Raises:
            DataError: the folder cannot be written.
        """
        place = SplitFolder(Path(folder))
        place.source.mkdir(parents=True, exist_ok=True)
        for name, (tensors, notes) in parts_of(self).items():
            write_tensors(place.path(name), tensors, notes)

    @classmethod
    def load(
        cls, folder: Path | str, model: str | None = None, device: str | torch.device = "cpu"
    ) -> SplitModel:
        """The model in a folder that `save`, or a training, wrote.

        Args:
            folder: `models/split1` of a run's folder, for one.
            model: one of its classifiers or linear baselines by name, as the results have it; None
                for the first classifier.
            device: a torch device.

        Raises:
            DataError: something is missing or damaged (which file), or there is no such model.
        """
        return load_parts(SplitFolder(Path(folder)), model, torch.device(device))


# --- loading --------------------------------------------------------------------------------------
def load_parts(parts: Parts, wanted: str | None, device: torch.device) -> SplitModel:
    """The model of a split's parts; arguments and errors are those of `SplitModel.load`."""
    tensors, notes = parts.read(TOKENIZER)
    path = parts.path(TOKENIZER)
    config = read_model_config(notes, path)
    tokenizer = read_tokenizer(tensors, notes, path)
    target = read_split_target(config, notes, path)
    if wanted is not None and config.fusion and wanted in baseline_names(parts):
        fitted, tokenizer = read_baseline(parts, wanted, tokenizer, target)
        return SplitModel(config, tokenizer.to(device), {}, {wanted: fitted}, target, device)
    name, chosen = "", None
    if config.fusion:
        name, chosen = wanted_model(parts, config, tokenizer, wanted)
        kind = "raw" if chosen.spec.tokens == "raw" else tokenizer.kind
        tokenizer = tokenizer.of(chosen.modalities, kind)
    tokenizer = tokenizer.to(device)
    encoders: dict[str, Encoder] = {}
    members: list[nn.Module] = []
    if config.pretrains:
        weights, path = parts.read(CONTRASTIVE)[0], parts.path(CONTRASTIVE)
        for modality in tokenizer.modalities.values():
            length = tokenizer.lengths[modality.name]
            prefix = f"{modality.name}.encoder."
            own = {k.removeprefix(prefix): weights[k] for k in weights if k.startswith(prefix)}
            make = partial(build_encoder, config, modality, length)
            encoders[modality.name] = filled(make, own, path).to(device)
    floor = None
    if chosen is not None and has_floor(config, chosen.spec):
        try:
            linear = parts.read(LINEAR)[0]
            floor = read_floor(linear, name, tokenizer, encoders, target.outputs)
        except ValueError as error:
            raise foreign(parts.path(LINEAR), error) from error
    if chosen is not None and not (floor and config.classifier == "linear"):
        shapes = token_shapes(tokenizer, encoders, device, parts)
        fs = tokenizer.modalities[chosen.modalities[0]].fs
        if config.encoders != "frozen" and chosen.spec.tokens == "stage":
            chosen = tuned(config, chosen, tokenizer, {})
        build = partial(build_model, chosen.spec, shapes, target.outputs, config, fs)
        for member in member_names(name, config.members):
            weights = parts.read(member)[0]
            members.append(filled(build, weights, parts.path(member)).to(device))
    models = {} if chosen is None else {name: FittedModel(chosen, members, floor)}
    return SplitModel(config, tokenizer, encoders, models, target, device)
