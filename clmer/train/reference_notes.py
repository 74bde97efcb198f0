"""What is said of people's reference: what it is, what would be one, and what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from clmer.data.store.store import Store, Windows
from clmer.pipeline.options.reference import ALL, NONE
from clmer.pipeline.reference import LEAST, statistics
from clmer.pipeline.reference_rows import CALM, Reference
from clmer.pipeline.tokenizer import WindowArrays
from clmer.train.training_run import TrainingPlan

TRANSDUCTIVE = (
    "reference all, transductive: every person's windows were read against all that the person "
    "has, what is tested included (no labels)."
)
#: Seconds of a reference that is proposed, where people have twice as much.
_USUAL_S = 60.0
#: Classes whose shares of windows beside the reference differ by more are told apart by them.
_UNEVEN = 0.1


def reference_facts(job: TrainingPlan) -> dict[str, Any]:
    """What results.json holds of the reference.

    Returns:
        "kind", the option; with a reference "windows", their number, "least" and "most" of a
        person, and "beside": of each class the share of tested windows that are from a recording,
        or a file, which the reference is from, too.
    """
    kind, reference = job.config.reference, job.reference
    if reference is None or kind == ALL:
        return {"kind": kind}
    windows, known = job.store.windows, reference.known
    _, counts = np.unique(windows.subject[known], return_counts=True)
    tested = np.unique(np.concatenate([split.test for split in job.splits]))
    beside = np.isin(windows.recording, sorted(_recordings(job.store, reference)))[tested]
    y = job.y[tested]
    return {
        "kind": kind,
        "windows": int(known.sum()),
        "least": int(counts.min()),
        "most": int(counts.max()),
        "beside": {
            name: float(beside[y == k].mean()) if (y == k).any() else 0.0
            for k, name in enumerate(job.task.classes)
        },
    }


def _recordings(store: Store, reference: Reference) -> set[str]:
    """Recordings that hold reference windows, share samples with one, or its file."""
    found = set(store.windows.recording[reference.known].tolist())
    report = store.report
    pairs = [(p["one"], p["other"]) for p in (*report["shared_samples"], *report["shared_files"])]
    return found | {b for pair in pairs for a, b in (pair, pair[::-1]) if a in found}


def reference_lines(job: TrainingPlan) -> list[str]:
    """What a reader of the scores should know of the reference, or of one that there could be."""
    facts = reference_facts(job)
    if facts["kind"] == NONE:
        return [proposal(job.store.windows, job.config.task)]
    if facts["kind"] == ALL:
        return [TRANSDUCTIVE]
    span = f"{facts['least']}"
    span += f" to {facts['most']}" if facts["most"] > facts["least"] else ""
    line = (
        f"reference {facts['kind']}: every person is read against {span} known windows of their "
        f"own ({facts['windows']} in all), which are in no part of any split."
    )
    return [line, *_beside_lines(facts["beside"])]


def _beside_lines(beside: Mapping[str, float]) -> list[str]:
    """What to say where tested windows are from the recordings of the reference."""
    if not any(beside.values()):
        return []
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in beside.items())
    line = f"reference and test windows of one recording: {shares}."
    if max(beside.values()) - min(beside.values()) > _UNEVEN:
        line += (
            " Classes differ in it, so a model can also score by recognising the reference's "
            "recording: compare early with late windows of one state (docs/protocols.md)."
        )
    return [line]


def flat_lines(windows: WindowArrays) -> list[str]:
    """What to say of channels whose scale someone's reference does not tell."""
    if windows.reference is None or windows.people is None:
        return []
    shown = []
    for name, modality in windows.modalities.items():
        people: dict[str, list[str]] = {}
        for person in np.unique(windows.people).tolist():
            known = windows.arrays[name][windows.reference & (windows.people == person)]
            _, std = statistics(torch.from_numpy(known), (0, 2))
            for row in std.flatten().isinf().nonzero().flatten().tolist():
                people.setdefault(modality.channels[row], []).append(person)
        shown += [f"{name} {channel} of {_some(own)}" for channel, own in people.items()]
    if not shown:
        return []
    return [f"Constant in a person's reference, so given as zeros: {_some(shown, '; ')}."]


def _some(names: Sequence[str], joint: str = ", ") -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return joint.join(names[:5]) + more


def proposal(windows: Windows, column: str) -> str:
    """What a reference would be: a state that everyone has, and how long."""
    words = [name for name, each in windows.labels.items() if each.dtype.kind == "U"]
    for name in sorted(words, key=lambda each: each != column):
        values = windows.labels[name]
        for value in np.unique(values).tolist():
            if not set(re.findall(r"[a-z]+", value.casefold())) & set(CALM):
                continue
            least = least_seconds(windows, values == value)
            length = _USUAL_S if least >= 2 * _USUAL_S else least // 2
            if length >= LEAST * windows.window_s:
                return (
                    f"reference none: everyone has {least:.0f} s of {value} or more; "
                    f"`reference={value}:{length:g}` would read each person against {length:g} s "
                    "of their own, which helps on people who are new"
                )
    return (
        "reference none: no label says rest or baseline here; a minute of it from each person "
        "(`reference=LABEL:60`, or `reference=marked` by a manifest's column reference) would be "
        "their own zero; `reference=all` takes all of a person's windows (transductive)"
    )


def least_seconds(windows: Windows, chosen: np.ndarray) -> float:
    """Seconds that the chosen windows cover, of the person who has least of them."""
    least = np.inf
    for person in np.unique(windows.subject):
        total = 0.0
        own = chosen & (windows.subject == person)
        for recording in np.unique(windows.recording[own]):
            start = windows.start_s[own & (windows.recording == recording)]
            total += float(np.ptp(start)) + windows.window_s
        least = min(least, total)
    return least
