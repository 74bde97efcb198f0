"""Channels whose samples are no signal of a body: markers, counters, clocks.

Names tell most of them (`clmer.data.channels`). A channel without a name, or with one that tells
nothing, is judged by its samples, since a line of markers among EEG channels gives a model the
label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clmer.data.channels import QUANTITY
from clmer.errors import DataError

#: A channel of so few different values is no signal, however they change.
_CODES = 4
#: A channel of some more is none where nearly every sample equals the one before it.
_MORE_CODES, _STEADY = 32, 0.9
#: Share of equal steps of a counter, which may wrap around.
_COUNTING = 0.95
#: Fewer samples tell nothing; so many that only ever rise are a clock.
_LEAST, _RISING = 64, 256
_LOOKED_AT = 512


def evenly_spaced(data: np.ndarray) -> np.ndarray:
    """About 512 samples of each channel of [C, T], or all where there are fewer: a view."""
    return data[:, :: max(1, data.shape[1] // _LOOKED_AT)]


def service_type(x: np.ndarray, kind: str) -> str:
    """What a channel is where its samples are no signal's; "" for a signal, or a constant.

    Args:
        x: [T] samples.
        kind: its type, out of `recording.KINDS`.
    """
    if len(x) < _LEAST:
        return ""
    if kind != "other" and QUANTITY.get(kind) != "voltage":
        return ""  # a temperature has few values, skin conductance may rise all the time
    few = len(np.unique(evenly_spaced(x[None]))) <= _MORE_CODES
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


def suspicious(data: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Channels that `service_type` has to look at: few values, or steps that hardly change.

    Args:
        data: [C, T] samples.
        ordered: [C, n] `evenly_spaced` samples of each, sorted.

    Returns:
        [C] bool.
    """
    if data.shape[1] < _LEAST:
        return np.zeros(len(data), bool)
    few = np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1) < _MORE_CODES
    start = np.asarray(data[:, : _RISING + 1])
    steps = start[:, 1:] - start[:, :-1]
    bends = np.abs(steps[:, 1:] - steps[:, :-1]) > 1e-3 * np.abs(steps[:, 1:])
    steady = np.count_nonzero(bends, axis=1) / bends.shape[1] < 1 - _STEADY
    return np.asarray(few | steady | (steps > 0).all(axis=1))


def check_no_service(
    path: Path, data: np.ndarray, names: Sequence[str], kinds: Sequence[str], unsure: Sequence[bool]
) -> None:
    """Refuse channels that are no signal, among those whose type nobody stated.

    Args:
        path: the file, for messages.
        data: [C, T] samples.
        names: of the C channels.
        kinds: their types.
        unsure: whether neither a name nor the file nor the manifest tells each type.

    Raises:
        DataError: such a channel.
    """
    for x, name, kind, is_unsure in zip(data, names, kinds, unsure, strict=True):
        found = service_type(x, kind) if is_unsure else ""
        if found:
            raise DataError(
                path,
                f"channel {name}",
                found,
                f"a signal, {kind} for want of a better name",
                "Leave it out: name the signals in the manifest's column channels (of an .npy, "
                "save it without that row). If it is a signal, state its type in the column kind.",
            )
