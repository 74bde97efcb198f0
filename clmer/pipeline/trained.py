"""A trained model in use: `clmer.load("runs/x").predict_proba(windows)`.

Windows are as `clmer.data.store.prepare` stores them (filtered, resampled, not standardised), [N,
C, T] a modality. `python -m clmer.predict` makes them of a recording.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clmer.baselines import SVM
from clmer.data.store.store import Modality
from clmer.errors import ConfigError, DataError
from clmer.nn import Encoder, Fusion
from clmer.nn.fusion import attention_maps
from clmer.pipeline.config import Config
from clmer.pipeline.random_state import own_random_state
from clmer.pipeline.run_files import damaged, readable
from clmer.pipeline.run_folder import RESULTS, read_config, unfinished_stage
from clmer.pipeline.stage_files import blank_tokens, filled, read_inputs, read_stage
from clmer.pipeline.stages import (
    Model,
    build_encoder,
    build_model,
    chosen_models,
    log_probabilities,
    mean_probability,
    member_stages,
)
from clmer.pipeline.tokenizer import Inputs, encode

Windows = Mapping[str, np.ndarray]  # modality -> [N, C, T]
_CHUNK = 2048


@dataclass(frozen=True, eq=False)
class SplitModel:
    """What one split trained, from windows to probabilities.

    Args:
        inputs: the split's statistics.
        encoders: of each modality; none without a contrastive stage.
        members: the classifiers, whose probabilities are averaged; none without a fusion stage.
        device: where all of it is.
    """

    inputs: Inputs
    encoders: Mapping[str, Encoder]
    members: Sequence[nn.Module]
    device: torch.device

    def __post_init__(self) -> None:
        for model in (*self.encoders.values(), *self.members):
            model.eval()

    def standardise(self, windows: Windows, people: np.ndarray | None = None) -> dict[str, Tensor]:
        """Checked windows, standardised, [N, C, T] float32."""
        return self.inputs.standardise(_checked(self.inputs, windows), self.device, people)

    @torch.no_grad()
    def tokens(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Standardised windows as tokens [N, tokens, features]."""
        return self.inputs.arrange(self.inputs.features(x, self.encoders))

    def log_probabilities(self, windows: Windows, people: np.ndarray | None = None) -> np.ndarray:
        """Log of the members' mean probability, [N, classes] float64."""
        x = self.standardise(windows, people)
        parts = []
        for part in _parts(x):
            tokens = self.tokens(part)
            rows = np.arange(len(next(iter(tokens.values()))))
            logp = [log_probabilities(member, tokens, rows) for member in self.members]
            parts.append(mean_probability(logp))
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's trained models.

    With several splits, `predict_proba` is the mean of all splits' models. Between them they were
    trained on every person of the data set: that is for *new* recordings; on the run's own people
    it says nothing about how well the model does (`predictions.csv` has what each split said of its
    test part). `encode`, `tokens`, `attention` and `fusion` belong to one split: load that.

    Args:
        folder: the run's folder.
        config: what was trained, see `clmer.pipeline.config.Config`.
        classes: names, in the order of the probabilities' columns.
        splits: the loaded splits' models by name ("split1", ...).

    Windows are [N, C, T] arrays by modality name, in the units and at the rate of the prepared
    store: one for each of `modalities`, whose `channels`, `fs` and `kinds` say what the rows are.
    Under `--normalize subject` the windows' own statistics standardise them: give one person's
    windows, or say whose each is (`people`, [N]).
    """

    folder: Path
    config: Config
    classes: tuple[str, ...]
    splits: Mapping[str, SplitModel]

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """The modalities, in the order the model stacks them: tokens, fs, channels."""
        return next(iter(self.splits.values())).inputs.modalities

    @property
    def fusion(self) -> nn.Module:
        """The split's classifier (the first of several members); it takes `tokens`."""
        return self._members()[0]

    def predict_proba(self, windows: Windows, people: np.ndarray | None = None) -> np.ndarray:
        """Probability of each class, the mean over members and splits.

        Args:
            windows: [N, C, T] by modality.
            people: [N] whose windows they are; only `--normalize subject` asks.

        Returns:
            [N, classes] float64.

        Raises:
            ValueError: a modality is missing, unknown, or of the wrong shape.
            DataError: the run trained no fusion.
        """
        self._check_fusion()
        logp = [split.log_probabilities(windows, people) for split in self.splits.values()]
        return np.asarray(np.exp(mean_probability(logp)))

    def predict(self, windows: Windows, people: np.ndarray | None = None) -> np.ndarray:
        """Name of the most probable class, [N]."""
        return np.array(self.classes)[self.predict_proba(windows, people).argmax(1)]

    def encode(self, windows: Windows, people: np.ndarray | None = None) -> dict[str, np.ndarray]:
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
                "none (--no-contrastive, or the preset)",
                "a run with encoders",
            )
        x = split.standardise(windows, people)
        return {name: encode(split.encoders[name], part).cpu().numpy() for name, part in x.items()}

    def tokens(self, windows: Windows, people: np.ndarray | None = None) -> dict[str, Tensor]:
        """What `fusion` takes: [N, tokens, features] of each modality, tensors on the device.

        Raises:
            DataError: the run trained no fusion.
            ValueError: several splits are loaded, or the windows do not fit.
        """
        self._check_fusion()
        split = self._single("tokens")
        return split.tokens(split.standardise(windows, people))

    def attention(
        self, windows: Windows, people: np.ndarray | None = None, member: int = 0
    ) -> dict[tuple[str, str], np.ndarray]:
        """Cross-modal attention weights, see `clmer.nn.fusion.attention_maps`.

        Token i of L is a learned mixture of a modality's tokens (`Unify`), not channel i.

        Args:
            windows: [N, C, T] by modality; N layers heads L L floats a pair come back.
            people: as in `predict_proba`.
            member: of several fusion models; their heads do not correspond.

        Returns:
            (asking, answering modality) -> [layers, N, heads, Lq, Lk] float32; rows sum to 1.

        Raises:
            DataError: the run trained no fusion.
            ValueError: the model is not CLMER's, or reads one modality; several splits are loaded;
                windows do not fit.
        """
        model, split = self._members()[member], self._single("attention")
        if not isinstance(model, Fusion):
            raise ValueError(f"attention: found {type(model).__name__}, expected CLMER's Fusion")
        parts = _parts(split.standardise(windows, people), 64)
        maps = torch.cat([attention_maps(model, split.tokens(part)).cpu() for part in parts], 2)
        names = list(model.inputs)
        return {
            (names[asking], names[answering]): weights.numpy()
            for (asking, answering), weights in zip(model.pairs, maps, strict=True)
        }

    def _members(self) -> Sequence[nn.Module]:
        self._check_fusion()
        return self._single("fusion").members

    def _check_fusion(self) -> None:
        if not self.config.fusion:
            raise DataError(self.folder, "fusion stage", "none (--no-fusion)", "a trained fusion")

    def _single(self, what: str) -> SplitModel:
        if len(self.splits) > 1:
            raise ValueError(
                f"{what}: found the splits {', '.join(self.splits)}, expected one; "
                f'clmer.load("{self.folder}", split="{next(iter(self.splits))}") loads it'
            )
        return next(iter(self.splits.values()))


