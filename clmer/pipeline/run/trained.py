"""A trained model in use: `clmer.load("runs/x").predict_proba(windows)`.

Windows are as `clmer.data.store.prepare` stores them (filtered, resampled, not standardised), [N,
C, T] a modality. `clmer predict` makes them of a recording. `load` is in `clmer.pipeline.run.load`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from clmer.data.store.store import Modality
from clmer.errors import DataError
from clmer.nn.encoder import encode
from clmer.nn.fusion import Fusion, attention_maps
from clmer.pipeline.config import Config
from clmer.pipeline.reference import GivenReference, PersonReference
from clmer.pipeline.run.scores import scores_in
from clmer.pipeline.share import saved
from clmer.pipeline.share.hub import SCHEME, check_repository, import_hub, upload
from clmer.pipeline.split.model import SharedFeatures, SharedFit, SplitModel
from clmer.pipeline.split.module import MeanModel, WindowModel
from clmer.pipeline.split.windows import Windows, in_parts
from clmer.pipeline.targets import Target, check_has_classes


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run's trained models.

    With several splits, `predict_proba` is the mean of all splits' models. Between them they were
    trained on every person of the data set: that is for *new* recordings; on the run's own people
    it says nothing about how well the model does (`predictions.csv` has what each split said of its
    test part). `encode`, `tokens`, `attention` and `fusion` belong to one split: load that.

    Args:
        folder: the run's folder, or a saved model's.
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
        said = "/".join(self.classes) or ("rating" if self.config.fusion else "encoders")
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
        self._check_fusion()
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

    # --- sharing --------------------------------------------------------------------------------
    def save_pretrained(
        self,
        folder: Path | str,
        *,
        license: str = "other",
        about_data: str = "",
        overwrite: bool = False,
    ) -> Path:
        """Save the model as a folder in Hugging Face's layout, which `clmer.load` takes.

        `config.json`, `model.safetensors` (all loaded splits' models) and `README.md`, a model card
        with the scores of the run. Nothing of a person is in it: no ids, no scores of single
        people, no names of files, no paths, no dates. Predictions after loading are equal bit for
        bit.

        Args:
            folder: a new or empty one.
            license: of the weights, as the Hub spells it ("cc-by-nc-4.0", ...).
            about_data: what the card says of the recordings: which, their version, their licence.
            overwrite: replace a saved model that is there.

        Returns:
            The folder.

        Raises:
            ConfigError: the model needs more than can be saved (weights of MobileViT); no licence's
                identifier.
            DataError: the folder holds something else, or cannot be written; results.json of the
                run is damaged.
        """
        return self._save(Path(folder), license, about_data, "", overwrite)

    def save_encoders(
        self,
        folder: Path | str,
        *,
        license: str = "other",
        about_data: str = "",
        overwrite: bool = False,
    ) -> Path:
        """Save the encoders of one split alone, for another study to start from.

        `clmer train ... --init FOLDER`, `CLMERClassifier(init=FOLDER)`; `clmer.load(FOLDER)` gives
        a model that encodes. The layout and the arguments are `save_pretrained`'s.

        Raises:
            ConfigError: as `save_pretrained`.
            DataError: as `save_pretrained`; or stage 1 did not run.
            ValueError: several splits are loaded.
        """
        split = self._single("save_encoders")
        if not split.encoders:
            raise DataError(
                self.folder, "contrastive stage", "none (`contrastive=False`)", "encoders to save"
            )
        alone = saved.encoders_of(split)
        kept = {name: getattr(alone.config, name) for name in saved.ENCODERS_ALONE}
        splits = dict.fromkeys(self.splits, alone)
        encoders = replace(self, config=replace(self.config, **kept), splits=splits)
        return encoders._save(Path(folder), license, about_data, "", overwrite)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        license: str = "other",
        about_data: str = "",
        token: str | None = None,
        commit_message: str = "Model saved by CLMER",
    ) -> str:
        """Save the model into a repository of Hugging Face's Hub, see `save_pretrained`.

        `clmer.load("hf://user/name")` loads it. Ask first whether the agreement of the data allows
        it: the card says what is known of it.

        Args:
            repo_id: "user/name"; made where it is not there.
            private: whether a new repository is; one that is there is refused where it is public
                and this is True.
            license: as in `save_pretrained`.
            about_data: as in `save_pretrained`.
            token: of the Hub; None for the one that `hf auth login` keeps.
            commit_message: of the commit.

        Returns:
            The commit's address.

        Raises:
            ConfigError: as `save_pretrained`.
            DataError: huggingface-hub is not installed (`pip install "clmer[hub]"`), the Hub
                refuses, or the repository is public and `private` is True.
        """
        check_repository(repo_id)
        import_hub()  # say so before anything is written
        with TemporaryDirectory() as place:
            source = f"{SCHEME}{repo_id}"
            folder = self._save(Path(place) / "model", license, about_data, source, False)
            return upload(folder, repo_id, private=private, token=token, message=commit_message)

    def _save(
        self, folder: Path, license: str, about_data: str, source: str, overwrite: bool
    ) -> Path:
        from clmer.pipeline.share.card import model_card  # brings matplotlib

        model = saved.model_of(self.config, self.splits)
        model = replace(model, scores=scores_in(self.folder) if model.name else None)
        card = model_card(model, license=license, about_data=about_data, source=source)
        saved.write(folder, model, card, overwrite=overwrite)
        return folder

    # --- one split's ----------------------------------------------------------------------------
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
