"""Models that stand beside CLMER; `MODELS` is what `--model` knows.

A model is built from the (tokens, features) of its modalities and called with their tokens by name.
To add one, write its page and its line in `MODELS`; to give it tokens of another kind, name the
kind in `ModelSpec.tokens` and make them in `clmer.pipeline.fit.fit_tokens`. A model's module is
imported when it is built: the command line needs the names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "BOOSTING",
    "FITTED",
    "FOREST",
    "MODELS",
    "NAMES",
    "SVM",
    "ModelSizes",
    "ModelSpec",
]

#: (tokens, features) of each modality by name.
Shapes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ModelSizes:
    """What models are built by, see `clmer.nn.Fusion`."""

    token_length: int
    dim: int
    heads: int
    cross_layers: int
    memory_layers: int
    single_layers: int
    embedding_dropout: float
    modality_dropout: float


@dataclass(frozen=True)
class ModelSpec:
    """One model that the training loop can train.

    Args:
        name: on the command line, in a run's stages and in its results.
        build: (shapes, classes, sizes, samples per second) -> a module that maps
            [B, tokens, features] by modality to logits [B, classes].
        tokens: the kind that it reads: "stage" for what the run gives CLMER (encoder features,
            spectra or samples), "raw" for each modality's samples.
        source: whose model it is.
        needs: it takes one modality, the first of these that the run has; empty: it takes all.
        least: modalities that it cannot do without.
        adam: its optimiser's options.
        takes_missing: it knows NaN tokens as a modality that a window lacks; others read zeros.
    """

    name: str
    build: Callable[[Shapes, int, ModelSizes, float], nn.Module]
    tokens: str
    source: str
    needs: tuple[str, ...] = ()
    least: int = 1
    adam: Mapping[str, Any] = field(default_factory=lambda: {"lr": 1e-3})
    takes_missing: bool = False

    def readable(self, tokens: Tensor) -> Tensor:
        """Tokens as the model takes them."""
        return tokens if self.takes_missing else tokens.nan_to_num(0.0)

    def takes(self, present: Sequence[str]) -> tuple[str, ...]:
        """The modalities that it reads out of those that a run has.

        Raises:
            ValueError: it cannot do with these.
        """
        if not self.needs:
            if len(present) < self.least:
                raise ValueError(
                    f"found {', '.join(present)}, expected at least {self.least} modalities"
                )
            return tuple(present)
        for name in self.needs:
            if name in present:
                return (name,)
        raise ValueError(f"found {', '.join(present)}, expected {' or '.join(self.needs)}")


def _shared(sizes: ModelSizes) -> dict[str, Any]:
    """The sizes that CLMER, MulT and Husformer share."""
    names = ("dim", "heads", "cross_layers", "memory_layers", "embedding_dropout")
    return {name: getattr(sizes, name) for name in names}


def _fusion(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.nn.fusion import Fusion

    names = ("token_length", "single_layers", "modality_dropout")
    return Fusion(shapes, classes, **_shared(sizes), **{n: getattr(sizes, n) for n in names})


def _mult(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.baselines.mult import MulT

    return MulT(shapes, classes, **_shared(sizes))


def _husformer(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.baselines.husformer import Husformer

    return Husformer(shapes, classes, **_shared(sizes))


def _eeg_conformer(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.baselines.eeg_conformer import EEGConformer, spans

    return EEGConformer(shapes, classes, **spans(fs))


def _fetcheeg(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.baselines.fetcheeg import FetchEEG

    return FetchEEG(shapes, classes, fs=fs)


def _eegnet(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.baselines.eegnet import EEGNet, kernels

    return EEGNet(shapes, classes, **kernels(fs))


def _shallow_convnet(shapes: Shapes, classes: int, sizes: ModelSizes, fs: float) -> nn.Module:
    from clmer.baselines.shallow_convnet import ShallowConvNet, lengths

    samples = next(iter(shapes.values()))[1]
    return ShallowConvNet(shapes, classes, **lengths(fs, samples))


_SIGNALS = ("eeg", "physio")

#: What the loop can train, by name. CLMER's own stages and results are named by its modalities.
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("clmer", _fusion, "stage", "Section III-D", takes_missing=True),
        ModelSpec("mult", _mult, "stage", "Tsai et al. 2019", least=2),
        ModelSpec("husformer", _husformer, "stage", "Wang et al. 2022"),
        ModelSpec(
            "eeg-conformer",
            _eeg_conformer,
            "raw",
            "Song et al. 2022",
            needs=_SIGNALS,
            adam={"lr": 2e-4, "betas": (0.5, 0.999)},
        ),
        ModelSpec("fetcheeg", _fetcheeg, "raw", "Liang et al. 2024", needs=_SIGNALS),
        ModelSpec("eegnet", _eegnet, "raw", "Lawhern et al. 2018", needs=_SIGNALS),
        ModelSpec(
            "shallow-convnet",
            _shallow_convnet,
            "raw",
            "Schirrmeister et al. 2017",
            needs=_SIGNALS,
        ),
    )
}

#: Fitted without the loop: `clmer.baselines.svm` on band powers, `clmer.baselines.trees` on the
#: features of `clmer.features`, `clmer.baselines.tangent` on EEG's covariances.
SVM, FOREST, BOOSTING, TANGENT = "svm", "forest", "boosting", "tangent"
FITTED = (SVM, FOREST, BOOSTING, TANGENT)

#: Everything that `--model` takes.
NAMES = (*MODELS, *FITTED)
