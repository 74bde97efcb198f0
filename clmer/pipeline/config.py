"""What makes a training run: one frozen dataclass, two presets, what each data set changes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from clmer.baselines import MODELS, NAMES
from clmer.data.face.windows import FACES, IMAGES
from clmer.data.registry import DATASETS
from clmer.data.store.options import FILTERS
from clmer.data.store.plan import is_valid_name
from clmer.errors import ConfigError

#: What scikit-learn and NumPy take as a seed.
MAX_SEED = 2**32 - 1
#: Layers of one kind, and fusion models beside each other.
MOST_LAYERS = 1000


#: What the options that are words may be.
CHOICES = {
    "filter": FILTERS,
    "face": FACES,
    "normalize": ("train", "subject"),
    "ablation": ("none", "single"),
    "tokens": ("channel", "time", "spectrum"),
    "temporal": ("batch", "printed"),
    "amp": ("none", "bf16"),
}


#: What stands beside the models in a run's folder, each named after its modalities; further members
#: of a model end in "-2", "-3", ...
_RESERVED = ("contrastive", "inputs", "permuted", *NAMES)
_MEMBER = re.compile(r".*-\d+")


def is_valid_modality_name(name: str) -> bool:
    """Whether a modality may have a name: it becomes one of files and of modules."""
    taken = name in _RESERVED or _MEMBER.fullmatch(name) or hasattr(nn.ModuleDict(), name)
    return not taken and is_valid_name(name)


def check_modality_names(names: Iterable[str]) -> None:
    """Refuse names that a run could not tell from its own files and modules.

    Raises:
        ConfigError: there is one.
    """
    for name in names:
        if not is_valid_modality_name(name):
            raise ConfigError(
                f"`modalities`: found {name!r}, expected letters, digits, spaces, _, + and -, and "
                "no word that PyTorch's modules or a run's folder use. Call it "
                f"my_{re.sub(r'[^A-Za-z0-9]', '_', name)}, for example"
            )


@dataclass(frozen=True)
class Config:
    """Everything needed to repeat a run.

    Args:
        dataset: a name in `clmer.data.registry.DATASETS`.
        root: folder of the recordings; "" where they are synthetic.
        synthetic: arguments of a writer in `clmer.data.synthetic.WRITERS`, or None for real
            recordings.
        labels: whose labels, out of the data set's; "" where it has one kind.
        task: what is predicted, see `clmer.data.tasks`.
        scale: least and largest rating; None for the data set's own, or 1-9 where values show it.
        threshold: largest rating of the lower class where a task has two; None for the middle.
        protocol: what is kept whole between training, validation and test, see `clmer.data.splits`.
        modalities: in the order the model stacks them.
        window, stride: seconds.
        filter: "type" filters by signal type, "paper" puts the one band on every channel.
        face: "raw" landmarks, or "aligned": without the head's motion.
        mobilevit: folder of MobileViT-S's weights for the modality "mobilevit"; "" for random ones.
        normalize: "train" standardises with the training part's statistics, "subject" with a
            person's own unlabelled windows (transductive).
        tokens: "channel" (the paper's), "time" (a token is an encoder time step) or "spectrum" (a
            token is a channel's log power spectrum; the encoders are not used).
        temporal: form of Eq. 3, "batch" or "printed".
        contrastive: run the contrastive stage; without it tokens are a channel's samples.
        fusion: run the fusion stage; without it the encoders and their linear probe are the result.
        models: what the fusion stage trains, out of `clmer.baselines.NAMES`.
        ablation: "none", or "single": each modality alone beside the fusion.
        permuted: train the first model once more on labels permuted within each person: a control.
        repeats: splits to train on; 0 for the protocol's own number (everyone tested once).
        folds: parts that groups are dealt into.
        seed: of everything random, at most `MAX_SEED`.
        preset: "paper" or "cpu".
        device: a torch device.
        batch: windows a step.
        epochs_contrastive, epochs_fusion: at most.
        patience: epochs without a better validation score before the fusion stage stops; 0 never.
        width: of the encoder's first block.
        token_length, dim, heads, cross_layers, memory_layers, single_layers, embedding_dropout: of
            `clmer.nn.Fusion`.
        amp: "none", or "bf16": bfloat16 autocast in training.
        graph: capture the fusion stage's training step as a CUDA graph.
        members: fusion models trained from different seeds; their probabilities are averaged.
    """

    dataset: str
    root: str
    synthetic: dict[str, Any] | None
    task: str
    protocol: str
    modalities: tuple[str, ...]
    window: float
    stride: float
    labels: str = ""
    scale: tuple[float, float] | None = None
    threshold: float | None = None
    filter: str = "type"
    face: str = "raw"
    mobilevit: str = ""
    normalize: str = "train"
    tokens: str = "channel"
    temporal: str = "batch"
    contrastive: bool = True
    fusion: bool = True
    models: tuple[str, ...] = ("clmer",)
    ablation: str = "none"
    permuted: bool = True
    repeats: int = 0
    folds: int = 6
    seed: int = 0
    preset: str = "cpu"
    device: str = "cpu"
    batch: int = 64
    epochs_contrastive: int = 500
    epochs_fusion: int = 300
    patience: int = 0
    width: int = 32
    token_length: int = 50
    dim: int = 40
    heads: int = 5
    cross_layers: int = 5
    memory_layers: int = 5
    single_layers: int = 10
    embedding_dropout: float = 0.25
    members: int = 1
    amp: str = "none"
    graph: bool = False

    @property
    def token_kind(self) -> str:
        """What `Inputs` makes tokens of: without encoders "channel" is "raw"."""
        return "raw" if self.tokens == "channel" and not self.contrastive else self.tokens

    def __post_init__(self) -> None:
        counts = ("batch", "epochs_contrastive", "epochs_fusion", "width", "token_length", "dim")
        for name in (*counts, "heads", "cross_layers", "single_layers", "members"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{option(name)}: found {getattr(self, name)}, expected at least 1"
                )
        for name in ("cross_layers", "memory_layers", "single_layers", "members"):
            if getattr(self, name) > MOST_LAYERS:
                raise ConfigError(
                    f"{option(name)}: found {getattr(self, name)}, expected at most {MOST_LAYERS}"
                )
        if self.seed > MAX_SEED:
            raise ConfigError(f"--seed: found {self.seed}, expected 0 to {MAX_SEED}")
        for name in ("repeats", "patience", "memory_layers", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{option(name)}: found {getattr(self, name)}, expected 0 or more"
                )
        if not (0 < self.window < math.inf and 0 < self.stride < math.inf):
            raise ConfigError(
                f"--window, --stride: found {self.window} and {self.stride}, expected seconds > 0"
            )
        self._check_scale()
        for name, choices in CHOICES.items():
            found = getattr(self, name)
            if found not in choices:
                raise ConfigError(f"--{name}: found {found!r}, expected {' or '.join(choices)}")
        if self.graph and not self.device.startswith("cuda"):
            raise ConfigError(
                f"--graph: found --device {self.device}, expected a GPU: what is captured is a "
                "CUDA graph; leave --graph out"
            )
        if self.batch < 2 and self.contrastive:
            raise ConfigError("--batch-size: found 1, expected 2 or more (or --no-contrastive)")
        if self.dim % self.heads:
            raise ConfigError(
                f"--dim: found {self.dim}, expected a multiple of --heads {self.heads}"
            )
        if not 0 <= self.embedding_dropout < 1:
            raise ConfigError(
                f"--embedding-dropout: found {self.embedding_dropout}, expected 0 to below 1"
            )
        if self.tokens == "time" and not self.contrastive:
            raise ConfigError(
                "--tokens time: its tokens are encoder steps; it needs the contrastive stage"
            )
        if not (self.contrastive or self.fusion):
            raise ConfigError("--no-contrastive with --no-fusion leaves nothing to train")
        for flag, names in (("--modalities", self.modalities), ("--model", self.models)):
            if len(set(names)) != len(names):
                raise ConfigError(f"{flag}: found {list(names)}, expected each once")
        if not self.models or not set(NAMES).issuperset(self.models):
            raise ConfigError(
                f"--model: found {', '.join(self.models)}, expected some of {', '.join(NAMES)}"
            )
        check_modality_names(self.modalities)
        pictures = [name for name in self.modalities if name in IMAGES]
        if pictures and (self.contrastive or self.tokens == "spectrum"):
            raise ConfigError(
                f"--modalities {','.join(pictures)}: pictures are no series that the contrastive "
                "stage or a spectrum could take; add --no-contrastive --tokens channel"
            )

    def _check_scale(self) -> None:
        low, high = self.scale or (0.0, 1.0)
        if not -math.inf < low < high < math.inf:
            raise ConfigError(f"--scale: found {low:g},{high:g}, expected LOW,HIGH with LOW < HIGH")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"--threshold: found {self.threshold}, expected a number")
        if self.threshold is not None and self.scale and not low <= self.threshold < high:
            raise ConfigError(
                f"--threshold: found {self.threshold:g}, expected one within --scale "
                f"{low:g},{high:g}: ratings up to it are low, those above it high"
            )


#: What a preset changes from the paper's sizes.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "cpu": {
        "epochs_contrastive": 15,
        "epochs_fusion": 60,
        "patience": 10,
        "width": 16,
        "token_length": 20,
        "dim": 32,
        "heads": 4,
        "cross_layers": 2,
        "memory_layers": 1,
        "single_layers": 3,
    },
}

#: What the paper (or design) fixes by data set, under the paper preset.
PAPER_BY_DATASET: dict[str, dict[str, Any]] = {
    "deap": {"token_length": 50},
    "deap-raw": {"token_length": 50},
    "amigos-short": {"token_length": 15},
    "amigos-long": {"token_length": 15, "epochs_fusion": 200},
    "man2": {"token_length": 15},
    "eegmat": {"token_length": 20},
    "manifest": {"token_length": 15},
}


#: What a data set changes under the cpu preset. deap, AMIGOS and man2 train one split of six.
#: On amigos-long's windows of 5 s the contrastive stage gains nothing (docs/results.md).
#: eegmat has 16 training people: the conv encoder's tokens overfit them, and so does one
#: transformer alone (docs/results.md has the comparison).
CPU_BY_DATASET: dict[str, dict[str, Any]] = {
    "deap": {"repeats": 1},
    "deap-raw": {"repeats": 1},
    "amigos-short": {"repeats": 1},
    "amigos-long": {"repeats": 1, "contrastive": False},
    "man2": {"repeats": 1},
    "eegmat": {
        "tokens": "spectrum",
        "contrastive": False,
        "members": 5,
        "cross_layers": 1,
        "memory_layers": 1,
        "single_layers": 1,
        "embedding_dropout": 0.5,
    },
}


def option(name: str) -> str:
    """A field's name as it is written on the command line."""
    special = {"batch": "--batch-size", "models": "--model"}
    return special.get(name, "--" + name.replace("_", "-"))


def build(dataset: str, given: dict[str, Any]) -> Config:
    """The run that a data set's defaults, a preset and the user's own choices make.

    Args:
        dataset: a name in `clmer.data.registry.DATASETS`.
        given: fields the user set; None means unset. `preset` "auto" goes by the device.

    Raises:
        ConfigError: an option out of range.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    preset = chosen.pop("preset", "auto")
    if preset == "auto":
        preset = "cpu" if chosen["device"] == "cpu" else "paper"
    if preset not in PRESETS:
        raise ConfigError(f"--preset: found {preset!r}, expected auto, {' or '.join(PRESETS)}")
    defaults = DATASETS[dataset]
    window = chosen.pop("window", defaults.window_s)
    base = Config(
        dataset=dataset,
        root=chosen.pop("root", ""),
        synthetic=chosen.pop("synthetic", None),
        task=chosen.pop("task", defaults.task),
        protocol=chosen.pop("protocol", defaults.protocol),
        modalities=defaults.modalities,
        models=tuple(chosen.pop("models", ("clmer",))),
        labels=chosen.pop("labels", defaults.labels[0] if defaults.labels else ""),
        window=window,
        stride=chosen.pop("stride", window),
        ablation="single" if dataset == "eegmat" else "none",
        preset=preset,
    )
    by_dataset = CPU_BY_DATASET if preset == "cpu" else PAPER_BY_DATASET
    sized = replace(base, **(PRESETS[preset] | by_dataset.get(dataset, {})))
    if "modalities" in chosen:
        chosen["modalities"] = tuple(chosen["modalities"])
    unknown = set(chosen) - {field.name for field in fields(Config)}
    if unknown:
        raise TypeError(f"build: no such fields {sorted(unknown)}")
    config = replace(sized, **chosen)
    reads_encoders = any(MODELS[name].tokens == "stage" for name in config.models if name in MODELS)
    if config.fusion and not reads_encoders and "contrastive" not in chosen:
        config = replace(config, contrastive=False)
    if config.protocol in defaults.refused:
        why = defaults.refused[config.protocol]
        raise ConfigError(f"--protocol {config.protocol}: misleads on {dataset}: {why}")
    return config
