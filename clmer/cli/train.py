"""`clmer train`: from recordings to a report."""

from __future__ import annotations

import platform
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import clmer
from clmer.cli import who
from clmer.data.store.summary import report_lines
from clmer.data.store.writer import stores_folder
from clmer.errors import EXIT_INPUT, EXIT_INTERRUPTED, ConfigError
from clmer.pipeline import ranks as processes
from clmer.pipeline.config import Config
from clmer.pipeline.options.reference import NONE
from clmer.pipeline.presets import configure
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.run.folder import Run, check_folder
from clmer.text import file_name
from clmer.train import job
from clmer.train.training_run import TrainingPlan, TrainingRun


def run(
    *,
    dataset: str,
    cache: str | None,
    out: str | None,
    resume: bool,
    dry_run: bool,
    device: str,
    threads: int | None,
    typed: str,
    **given: Any,
) -> int:
    """Train; the exit code."""
    set_threads(threads)
    config = configure(dataset, device, **given)
    folder = Path(out) if out else default_folder(config)
    with processes.joined(config.device) as (ranks, own_device):
        try:
            return _train(
                config, folder, stores_folder(cache), resume, dry_run, ranks, own_device, typed
            )
        except processes.LeaderFailed:
            return EXIT_INPUT
        except RuntimeError:  # of the group, where a rank has gone
            gone = _gone(ranks)
            if not gone:
                raise
            print(f"{who()}: stopped{gone}; {_usable(folder, typed)}", file=sys.stderr)
            return EXIT_INPUT


def set_threads(threads: int | None) -> None:
    """Have torch and the linear algebra of the baselines use so many CPU threads; None: as it is.

    Raises:
        ConfigError: fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise ConfigError(f"`threads`: found {threads}, expected at least 1")
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")  # results of BLAS depend on it in the last digit


def _train(
    config: Config,
    folder: Path,
    stores: Path,
    resume: bool,
    dry_run: bool,
    ranks: Ranks,
    device: torch.device,
    typed: str,
) -> int:
    environment = {
        "clmer": clmer.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "ranks": ranks.count,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    with ranks.leader_first():
        if ranks.leads and not dry_run:
            check_folder(folder, resume)  # say so before the data is prepared
        store, task, y, splits = job.load(config, stores)
        plan = TrainingPlan(config, store, task, y, splits, device, ranks)
        if dry_run:
            if ranks.leads:
                job.announce(plan, folder)
            return 0
        if len(splits) < ranks.count and not config.pretrains:
            raise ConfigError(
                f"torchrun: found {ranks.count} processes for {len(splits)} split(s), expected at "
                "most one per split: only the contrastive stage is shared, and this run has none "
                "(`contrastive=False`, or the preset)"
            )
        described = {**job.settings(config), "data": store.fingerprint}
        read = {**store.origin, "read": report_lines(store.report)}
        folder_of_run = Run(
            folder,
            described,
            environment,
            read,
            resume=resume or not ranks.leads,
            leads=ranks.leads,
            keeps=ranks.leads or ranks.count <= len(splits),
        )
    try:
        with closing(folder_of_run):
            whole = TrainingRun.of(plan, folder_of_run)
            if ranks.leads:
                job.train(whole)
            else:
                job.train_as_worker(whole)
    except KeyboardInterrupt:
        if ranks.leads:
            print(f"\ninterrupted{_gone(ranks)}; {_usable(folder, typed)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _gone(ranks: Ranks) -> str:
    """Which other ranks of torchrun have ended; "" where none has."""
    ended = ranks.gone() if ranks.count > 1 else []
    if not ended:
        return ""
    names = ", ".join(map(str, ended))
    return f": rank{'s' if len(ended) > 1 else ''} {names} ended (killed, or out of memory?)"


def _usable(folder: Path, typed: str) -> str:
    """How to go on; torchrun's own words are not known here."""
    said = f"{folder} is usable: the same command with --resume continues"
    if processes.launched():
        return said
    return f"{said}:\n{typed}{'' if '--resume' in typed.split() else ' --resume'}"


def default_folder(config: Config) -> Path:
    """Run folder where no --out is given."""
    source = "synthetic-" if config.synthetic else ""
    models = "" if config.models == ("clmer",) else "-" + "-".join(config.models)
    task = file_name(config.task)
    known = "" if config.reference == NONE else f"-{file_name(config.reference)}"
    return Path("runs") / f"{config.dataset}-{source}{task}-{config.protocol_name}{known}{models}"
