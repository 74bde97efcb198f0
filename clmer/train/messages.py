"""What a training run says beside its scores."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clmer.baselines import SVM, svm
from clmer.data import synthetic
from clmer.data.face.windows import FACE_TOKENS
from clmer.data.manifest.reader import manifest_of
from clmer.data.synthetic.man2 import man2_bayes_accuracy
from clmer.data.synthetic.model import bayes_accuracy
from clmer.evaluation.kinds import kind_of
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.rows import Rows
from clmer.evaluation.table import table
from clmer.evaluation.verdict import verdict
from clmer.options import flags, in_flags
from clmer.pipeline import objectives
from clmer.pipeline.config import Config
from clmer.pipeline.options.reference import ALL, NONE
from clmer.pipeline.stages import select
from clmer.pipeline.stages.batches import by_person
from clmer.pipeline.stages.start import check_start, start_lines
from clmer.pipeline.tokenizer import Tokenizer
from clmer.text import command_text, score_text, wrapped
from clmer.train.reference_notes import reference_lines
from clmer.train.training_run import TrainingPlan, TrainingRun

PERMUTED = (
    "permuted labels: one permutation per split (one for all under block), a noisy control where "
    "people have few recordings."
)
THINNED = f"svm: fitted on at most {svm.MOST} training windows, evenly spaced."
ABLATION = (
    "random encoders, no encoders: the first model once more without stage 1: on encoders from a "
    "random start (trained by stage 2 where it trains encoders), and on samples."
)


def in_words(text: str) -> str:
    """A text of the library in the command line's words: flags for arguments in backticks."""
    return in_flags(text, flags([Config]))


def say(text: str) -> None:
    """Print a paragraph `in_words`."""
    print(wrapped(in_words(text)))


def start_notes(plan: TrainingPlan) -> list[str]:
    """What stage 1 starts from, where that is not a random start; results hold it too.

    Raises:
        ConfigError: the encoders do not fit, or nothing is trained from them.
        DataError: their folder cannot be read.
    """
    if plan.start is None:
        return []
    check_start(plan.config, plan.start)
    return start_lines(plan.copied, plan.start.digest)


def say_results(job: TrainingRun, results: Mapping[str, Any]) -> None:
    """Print a run's verdict, its scores, where they are, and what to type next."""
    lines = [wrapped(in_words(line), "  - ") for line in verdict(results)]
    print("\n".join(["", "Verdict", *lines, ""]))
    if "models" in results:
        print(f"In numbers\n{in_words(table(results))}\n")
    else:
        for line in results["notes"]:
            say(line)
    print("\n".join(next_steps(job, results)))


def next_steps(job: TrainingRun, results: Mapping[str, Any]) -> list[str]:
    """Where a run's results are, and the commands that read them, each on a line."""
    folder, name = job.run.folder, shlex.quote(str(job.run.folder))
    files = "results.json"
    if "models" in results:
        files += f", predictions.csv, {kind_of(results).figure}"
    lines = [wrapped(f"Results are in {folder}: {files}", rest="  "), "Next:"]
    lines.append(command_text(["clmer report", name]))
    if "models" not in results:
        return lines
    signals = [each for each in job.store.modalities if each not in FACE_TOKENS]
    given = {"face": "FACE.csv"} if len(signals) < len(job.store.modalities) else {}
    if job.config.reference != NONE:
        given["reference"] = ALL if job.config.reference == ALL else "REST"
    given["out"] = "said.csv"
    words = ["clmer predict", name, *_files(job, signals)]
    words += [f"--{option} {value}" for option, value in given.items()]
    lines.append(command_text(words))
    if job.config.filter == "causal" and job.config.reference != ALL:
        live = {"stream": "NAME"} if signals else {}
        live |= {"face-stream": "NAME"} if "face" in given else {}
        live |= {"reference": "SECONDS"} if "reference" in given else {}
        words = [f"--{option} {value}" for option, value in live.items()]
        lines.append(command_text(["clmer live", name, *words]))
    return lines


def _files(job: TrainingRun, signals: Sequence[str]) -> list[str]:
    """How a new recording is given: as one file, or by signal where a manifest has several."""
    if not signals:
        return []
    files: dict[tuple[str, str], set[Path]] = {}
    if job.config.dataset in ("manifest", "bids"):
        for row in manifest_of(Path(job.config.root)).rows:
            if row.modality in signals:
                files.setdefault((row.subject, row.trial), set()).add(row.path)
    if max(map(len, files.values()), default=1) < 2:
        return ["RECORDING"]
    return [f"{signal}=FILE" for signal in signals]


def selection_line(selections: Mapping[str, select.Selection]) -> str:
    """What was chosen inside the splits' training parts, and how often."""
    names = [each.name for each in selections.values()]
    said = "; ".join(f"{name} in {names.count(name)}" for name in dict.fromkeys(names))
    return f"chosen inside each training part (`select=inner`), splits: {said}."


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