def load(
    folder: Path | str, split: str | None = None, device: str = "cpu", model: str | None = None
) -> Trained:
    """The trained models of a run's folder.

    Args:
        folder: as `--out` had it.
        split: "split1", ...; None for all of them, whose probabilities are averaged: together
            they have seen every person of the data set.
        device: a torch device.
        model: as the results name it ("eeg+ecg", "mult", ...); None for the run's first.

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
            f'Finish it with --resume, or load one of its splits: split="{names[0]}".'
            if names
            else "Finish it with --resume.",
        )
    if split is not None and split not in names:
        raise DataError(folder, "split", split, ", ".join(names) or "one that was trained")
    loaded: dict[str, SplitModel] = {}
    classes: Sequence[str] = ()
    for name in names if split is None else [split]:
        loaded[name], classes = _load_split(folder, name, config, model, torch.device(device))
    return Trained(folder, config, tuple(classes), loaded)


def _split_names(folder: Path) -> list[str]:
    found = (re.fullmatch(r"split(\d+)", path.name) for path in (folder / "models").glob("split*"))
    return [f"split{number}" for number in sorted(int(name[1]) for name in found if name)]


def _load_split(
    folder: Path, name: str, config: Config, wanted: str | None, device: torch.device
) -> tuple[SplitModel, Sequence[str]]:
    """A split's models and the classes' names; the caller's random state stays as it is."""
    stage = f"{name}/inputs"
    tensors, notes = read_stage(folder, stage)
    inputs = read_inputs(tensors, notes, folder, stage).to(device)
    classes = notes["classes"]
    encoders: dict[str, Encoder] = {}
    members = []
    stem, model = "", None
    if config.fusion:
        stem, model = _chosen(folder, config, inputs, wanted)
        kind = "raw" if model.spec.tokens == "raw" else inputs.kind
        inputs = inputs.of(model.modalities, kind)
    with own_random_state(torch.device("cpu")):
        if config.contrastive:
            stage = f"{name}/contrastive"
            weights = read_stage(folder, stage)[0]
            for modality in inputs.modalities.values():
                make_encoder = partial(
                    build_encoder, config, modality, inputs.lengths[modality.name]
                )
                prefix = f"{modality.name}.encoder."
                own = {k.removeprefix(prefix): weights[k] for k in weights if k.startswith(prefix)}
                encoder = filled(make_encoder, own, folder, stage)
                encoders[modality.name] = encoder.to(device)
        if model is not None:
            blank = f"{name}/inputs"
            tokens = blank_tokens(inputs, encoders, device, folder, blank)
            shapes = {n: (part.shape[1], part.shape[2]) for n, part in tokens.items()}
            for stage in member_stages(f"{name}/{stem}", config.members):
                make_model = partial(build_model, model.spec, shapes, len(classes), config)
                new = filled(make_model, read_stage(folder, stage)[0], folder, stage)
                members.append(new.to(device))
    return SplitModel(inputs, encoders, members, device), classes


