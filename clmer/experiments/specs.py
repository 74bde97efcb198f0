"""The paper's tables and figures as data: what each trains, on which tasks, and how it is shown.

An experiment names a kind of rows; the rows follow from the modalities of a data set, so that each
table can be made of any recordings. On the paper's own data set they are the paper's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clmer.data.registry import Dataset
    from clmer.experiments.train_options import Options


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        key: names the line; `clmer.experiments.paper` has its printed figures under it.
        label: method and modalities, as shown.
        options: that make it, see `clmer.experiments.train_options`.
        model: the beginning of the model's name in results.json; "" for the run's first one.
    """

    key: str
    label: tuple[str, str]
    options: Options
    model: str = ""


#: What the paper's tables share: its tokens, and no runs beside the one that a row shows.
_COMMON: dict[str, Any] = {"tokens": "channel", "ablation": "none", "permuted": False}


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper.

    Args:
        name: on the command line.
        title: what it shows.
        section: where the paper has it.
        rows: a name in `ROWS`.
        view: how it is shown: a name in `clmer.experiments.sheets.VIEWS`.
        tasks: by the paper's own data sets.
        printed: the table with the paper's figures; "" for none.
        common: options of every row, where neither the user nor the row has others.
    """

    name: str
    title: str
    section: str
    rows: str
    view: str
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    printed: str = ""
    common: Options = field(default_factory=_COMMON.copy)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The paper's own data sets."""
        return tuple(self.tasks)

    def tasks_on(self, dataset: Dataset) -> tuple[str, ...]:
        """The paper's tasks where the data set has them, its default task otherwise."""
        if dataset.name in self.tasks:
            return self.tasks[dataset.name]
        wanted = dict.fromkeys(task for tasks in self.tasks.values() for task in tasks)
        shared = tuple(task for task in wanted if task in dataset.tasks and task != "label")
        return shared or (dataset.task,)


# --- rows: from a data set's modalities, and token lengths, to lines ----------------------------
def _raw(modalities: tuple[str, ...], *models: str) -> dict[str, Any]:
    """Options of a row without contrastive features; without models it is of CLMER's own."""
    options: dict[str, Any] = {"modalities": modalities, "contrastive": False}
    return options | ({"models": models} if models else {})


def _clmer(modalities: tuple[str, ...]) -> Row:
    name = "+".join(modalities)
    options = {"modalities": modalities, "contrastive": True, "objective": "paper"}
    return Row(f"{name} with CL", ("CLMER", name), options)


