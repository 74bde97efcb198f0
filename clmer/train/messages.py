"""What a training run says: of its data before it begins, of its time, and beside its scores."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clmer.baselines import MODELS, SVM, svm
from clmer.data import synthetic
from clmer.data.splits import Split
from clmer.data.store.summary import report_lines
from clmer.data.synthetic.man2 import man2_bayes_accuracy
from clmer.data.synthetic.model import bayes_accuracy
from clmer.data.tasks import is_known
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.rows import Rows
from clmer.options import flags, in_flags
from clmer.pipeline import objectives
from clmer.pipeline.config import Config
from clmer.pipeline.fit import fit_split
from clmer.pipeline.reference_rows import NONE
from clmer.pipeline.stages import select
from clmer.pipeline.stages.batches import by_person
from clmer.pipeline.stages.loop import Unrecorded
from clmer.pipeline.tokenizer import Tokenizer
from clmer.text import score_text
from clmer.train.reference_notes import reference_lines
from clmer.train.training_run import TrainingRun

PERMUTED = (
    "permuted labels: one permutation per split (one for all under block), a noisy control where "
    "people have few recordings."
)
THINNED = f"svm: fitted on at most {svm.MOST} training windows, evenly spaced."
ABLATION = (
    "random encoders, no encoders: the first model once more without stage 1: on encoders from a "
    "random start (trained by stage 2 where it trains encoders), and on samples."
)
#: Steps of each stage that are timed; the first one warms up.
_TIMED = 4


def say(text: str) -> None:
    """Print a text of the library in the command line's words: flags for arguments in backticks."""
    print(in_flags(text, flags([Config])))


def describe(job: TrainingRun) -> None:
    """Data, model and protocol, in a few lines."""
    windows, config = job.store.windows, job.config
    known = is_known(job.y)
    strata, names = job.task.strata(job.y)
    counts = np.bincount(strata[known], minlength=len(names))
    classes = ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True))
    people = len(np.unique(windows.subject[known]))
    split = job.task.describe()
    print(
        f"{config.dataset}{' (synthetic)' if config.synthetic else ''}: {known.sum()} windows of "
        f"{config.window_s:g} s, {people} people; {job.task.name}: {classes}"
        + (f" ({split})" if split else "")
    )
    ranks = f"{job.ranks.count} ranks, " if job.ranks.count > 1 else ""
    print(
        f"preset {config.preset} on {config.device}, {ranks}{torch.get_num_threads()} threads; "
        f"protocol {config.protocol_name}, {len(job.splits)} split(s); run folder {job.run.folder}"
    )
    for line in [*reference_lines(job), *report_lines(job.store.report)]:
        say(line)
    unlabelled = ~known if job.reference is None else ~known & job.reference.used
    if unlabelled.any():
        trials = len(np.unique(windows.recording[unlabelled]))
        print(
            f"left out: {unlabelled.sum()} windows of {trials} recordings, no value in "
            f"{' or '.join(job.task.columns)}"
        )
    if config.models != ("clmer",):
        print(f"models: {', '.join(config.models)}")
    if job.splits[0].note:
        say(f"note: {job.splits[0].note}")


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


def announce_time(job: TrainingRun) -> None:
    """Say what training will take, by a fit of a few steps on one batch."""
    config = job.config
    total = _training_time(job, config)
    if config.select == "inner":  # the candidates train on a part of each training part
        share = (select.FOLDS - 2) / select.FOLDS
        tried = select.candidates(config).values()
        alone = (replace(each, permuted=False, members=1, ablation="none") for each in tried)
        total += sum(_training_time(job, each) for each in alone) * select.FOLDS * share
    early = ", less where validation stops a model early" if config.patience else ""
    print(f"expected training time: {spell_time(total)} at most{early}")
    sys.stdout.flush()


