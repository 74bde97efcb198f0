"""What all splits of a run share: planned, and then trained in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
import torch

from clmer.baselines import FITTED, TANGENT
from clmer.baselines.tangent import eeg_of
from clmer.data.ratings import AnyTask
from clmer.data.registry import DATASETS
from clmer.data.splits import Split
from clmer.data.store.store import Store
from clmer.evaluation.kinds import KINDS, Kind
from clmer.evaluation.stimuli import told_by_stimulus
from clmer.pipeline.config import Config
from clmer.pipeline.models import ChosenModel, chosen_models
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.reference_rows import Reference, find_reference
from clmer.pipeline.run.folder import Run
from clmer.pipeline.run.start import read_start
from clmer.pipeline.stages.start import Copied, Start
from clmer.pipeline.tokenizer import WindowArrays
from clmer.pipeline.window_features import Band, band_powers


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What every split of a run shares; nothing of it is written yet."""

    config: Config
    store: Store
    task: AnyTask
    y: np.ndarray
    splits: list[Split]
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def classes(self) -> int:
        """Number of classes; 0 of ratings."""
        return len(self.task.classes)

    @property
    def kind(self) -> Kind:
        """How predictions are scored and shown."""
        return KINDS[self.config.target]

    @cached_property
    def reference(self) -> Reference | None:
        """Which windows people are known by."""
        return reference_of(self.config, self.store)

    @cached_property
    def windows(self) -> WindowArrays:
        """All windows of the store."""
        known = self.reference
        return WindowArrays.of(self.store, None if known is None else known.known)

    @cached_property
    def start(self) -> Start | None:
        """Encoders of another study that stage 1 starts from."""
        return read_start(self.config.init) if self.config.init else None

    @cached_property
    def copied(self) -> dict[str, Copied]:
        """What stage 1 takes over of them, by modality; empty without."""
        if self.start is None:
            return {}
        lengths = {name: array.shape[2] for name, array in self.windows.arrays.items()}
        return self.start.copied(self.config, self.windows.modalities, lengths)

    @cached_property
    def models(self) -> dict[str, ChosenModel]:
        """Each model that the loop trains, by its name in stages and results."""
        return chosen_models(self.config, tuple(self.store.modalities))

    @property
    def main(self) -> list[str]:
        """The models under study, those fitted without the loop included."""
        return [*self.models, *(name for name in self.config.models if name in FITTED)]

    def split_numbers(self) -> range:
        """The splits that this rank trains: a share of them where there are enough, else all."""
        if self.trains_apart:
            return range(self.ranks.rank, len(self.splits), self.ranks.count)
        return range(len(self.splits))

    @property
    def trains_apart(self) -> bool:
        """Whether ranks train different splits at once: bit for bit what one process would."""
        return 1 < self.ranks.count <= len(self.splits)

    def modalities(self, name: str) -> tuple[str, ...]:
        """What a model under study reads; those fitted without the loop read all."""
        if name == TANGENT:
            return (eeg_of(self.store.modalities)[0],)
        return tuple(self.store.modalities) if name in FITTED else self.models[name].modalities

    @cached_property
    def powers(self) -> dict[str, np.ndarray]:
        """Hand-made features [N, features] of each modality, for the baselines.

        Under a reference they are made of windows read against it, and z-scored by it.
        """
        return {
            name: band_powers(each, self.store.array(name), self.band, self.windows.read_against)
            for name, each in self.store.modalities.items()
        }

    @cached_property
    def stimuli(self) -> dict[str, int] | None:
        """How far the stimulus alone tells the class, where that matters."""
        return told_by_stimulus(self.store.windows, self.y, self.splits, self.config.protocol_name)

    @property
    def band(self) -> Band:
        """Edges in Hz of the EEG that preparation kept."""
        dataset = DATASETS[self.config.dataset]
        kept = dataset.band.get("eeg") if self.config.filter != "paper" else None
        low, high = kept or dataset.paper_band
        return low or 0.0, high or dataset.fs / 2


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingRun(TrainingPlan):
    """A plan, and the folder that it is trained in."""

    run: Run

    @classmethod
    def of(cls, plan: TrainingPlan, run: Run) -> TrainingRun:
        """The plan in a folder."""
        return cls(**{each.name: getattr(plan, each.name) for each in fields(plan)}, run=run)


def reference_of(config: Config, store: Store) -> Reference | None:
    """The windows that a run's people are known by; None without a reference.

    Raises:
        DataError: as `clmer.pipeline.reference_rows.find_reference`.
    """
    source = config.root or config.dataset
    return find_reference(config.reference, store.windows, config.task, source)
