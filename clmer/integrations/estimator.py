"""What `clmer.CLMERClassifier` and `clmer.CLMERRegressor` share: both stages behind fit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError
from clmer.pipeline.config import MAX_SEED, ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.options.names import check_modality_names
from clmer.pipeline.options.reference import ALL, MARKED, NONE
from clmer.pipeline.presets import known_device
from clmer.pipeline.reference import check_reference
from clmer.pipeline.run.start import read_start
from clmer.pipeline.stages.start import Start, check_start
from clmer.pipeline.targets import RowWeights
from clmer.pipeline.tokenizer import WindowArrays

#: Constructor arguments that go into the `ModelConfig` as they are.
_SIZES = (
    *("classifier", "tokens", "contrastive", "width", "token_length", "dim", "heads"),
    *("cross_layers", "memory_layers", "single_layers", "embedding_dropout", "members", "batch"),
    *("epochs_contrastive", "epochs_fusion"),
)


_PLAIN = ("classifier", "tokens", "contrastive", "embedding_dropout")
_COUNTS = [name for name in _SIZES if name not in _PLAIN]
_COUNTS.append("patience")


def _is_shape(shape: Any) -> bool:
    """Whether it is (channels, samples)."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 2:
        return False
    channels, samples = shape
    if isinstance(channels, Sequence) and not isinstance(channels, str):
        named = len(channels) > 0 and all(isinstance(name, str) for name in channels)
        channels = len(channels) if named and len(set(channels)) == len(channels) else 0
    return all(isinstance(each, (int, np.integer)) and each > 0 for each in (channels, samples))


def _count(channels: int | Sequence[str]) -> int:
    """Number of channels, which stand as a number or by their names."""
    return len(channels) if isinstance(channels, Sequence) else int(channels)


def _arguments(message: str) -> str:
    """A message of the library, whose arguments in backticks are this class's."""
    return re.sub(r"`([a-z_]+)(=[^`]*)?`", r"\1\2", message)


def _known(reference: Any, count: int) -> np.ndarray | None:
    """The mask of reference windows [count]; None without one.

    Raises:
        ValueError: it is no mask, nor "all"; or it leaves nothing to train on.
    """
    if reference is None:
        return None
    if isinstance(reference, str) and reference == ALL:
        return np.ones(count, dtype=bool)
    known = np.asarray(reference)
    if known.shape != (count,) or known.dtype != bool or known.all():
        raise ValueError(
            f"reference: found {known.dtype} {known.shape}, expected [{count}] bool, some of them "
            f'False, or "{ALL}"'
        )
    return known