def _training_time(job: TrainingRun, config: Config) -> float:
    """Seconds that all splits of a configuration take, by a fit of a few steps on one batch."""
    split = job.splits[0]
    rows = split.train[: config.batch]
    steps = -(-len(split.train) // config.batch)
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
    one = Split("timed", np.arange(len(rows)), none, none, 0, "")
    y = np.zeros(len(rows), dtype=job.y.dtype)
    fit_split(
        few,
        replace(job.windows, reference=None).rows(rows),
        y,
        one,
        classes=tuple(job.task.classes),
        device=job.device,
        recorder=watch,
    )
    total = 0.0
    for number, (stage, step) in enumerate(watch.seconds().items()):
        if stage.endswith("/contrastive"):
            shared = job.ranks.count if job.ranks.count > len(job.splits) else 1
            total += step * steps * config.epochs_contrastive / shared
        else:
            first = number == config.pretrains
            more = config.permuted + 2 * (config.ablation == "stages") if first else 0
            trained = config.classifier != "linear" or stage.split("/")[1] in MODELS  # else CLMER
            fits = config.members * (1 + more) * trained
            total += step * steps * config.epochs_fusion * fits
    at_once = job.ranks.count if job.ranks.count <= len(job.splits) else 1
    return total * -(-len(job.splits) // at_once)


def selection_line(selections: Mapping[str, select.Selection]) -> str:
    """What was chosen inside the splits' training parts, and how often."""
    names = [each.name for each in selections.values()]
    said = "; ".join(f"{name} in {names.count(name)}" for name in dict.fromkeys(names))
    return f"chosen inside each training part (`select=inner`), splits: {said}."


def spell_time(seconds: float) -> str:
    """Seconds as a person says them: "40 s", "12 min", "7.5 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 129600 else f"{seconds / 86400:.1f} days"


def constant_lines(tokenizer: Tokenizer) -> list[str]:
    """What to say of channels that a model gets as zeros."""
    shown = []
    for name, channels in tokenizer.constant().items():
        more = f" and {len(channels) - 5} more" if len(channels) > 5 else ""
        shown.append(f"{name} {', '.join(channels[:5])}{more}")
    if not shown:
        return []
    return [f"Constant in a training part, so given as zeros: {'; '.join(shown)}."]


def notes(job: TrainingRun) -> list[str]:
    """What a reader of the scores should know beside them."""
    config = job.config
    lines = [*reference_lines(job)]
    lines += [stage_1_line(job)] if config.pretrains else []
    lines += [ABLATION] if config.ablation == "stages" else []
    lines += [PERMUTED] if config.permuted and config.fusion and job.models else []
    if SVM in job.main and any(len(split.train) > svm.MOST for split in job.splits):
        lines.append(THINNED)
    return lines


def stage_1_line(job: TrainingRun) -> str:
    """What stage 1 minimised, and against whom."""
    named = objectives.describe(job.config, job.store.modalities)
    people = min(len(np.unique(job.store.windows.subject[split.train])) for split in job.splits)
    if named == "paper":
        return "stage 1: the paper's objective (Eq. 1-4)."
    drawn = [
        by_person(split.train, job.store.windows.subject, job.config.batch, torch.device("cpu"))
        for split in job.splits
    ]
    if all(each is not None for each in drawn):
        return f"stage 1: {named}; negatives are windows of the same person."
    why = "one person" if people < 2 else "people with too few windows for a batch of their own"
    return f"stage 1: {named}; negatives are windows of all people ({why} in a training part)."


def bayes_bounds(job: TrainingRun) -> dict[str, float]:
    """Accuracy per window of the ideal observer of generated data, by model, where it is known."""
    config = job.config
    if config.synthetic is None or config.window_s is None or config.stride_s is None:
        return {}
    if config.target == "rating":
        return {}  # the generator's bounds are of classes
    control, seconds = config.synthetic["control"], int(config.window_s)
    if (config.window_s, config.stride_s) != (seconds, int(config.stride_s)):
        return {}  # the generator draws anew every second
    known = {*synthetic.MODALITIES, "eeg"} | ({"gaze"} if config.dataset == "man2" else set())
    accuracy = man2_bayes_accuracy if config.dataset == "man2" else bayes_accuracy
    return {
        name: accuracy(config.task, job.modalities(name), control=control, windows=seconds)
        for name in job.main
        if known.issuperset(job.modalities(name))
    }


def bayes_lines(bounds: Mapping[str, float], models: Sequence[Rows], classes: int) -> list[str]:
    """How much of what can be known of generated labels each model reached."""
    lines = []
    for part in models:
        if part.model in bounds and isinstance(part, Predictions):
            best, reached = bounds[part.model], float((part.predicted == part.y).mean())
            above, share = best - 1 / classes, ""
            if above > 0.01:
                share = f", {100 * (reached - 1 / classes) / above:.0f} % of it above chance"
            lines.append(
                f"Bayes accuracy per window of {part.model}: {score_text(best)} (the generator's "
                f"own; an upper bound); reached {score_text(reached)}{share}."
            )
    return lines
