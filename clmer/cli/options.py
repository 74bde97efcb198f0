"""The options of `clmer train` and `clmer predict`."""

from __future__ import annotations

import argparse
from typing import Any

from clmer import predict
from clmer.baselines import NAMES
from clmer.cli.scale_options import add_scale, take_negative_pairs
from clmer.data.registry import DATASETS
from clmer.data.splits import PROTOCOLS
from clmer.data.synthetic import WRITERS
from clmer.pipeline.config import CHOICES

EPILOG = """\
examples:
  %(prog)s deap --synthetic                     a small generated DEAP, minutes on a laptop
  %(prog)s deap --root /data/DEAP --task va9 --preset paper
  %(prog)s amigos-short --root /data/AMIGOS --labels self --task va4
  %(prog)s eegmat --root /data/eegmat           rest against mental arithmetic, by subject
  %(prog)s manifest --root my-study --task label --modalities eeg,landmarks,au
  torchrun --nproc-per-node 4 -m clmer.train deap --root /data/DEAP
                                                contrastive stage on 4 processes or GPUs

A run killed at any moment goes on with the same command and --resume.
exit codes: 0 done, 2 an input or option cannot be used (the message says why), 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="clmer", description="Multi-modal emotion recognition.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    train = commands.add_parser(
        "train",
        help="prepare recordings, train, evaluate, report",
        description="Prepare recordings, train CLMER's two stages, evaluate, report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    take_negative_pairs(train)
    train.add_argument("dataset", choices=sorted(DATASETS))
    _data_options(train.add_argument_group("data"))
    _protocol_options(train.add_argument_group("task and protocol"))
    _model_options(train.add_argument_group("model and training (unset: the preset's values)"))
    _run_options(train.add_argument_group("run"))
    about = "What a trained run says of a recording, window by window."
    predict.add_options(commands.add_parser("predict", help=about, description=about))
    return top


def _data_options(group: Any) -> None:
    source = group.add_mutually_exclusive_group()
    source.add_argument("--root", metavar="DIR", help="the recordings (default $CLMER_DATA/<name>)")
    source.add_argument(
        "--synthetic",
        action="store_true",
        help=f"generate recordings in the data set's on-disk format ({', '.join(WRITERS)})",
    )
    group.add_argument(
        "--control",
        metavar="NAME",
        help="what the generated labels depend on: none (all modalities carry them), "
        "one:<modality>, xor:<m1>,<m2> or fingerprint (no label, a mark on each trial)",
    )
    group.add_argument(
        "--people", type=int, metavar="N", help="generated people (6; amigos-long 10, deap-raw 4)"
    )
    group.add_argument("--generator-seed", type=int, metavar="S", help="of the generator (0)")
    group.add_argument(
        "--modalities",
        type=_names,
        metavar="A,B,...",
        help="e.g. physio,landmarks,au (default: all of the data set)",
    )
    group.add_argument(
        "--labels",
        choices=("stimulus", "self", "external"),
        help="amigos: the video's own valence and arousal (default), the person's ratings, or the "
        "annotators'",
    )
    group.add_argument("--window", type=float, metavar="S", help="window length in seconds")
    group.add_argument("--stride", type=float, metavar="S", help="window step (the window)")
    group.add_argument(
        "--filter",
        choices=CHOICES["filter"],
        help="band by signal type (default), or the paper's one band on every channel",
    )
    group.add_argument(
        "--face",
        choices=CHOICES["face"],
        help="landmarks as tracked (raw, default), or without the head's motion (aligned)",
    )
    group.add_argument(
        "--mobilevit", metavar="DIR", help="MobileViT-S's weights for the modality mobilevit"
    )
    group.add_argument(
        "--normalize",
        choices=CHOICES["normalize"],
        help="statistics of the training part (default), or of each person (transductive)",
    )
    group.add_argument("--cache", metavar="DIR", help="prepared stores (~/.cache/clmer)")


def _protocol_options(group: Any) -> None:
    group.add_argument(
        "--task",
        metavar="NAME",
        help="valence, arousal, dominance, liking (2 classes); these with 9 behind (9 levels); "
        "va4, va9, or a label column such as label",
    )
    add_scale(group)
    group.add_argument(
        "--protocol", choices=PROTOCOLS, help="what stays whole between training and test"
    )
    group.add_argument(
        "--folds", type=int, metavar="N", help="parts that groups are dealt into (6)"
    )
    group.add_argument(
        "--repeats", type=int, metavar="N", help="splits to train (default: everyone tested once)"
    )
    group.add_argument(
        "--ablation",
        choices=CHOICES["ablation"],
        help="single: each modality alone beside the fusion (default on eegmat)",
    )
    group.add_argument(
        "--permuted",
        action=argparse.BooleanOptionalAction,
        help="train the first model once more on permuted labels, as a control (default on)",
    )


_SIZES = {
    "epochs-contrastive": "epochs of stage 1",
    "epochs-fusion": "epochs of stage 2, at most",
    "patience": "epochs of stage 2 without a better validation score before it stops; 0: never",
    "batch-size": "windows a step",
    "width": "channels of the encoder's first block",
    "token-length": "tokens that each modality is brought to (L)",
    "dim": "features of a token in the fusion",
    "heads": "attention heads; divides --dim",
    "cross-layers": "attention layers between modalities",
    "memory-layers": "self-attention layers behind them",
    "single-layers": "layers where there is a single modality",
    "members": "fusion models from different seeds, whose probabilities are averaged",
}


def _model_options(group: Any) -> None:
    group.add_argument(
        "--preset",
        choices=("auto", "paper", "cpu"),
        default="auto",
        help="sizes: the paper's, or small ones (auto: by device)",
    )
    for name, what in (
        ("contrastive", "stage 1, which trains an encoder a modality without labels"),
        ("fusion", "stage 2, which trains the classifier; without it only a probe is reported"),
    ):
        group.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=what)
    group.add_argument(
        "--model",
        type=_names,
        metavar="A,B,...",
        dest="models",
        help=f"what stage 2 trains: {', '.join(NAMES)} (default clmer); stage 1 is left out where "
        "none of them reads its features",
    )
    group.add_argument(
        "--tokens",
        choices=CHOICES["tokens"],
        help="what a token of the fusion is: a channel (the paper's), an encoder time step, or a "
        "channel's log power spectrum (no encoder)",
    )
    group.add_argument(
        "--temporal",
        choices=CHOICES["temporal"],
        help="negatives of Eq. 3: other windows, or other steps of the same one, as printed",
    )
    for name, what in _SIZES.items():
        dest = {"batch-size": "batch"}.get(name, name.replace("-", "_"))
        group.add_argument(f"--{name}", type=int, metavar="N", dest=dest, help=what)
    group.add_argument(
        "--embedding-dropout", type=float, metavar="P", help="of the fusion's input tokens"
    )


def _run_options(group: Any) -> None:
    group.add_argument(
        "--amp",
        choices=CHOICES["amp"],
        help="bf16: bfloat16 autocast in training; slower on CPUs without bfloat16 (default none)",
    )
    group.add_argument(
        "--graph",
        action=argparse.BooleanOptionalAction,
        help="capture stage 2's training step as a CUDA graph; needs a GPU (default off)",
    )
    group.add_argument("--seed", type=int, metavar="S", help="of everything random (0)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's default)")
    group.add_argument("--out", metavar="DIR", help="run folder (runs/<dataset>-<task>-<protocol>)")
    group.add_argument("--resume", action="store_true", help="continue the run in --out")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
