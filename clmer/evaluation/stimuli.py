"""How far what was shown tells the label, which a model can recognise in place of the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clmer.data.splits import Split
from clmer.data.store.store import Windows

#: Protocols that leave a tested stimulus out of training.
_APART = ("stimulus",)
#: Mean share of each class from which on it is said.
LEAST = 0.75


def told_by_stimulus(
    windows: Windows, y: np.ndarray, splits: Sequence[Split], protocol: str
) -> dict[str, int] | None:
    """Recordings whose class the other people's class of the same stimulus tells.

    Args:
        windows: of a store.
        y: [N] class of each window, negative for none.
        splits: what is trained and tested.
        protocol: the splits'.

    Returns:
        "told" out of "recordings"; None where it does not matter: stimuli are apart, a stimulus is
        a class by definition, each is one recording's own, or they tell too little (`LEAST`).
    """
    if protocol in _APART or y.dtype.kind == "f":
        return None
    tested = np.concatenate([split.test for split in splits])
    tested = tested[y[tested] >= 0]
    _, first = np.unique(windows.recording[tested], return_index=True)
    rows = tested[first]
    stimulus, label, person = windows.stimulus[rows], y[rows], windows.subject[rows]
    pairs = {(s, k) for s, k in zip(stimulus.tolist(), label.tolist(), strict=True)}
    stimuli, classes = len(set(stimulus.tolist())), len(set(label.tolist()))
    if classes < 2 or stimuli <= classes or (len(pairs) == stimuli == classes):
        return None
    told = np.zeros(len(rows), dtype=bool)
    for i in range(len(rows)):
        others = label[(stimulus == stimulus[i]) & (person != person[i])]
        told[i] = len(others) > 0 and np.bincount(others).argmax() == label[i]
    share = np.mean([told[label == k].mean() for k in np.unique(label)])
    return {"told": int(told.sum()), "recordings": len(rows)} if share >= LEAST else None


def stimulus_line(facts: Mapping[str, Any] | None) -> list[str]:
    """What to say of `told_by_stimulus`."""
    if not facts:
        return []
    return [
        f"The stimulus alone tells the class of {facts['told']} of {facts['recordings']} "
        "recordings, and training and test share stimuli: a model can score by recognising what "
        "was shown. Compare with `protocol=stimulus`, which tests on stimuli that it never saw."
    ]
