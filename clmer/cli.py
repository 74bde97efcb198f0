"""`clmer train ...`, `python -m clmer.train ...` and the like: options in, exit codes out."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clmer
from clmer import predict
from clmer.config import Config, ConfigError, build
from clmer.data import DATASETS, manifest
from clmer.data.cache import stores_folder
from clmer.data.face.windows import FACES
from clmer.data.recording import DataError
from clmer.data.splits import PROTOCOLS
from clmer.data.synthetic import WRITERS
from clmer.data.synthetic.model import Control
from clmer.exits import EXIT_INPUT, EXIT_INTERRUPTED
from clmer.nn.baselines import NAMES

if TYPE_CHECKING:
    import torch

    from clmer.ranks import Ranks

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
        choices=("type", "paper"),
        help="band by signal type (default), or the paper's one band on every channel",
    )
    group.add_argument(
        "--face",
        choices=FACES,
        help="landmarks as tracked (raw, default), or without the head's motion (aligned)",
    )
    group.add_argument(
        "--mobilevit", metavar="DIR", help="MobileViT-S's weights for the modality mobilevit"
    )
    group.add_argument(
        "--normalize",
        choices=("train", "subject"),
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
        choices=("none", "single"),
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
        choices=("channel", "time", "spectrum"),
        help="what a token of the fusion is: a channel (the paper's), an encoder time step, or a "
        "channel's log power spectrum (no encoder)",
    )
    group.add_argument(
        "--temporal",
        choices=("batch", "printed"),
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
        choices=("none", "bf16"),
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the return value is the exit code."""
    options = vars(parser().parse_args(argv))
    run: dict[str, Callable[..., int]] = {"train": _train, "predict": _predict}
    command = run[options.pop("command")]
    try:
        return command(**options)
    except (DataError, ConfigError) as error:
        print(f"{_who()}: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:
        print(f"\n{_who()}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno is None or (error.filename is None and error.errno != 28):
            raise
        print(
            f"{_who()}: {error}. What was complete before is kept; see --resume.", file=sys.stderr
        )
        return EXIT_INPUT


def _who() -> str:
    """Which process speaks: torchrun starts several."""
    rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else None
    return f"clmer, rank {rank}" if rank else "clmer"


def _train(
    dataset: str,
    cache: str | None,
    out: str | None,
    resume: bool,
    device: str,
    threads: int | None,
    **given: Any,
) -> int:
    from clmer import ranks

    _set_threads(threads)
    config = configure(dataset, device, **given)
    if ranks.launched() and not config.contrastive:
        raise ConfigError(
            "torchrun: the contrastive stage is what several processes share, and this run has "
            "none (--no-contrastive, or the preset); start it without torchrun"
        )
    folder = Path(out) if out else default_folder(config)
    with ranks.joined(config.device) as (joined, own_device):
        try:
            return _run(config, folder, stores_folder(cache), resume, joined, own_device)
        except ranks.LeaderFailed:
            return EXIT_INPUT


def _predict(threads: int | None, device: str, **given: Any) -> int:
    _set_threads(threads)
    return predict.main(**given, device=_device(device))


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is None:
        return
    if threads < 1:
        raise ConfigError(f"--threads: found {threads}, expected at least 1")
    torch.set_num_threads(threads)


def configure(dataset: str, device: str, **given: Any) -> Config:
    """The run that train's options ask for.

    Args:
        dataset: a name in `clmer.data.DATASETS`.
        device: auto, or a torch device.
        **given: the other options as `parser` names them, without those of folder and process
            (cache, out, resume, threads).

    Raises:
        ConfigError: an option that cannot be met.
        DataError: a manifest that cannot be read.
    """
    given["device"] = _device(device)
    _choose_source(dataset, given)
    if dataset == "manifest" and given["task"] is None:
        given["task"] = manifest.labels(Path(given["root"]))[0]
    return build(dataset, given)


def _run(
    config: Config, folder: Path, stores: Path, resume: bool, ranks: Ranks, device: torch.device
) -> int:
    import torch

    from clmer import train
    from clmer.runs import Run, check_folder
    from clmer.stages import Job

    environment = {
        "clmer": clmer.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "ranks": ranks.count,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    with ranks.leader_first():
        if ranks.leads:
            check_folder(folder, resume)  # say so before the data is prepared
        store, task, y, splits = train.load(config, stores)
        described = {**train.settings(config), "data": store.fingerprint}
        again = resume or not ranks.leads
        run = Run(folder, described, environment, store.origin, again, writes=ranks.leads)
    try:
        job = Job(config, run, store, task, y, splits, device, ranks)
        if ranks.leads:
            train.train(job)
        else:
            train.follow(job)
    except KeyboardInterrupt:
        if ranks.leads:
            print(
                f"\ninterrupted; {folder} is usable: the same command with --resume continues",
                file=sys.stderr,
            )
        return EXIT_INTERRUPTED
    return 0


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device: found {name!r}, expected auto, cpu or cuda[:n]") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"--device {name}: torch {torch.__version__} sees no CUDA device; use --device cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device: found {name!r}, expected auto, cpu or cuda[:n]")
    return name


def _choose_source(dataset: str, given: dict[str, Any]) -> None:
    """Where the recordings are: --synthetic, --root or $CLMER_DATA/<name>."""
    generator = {
        "control": given.pop("control"),
        "people": given.pop("people"),
        "seed": given.pop("generator_seed"),
    }
    asked = {name: value for name, value in generator.items() if value is not None}
    if given.pop("synthetic"):
        if dataset not in WRITERS:
            raise ConfigError(f"--synthetic: generates {', '.join(WRITERS)}, not {dataset}")
        given["synthetic"] = {"control": "none", "people": WRITERS[dataset][1], "seed": 0, **asked}
        _check_generator(**given["synthetic"])
        given.pop("root")
        return
    if asked:
        names = ", ".join("--generator-seed" if name == "seed" else f"--{name}" for name in asked)
        raise ConfigError(f"{names}: these shape generated data; add --synthetic")
    if given["root"] is not None:
        if not Path(given["root"]).is_dir():
            raise ConfigError(f"--root: found no folder {given['root']}")
        return
    data = os.environ.get("CLMER_DATA")
    looked = Path(data) / dataset if data else None
    if looked is not None and looked.is_dir():
        given["root"] = str(looked)
        return
    where = str(looked) if looked else f"$CLMER_DATA/{dataset} (CLMER_DATA is not set)"
    synthetic = "\nOr try it on generated recordings: --synthetic." if dataset in WRITERS else ""
    raise ConfigError(
        f"no {dataset} recordings: looked in {where}; give --root DIR.\n"
        f"{DATASETS[dataset].obtain}{synthetic}"
    )


def _check_generator(control: str, people: int, seed: int) -> None:
    try:
        Control.parse(control)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error
    if not 1 <= people <= 99:
        raise ConfigError(f"--people: found {people}, expected 1 to 99")
    if not 0 <= seed <= 2**63:
        raise ConfigError(f"--generator-seed: found {seed}, expected 0 to 2**63")


def default_folder(config: Config) -> Path:
    """Run folder where no --out is given."""
    source = "synthetic-" if config.synthetic else ""
    models = "" if config.models == ("clmer",) else "-" + "-".join(config.models)
    return Path("runs") / f"{config.dataset}-{source}{config.task}-{config.protocol}{models}"


if __name__ == "__main__":
    sys.exit(main())
