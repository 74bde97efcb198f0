"""What the paper printed: every result of its Tables I to XII, digit by digit, as cited data.

All of it was measured on windows assigned at random (IV-B, IV-C): here, `--protocol shuffled`.
Nothing in this file is a result of this package, and nothing computes with it but the radar charts
and the mean that the paper itself took. Where the paper contradicts itself both figures stand:
docs/paper.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL = "shuffled"

#: Lines of ours that the paper's methods correspond to, see `clmer.experiments.specs`.
CLMER = "physio+landmarks+au with CL"
SERIALIZATION = "physio+landmarks+au"
#: The paper's "2 classes" on DEAP: the mean of valence and arousal (IV-D).
TWO = "mean of valence and arousal"


@dataclass(frozen=True)
class Figure:
    """One printed result.

    Args:
        key: the line of ours that is the same method; "" for what other authors reported.
        task: ours; "" with an empty key.
        label: method, modality and classes as printed.
        acc, f1: as printed, in percent; "–" where the paper has none.
    """

    key: str
    task: str
    label: tuple[str, ...]
    acc: str
    f1: str


@dataclass(frozen=True)
class Cost:
    """A column of Table X: what a method took, and its mean accuracy over tasks."""

    memory_mib: int
    seconds: int
    accuracy: float


def _ablation(task: str, *scores: tuple[str, str]) -> tuple[Figure, ...]:
    """The eight lines that Tables IV to VII share."""
    modes = (
        ("physio", "Single", "EEG"),
        ("landmarks", "Single", "3D Landmark"),
        ("au", "Single", "AU"),
        ("physio+landmarks", "Dual", "EEG, 3D Landmark"),
        ("physio+au", "Dual", "EEG, AU"),
        ("landmarks+au", "Dual", "3D Landmark, AU"),
        (SERIALIZATION, "Fusion w/o CL", "EEG, 3D Landmark, AU"),
        (CLMER, "Fusion w/ CL(our)", "EEG, 3D Landmark, AU"),
    )
    return tuple(
        Figure(key, task, (mode, modality), acc, f1)
        for (key, mode, modality), (acc, f1) in zip(modes, scores, strict=True)
    )


def _images(task: str, classes: str, *scores: str) -> tuple[Figure, ...]:
    """A line of Tables VIII and IX: accuracy and F1 of three methods."""
    methods = (
        ("downsampling", "Downsampling"),
        ("mobilevit", "MobileViT_s"),
        (SERIALIZATION, "Serialization(3)"),
    )
    return tuple(
        Figure(key, task, (method, classes), *scores[2 * i : 2 * i + 2])
        for i, (key, method) in enumerate(methods)
    )


def _lengths(tasks: tuple[tuple[str, str], ...], *lines: tuple[str, ...]) -> tuple[Figure, ...]:
    """Tables XI and XII: a line a token length, accuracy and F1 of every task."""
    return tuple(
        Figure(length, task, (f"Token length {length}", classes), *scores[2 * i : 2 * i + 2])
        for length, *scores in lines
        for i, (task, classes) in enumerate(tasks)
    )


_TWO, _FOUR, _NINE = ("EEG, Vision", "2"), ("EEG, Vision", "4"), ("EEG, Vision", "9")
_BOTH = "PhysioData, Vision"

#: By table of the paper, in its order.
TABLES: dict[str, tuple[Figure, ...]] = {
    "I": (
        Figure("", "", ("Y.-C. Wu et al. [48]", *_TWO), "68.75", "–"),
        Figure("", "", ("Huang et al. [49]", *_TWO), "77.27±11.29", "–"),
        Figure("", "", ("Siddharth et al. [52]", *_TWO), "79.60", "70.00"),
        Figure("", "", ("HFCNN [51]", "EEG, PPS", "2"), "84.71", "–"),
        Figure("", "", ("Zhao et al. [50]", *_TWO), "86.50", "–"),
        Figure("", "", ("Hosseini et al. [32]", "PPS, Vision", "2"), "96.08±0.35", "–"),
        Figure("", "", ("Wang et al. [53]", *_TWO), "96.89", "–"),
        Figure("", "", ("Hosseini et al. [32]", *_TWO), "97.59±0.22", "–"),
        Figure(CLMER, TWO, ("CLMER (our)", _BOTH, "2"), "97.65±0.71", "97.65±0.72"),
        Figure("", "", ("Cimtay et al. [54]", *_FOUR), "53.80", "–"),
        Figure("", "", ("Siddharth et al. et al. [52]", *_FOUR), "54.22", "31.00"),
        Figure("", "", ("Lee et al. [55]", *_FOUR), "83.20", "84.10"),
        Figure(CLMER, "va4", ("CLMER (our)", _BOTH, "4"), "96.47±1.29", "96.47±1.28"),
        Figure("", "", ("Y. Wu et al. [56]", *_NINE), "95.12", "94.22"),
        Figure(CLMER, "va9", ("CLMER (our)", _BOTH, "9"), "96.09±0.55", "96.09±0.55"),
    ),
    "II": (
        Figure("", "", ("Strizhkova et al. [58]", _BOTH, "V(2)"), "–", "66.00±4"),
        Figure("", "", ("Strizhkova et al. [58]", _BOTH, "A(2)"), "–", "58.00±6"),
        Figure("", "", ("Kamran et al. [59]", _BOTH, "V(2)"), "71.48±4.97", "–"),
        Figure("", "", ("Kamran et al. [59]", _BOTH, "A(2)"), "73.02±3.98", "–"),
        Figure("", "", ("Siddharth et al. [52]", _BOTH, "V(2)"), "78.23", "74.00"),
        Figure("", "", ("Siddharth et al. [52]", _BOTH, "A(2)"), "81.47", "72.00"),
        Figure("", "", ("Siddharth et al. [52]", "Biosensing", "V(2)"), "83.94", "82.00"),
        Figure("", "", ("Siddharth et al. [52]", "Biosensing", "A(2)"), "82.76", "76.00"),
        Figure("", "", ("Menon et al. [60]", "EEG, ECG, EDA", "V(2)"), "87.10", "–"),
        Figure("", "", ("Menon et al. [60]", "EEG, ECG, EDA", "A(2)"), "80.50", "–"),
        Figure(CLMER, "valence", ("CLMER(our)", _BOTH, "V(2)"), "88.37±0.61", "88.37±0.58"),
        Figure(CLMER, "arousal", ("CLMER(our)", _BOTH, "A(2)"), "83.56±0.97", "83.53±0.96"),
        Figure(CLMER, "va4", ("CLMER(our)", _BOTH, "VA(4)"), "81.42±1.19", "81.41±1.16"),
    ),
    "III": (
        Figure("eeg-conformer", "label", ("Conformer [26]", "EEG", "4"), "93.26", "93.00"),
        Figure("fetcheeg", "label", ("FetchEEG [26]", "EEG", "4"), "96.51", "96.00"),
        Figure(
            "mobilevit",
            "label",
            ("MobileViT-S Pretrain [61]", "EEG+Vision", "4"),
            "95.27±1.14",
            "95.28±1.13",
        ),
        Figure("mult", "label", ("MuLT [29]", "EEG+Vision", "4"), "96.82", "96.82"),
        Figure("husformer", "label", ("Husformer [30]", "EEG+Vision", "4"), "97.05", "97.06"),
        Figure(CLMER, "label", ("CLMER (our)", "EEG+Vision", "4"), "97.75±1.63", "97.75±1.62"),
    ),
    "IV": _ablation(
        "va9",
        ("43.01±3.89", "42.5±4.30"),
        ("47.66±1.96", "46.30±1.91"),
        ("54.77±0.73", "54.32±0.73"),
        ("81.87±1.26", "81.92±1.25"),
        ("80.34±2.59", "80.38±2.61"),
        ("61.64±1.62", "61.41±1.65"),
        ("94.91±0.89", "94.91±0.89"),
        ("96.09±0.55", "96.09±0.55"),
    ),
    "V": _ablation(
        "va4",
        ("40.69±0.81", "39.82±0.93"),
        ("54.44±1.35", "54.17±1.44"),
        ("55.78±1.42", "55.64±1.43"),
        ("54.53±1.83", "54.45±1.84"),
        ("50.60±0.99", "50.32±1.02"),
        ("65.57±0.82", "65.49±0.83"),
        ("68.09±0.40", "68.07±0.39"),
        ("81.96±1.57", "81.94±1.55"),
    ),
    "VI": _ablation(
        "va4",
        ("64.78±1.32", "64.93±1.30"),
        ("60.57±2.41", "58.08±3.19"),
        ("75.21±2.14", "75.39±2.15"),
        ("86.57±3.07", "86.59±3.14"),
        ("82.26±1.67", "82.35±1.62"),
        ("84.07±1.04", "84.17±1.01"),
        ("90.07±1.60", "90.09±1.58"),
        ("90.83±1.01", "90.82±1.03"),
    ),
    "VII": _ablation(
        "label",
        ("41.72±0.84", "41.17±0.97"),
        ("50.11±0.87", "48.24±1.54"),
        ("74.96±1.05", "75.03±0.77"),
        ("42.76±2.81", "42.79±2.73"),
        ("84.79±0.35", "84.80±0.35"),
        ("89.39±0.42", "89.38±0.42"),
        ("96.43±1.91", "96.44±1.94"),
        ("97.75±1.63", "97.75±1.62"),
    ),
    "VIII": (
        *_images("va9", "VA (9)", "81.21±2.77", "81.19±2.75", "87.58±2.98", "87.58±2.99",
                 "94.91±0.89", "94.91±0.89"),
        *_images("va4", "VA (4)", "76.43±4.16", "76.28±4.22", "88.90±2.11", "87.76±2.28",
                 "96.18±0.65", "96.18±0.65"),
        *_images("valence", "Valence (2)", "79.91±2.74", "79.95±2.73", "89.54±2.02",
                 "89.55±2.01", "95.49±0.48", "95.49±0.48"),
        *_images("arousal", "Arousal (2)", "82.22±0.55", "82.16±0.56", "87.79±1.75",
                 "87.81±1.77", "95.05±1.28", "95.03±1.27"),
    ),
    "IX": (
        *_images("va4", "VA (4)", "31.06±1.62", "21.44±3.69", "28.34±1.10", "24.43±1.22",
                 "68.09±0.40", "68.07±0.39"),
        *_images("valence", "Valence (2)", "62.43±0.50", "48.05±0.70", "60.48±2.39",
                 "50.12±3.24", "78.29±1.99", "77.98±2.01"),
        *_images("arousal", "Arousal (2)", "55.90±1.61", "41.36±1.17", "55.58±1.57",
                 "45.18±4.98", "69.61±1.39", "69.48±1.52"),
    ),
    "XI": _lengths(
        (("valence", "Valence (2)"), ("arousal", "Arousal (2)"), ("va4", "VA (4)"),
         ("va9", "VA (9)")),
        ("30", "94.61", "94.62", "94.22", "94.24", "92.72", "92.72", "94.44", "94.45"),
        ("40", "92.22", "92.23", "92.89", "92.89", "94.50", "94.50", "96.50", "96.50"),
        ("50", "96.56", "96.56", "95.28", "95.28", "95.61", "95.62", "97.01", "97.02"),
        ("60", "98.11", "98.11", "96.83", "96.84", "97.22", "97.22", "96.22", "96.22"),
        ("70", "96.22", "96.23", "95.56", "95.56", "97.44", "97.44", "96.89", "96.88"),
    ),
    "XII": _lengths(
        (("valence", "Valence (2)"), ("arousal", "Arousal (2)"), ("va4", "VA (4)")),
        ("5", "84.69", "84.67", "78.57", "78.52", "68.82", "68.77"),
        ("10", "87.61", "87.62", "84.45", "84.42", "82.79", "82.77"),
        ("15", "89.26", "89.26", "82.46", "82.43", "83.82", "83.80"),
        ("20", "87.54", "87.52", "81.36", "81.30", "82.13", "82.12"),
        ("25", "87.26", "87.24", "80.55", "80.46", "80.48", "80.45"),
    ),
}  # fmt: skip

#: Table X by data set and method: GPU memory, time, and accuracy averaged over the tasks.
COSTS: dict[str, dict[str, Cost]] = {
    "deap": {
        "downsampling": Cost(21728, 19084, 79.94),
        "mobilevit": Cost(2534, 6820, 88.45),
        SERIALIZATION: Cost(2844, 15226, 95.41),
    },
    "amigos-short": {
        "downsampling": Cost(21730, 20026, 49.80),
        "mobilevit": Cost(2148, 7097, 48.13),
        SERIALIZATION: Cost(2856, 16496, 72.00),
    },
}


def figure(table: str, key: str, task: str) -> tuple[str, str]:
    """Accuracy and F1 that a table of the paper has for a line of ours; two empty texts for none.

    Args:
        table: "I" to "XII".
        key: of the line.
        task: of the line.
    """
    for printed in TABLES.get(table, ()):
        if key and (printed.key, printed.task) == (key, task):
            return printed.acc, printed.f1
    return "", ""
