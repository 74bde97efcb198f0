"""The training loop that both stages share: visible, repeatable, killed at any moment and resumed.

Everything random in an epoch follows from (seed, stage, epoch), so a checkpoint holds no generator
state and an interrupted run continues to the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clmer.errors import DataError
from clmer.json_files import NUMBER
from clmer.nn.random_state import drawing_from, seed_device, seeded
from clmer.pipeline.run_files import check, damaged
from clmer.pipeline.stages.batches import Batches, Shuffled
from clmer.pipeline.stages.step import GraphedStep, TrainStep
from clmer.pipeline.targets import Losses

Step = Callable[[Tensor, torch.Generator], dict[str, Tensor]]
#: (score to maximise, loss) on the validation part.
Validate = Callable[[], tuple[float, float]]


class Recorder(Protocol):
    """What the loop tells of its progress, and what it asks on the way back (`Run` is one)."""

    folder: Path
    #: Whether checkpoints are worth making.
    keeps: bool

    def show(self, stage: str, done: int, of: int) -> None:
        """A stage goes on: so many of its epochs, at most, are done."""

    def log(self, line: Mapping[str, Any]) -> None:
        """Note an epoch: "stage", "epoch", and numbers by name."""

    def forget(self, stage: str, epoch: int) -> None:
        """Drop what was noted of a stage from an epoch on: it is trained again."""

    def path_of(self, stage: str) -> Path:
        """Where a finished stage is, for messages."""

    def save_tensors(
        self, stage: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """Keep what a finished stage leaves."""

    def load_tensors(self, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What a finished stage left, on the CPU; None where it is not finished."""

    def checkpoint_of(self, stage: str) -> Path:
        """Where the checkpoint of a stage in progress is, for messages."""

    def save_checkpoint(
        self, stage: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """Keep a stage in progress; of each split the last one."""

    def load_checkpoint(self, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The checkpoint of the stage's split, whichever stage it is of; None without one."""

    def end_checkpoint(self, stage: str) -> None:
        """The stage is finished: its checkpoint goes."""


class Unrecorded:
    """A `Recorder` that keeps nothing."""

    folder, keeps = Path("(in memory)"), False

    def show(self, stage: str, done: int, of: int) -> None:
        """Nothing is shown."""

    def log(self, line: Mapping[str, Any]) -> None:
        """Nothing is noted."""

    def forget(self, stage: str, epoch: int) -> None:
        """Nothing was noted."""

    def path_of(self, stage: str) -> Path:
        """A name for messages."""
        return self.folder / stage

    checkpoint_of = path_of

    def save_tensors(
        self, stage: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """Nothing is kept."""

    save_checkpoint = save_tensors

    def load_tensors(self, stage: str) -> None:
        """Nothing was kept."""

    load_checkpoint = load_tensors

    def end_checkpoint(self, stage: str) -> None:
        """Nothing was kept."""


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
    recorder: Recorder,
    stage: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    rows: Tensor | Batches,
    schedule: Schedule,
    seed: int,
    validate: Validate | None = None,
    *,
    counts_start: bool = False,
) -> None:
    """Train a stage, or load it where it is finished; the model ends at its best epoch.

    Args:
        recorder: where checkpoints, logs and the finished weights go.
        stage: its name, such as "split1/contrastive".
        model: trained in place.
        optimizer: over the model's parameters.
        losses: what a step minimises.
        rows: [N] training rows, drawn without replacement every epoch; or what draws the batches.
        schedule: how long and how fast.
        seed: of the run.
        validate: called after every epoch; the best score is kept (of equal ones the lower loss)
            and a plateau of the loss lowers the learning rate. None keeps the last epoch.
        counts_start: the model as it comes is a candidate too, and chosen by the loss: an epoch has
            to be better than no training.
    """
    done = recorder.load_tensors(stage)
    if done is not None:
        with _of_another_run(recorder.path_of(stage)):
            model.load_state_dict(done[0])
        return
    device = next(model.parameters()).device
    batches = Shuffled(rows, schedule.batch) if isinstance(rows, Tensor) else rows
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=20)
    progress = _resume(recorder, stage, model, optimizer, plateau)
    if progress is None:
        progress = _Progress()
        if counts_start and validate is not None:
            model.eval()
            progress.keep(model, -1, *validate())
    one = TrainStep(model, optimizer, losses, schedule.clip, schedule.amp)
    step: Step = GraphedStep(one, schedule.batch) if schedule.graph else one
    for epoch in range(progress.epoch, schedule.epochs):
        recorder.show(stage, epoch, schedule.epochs)
        if schedule.patience and epoch - progress.best_epoch > schedule.patience:
            break
        drawn = seed_of(seed, stage, epoch)
        seed_device(drawn, device)
        generator = torch.Generator(device).manual_seed(seed_of(seed, stage, epoch, "batch"))
        model.train()
        with drawing_from(seeded(drawn)):
            line = _epoch(step, batches(generator), schedule.batch, generator)
        if not math.isfinite(line["loss"]):
            hint = "Look for extreme values in the recordings, or try another `seed`."
            where = f"loss of {stage}, epoch {epoch}"
            raise DataError(recorder.folder, where, line["loss"], "a finite number", hint)
        if validate is not None:
            model.eval()
            score, loss = validate()
            plateau.step(loss)
            line |= {
                "val_score": score,
                "val_loss": loss,
                "lr": float(optimizer.param_groups[0]["lr"]),
            }
            if progress.is_beaten(score, loss, by_loss=counts_start):
                progress.keep(model, epoch, score, loss)
        recorder.log({"stage": stage, "epoch": epoch, **line})
        progress.epoch = epoch + 1
        _checkpoint(recorder, stage, model, optimizer, plateau, progress)
    kept = progress.epoch - 1
    if progress.best:
        model.load_state_dict(progress.best)
        kept = progress.best_epoch
    recorder.save_tensors(stage, model.state_dict(), {"epoch": kept})
    recorder.end_checkpoint(stage)


@dataclass
class _Progress:
    epoch: int = 0  # the next one
    best_epoch: int = 0  # -1: the model as it came
    best_score: float = -math.inf
    best_loss: float = math.inf
    best: dict[str, Tensor] | None = None

    def is_beaten(self, score: float, loss: float, *, by_loss: bool) -> bool:
        """Whether a validation is better than the best one so far."""
        if by_loss:
            return loss < self.best_loss
        return (score, -loss) > (self.best_score, -self.best_loss)

    def keep(self, model: nn.Module, epoch: int, score: float, loss: float) -> None:
        """An epoch is the best one so far."""
        self.best_score, self.best_loss, self.best_epoch = score, loss, epoch
        state = model.state_dict()
        self.best = {key: value.detach().clone() for key, value in state.items()}


def _epoch(
    step: Step, batches: Iterator[Tensor], batch_size: int, generator: torch.Generator
) -> dict[str, float]:
    """One pass over the rows; the mean of each loss."""
    totals: dict[str, Tensor] = {}
    steps = 0
    for batch in batches:
        if len(batch) < 2 <= batch_size and steps:  # batch norm and contrast need company
            continue
        for name, value in step(batch, generator).items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value
        steps += 1
    return {name: float(total) / steps for name, total in totals.items()}


def _checkpoint(
    recorder: Recorder,
    stage: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
    progress: _Progress,
) -> None:
    if not recorder.keeps:
        return
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value.clone() for key, value in (progress.best or {}).items()}
    tensors |= {f"optimizer.{key}": value for key, value in optimizer_tensors(optimizer).items()}
    notes: dict[str, Any] = {
        "stage": stage,
        "lr": float(optimizer.param_groups[0]["lr"]),
        "plateau": plateau.state_dict(),
        **{key: value for key, value in vars(progress).items() if key != "best"},
    }
    recorder.save_checkpoint(stage, tensors, notes)


