"""The steps that a split is trained in: how long they take, and where a run is.

step 1 of 3, learning features · split 2 of 6 · epoch 14 of 40 · 0:42 left
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from clmer.baselines import MODELS
from clmer.data.splits import Split
from clmer.pipeline.config import Config
from clmer.pipeline.fit import fit_split
from clmer.pipeline.models import CONTRASTIVE, member_names
from clmer.pipeline.options.reference import NONE
from clmer.pipeline.stages import select
from clmer.pipeline.stages.loop import Unrecorded
from clmer.streams import StatusLine, is_nowhere, is_terminal
from clmer.train.training_run import TrainingPlan

#: Epochs of each stage that are timed; the first one warms up.
_TIMED = 4
#: What `select=inner` does before a split's steps.
CHOOSING = "choosing a configuration"
#: The control's stage.
PERMUTED = "permuted"


class Step(NamedTuple):
    """One fit of every split.

    Args:
        stage: as the loop names it, without the split.
        does: what it does, in words.
        epochs: at most.
        seconds: of an epoch.
    """

    stage: str
    does: str
    epochs: int
    seconds: float

    @property
    def most(self) -> float:
        """Seconds, at most."""
        return self.epochs * self.seconds


class Stopwatch(Unrecorded):
    """A recorder that notes when each epoch of each stage ended."""

    def __init__(self) -> None:
        self.ends: dict[str, list[float]] = {}

    def log(self, line: Mapping[str, Any]) -> None:
        """Note the time."""
        self.ends.setdefault(line["stage"], []).append(time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """The fastest epoch of each stage but its first one."""
        return {stage: float(np.diff(ends).min()) for stage, ends in self.ends.items()}


def steps_of(plan: TrainingPlan, config: Config) -> list[Step]:
    """The steps of a split under a configuration, by a fit of a few epochs on one batch."""
    steps = -(-len(plan.splits[0].train) // config.batch)
    timed = {stage.split("/", 1)[1]: each * steps for stage, each in _seconds(plan, config).items()}
    found = []
    if config.pretrains:
        shared = plan.ranks.count if plan.ranks.count > len(plan.splits) else 1
        each = timed.pop(CONTRASTIVE) / shared
        found.append(Step(CONTRASTIVE, "learning features", config.epochs_contrastive, each))
    what = "ratings" if config.target == "rating" else "classes"
    fits = [
        (name, f"learning {what}" if len(timed) == 1 else f"training {name}", each)
        for name, each in timed.items()
        if config.classifier != "linear" or name in MODELS  # else CLMER, which is not trained
    ]
    first = next(iter(timed.values()), 0.0)
    if config.permuted and fits:
        fits.append((PERMUTED, "permuted labels", first))
    if config.ablation == "stages":
        others = ("random encoders", "no encoders")
        fits += [(other.replace(" ", "-"), other, first) for other in others]
    found += [
        Step(member, does, config.epochs_fusion, each)
        for name, does, each in fits
        for member in member_names(name, config.members)
    ]
    return found


def _seconds(plan: TrainingPlan, config: Config) -> dict[str, float]:
    """Seconds of a step of each stage of the first split."""
    split = plan.splits[0]
    rows = split.train[: config.batch]
    watch, none = Stopwatch(), rows[:0]
    few = replace(
        config,
        classifier="fusion",
        select="none",
        epochs_contrastive=_TIMED,
        epochs_fusion=_TIMED,
        patience=0,
        members=1,
        graph=False,
        reference=NONE,
    )
    fit_split(
        few,
        replace(plan.windows, reference=None).rows(rows),
        np.zeros(len(rows), dtype=plan.y.dtype),
        Split("timed", np.arange(len(rows)), none, none, 0, ""),
        classes=tuple(plan.task.classes),
        device=plan.device,
        recorder=watch,
    )
    return watch.seconds()


def seconds_at_most(plan: TrainingPlan, steps: Sequence[Step]) -> float:
    """Seconds that training all splits takes at most; with `select=inner`, the choice too."""
    config, at_once = plan.config, plan.ranks.count if plan.trains_apart else 1
    total = sum(step.most for step in steps)
    if config.select == "inner":  # the candidates train on a part of each training part
        share = (select.FOLDS - 2) / select.FOLDS
        for each in select.candidates(config).values():
            alone = replace(each, permuted=False, members=1, ablation="none")
            total += sum(step.most for step in steps_of(plan, alone)) * select.FOLDS * share
    return total * -(-len(plan.splits) // at_once)


class Progress:
    """Where a run is: one line that is written over on a terminal, elsewhere a line per split.

    Args:
        plan: whose splits are trained.
        steps: of each split.
    """

    def __init__(self, plan: TrainingPlan, steps: Sequence[Step]) -> None:
        self._own = plan.split_numbers()
        self._count, self._steps = len(plan.splits), list(steps)
        self._line, self._start = StatusLine(), time.monotonic()
        self._seen: tuple[int, int, int] | None = None  # split, step, epochs done
        self._planned = 0.0  # seconds that what was done here should have taken
        self._tells = not is_terminal(sys.stderr) and not is_nowhere(sys.stderr)

    def show(self, stage: str, done: int, of: int) -> None:
        """A stage of a split goes on: so many epochs, of so many at most, are done."""
        split, name = stage.split("/", 1)
        number = int(split.removeprefix("split")) - 1
        where = f"split {number + 1} of {self._count}"
        places = [k for k, step in enumerate(self._steps) if step.stage == name]
        if not places:  # chosen among other configurations, whose steps are their own
            does = CHOOSING if name == select.SELECT else name
            self._line.show(f"{does} · {where} · {done + 1} of {of}")
            return
        at = number, places[0], done
        if self._seen is not None and self._seen[:2] == at[:2]:
            self._planned += (done - self._seen[2]) * self._steps[at[1]].seconds
        self._seen = at
        step = f"step {at[1] + 1} of {len(self._steps)}, {self._steps[at[1]].does}"
        epoch = f"epoch {done + 1} of {of}"
        self._line.show(f"{step} · {where} · {epoch} · {clock(self._left(*at))} left")

    def end_split(self, number: int) -> None:
        """A split is trained and tested."""
        self._line.clear()
        if self._tells:
            left = clock(self._left(number, len(self._steps), 0))
            spent = clock(time.monotonic() - self._start)
            print(
                f"split {number + 1} of {self._count} trained: {spent} so far, {left} left",
                file=sys.stderr,
            )

    def clear(self) -> None:
        """Leave an empty line to whatever is printed next."""
        self._line.clear()

    def _left(self, split: int, step: int, done: int) -> float:
        """Seconds left at most, at the speed so far."""
        rest = self._steps[step:]
        planned = sum(each.most for each in rest) - (done * rest[0].seconds if rest else 0.0)
        later = sum(number > split for number in self._own)
        planned += later * sum(each.most for each in self._steps)
        spent = time.monotonic() - self._start
        return planned * (spent / self._planned if self._planned > 1 else 1.0)


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: "0:42", "1:02:42"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spell_time(seconds: float) -> str:
    """Seconds as a person says them: "40 s", "12 min", "7.5 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 129600 else f"{seconds / 86400:.1f} days"
