"""The training loop that both stages share: visible, repeatable, killed at any moment and resumed.

Everything random in an epoch follows from (seed, stage, epoch), so a checkpoint holds no generator
state and an interrupted run continues to the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from clmer.errors import DataError
from clmer.pipeline.random_state import seed_generators
from clmer.pipeline.run_files import NUMBER, check, damaged
from clmer.pipeline.run_folder import (
    CHECKPOINT,
    Run,
    optimizer_tensors,
    restore_optimizer,
    weights_of,
)
from clmer.pipeline.step import GraphedStep, Losses, TrainStep
from clmer.streams import is_nowhere
from clmer.text import score_text

Step = Callable[[Tensor, torch.Generator], dict[str, Tensor]]
#: (score to maximise, loss) on the validation part.
Validate = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage trains.

    Args:
        epochs: at most.
        batch: rows a step.
        clip: norm that gradients are clipped to; infinity never clips.
        patience: epochs without a better validation score before it stops; 0 never.
        amp: bfloat16 autocast in training; validation stays in float32.
        graph: capture the step as a CUDA graph; the optimiser is capturable, on a GPU.
    """

    epochs: int
    batch: int
    clip: float = math.inf
    patience: int = 0
    amp: bool = False
    graph: bool = False


def seed_of(*parts: object) -> int:
    """A 63-bit seed that follows from its parts, the same in every process."""
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def fit(
    run: Run,
    stage: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    rows: Tensor,
    schedule: Schedule,
    seed: int,
    validate: Validate | None = None,
) -> None:
    """Train a stage, or load it where the run has finished it; the model ends at its best epoch.

    Args:
        run: where checkpoints, logs and the finished weights go.
        stage: its name, a path without suffix below `models/`.
        model: trained in place.
        optimizer: over the model's parameters.
        losses: what a step minimises.
        rows: [N] training rows, drawn without replacement every epoch.
        schedule: how long and how fast.
        seed: of the run.
        validate: called after every epoch; the best score is kept (of equal ones the lower loss)
            and a plateau of the loss lowers the learning rate. None keeps the last epoch.
    """
    finished = weights_of(stage)
    done = run.load_tensors(finished)
    if done is not None:
        path = run.folder / finished
        check(done[1], {"logged": int}, path, "notes")
        with _of_another_run(path):
            model.load_state_dict(done[0])
        run.logged = done[1]["logged"]
        return
    device = next(model.parameters()).device
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=20)
    progress = _resume(run, stage, model, optimizer, plateau) or _Progress()
    one = TrainStep(model, optimizer, losses, schedule.clip, schedule.amp)
    step: Step = GraphedStep(one, schedule.batch) if schedule.graph else one
    bar = tqdm(
        range(progress.epoch, schedule.epochs),
        desc=stage,
        initial=progress.epoch,
        total=schedule.epochs,
        unit="epoch",
        disable=None if run.writes and not is_nowhere(sys.stderr) else True,
        leave=False,
    )
    for epoch in bar:
        if schedule.patience and epoch - progress.best_epoch > schedule.patience:
            break
        seed_generators(seed_of(seed, stage, epoch), device)
        generator = torch.Generator(device).manual_seed(seed_of(seed, stage, epoch, "batch"))
        model.train()
        line = _epoch(step, rows, schedule.batch, generator)
        if not math.isfinite(line["loss"]):
            hint = "Look for extreme values in the recordings, or try another --seed."
            where = f"loss of {stage}, epoch {epoch}"
            raise DataError(run.folder, where, line["loss"], "a finite number", hint)
        if validate is not None:
            model.eval()
            score, loss = validate()
            plateau.step(loss)
            line |= {
                "val_score": score,
                "val_loss": loss,
                "lr": float(optimizer.param_groups[0]["lr"]),
            }
            if (score, -loss) > (progress.best_score, -progress.best_loss):
                progress.best_score, progress.best_loss, progress.best_epoch = score, loss, epoch
                state = model.state_dict()
                progress.best = {key: value.detach().clone() for key, value in state.items()}
        run.log({"stage": stage, "epoch": epoch, **line})
        bar.set_postfix({key: score_text(value) for key, value in line.items() if key != "lr"})
        progress.epoch = epoch + 1
        _checkpoint(run, stage, model, optimizer, plateau, progress)
    bar.close()
    kept = progress.epoch - 1
    if progress.best:
        model.load_state_dict(progress.best)
        kept = progress.best_epoch
    notes = {"logged": run.log_size(), "epoch": kept}
    run.save_tensors(finished, model.state_dict(), notes)
    run.logged = notes["logged"]
    run.remove(CHECKPOINT)


@dataclass
class _Progress:
    epoch: int = 0  # the next one
    best_epoch: int = 0
    best_score: float = -math.inf
    best_loss: float = math.inf
    best: dict[str, Tensor] | None = None


def _epoch(
    step: Step, rows: Tensor, batch_size: int, generator: torch.Generator
) -> dict[str, float]:
    """One pass over the rows; the mean of each loss."""
    order = rows[torch.randperm(len(rows), generator=generator, device=generator.device)]
    totals: dict[str, Tensor] = {}
    steps = 0
    for batch in order.split(batch_size):
        if len(batch) < 2 <= batch_size and steps:  # batch norm and contrast need company
            continue
        for name, value in step(batch, generator).items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value
        steps += 1
    return {name: float(total) / steps for name, total in totals.items()}


def _checkpoint(
    run: Run,
    stage: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
    progress: _Progress,
) -> None:
    if not run.writes:
        return
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value.clone() for key, value in (progress.best or {}).items()}
    tensors |= {f"optimizer.{key}": value for key, value in optimizer_tensors(optimizer).items()}
    notes: dict[str, Any] = {
        "stage": stage,
        "logged": run.log_size(),
        "lr": float(optimizer.param_groups[0]["lr"]),
        "plateau": plateau.state_dict(),
        **{key: value for key, value in vars(progress).items() if key != "best"},
    }
    run.save_tensors(CHECKPOINT, tensors, notes)


_NOTES: dict[str, Any] = {"stage": str, "logged": int, "lr": NUMBER, "plateau": dict}
_NOTES |= {"epoch": int, "best_epoch": int, "best_score": NUMBER, "best_loss": NUMBER}


@contextmanager
def _of_another_run(path: Path) -> Iterator[None]:
    """Say of a file whose tensors are not this run's that they are not."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "contents", error, "what this run wrote") from error


def _resume(
    run: Run,
    stage: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
) -> _Progress | None:
    loaded, path = run.load_tensors(CHECKPOINT), run.folder / CHECKPOINT
    if loaded is not None:
        check(loaded[1], _NOTES, path, "notes")
    if loaded is None or loaded[1]["stage"] != stage:
        run.cut_log(run.logged)
        return None
    tensors, notes = loaded
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    with _of_another_run(path):
        for key, value in tensors.items():
            part, name = key.split(".", 1)
            parts[part][name] = value
        if parts["best"]:
            model.load_state_dict(parts["best"])
        model.load_state_dict(parts["model"])
        restore_optimizer(optimizer, parts["optimizer"])
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):  # a captured step reads it where it is
            group["lr"].fill_(notes["lr"])
        else:
            group["lr"] = notes["lr"]
    plateau.load_state_dict(notes["plateau"])
    run.cut_log(notes["logged"])
    fields = ("epoch", "best_epoch", "best_score", "best_loss")
    device = next(model.parameters()).device
    best = {key: value.to(device) for key, value in parts["best"].items()} or None
    return _Progress(**{name: notes[name] for name in fields}, best=best)