_NOTES: dict[str, Any] = {"stage": str, "lr": NUMBER, "plateau": dict}
_NOTES |= {"epoch": int, "best_epoch": int, "best_score": NUMBER, "best_loss": NUMBER}


@contextmanager
def _of_another_run(path: Path) -> Iterator[None]:
    """Say of a file whose tensors are not this run's that they are not."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "contents", error, "what this run wrote") from error


def _resume(
    recorder: Recorder,
    stage: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
) -> _Progress | None:
    loaded, path = recorder.load_checkpoint(stage), recorder.checkpoint_of(stage)
    if loaded is not None:
        check(loaded[1], _NOTES, path, "notes")
    if loaded is None or loaded[1]["stage"] != stage:
        recorder.forget(stage, 0)
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
        rate = notes["lr"] * group.get("share", 1.0)
        if isinstance(group["lr"], Tensor):  # a captured step reads it where it is
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    plateau.load_state_dict(notes["plateau"])
    recorder.forget(stage, notes["epoch"])
    fields = ("epoch", "best_epoch", "best_score", "best_loss")
    device = next(model.parameters()).device
    best = {key: value.to(device) for key, value in parts["best"].items()} or None
    return _Progress(**{name: notes[name] for name in fields}, best=best)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimizer's state, flat: "<parameter>.<name>"."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimizer_tensors` (learning rates are the scheduler's to restore)."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
