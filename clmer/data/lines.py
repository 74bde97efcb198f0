"""Rows that are no signal of a body by their samples: lines of markers, counters, clocks.

Names tell most of them (`clmer.data.channels`). A row without a name, or under one that tells
nothing, is looked at, since a line of markers among EEG channels gives a model the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clmer.data.channels import QUANTITY
from clmer.errors import DataError

#: A row of so few different values is no signal, however they change.
_CODES = 4
#: A row of some more is none where nearly every sample equals the one before it.
_MORE_CODES, _STEADY = 32, 0.9
#: Share of equal steps of a counter, which may wrap around.
_COUNTING = 0.95
#: Fewer samples tell nothing; so many that only ever rise are a clock.
_LEAST, _RISING = 64, 256
_LOOKED_AT = 512


def service_line(x: np.ndarray, kind: str) -> str:
    """What a row is where its samples are no signal's; "" for a signal, or a constant.

    Args:
        x: [T] samples.
        kind: its type, out of `recording.KINDS`.
    """
    if len(x) < _LEAST:
        return ""
    if kind != "other" and QUANTITY.get(kind) != "voltage":
        return ""  # a temperature has few values, skin conductance may rise all the time
    few = len(np.unique(x[:: max(1, len(x) // _LOOKED_AT)])) <= _MORE_CODES
    values = len(np.unique(x)) if few else _MORE_CODES + 1
    steps = np.diff(x)
    if 1 < values <= _CODES or (1 < values <= _MORE_CODES and (steps == 0).mean() >= _STEADY):
        return f"{values} different values, as a line of markers"
    step = float(np.median(steps))
    if step and (np.abs(steps - step) <= 1e-3 * abs(step)).mean() >= _COUNTING:
        return "equal steps, as a counter or clock"
    if kind != "other" and len(x) >= _RISING and (steps > 0).all():
        return "values that only rise, as a clock"
    return ""


def doubtful(data: np.ndarray) -> np.ndarray:
    """Rows that `service_line` has to look at: few values, or steps that hardly change, [C] bool.

    Args:
        data: [C, T] samples.
    """
    if data.shape[1] < _LEAST:
        return np.zeros(len(data), bool)
    some = np.sort(data[:, :: max(1, data.shape[1] // _LOOKED_AT)], axis=1)
    few = (np.diff(some, axis=1) != 0).sum(axis=1) < _MORE_CODES
    steps = np.diff(data[:, : _RISING + 1], axis=1)
    bends = np.abs(np.diff(steps, axis=1)) > 1e-3 * np.abs(steps[:, 1:])
    return np.asarray(few | (bends.mean(axis=1) < 1 - _STEADY) | (steps > 0).all(axis=1))


def check_signals(
    path: Path, data: np.ndarray, names: Sequence[str], kinds: Sequence[str], unsure: Sequence[bool]
) -> None:
    """Refuse rows that are no signal, of those whose type nobody told.

    Args:
        path: the file, for messages.
        data: [C, T] samples.
        names: of the C rows.
        kinds: their types.
        unsure: whether neither a name nor the file nor the manifest tells each type.

    Raises:
        DataError: such a row.
    """
    for row, name, kind, doubt in zip(data, names, kinds, unsure, strict=True):
        told = service_line(row, kind) if doubt else ""
        if told:
            raise DataError(
                path,
                f"channel {name}",
                told,
                f"a signal, {kind} for want of a better name",
                "Leave it out: name the signals in the manifest's column channels (of an .npy, "
                "save it without that row). If it is a signal, state its type in the column kind.",
            )
