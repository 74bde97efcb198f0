"""A trained model in use: `clmer.load("runs/x").predict_proba(windows)`.

Windows are as `clmer.data.store.prepare` stores them (filtered, resampled, not standardised), [N,
C, T] a modality. `clmer predict` makes them of a recording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clmer.data.store.store import Modality
from clmer.errors import DataError
from clmer.nn.encoder import encode
from clmer.nn.fusion import Fusion, attention_maps
from clmer.pipeline.config import Config, ModelConfig
from clmer.pipeline.reference import GivenReference, PersonReference
from clmer.pipeline.run.folder import CONFIG, MODELS, RESULTS, read_config, unfinished_stage
from clmer.pipeline.run_files import damaged, readable
from clmer.pipeline.split.baselines import kept_names
from clmer.pipeline.split.model import SharedFeatures, SharedFit, SplitModel
from clmer.pipeline.split.module import MeanModel, WindowModel
from clmer.pipeline.split.notes import TOKENIZER
from clmer.pipeline.split.windows import Windows, in_parts
from clmer.pipeline.stages.select import candidates
from clmer.pipeline.targets import Target, check_has_classes


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run's trained models.

    With several splits, `predict_proba` is the mean of all splits' models. Between them they were
    trained on every person of the data set: that is for *new* recordings; on the run's own people
    it says nothing about how well the model does (`predictions.csv` has what each split said of its
    test part). `encode`, `tokens`, `attention` and `fusion` belong to one split: load that.

    Args:
        folder: the run's folder.
        config: what was trained, see `clmer.pipeline.config.Config`.
        splits: the loaded splits' models by name ("split1", ...).

    Windows are [N, C, T] arrays by modality name, in the units and at the rate of the prepared
    store: one for each of `modalities`, whose `channels`, `fs` and `kinds` say what the rows are.
    A run that was trained with a reference (`config.reference`) needs one of whoever it meets: give
    one person's windows and theirs, [M, C, T] by modality, as `reference`, worked through once for
    many calls by `known_person`; or several people's, say whose each window is (`people`, [N]) and
    which are their reference (`reference`, [N] bool). With "all" it is everything that is given of
    a person, which is transductive.
    """

    folder: Path
    config: Config
    splits: Mapping[str, SplitModel]

    @property
    def target(self) -> Target:
        """What is predicted: classes, or a rating."""
        return next(iter(self.splits.values())).target

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities' columns; none of a rating."""
        return self.target.classes

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """The modalities, in the order the model stacks them: tokens, fs, channels."""
        return next(iter(self.splits.values())).tokenizer.modalities

    @property
    def fusion(self) -> nn.Module:
        """The split's classifier (the first of several members); it takes `tokens`."""
        return self._members()[0]

    def __repr__(self) -> str:
        said = "/".join(self.classes) or "rating"
        return (
            f"TrainedRun({str(self.folder)!r}: {self.config.dataset}, {self.config.task} {said}; "
            f"{', '.join(self.modalities)}; {', '.join(self.splits)})"
        )

    def predict_proba(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        reference: GivenReference | None = None,
    ) -> np.ndarray:
        """Probability of each class, the mean over members and splits.

        Args:
            windows: [N, C, T] by modality.
            people: [N] whose windows they are, where a reference is needed; None for one person's.
            reference: what they are known by, where the run was trained with that.

        Returns:
            [N, classes] float64.

        Raises:
            ConfigError: a reference is missing (how to record one), or not asked for.
            ValueError: a modality is missing, unknown, or of the wrong shape; a person is not known
                by the reference.
            DataError: the run trained no fusion.
            TypeError: it predicts a rating.
        """
        check_has_classes(self.target)
        return np.exp(self._predictions(windows, people, reference))

    def predict(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        reference: GivenReference | None = None,
    ) -> np.ndarray:
        """Name of the most probable class, or the rating, the mean over members and splits; [N]."""
        said = self._predictions(windows, people, reference)
        return np.array(self.classes)[said.argmax(1)] if self.classes else said

    def _predictions(
        self, windows: Windows, people: np.ndarray | None, reference: GivenReference | None
    ) -> np.ndarray:
        self._check_fusion()
        if isinstance(reference, Mapping):
            reference = self.known_person(reference)
        shared: SharedFeatures = {}  # no split's statistics are in them
        parts = [
            split.predictions(windows, people, reference=reference, shared=shared)
            for split in self.splits.values()
        ]
        return self.target.mean(parts)

    def known_person(self, reference: Windows) -> PersonReference:
        """One person's reference, worked through once: a window against it costs as one without.

            rest = trained.known_person(windows_of_rest)
            for window in stream:
                trained.predict_proba(window, reference=rest)

        Args:
            reference: [M, C, T] by modality.

        Returns:
            What `reference` takes in every method of this run, and of no other.

        Raises:
            ConfigError: the run was trained without a reference, or with "all".
            ValueError: it is no windows, they do not fit, or they are too few.
        """
        shared = SharedFit({}, {})
        parts = [split.known_person(reference, shared) for split in self.splits.values()]
        scales = {split: each for part in parts for split, each in part.scales.items()}
        return PersonReference(scales, parts[0].count)

    def as_module(self) -> nn.Module:
        """What `predict_proba` says (of ratings `predict`) as one torch module, to be exported.

        It maps windows {modality: [N, C, T]} to probabilities [N, classes], or ratings [N], of
        float32: statistics, encoders, members and splits included. Weights are copies.

        Raises:
            ConfigError: the model reads more than the window: hand-made features, where it was not
                trained with `classifier=fusion`, or a reference.
            DataError: the run trained no fusion.
        """
        self._check_fusion()
        models = [WindowModel(split) for split in self.splits.values()]
        return models[0] if len(models) == 1 else MeanModel(models)

    def encode(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        reference: GivenReference | None = None,
    ) -> dict[str, np.ndarray]:
        """Contrastive features [N, F, T'] float32 of each modality, as the encoder gives them.

        Raises:
            DataError: the run had no contrastive stage.
            ValueError: several splits are loaded, or the windows do not fit.
        """
        split = self._single("encode")
        if not split.encoders:
            raise DataError(
                self.folder,
                "contrastive stage",
                "none (`contrastive=False`, or the preset)",
                "a run with encoders",
            )
        x = split.known(windows, people, reference).arrays
        return {name: encode(split.encoders[name], part).cpu().numpy() for name, part in x.items()}

    def tokens(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        reference: GivenReference | None = None,
    ) -> dict[str, Tensor]:
        """What `fusion` takes: [N, tokens, features] of each modality, tensors on the device.

        Raises:
            DataError: the run trained no fusion.
            ValueError: several splits are loaded, or the windows do not fit.
        """
        self._check_fusion()
        split = self._single("tokens")
        return split.tokens(split.known(windows, people, reference))

    def attention(
        self,
        windows: Windows,
        people: np.ndarray | None = None,
        member: int = 0,
        reference: GivenReference | None = None,
    ) -> dict[tuple[str, str], np.ndarray]:
        """Cross-modal attention weights, see `clmer.nn.fusion.attention_maps`.

        Token i of L is a learned mixture of a modality's tokens (`Unify`), not channel i.

        Args:
            windows: [N, C, T] by modality; N layers heads L L floats a pair come back.
            people: as in `predict_proba`.
            member: of several fusion models; their heads do not correspond.
            reference: as in `predict_proba`.

        Returns:
            (query, key modality) -> [layers, N, heads, Lq, Lk] float32; rows sum to 1.

        Raises:
            DataError: the run trained no fusion.
            ValueError: the model is not CLMER's, or reads one modality; several splits are loaded;
                windows do not fit.
        """
        model, split = self._members()[member], self._single("attention")
        if not isinstance(model, Fusion):
            raise ValueError(f"attention: found {type(model).__name__}, expected CLMER's Fusion")
        parts = in_parts(split.tokens(split.known(windows, people, reference)), 64)
        maps = torch.cat([attention_maps(model, part).cpu() for part in parts], 2)
        names = list(model.inputs)
        return {
            (names[query], names[key]): weights.numpy()
            for (query, key), weights in zip(model.pairs, maps, strict=True)
        }

    def _members(self) -> Sequence[nn.Module]:
        self._check_fusion()
        members = next(iter(self._single("fusion").models.values())).members
        if not members:
            raise DataError(self.folder, "network", "none (`classifier=linear`)", "a network")
        return members

    def _check_fusion(self) -> None:
        if not self.config.fusion:
            raise DataError(
                self.folder, "fusion stage", "none (`fusion=False`)", "a trained fusion"
            )

    def _single(self, what: str) -> SplitModel:
        if len(self.splits) > 1:
            raise ValueError(
                f"{what}: found the splits {', '.join(self.splits)}, expected one; "
                f'clmer.load("{self.folder}", split="{next(iter(self.splits))}") loads it'
            )
        return next(iter(self.splits.values()))