class WindowEstimator(BaseEstimator):
    """CLMER on arrays: contrastive encoders without labels, then cross-modal fusion.

    X is [n_samples, n_features], the modalities' windows flattened side by side, which
    `modalities` takes apart; or, with `modalities=None`, [n_samples, channels, samples] of one
    modality. Channels are standardised with the training windows' statistics. Windows of one
    recording are nearly copies: pass `groups` (the person or recording of each window) to
    scikit-learn's splitters, and to `fit` where it holds windows back for validation.

    People differ by an offset and a gain of their own: where some windows of each are known (a
    minute of rest), say whose each is (`groups`) and which are known (`reference`), to `fit` and to
    `predict`. Everyone's windows are then read against their own, see `clmer.pipeline.reference`;
    the EEG of a modality named "eeg" is aligned.

    Args:
        modalities: (channels, samples) by name, in the order of X's columns, each flattened row
            by row: {"eeg": (32, 128), "ecg": (1, 128)}. In the place of a number of channels may
            be their names, (["Fz", "Cz"], 128), by which `init` matches them. None: one modality;
            of a two-dimensional X a single row of all features.
        fs: samples a second; only `tokens="spectrum"` asks.
        classifier: "corrected" (logistic regression on hand-made features, corrected by the
            fusion), "linear" (uncorrected) or "fusion" (alone).
        tokens: "channel", "time" or "spectrum", see `clmer.pipeline.config.ModelConfig`.
        contrastive: train encoders first; without them a token is a channel's samples.
        width, token_length, dim, heads, cross_layers, memory_layers, single_layers,
            embedding_dropout, members, batch, epochs_contrastive, epochs_fusion: as in
            `clmer.pipeline.config.ModelConfig`; the defaults are the cpu preset's.
        validation: share of the windows (about) that fit holds back to choose the epoch by; 0 for
            none, which keeps the last one ("corrected" needs some).
        patience: epochs without a better validation score before training stops; 0 never.
        init: folder of encoders of another study (`TrainedRun.save_encoders`), which stage 1 starts
            from, see `clmer.pipeline.stages.start`; channels are matched by name, so `modalities`
            has to name them. None for a random start.
        device: a torch device.
        random_state: seed, `RandomState`, or None.

    Attributes:
        n_features_in_: X.shape[1].
        model_: the fitted `clmer.pipeline.split.model.SplitModel`.
        init_: with `init`, the channels that were copied and those that started anew, by modality.
    """

    #: `ModelConfig.target`.
    _TARGET: str

    def __init__(
        self,
        modalities: Mapping[str, tuple[int | Sequence[str], int]] | None = None,
        *,
        fs: float = 128.0,
        classifier: str = "corrected",
        tokens: str = "channel",
        contrastive: bool = True,
        width: int = 16,
        token_length: int = 20,
        dim: int = 32,
        heads: int = 4,
        cross_layers: int = 2,
        memory_layers: int = 1,
        single_layers: int = 3,
        embedding_dropout: float = 0.25,
        members: int = 1,
        batch: int = 64,
        epochs_contrastive: int = 15,
        epochs_fusion: int = 60,
        validation: float = 0.2,
        patience: int = 10,
        init: Any = None,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.modalities = modalities
        self.fs = fs
        self.classifier = classifier
        self.tokens = tokens
        self.contrastive = contrastive
        self.width = width
        self.token_length = token_length
        self.dim = dim
        self.heads = heads
        self.cross_layers = cross_layers
        self.memory_layers = memory_layers
        self.single_layers = single_layers
        self.embedding_dropout = embedding_dropout
        self.members = members
        self.batch = batch
        self.epochs_contrastive = epochs_contrastive
        self.epochs_fusion = epochs_fusion
        self.validation = validation
        self.patience = patience
        self.init = init
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        groups: Any = None,
        reference: Any = None,
        sample_weight: Any = None,
    ) -> WindowEstimator:
        """Train on windows.

        Weights w stand in the losses of the linear floor and of stage 2, in training (a batch's
        loss is sum w l / sum w) and where windows held back choose the epoch. A window of weight 0
        is left out of everything, exactly as if it were not there. What counts every other window
        once: stage 1, which has no labels, statistics of standardisation, the mean and spread of
        ratings, their concordance on windows held back, and which windows those are.

        Args:
            X: [n_samples, n_features] or [n_samples, channels, samples].
            y: [n_samples] labels, or ratings.
            groups: [n_samples] people or recordings, kept whole where `validation` holds windows
                back; people, where there is a reference.
            reference: [n_samples] bool, windows that are their person's reference: they are not
                trained on, and their y does not count. "all": everyone's windows are, which is
                transductive. None: without one.
            sample_weight: [n_samples], 0 or more, what each window counts; None for 1.

        Returns:
            self.

        Raises:
            ValueError: X, y or an option cannot be used.
        """
        numeric = self._TARGET == "rating"
        X, y = validate_data(self, X, y, dtype=np.float64, allow_nd=True, y_numeric=numeric)
        if groups is not None:
            check_consistent_length(X, groups)
        self._check_options()
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            kept = weight > 0
            if not kept.any():
                raise ValueError("sample_weight: found 0 everywhere, expected some above 0")
            _known(reference, len(X))  # of the windows as they came
            X, y, weight = X[kept], y[kept], weight[kept]
            groups = None if groups is None else np.asarray(groups)[kept]
            if reference is not None and not isinstance(reference, str):
                reference = np.asarray(reference)[kept]
        known = _known(reference, len(X))
        used = np.ones(len(X), dtype=bool) if known is None or known.all() else ~known
        labels, classes = self._encode(y, used)
        seed = int(check_random_state(self.random_state).randint(MAX_SEED, dtype=np.uint32))
        people = np.zeros(len(X)) if groups is None else np.asarray(groups)
        windows = WindowArrays(self._modalities(X), self._windows(X), people, reference=known)
        if known is not None:
            check_reference(people, known, len(X))
        kind = NONE if known is None else ALL if known.all() else MARKED
        try:
            config, device = self._config(seed, kind), known_device(self.device)
            start = None if self.init is None else self._start(config, windows)
            self.model_ = fit_split(
                config,
                windows,
                labels,
                self._split(self._strata(labels), groups, seed, np.flatnonzero(used)),
                classes=classes,
                device=device,
                weights=self._weights(y, weight),
                start=start,
            )
        except ConfigError as error:
            raise ConfigError(_arguments(str(error))) from error
        return self

    def _start(self, config: ModelConfig, windows: WindowArrays) -> Start:
        """The encoders of `init`, some of which fit."""
        given = self.modalities or {}
        if not any(isinstance(channels, Sequence) for channels, _ in given.values()):
            raise ConfigError(
                "`init`: found channels without names, expected their names in modalities, such as "
                '{"eeg": (["Fz", "Cz"], 128)}: by them weights are matched'
            )
        start = read_start(self.init)
        check_start(config, start)
        lengths = {name: array.shape[2] for name, array in windows.arrays.items()}
        self.init_ = start.copied(config, windows.modalities, lengths)
        return start

    def _weights(self, y: np.ndarray, weight: np.ndarray | None) -> RowWeights | None:
        """What windows count in the losses; None for all that a run does without weights."""
        return None if weight is None else RowWeights(weight, balanced=False)

    def _encode(self, y: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """The labels as `fit_split` takes them, none where not used; names of their classes."""
        raise NotImplementedError

    def _strata(self, labels: np.ndarray) -> np.ndarray:
        """What is held back in proportion [N] int."""
        raise NotImplementedError

    def _predictions(self, X: Any, groups: Any, reference: Any) -> np.ndarray:
        """What the fitted model says of X, see `SplitModel.predictions`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, allow_nd=True, reset=False)
        people = None if groups is None else np.asarray(groups)
        if reference is not None and not isinstance(reference, str):
            reference = np.asarray(reference)
            if reference.dtype != bool:
                known = validate_data(self, reference, dtype=np.float64, allow_nd=True, reset=False)
                reference = self._windows(known)
        try:
            return self.model_.predictions(self._windows(X), people, reference=reference)
        except ConfigError as error:
            raise ConfigError(_arguments(str(error))) from error

    def _check_options(self) -> None:
        """Types and ranges that `Config` takes for granted.

        Raises:
            ValueError: an argument cannot be used.
        """
        for name in _COUNTS:
            found = getattr(self, name)
            if not isinstance(found, Integral) or isinstance(found, bool):
                raise ValueError(f"{name}: found {found!r}, expected a whole number")
        for name in ("fs", "embedding_dropout", "validation"):
            found = getattr(self, name)
            if not isinstance(found, Real) or not math.isfinite(found):
                raise ValueError(f"{name}: found {found!r}, expected a number")
        if self.fs <= 0:
            raise ValueError(f"fs: found {self.fs}, expected samples a second above 0")
        if self.modalities is None:
            return
        shapes = self.modalities.values() if isinstance(self.modalities, Mapping) else ()
        if not shapes or not all(_is_shape(shape) for shape in shapes):
            expected = "(channels, samples) by name, above 0, or channels' names"
            raise ValueError(f"modalities: found {self.modalities!r}, expected {expected}")

    def _windows(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """X taken apart, [N, C, T] float32 by modality."""
        if self.modalities is None:
            if X.ndim > 3:
                raise ValueError(f"X: found {X.ndim} dimensions, expected 2 or 3")
            return {"x": np.asarray(X.reshape(len(X), -1, X.shape[-1]), dtype=np.float32)}
        check_modality_names(self.modalities)
        shapes = {name: (_count(c), int(t)) for name, (c, t) in self.modalities.items()}
        sizes = [channels * samples for channels, samples in shapes.values()]
        if X.ndim != 2 or X.shape[1] != sum(sizes):
            raise ValueError(
                f"X: found {X.shape}, expected (n_samples, {sum(sizes)}): modalities has "
                + ", ".join(f"{n} {c} x {t}" for n, (c, t) in shapes.items())
            )
        parts = np.split(X, np.cumsum(sizes)[:-1], axis=1)
        return {
            name: part.reshape(len(X), *shape).astype(np.float32)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

    def _modalities(self, X: np.ndarray) -> dict[str, Modality]:
        """Names and sizes of the modalities in X."""
        found = {}
        for name, array in self._windows(X).items():
            count = array.shape[1]
            kinds = ("eeg",) * count if name == "eeg" else ()
            given = None if self.modalities is None else self.modalities[name][0]
            channels = tuple(given) if isinstance(given, Sequence) else map(str, range(count))
            found[name] = Modality(name, count, self.fs, tuple(channels), kinds)
        return found

    def _config(self, seed: int, reference: str) -> ModelConfig:
        sizes = {name: getattr(self, name) for name in _SIZES}
        sizes |= {name: int(sizes[name]) for name in _COUNTS if name in sizes}
        patience = int(self.patience) if self.validation else 0
        return ModelConfig(
            seed=seed, patience=patience, reference=reference, target=self._TARGET, **sizes
        )

    def _split(self, strata: np.ndarray, groups: Any, seed: int, rows: np.ndarray) -> Split:
        """Which of the rows are trained on and held back, strata in proportion, groups whole."""
        train, held = rows, rows[:0]
        if not 0 <= self.validation <= 0.5:
            raise ConfigError(f"validation: found {self.validation}, expected 0 to 0.5")
        if self.validation:
            folds = max(2, round(1 / self.validation))
            if groups is not None:  # of fewer groups one is held back
                count = len(np.unique(np.asarray(groups)[rows]))
                if count < 2:
                    raise ConfigError(
                        "groups: found one group, of which none can be held back, expected two or "
                        "more; leave groups out, or take validation=0"
                    )
                folds = min(folds, count)
            kind: Any = StratifiedKFold if groups is None else StratifiedGroupKFold
            if np.unique(strata[rows], return_counts=True)[1].max() < folds:  # too few to stratify
                kind = KFold if groups is None else GroupKFold
            splitter = kind(folds, shuffle=True, random_state=seed)
            own = None if groups is None else np.asarray(groups)[rows]
            train, held = (rows[part] for part in next(splitter.split(rows, strata[rows], own)))
        return Split("fit", train, held, rows[:0], 0, "")
