"""What was understood of the data and of the options, printed before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clmer.data.store.summary import left_out
from clmer.data.tasks import is_known
from clmer.evaluation.stimuli import stimulus_line
from clmer.evaluation.table import plural
from clmer.evaluation.verdict import WHOM
from clmer.text import laid_out
from clmer.train.messages import in_words
from clmer.train.reference_notes import reference_lines
from clmer.train.training_run import TrainingPlan

#: Notes that are shown; a page of `clmer inspect` has them all.
MOST_NOTES = 12


def understood(plan: TrainingPlan, folder: Path) -> str:
    """People, windows, signals, what was left out, the protocol, the model: for 80 columns.

    Args:
        plan: what would be trained.
        folder: where it would go.
    """
    report = plan.store.report
    rows = [
        *_data(plan, report),
        *_signals(report),
        *_left_out(plan, report),
        *_protocol(plan),
        *(("reference", _reference(plan, line)) for line in reference_lines(plan)),
        *_model(plan),
        ("run folder", str(folder)),
        *(("look at", note) for note in _notes(report)),
    ]
    title = f"What was understood of {plan.config.dataset}{_source(plan)}:"
    return f"{title}\n{laid_out([(name, in_words(text)) for name, text in rows])}"


def _source(plan: TrainingPlan) -> str:
    if plan.config.synthetic:
        return " (synthetic)"
    return f" in {plan.config.root}" if plan.config.root else ""


def _data(plan: TrainingPlan, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """People, recordings, windows and what is predicted."""
    windows, config, known = plan.store.windows, plan.config, is_known(plan.y)
    people = len(np.unique(windows.subject[known]))
    recordings = len(np.unique(windows.recording[known]))
    used = plural(people, "person", "people")
    strata, names = plan.task.strata(plan.y)
    counts = [int((strata == k).sum()) for k in range(len(names))]
    whose = [len(np.unique(windows.subject[strata == k])) for k in range(len(names))]
    classes = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    rare = [f"{name} in {n} of {used}" for name, n in zip(names, whose, strict=True) if n < people]
    split = plan.task.describe()
    length = f"{config.window_s:g} s"
    if config.stride_s and config.stride_s != config.window_s:
        length += f", one every {config.stride_s:g} s"
    return [
        ("people", f"{used}, {plural(recordings, 'recording')}"),
        ("windows", f"{known.sum()} of {length}, each with {_joined(list(plan.store.modalities))}"),
        ("label", f"{plan.task.name}: {classes}" + (f" ({split})" if split else "")),
        *(("label", f"not everyone has each: {', '.join(rare)}") for _ in rare[:1]),
    ]


def _signals(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was read of each modality, and how it was filtered."""
    rows = []
    for line in report.get("signals", ()):
        name, _, text = line.partition(": ")
        rows.append((name, text))
    kinds: dict[str, list[str]] = {}
    for kind, text in report.get("filter", {}).items():
        kinds.setdefault(text, []).append(kind)
    bands = [f"{', '.join(own)} {text}" for text, own in kinds.items()]
    return rows + ([("filter", "; ".join(bands))] if bands else [])


def _left_out(plan: TrainingPlan, report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was read and is not used, and why."""
    said = left_out(report)
    said += [
        f"{plural(count, 'window')}, {why}"
        for why, count in report.get("windows_dropped", {}).items()
    ]
    known, windows = is_known(plan.y), plan.store.windows
    unlabelled = ~known if plan.reference is None else ~known & plan.reference.used
    if unlabelled.any():
        trials = plural(len(np.unique(windows.recording[unlabelled])), "recording")
        columns = " or ".join(plan.task.columns)
        said.append(f"{plural(int(unlabelled.sum()), 'window')} of {trials}, no value in {columns}")
    rows = [("left out", text) for text in said] or [("left out", "nothing")]
    if report.get("samples_interpolated"):
        filled = plural(report["samples_interpolated"], "sample")
        rows.append(("filled in", f"{filled} in short gaps, interpolated"))
    return rows


def _protocol(plan: TrainingPlan) -> list[tuple[str, str]]:
    """What is kept apart, what a score then means, and the parts' sizes."""
    config, splits = plan.config, plan.splits
    name = config.protocol_name
    sizes = [(len(s.train), len(s.val), len(s.test)) for s in splits]
    train, val, test = (_span([each[k] for each in sizes]) for k in range(3))
    rows = [
        ("protocol", f"{name}: tests on {WHOM[name]}"),
        (
            "splits",
            f"{len(splits)}, each with {train} windows to train on, {val} to choose the epoch by, "
            f"{test} to test on",
        ),
    ]
    rows += [("", splits[0].note)] if splits[0].note else []
    return rows + [("", line) for line in stimulus_line(plan.stimuli)]


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _notes(report: Mapping[str, Any]) -> list[str]:
    """What is suspicious, as far as a screen has room for it."""
    notes = list(report.get("notes", ()))
    rest = len(notes) - MOST_NOTES
    return notes if rest <= 0 else [*notes[:MOST_NOTES], f"{rest} more: `clmer inspect` has all"]


def _reference(plan: TrainingPlan, line: str) -> str:
    """A line about the reference, without what the column says."""
    kind = plan.config.reference
    return line.removeprefix("reference ") if line.startswith(f"reference {kind}") else line


def _model(plan: TrainingPlan) -> list[tuple[str, str]]:
    """What is trained, and on what machine."""
    config = plan.config
    ranks = f"{plural(plan.ranks.count, 'process', 'processes')}, " if plan.ranks.count > 1 else ""
    threads = plural(torch.get_num_threads(), "thread")
    where = f"preset {config.preset} on {config.device}, {ranks}{threads}"
    return [("model", f"{', '.join(config.models)}; {where}")]


def _joined(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