def load(
    folder: Path | str, split: str | None = None, device: str = "cpu", model: str | None = None
) -> TrainedRun:
    """The trained models of a run's folder.

    Args:
        folder: as `--out` had it.
        split: "split1", ...; None for all of them, whose probabilities are averaged: together
            they have seen every person of the data set.
        device: a torch device.
        model: as the results name it ("eeg+ecg", "mult", "features + LR: eeg+ecg", ...), one of
            `kept_models`; None for the run's first.

    Raises:
        DataError: no run's folder, an unfinished run (which stage), an unknown split or model,
            damage.
    """
    folder = Path(folder)
    config = read_config(folder)
    names = _split_names(folder)
    if split is None and not readable(folder / RESULTS, (folder / RESULTS).is_file):
        raise DataError(
            folder,
            str(RESULTS),
            f"an unfinished run, stopped in {unfinished_stage(folder)}",
            "a finished one",
            "Finish it: the same training command with --resume. "
            + (f"Or take one of its splits: `split={names[0]}`." if names else ""),
        )
    if split is not None and split not in names:
        raise DataError(folder, "`split`", split, ", ".join(names) or "one that was trained")
    known = [config] if config.select == "none" else [*candidates(config).values()]
    loaded = {}
    for name in names if split is None else [split]:
        loaded[name] = SplitModel.load(folder / MODELS / name, model, device)
        others = min((_differences(loaded[name].config, each) for each in known), key=len)
        for option, (found, wanted) in others.items():
            path = folder / MODELS / name / f"{TOKENIZER}.safetensors"
            raise damaged(path, f"notes.config.{option}", found, f"{wanted}, as {CONFIG}")
    return TrainedRun(folder, config, loaded)


def kept_models(folder: Path) -> list[str]:
    """The models of a run that `load` takes, those under study first.

    Raises:
        DataError: no run's folder, or damage.
    """
    read_config(folder)
    names = _split_names(folder)
    return kept_names(folder / MODELS / names[0]) if names else []


def _differences(found: ModelConfig, wanted: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """Options that differ, and both values."""
    names = (option.name for option in fields(ModelConfig))
    both = {name: (getattr(found, name), getattr(wanted, name)) for name in names}
    return {name: (one, other) for name, (one, other) in both.items() if one != other}


def _split_names(folder: Path) -> list[str]:
    found = (re.fullmatch(r"split(\d+)", path.name) for path in (folder / MODELS).glob("split*"))
    return [f"split{number}" for number in sorted(int(name[1]) for name in found if name)]
