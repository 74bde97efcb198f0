"""`clmer train ...`, `python -m clmer.train ...` and the like: options in, exit codes out."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import clmer
from clmer import predict
from clmer.cli.options import parser
from clmer.data.readers import manifest
from clmer.data.registry import DATASETS
from clmer.data.store.writer import stores_folder
from clmer.data.synthetic import WRITERS
from clmer.data.synthetic.model import Control
from clmer.errors import EXIT_INPUT, EXIT_INTERRUPTED, ConfigError, DataError
from clmer.pipeline.config import Config, build
from clmer.storage import file_name
from clmer.streams import for_streams

if TYPE_CHECKING:
    import torch

    from clmer.pipeline.ranks import Ranks


@for_streams
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
    except BrokenPipeError:
        raise
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
    from clmer.pipeline import ranks

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
        except RuntimeError:  # of the group, where a rank has gone
            gone = _gone(joined)
            if not gone:
                raise
            print(f"{_who()}: stopped{gone}; {_usable(folder)}", file=sys.stderr)
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
        dataset: a name in `clmer.data.registry.DATASETS`.
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

    from clmer.data.store.summary import report_lines
    from clmer.pipeline.run_folder import Run, check_folder
    from clmer.pipeline.stages import Job
    from clmer.train import job as train

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
        read = {**store.origin, "read": report_lines(store.report)}
        run = Run(folder, described, environment, read, again, writes=ranks.leads)
    try:
        with closing(run):
            job = Job(config, run, store, task, y, splits, device, ranks)
            if ranks.leads:
                train.train(job)
            else:
                train.follow(job)
    except KeyboardInterrupt:
        if ranks.leads:
            print(f"\ninterrupted{_gone(ranks)}; {_usable(folder)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _gone(ranks: Ranks) -> str:
    """Which other ranks of torchrun have ended; "" where none has."""
    ended = ranks.gone() if ranks.count > 1 else []
    if not ended:
        return ""
    names = ", ".join(map(str, ended))
    return f": rank{'s' if len(ended) > 1 else ''} {names} ended (killed, or out of memory?)"


def _usable(folder: Path) -> str:
    return f"{folder} is usable: the same command with --resume continues"


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
            what = "a file" if Path(given["root"]).is_file() else "no folder"
            raise ConfigError(f"--root: found {what} {given['root']}, expected the data's folder")
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
    task = file_name(config.task)
    return Path("runs") / f"{config.dataset}-{source}{task}-{config.protocol}{models}"


def script() -> NoReturn:
    """`clmer` on the command line."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # to know that, torch need not be imported
        from clmer.pipeline import ranks

        ranks.leave_after(main)
    sys.exit(main())