def clmer(modalities: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
    """CLMER with contrastive features, beside the baselines of its own run."""
    whole = _clmer(modalities)
    name = whole.label[1]
    return (
        whole,
        Row("power", ("band power + LR", name), whole.options, "band power + LR"),
        Row("majority", ("majority class", "none"), whole.options, "majority"),
    )


def models(modalities: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
    """Table III: other people's models, on raw signals, beside CLMER."""
    signal, name = modalities[:1], "+".join(modalities)
    faces = bool({"landmarks", "au"} & set(modalities))
    pictures = _pictures("mobilevit", "MobileViT-S features", modalities, "mobilevit")
    return (
        Row("svm", ("SVM on band power", name), _raw(modalities, "svm")),
        Row("eeg-conformer", ("EEG-Conformer", signal[0]), _raw(signal, "eeg-conformer")),
        Row("fetcheeg", ("FetchEEG-style", signal[0]), _raw(signal, "fetcheeg")),
        *([pictures] if faces else []),
        Row("mult", ("MulT", name), _raw(modalities, "mult")),
        Row("husformer", ("Husformer", name), _raw(modalities, "husformer")),
        *clmer(modalities, lengths),
    )


def ablation(modalities: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
    """Tables IV to VII: each modality, each pair, all without and all with contrastive features."""
    modes = {1: "single", 2: "dual"} | {len(modalities): "fusion without CL"}
    rows = [
        Row("+".join(part), (mode, "+".join(part)), _raw(part))
        for count, mode in sorted(modes.items())
        for part in combinations(modalities, count)
    ]
    whole, *baselines = clmer(modalities, lengths)
    return (*rows, Row(whole.key, ("fusion with CL", whole.label[1]), whole.options), *baselines)


def serialization(modalities: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
    """Tables VIII to X: pictures against serialised faces, without contrastive features."""
    name = "+".join(modalities)
    return (
        _pictures("downsampling", "downsampling, one token per pixel", modalities, "pixels"),
        _pictures("downsampling-rows", "downsampling, one token per row", modalities, "pixel-rows"),
        _pictures("mobilevit", "MobileViT-S features", modalities, "mobilevit"),
        Row(name, ("serialization", name), _raw(modalities)),
    )


def _pictures(key: str, label: str, modalities: tuple[str, ...], visual: str) -> Row:
    """The first modality beside a picture of the face."""
    part = (modalities[0], visual)
    return Row(key, (label, "+".join(part)), _raw(part))


def token_lengths(modalities: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
    """Tables XI and XII: CLMER at several token lengths."""
    options, name = _clmer(modalities).options, "+".join(modalities)
    return tuple(
        Row(str(length), (f"L = {length}", name), {**options, "token_length": length})
        for length in lengths
    )


def leakage(modalities: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Row, ...]:
    """Every model at the data set's own settings, one run per model; its baselines come with it."""
    whole, name = {"modalities": modalities}, "+".join(modalities)
    others = [("svm", "SVM on band power"), ("mult", "MulT"), ("husformer", "Husformer")]
    if len(modalities) < 2:
        others.remove(("mult", "MulT"))  # it is made of pairs
    first, signal = {"modalities": modalities[:1]}, modalities[0]
    single = (("eeg-conformer", "EEG-Conformer"), ("fetcheeg", "FetchEEG-style"))
    return (
        Row("clmer", ("CLMER", name), {**whole, "permuted": True}),
        *(Row(key, (label, name), {**whole, "permuted": False, "models": (key,)})
          for key, label in others),
        *(Row(key, (label, signal), {**first, "permuted": False, "models": (key,)})
          for key, label in single),
    )  # fmt: skip


Rows = Callable[[tuple[str, ...], tuple[int, ...]], tuple[Row, ...]]
ROWS: dict[str, Rows] = {
    "clmer": clmer,
    "models": models,
    "ablation": ablation,
    "serialization": serialization,
    "lengths": token_lengths,
    "leakage": leakage,
}

#: Token lengths of Tables XI and XII, and those tried on other data sets.
LENGTHS = {"deap": (30, 40, 50, 60, 70), "deap-raw": (30, 40, 50, 60, 70)}
LENGTHS |= {"amigos-short": (5, 10, 15, 20, 25)}
OTHER_LENGTHS = (10, 15, 20, 25, 30)

# --- the paper's tables and figures -------------------------------------------------------------
_Tasks = dict[str, tuple[str, ...]]
_DEAP: _Tasks = {"deap": ("valence", "arousal", "va4", "va9")}
_DEAP_IMAGES: _Tasks = {"deap": ("va9", "va4", "valence", "arousal")}
_SHORT: _Tasks = {"amigos-short": ("valence", "arousal", "va4")}
_SHORT_IMAGES: _Tasks = {"amigos-short": ("va4", "valence", "arousal")}
_NINE, _SHORT_FOUR = {"deap": ("va9",)}, {"amigos-short": ("va4",)}
_LONG_FOUR, _MAN2 = {"amigos-long": ("va4",)}, {"man2": ("label",)}

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("table1", "CLMER on DEAP", "IV-D", "clmer", "scores", _DEAP, "I"),
        Experiment("table2", "CLMER on AMIGOS' short videos", "IV-D", "clmer", "scores", _SHORT,
                   "II"),
        Experiment("table3", "Models beside each other on MAN-II", "IV-D", "models", "scores",
                   _MAN2, "III"),
        Experiment("table4", "Modalities and contrastive learning, DEAP", "IV-E", "ablation",
                   "scores", _NINE, "IV"),
        Experiment("table5", "Modalities and contrastive learning, AMIGOS' short videos", "IV-E",
                   "ablation", "scores", _SHORT_FOUR, "V"),
        Experiment("table6", "Modalities and contrastive learning, AMIGOS' long videos", "IV-E",
                   "ablation", "scores", _LONG_FOUR, "VI"),
        Experiment("table7", "Modalities and contrastive learning, MAN-II", "IV-E", "ablation",
                   "scores", _MAN2, "VII"),
        Experiment("table8", "Serialised faces against images, DEAP", "IV-F", "serialization",
                   "scores", _DEAP_IMAGES, "VIII"),
        Experiment("table9", "Serialised faces against images, AMIGOS' short videos", "IV-F",
                   "serialization", "scores", _SHORT_IMAGES, "IX"),
        Experiment("table10", "What serialised faces and images cost", "IV-F", "serialization",
                   "costs", _DEAP_IMAGES | _SHORT_IMAGES, "X"),
        Experiment("table11", "Token length, DEAP", "IV-G", "lengths", "lengths", _DEAP, "XI"),
        Experiment("table12", "Token length, AMIGOS' short videos", "IV-G", "lengths", "lengths",
                   _SHORT, "XII"),
        Experiment("fig4", "Confusion matrix of CLMER, DEAP", "IV-E", "clmer", "confusion", _NINE),
        Experiment("fig5", "Confusion matrices of CLMER, AMIGOS", "IV-E", "clmer", "confusion",
                   _SHORT_FOUR | _LONG_FOUR),
        Experiment("fig6", "Confusion matrix of CLMER, MAN-II", "IV-E", "clmer", "confusion",
                   _MAN2),
        Experiment("fig7", "Time, memory and accuracy, DEAP", "IV-F", "serialization", "radar",
                   _DEAP_IMAGES, "X"),
        Experiment("fig8", "Time, memory and accuracy, AMIGOS' short videos", "IV-F",
                   "serialization", "radar", _SHORT_IMAGES, "X"),
        Experiment("fig9", "Accuracy over epochs by token length, DEAP", "IV-G", "lengths",
                   "curves", _DEAP, "XI"),
        Experiment("fig10", "Accuracy over epochs by token length, AMIGOS' short videos", "IV-G",
                   "lengths", "curves", _SHORT, "XII"),
        Experiment("leakage", "What each protocol makes of each model", "", "leakage", "leakage",
                   common={}),
    )
}  # fmt: skip

#: Figures that are drawings of the method, and where its text is.
DRAWINGS = {
    "fig1": "the framework as a drawing: docs/model.md describes what is built",
    "fig2": "the contrastive stage as a drawing: docs/model.md, Contrastive stage",
    "fig3": "the fusion stage as a drawing: docs/model.md, Fusion",
}
#: What `all` makes of recordings that the paper does not have: one experiment of each kind.
ELSEWHERE = ("table3", "table4", "table11", "fig4", "fig9", "leakage")
