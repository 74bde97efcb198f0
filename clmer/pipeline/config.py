"""What makes a training run, as frozen dataclasses whose fields are the options of every caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clmer.baselines import NAMES
from clmer.data.choices import IMAGES, KEEP_GROUPS, LEVELS, NO_LEVELS, OWN, PROTOCOLS
from clmer.data.store.options import PrepareOptions
from clmer.errors import ConfigError
from clmer.options import check, option
from clmer.pipeline.options import encoders
from clmer.pipeline.options.cuts import check_cuts
from clmer.pipeline.options.encoders import EncoderOptions, check_encoders
from clmer.pipeline.options.reference import NONE, parse

#: What scikit-learn and NumPy take as a seed.
MAX_SEED = 2**32 - 1
#: Layers of one kind, and fusion models beside each other.
MOST_LAYERS = 1000
#: Headings on the command line.
DATA, TASK, RUN = "data", "task and protocol", "run"
MODEL = encoders.MODEL
#: What `tokens` may be.
TOKEN_KINDS = ("channel", "time", "spectrum")
#: Fields that are two numbers.
PAIRS = ("scale", "view_scale", "view_jitter")
#: What `classifier` may be.
CLASSIFIERS = ("corrected", "linear", "fusion")


def _size(default: int, help: str, least: int = 1, most: int | None = None, **more: Any) -> Any:
    return option(default, help=help, metavar="N", group=MODEL, least=least, most=most, **more)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(EncoderOptions):
    """What is trained on a split's windows, and how: all that `clmer.pipeline.fit.fit_split` asks.

    Args (and those of `EncoderOptions`):
        contrastive: run stage 1; without it tokens are a channel's samples.
        fusion: run stage 2; without it the encoders are the result.
        models: what stage 2 trains, out of `clmer.baselines.NAMES`.
        target: "class", or "rating": what is predicted is the rating itself, a number.
        ablation: "none"; "single": each modality alone beside the fusion; "stages": the same with
            random encoders, and without encoders.
        tokens: "channel" (the paper's), "time" (a token is an encoder time step) or "spectrum" (a
            token is a channel's log power spectrum; the encoders are not used).
        classifier: what CLMER classifies by: "linear" (logistic regression on hand-made features
            and, where stage 1 runs, on its encoders', `clmer.pipeline.floor`), "corrected" (the
            fusion's logits are added to its log-odds and start at zero) or "fusion" (alone, the
            paper's).
        temporal: form of Eq. 3 in the paper's objective, "batch" or "printed".
        reference: which of a person's windows are known, and what the others are read against: see
            `clmer.pipeline.reference_rows.find_reference`. "none": the training part's statistics
            standardise all; "all": each person's own do, which is transductive.
        batch: windows per step.
        epochs_contrastive, epochs_fusion: at most.
        patience: epochs without a better validation score before stage 2 stops; 0 never.
        width: of the encoder's first block.
        token_length, dim, heads, cross_layers, memory_layers, single_layers, embedding_dropout,
            modality_dropout: of `clmer.nn.Fusion`.
        members: fusion models trained from different seeds; their probabilities are averaged.
        amp: "none", or "bf16": bfloat16 autocast in training.
        graph: capture the training steps of both stages as CUDA graphs.
        select: "inner": tokens, sizes, stage 1 and classifier are chosen inside each training part
            out of `clmer.pipeline.stages.select.CANDIDATES`.
        seed: of everything random, at most `MAX_SEED`.
        one_start: whether all splits start from the same weights, as the paper's five orders do.

    Raises:
        ConfigError: an option out of range, or two that exclude each other.
    """

    contrastive: bool = option(
        True, help="stage 1, which trains an encoder per modality without labels", group=MODEL
    )
    fusion: bool = option(
        True,
        help="stage 2, which trains the classifier; without it the encoders are the result",
        group=MODEL,
    )
    models: tuple[str, ...] = option(
        ("clmer",),
        help=f"what stage 2 trains: {', '.join(NAMES)} (default clmer); stage 1 is left out where "
        "none of them reads its features",
        flag="--model",
        metavar="A,B,...",
        group=MODEL,
        choices=NAMES,
    )
    tokens: str = option(
        "channel",
        help="what a token of the fusion is: a channel (the paper's), an encoder time step, or a "
        "channel's log power spectrum (no encoder)",
        group=MODEL,
        choices=TOKEN_KINDS,
    )
    classifier: str = option(
        "corrected",
        help="what CLMER classifies by: logistic regression on hand-made features (linear), the "
        "fusion (the paper's), or the fusion as a correction of the former (corrected)",
        group=MODEL,
        choices=CLASSIFIERS,
    )
    temporal: str = option(
        "batch",
        help="negatives of Eq. 3: other windows, or other steps of the same one, as printed",
        group=MODEL,
        choices=("batch", "printed"),
    )
    epochs_contrastive: int = _size(500, "epochs of stage 1")
    epochs_fusion: int = _size(300, "epochs of stage 2, at most")
    patience: int = _size(
        0, "epochs of stage 2 without a better validation score before it stops; 0: never", 0
    )
    batch: int = _size(64, "windows per step", flag="--batch-size")
    width: int = _size(32, "channels of the encoder's first block")
    token_length: int = _size(50, "tokens that each modality is brought to (L)")
    dim: int = _size(40, "features of a token in the fusion")
    heads: int = _size(5, "attention heads; they divide the features of a token")
    cross_layers: int = _size(5, "attention layers between modalities", most=MOST_LAYERS)
    memory_layers: int = _size(5, "self-attention layers after them", 0, MOST_LAYERS)
    single_layers: int = _size(10, "layers where there is a single modality", most=MOST_LAYERS)
    members: int = _size(
        1,
        "fusion models from different seeds, whose probabilities are averaged",
        most=MOST_LAYERS,
    )
    embedding_dropout: float = option(
        0.25, help="of the fusion's input tokens", metavar="P", group=MODEL, least=0, below=1
    )
    modality_dropout: float = option(
        0.0,
        help="how often training takes a modality away from a window of CLMER's fusion (0)",
        metavar="P",
        group=MODEL,
        least=0,
        below=1,
    )
    target: str = option(
        "class",
        help="what is predicted: classes (default), or a rating itself, a number of any scale",
        group=TASK,
        choices=("class", "rating"),
    )
    ablation: str = option(
        "none",
        help="single: each modality alone beside the fusion (default on eegmat); stages: the same "
        "with random encoders in the place of stage 1's, and without encoders",
        group=TASK,
        choices=("none", "single", "stages"),
    )
    reference: str = option(
        NONE,
        help="each person's own zero, never trained or tested on: the first seconds of their "
        "recordings of a label (rest:60), those marked in a manifest's column reference (marked), "
        "or all they have (all: transductive); default none",
        metavar="LABEL[:SECONDS]",
        group=TASK,
    )
    amp: str = option(
        "none",
        help="bf16: bfloat16 autocast in training; slower on CPUs without bfloat16 (default none)",
        group=RUN,
        choices=("none", "bf16"),
    )
    graph: bool = option(
        False,
        help="capture both stages' training steps as CUDA graphs; needs a GPU (default off)",
        group=RUN,
    )
    select: str = option(
        "none",
        help="inner: stage 1 or none, tokens, size and correction are chosen for each split by "
        "cross-validation inside its training part (takes some 20 times as long; default none)",
        group=MODEL,
        choices=("none", "inner"),
    )
    seed: int = option(
        0, help="of everything random (0)", metavar="S", group=RUN, least=0, most=MAX_SEED
    )
    one_start: bool = False

    @property
    def token_kind(self) -> str:
        """What a `Tokenizer` makes tokens of: without encoders of stage 1 it is "raw"."""
        return self.tokens if self.pretrains or self.tokens == "spectrum" else "raw"

    @property
    def pretrains(self) -> bool:
        """Whether stage 1 runs."""
        return self.contrastive and self.encoders != "scratch"

    @property
    def encodes(self) -> bool:
        """Whether there are encoders, trained in stage 1 or not."""
        return self.contrastive or self.encoders == "scratch"

    def __post_init__(self) -> None:
        _check_once("models", self.models)
        if not self.models:
            raise ConfigError(f"`models`: found none, expected some of {', '.join(NAMES)}")
        check(self)
        parse(self.reference)
        if self.batch < 2 and self.pretrains:
            raise ConfigError("`batch`: found 1, expected 2 or more (or `contrastive=False`)")
        if self.dim % self.heads:
            raise ConfigError(
                f"`dim`: found {self.dim}, expected a multiple of `heads` {self.heads}"
            )
        if self.encoders != "frozen" and self.reference != NONE:
            raise ConfigError(
                f"`encoders={self.encoders}` with `reference={self.reference}`: only features of "
                "frozen encoders are read against a reference; leave one of them out"
            )
        if self.select == "inner" and not (self.fusion and self.target == "class"):
            raise ConfigError(
                "`select=inner`: candidates are compared by balanced accuracy; it needs "
                "`fusion=True` and `target=class`"
            )
        if self.tokens == "time" and not self.encodes:
            raise ConfigError(
                "`tokens=time`: its tokens are encoder steps; it needs the contrastive stage"
            )
        if not (self.pretrains or self.fusion):
            raise ConfigError("`contrastive=False` with `fusion=False` leaves nothing to train")
        if self.target == "rating" and not self.fusion:
            raise ConfigError(
                "`target=rating` with `fusion=False`: encoders are trained without labels; leave "
                "`target` out"
            )
        if self.ablation == "stages" and not (
            self.pretrains and self.fusion and self.tokens != "spectrum"
        ):
            raise ConfigError(
                "`ablation=stages`: it compares what stage 2 makes of trained and of random "
                "encoders; it needs `contrastive=True`, `fusion=True` and `tokens=channel` or "
                "`tokens=time`"
            )
        check_encoders(self)

    def check_pictures(self, modalities: Sequence[str]) -> None:
        """Refuse pictures where a series is needed.

        Raises:
            ConfigError: the contrastive stage, or a spectrum, would get one.
        """
        pictures = [name for name in modalities if name in IMAGES]
        if pictures and (self.encodes or self.tokens == "spectrum"):
            raise ConfigError(
                f"`modalities={','.join(pictures)}`: pictures are no series that the contrastive "
                "stage or a spectrum could take; add `contrastive=False` `tokens=channel`"
            )


@dataclass(frozen=True, kw_only=True)
class Config(PrepareOptions, ModelConfig):
    """Everything needed to repeat a run: how its data are prepared, what is trained, and these.

    Args:
        dataset: a name in `clmer.data.DATASETS`.
        root: folder of the recordings; "" where they are synthetic.
        synthetic: arguments of a writer in `clmer.data.synthetic.WRITERS`, or None for real
            recordings.
        task: what is predicted, see `clmer.data.tasks`.
        scale: least and largest rating; None for the data set's own, or 1-9 where values show it.
        threshold: largest rating of the lower class where a task has two; None for the middle.
        levels: where a manifest's ratings are cut instead, see `clmer.data.levels`.
        protocol: what is never divided between training, validation and test, see
            `clmer.data.splits`.
        splits: a table of splits of your own, see `clmer.data.splits.own`; "" for the protocol's.
        folds: parts that groups are assigned to.
        repeats: splits to train on; 0 for the protocol's own number (everyone tested once).
        permuted: train the first model once more on labels permuted within each person: a control.
        init: folder of encoders of another study, or hf://user/name, which stage 1 starts from,
            see `clmer.pipeline.stages.start`; "" for a random start.
        preset: "paper" or "cpu".
        device: a torch device.

    Raises:
        ConfigError: an option out of range, or two that exclude each other.
    """

    dataset: str
    root: str = ""
    synthetic: dict[str, Any] | None = None
    task: str = option(
        help="valence, arousal, dominance, liking (2 classes); these with 9 behind (9 levels); "
        "va4, va9, or a label column such as label",
        metavar="NAME",
        group=TASK,
    )
    scale: tuple[float, float] | None = option(
        None,
        help="least and largest rating of a manifest's scale, e.g. 1,7 or 0,100 or -1,1 (taken as "
        "1,9 where the values show it, else asked for)",
        metavar="LOW,HIGH",
        group=TASK,
    )
    threshold: float | None = option(
        None,
        help="ratings up to X are low, those above it high (default: the scale's middle)",
        metavar="X",
        group=TASK,
    )
    levels: str = option(
        NO_LEVELS,
        help="a manifest's ratings as classes by where people answered: at the median or terciles "
        "of all recordings, or of each person's own (default none: the scale's middle)",
        group=TASK,
        choices=LEVELS,
    )
    protocol: str = option(
        help="what is never divided between training and test", group=TASK, choices=PROTOCOLS
    )
    splits: str = option(
        "",
        help="a table of splits of your own, with the columns split, subject, part (train, "
        "validation, test) and maybe recording; without validation rows the protocol takes some "
        "of train",
        metavar="FILE",
        group=TASK,
    )
    folds: int = option(6, help="parts that groups are assigned to (6)", metavar="N", group=TASK)
    repeats: int = option(
        0,
        help="splits to train (default: everyone tested once)",
        metavar="N",
        group=TASK,
        least=0,
    )
    permuted: bool = option(
        True,
        help="train the first model once more on permuted labels, as a control (default on)",
        group=TASK,
    )
    init: str = option(
        "",
        help="start stage 1 from encoders of another study: a folder of save_encoders or "
        "save_pretrained, hf://user/name, or a run's with one split",
        metavar="DIR",
        group=MODEL,
    )
    preset: str = option(
        "cpu",
        help="sizes: the paper's (paper), small ones (cpu), or by the device (auto, default)",
        metavar="NAME",
        group=MODEL,
    )
    device: str = "cpu"

    def __post_init__(self) -> None:
        # the names that modules of torch take: to make a run, not to read its options
        from clmer.pipeline.options.names import check_modality_names

        PrepareOptions.__post_init__(self)
        ModelConfig.__post_init__(self)
        if self.graph and not self.device.startswith("cuda"):
            raise ConfigError(
                f"`graph`: found `device={self.device}`, expected a GPU: what is captured is a "
                "CUDA graph; leave `graph` out"
            )
        self._check_splits()
        check_cuts(self.scale, self.threshold, self.levels, self.target)
        check_modality_names(self.modalities)
        self.check_pictures(self.modalities)

    @property
    def protocol_name(self) -> str:
        """What results call it: the protocol, or `OWN` where the splits are the user's own."""
        return OWN if self.splits else self.protocol

    def _check_splits(self) -> None:
        if self.splits and self.protocol not in KEEP_GROUPS:
            raise ConfigError(
                f"`splits` with `protocol={self.protocol}`: found a protocol that keeps no groups, "
                f"expected {' or '.join(KEEP_GROUPS)}: validation may be taken from training by it"
            )
        if self.splits and self.repeats:
            raise ConfigError(
                f"`repeats`: found {self.repeats} with `splits`, whose table says how many splits "
                "there are; leave `repeats` out"
            )


def _check_once(name: str, values: Sequence[str]) -> None:
    if len(set(values)) != len(values):
        raise ConfigError(f"`{name}`: found {list(values)}, expected each once")