def _chosen(folder: Path, config: Config, inputs: Inputs, wanted: str | None) -> tuple[str, Model]:
    """A model of the run and its name: the first, or the one wanted."""
    try:
        models = chosen_models(config, tuple(inputs.modalities))
    except ConfigError as error:
        raise damaged(folder / "config.json", "config", error) from error
    name = next(iter(models), SVM) if wanted is None else wanted
    if name not in models:
        expected = ", ".join(models) or "a run with a model that the loop trains"
        raise DataError(folder, "model", name, expected)
    return name, models[name]


def _parts(x: Mapping[str, Tensor], size: int = _CHUNK) -> Iterable[dict[str, Tensor]]:
    """Windows, `size` at a time."""
    for start in range(0, len(next(iter(x.values()))), size):
        yield {name: part[start : start + size] for name, part in x.items()}


def _checked(inputs: Inputs, windows: Windows) -> dict[str, np.ndarray]:
    """Windows as arrays, in the model's order.

    Raises:
        ValueError: a modality is missing, unknown, or of the wrong shape; there are no windows, or
            some that are not finite.
    """
    if set(windows) != set(inputs.modalities):
        raise ValueError(f"windows: found {[*windows]}, expected {[*inputs.modalities]}")
    arrays = {name: np.asarray(windows[name]) for name in inputs.modalities}
    count = len(next(iter(arrays.values())))
    for name, array in arrays.items():
        shape = (count, len(inputs.modalities[name].channels), inputs.lengths[name])
        if array.shape != shape or not count:
            raise ValueError(
                f"windows[{name!r}]: found {array.shape}, expected {shape}: "
                f"windows, channels, samples at {inputs.modalities[name].fs:g} a second"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"windows[{name!r}]: found values that are not finite")
    return arrays
