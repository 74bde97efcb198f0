"""Which windows are people's reference, see `clmer.pipeline.reference`: the option `reference`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.manifest.columns import REFERENCE
from clmer.data.store.store import Windows
from clmer.data.tasks import condition_name, is_unlabelled
from clmer.errors import ConfigError, DataError
from clmer.pipeline.options.reference import ALL, MARKED, NONE, parse
from clmer.pipeline.reference import LEAST, GivenReference

#: What stands in the column `REFERENCE` where a recording is no reference.
_NO = ("", "0", "no", "false", "n", "none")
#: Words in the labels of states that a reference can be recorded in.
CALM = ("rest", "resting", "baseline", "neutral", "relax", "relaxed", "relaxation", "calm")


@dataclass(frozen=True, eq=False)
class Reference:
    """Which windows people are known by.

    Args:
        kind: the option that chose them.
        known: [N] bool, the reference.
        used: [N] bool, windows that may be trained and tested on: no reference, and none that
            overlaps it (but all of them under "all").
    """

    kind: str
    known: np.ndarray
    used: np.ndarray


def find_reference(
    kind: str, windows: Windows, column: str, source: Path | str
) -> Reference | None:
    """The windows that an option `reference` chooses; None for "none".

    Args:
        kind: "none"; "all"; "marked", recordings whose column `reference` says so; or
            LABEL[:SECONDS], the first seconds of each person's recordings of that label, taken in
            their order until there are so many.
        windows: N windows.
        column: of labels, the task's: looked in first, then the other columns of words.
        source: named in errors.

    Raises:
        ConfigError: as `parse`.
        DataError: no such label or column (which there are); people without a reference, or with
            less than `LEAST` windows of it (who).
    """
    stretch = parse(kind)
    if kind == NONE:
        return None
    if kind == ALL:
        known = np.ones(len(windows), dtype=bool)
    elif stretch is None:
        known = _marked(windows, source)
    else:
        known = _first(windows, _labelled(stretch.label, windows, column, source), stretch.seconds)
    _check_people(kind, known, windows, source)
    used = known if kind == ALL else ~_overlapping(windows, known)
    return Reference(kind, known, used)


def _marked(windows: Windows, source: Path | str) -> np.ndarray:
    if REFERENCE not in windows.labels:
        raise DataError(
            source,
            f"`reference={MARKED}`",
            f"the columns {', '.join(windows.labels)}",
            f"a column {REFERENCE!r}",
            "Write yes there for recordings that are their person's reference, or name a label: "
            "`reference=rest:60`.",
        )
    values = windows.labels[REFERENCE].tolist()
    return np.array([not is_unlabelled(v) and _word(v) not in _NO for v in values], dtype=bool)


def _word(value: float | str) -> str:
    return condition_name(value).strip().casefold()


def _labelled(label: str, windows: Windows, column: str, source: Path | str) -> np.ndarray:
    """[N] bool: windows with a label, in the task's column, or else in the one that has it."""
    own = [column] if column in windows.labels else []
    words = [n for n, each in windows.labels.items() if each.dtype.kind == "U" and n not in own]
    known: list[str] = []
    for name in [*own, *words]:
        values = np.array([condition_name(value) for value in windows.labels[name].tolist()])
        if (values == label).any():
            return values == label
        known += sorted(set(values.tolist()) - {"", "nan"})
    raise DataError(
        source,
        f"`reference={label}`",
        "no such label",
        f"one of {', '.join(dict.fromkeys(known))}" if known else "a column of words",
        f"Or `reference={ALL}` (transductive).",
    )


def _first(windows: Windows, chosen: np.ndarray, seconds: float) -> np.ndarray:
    """Of each person's chosen windows those within the first seconds, recording by recording."""
    known = np.zeros(len(windows), dtype=bool)
    for person in np.unique(windows.subject):
        left = seconds
        own = np.flatnonzero(chosen & (windows.subject == person))
        for recording in dict.fromkeys(windows.recording[own].tolist()):
            rows = own[windows.recording[own] == recording]
            end = windows.start_s[rows] - windows.start_s[rows].min() + windows.window_s
            rows, end = rows[end <= left + 1e-6], end[end <= left + 1e-6]
            known[rows] = True
            left -= float(end.max(initial=0.0))
    return known


def _check_people(kind: str, known: np.ndarray, windows: Windows, source: Path | str) -> None:
    """Refuse people who are not known well enough."""
    people, at = np.unique(windows.subject, return_inverse=True)
    counts = np.bincount(at[known], minlength=len(people))
    few = [f"{person} ({count})" for person, count in zip(people, counts, strict=True)
           if count < LEAST]  # fmt: skip
    if not few:
        return
    some = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
    raise DataError(
        source,
        f"`reference={kind}`",
        f"too few reference windows of {some}",
        f"at least {LEAST} windows of {windows.window_s:g} s of each person",
        "Name more seconds, lower `window_s` or `stride_s`, or leave out those people.",
    )


def _overlapping(windows: Windows, known: np.ndarray) -> np.ndarray:
    """[N] bool: windows that are known, or hold samples of one that is."""
    found = known.copy()
    for recording in np.unique(windows.recording[known]):
        rows = np.flatnonzero(windows.recording == recording)
        starts, basis = windows.start_s[rows], np.sort(windows.start_s[rows[known[rows]]])
        after = np.searchsorted(basis, starts)
        gap = np.minimum(
            np.abs(starts - basis[np.clip(after - 1, 0, None)]),
            np.abs(starts - basis[np.clip(after, None, len(basis) - 1)]),
        )
        found[rows] |= gap < windows.window_s - 1e-6
    return found


def check_given(kind: str, given: GivenReference | None) -> None:
    """Refuse to use a model without what it was trained with.

    Args:
        kind: the option `reference` of its training.
        given: what is known of the people whose windows they are.

    Raises:
        ConfigError: it is another reference, or none (how to record it).
    """
    found = "none" if given is None else f"`reference={given}`" if isinstance(given, str) else "one"
    if kind == NONE and given is not None:
        raise ConfigError(
            f"`reference`: found {found}, expected none: the model was trained without. Train with "
            "`reference=LABEL:SECONDS`"
        )
    if kind == ALL and (given is None or isinstance(given, Mapping)):
        raise ConfigError(
            f"`reference`: found {found}, expected `reference={ALL}`: in training everyone's "
            "windows were read against all that they have (transductive)"
        )
    if kind not in (NONE, ALL) and (given is None or isinstance(given, str)):
        raise ConfigError(
            f"`reference`: found {found}, expected a known stretch of this person, as in training "
            f"(`reference={kind}`): {how_to_record(kind)} and give it as `reference`"
        )


def how_to_record(kind: str) -> str:
    """What a new person has to record: "record 60 s of rest of this person"."""
    stretch = parse(kind)
    if stretch is None:
        return "record this person in the state that was marked as the reference in training"
    length = f"{stretch.seconds:g} s of " if math.isfinite(stretch.seconds) else ""
    return f"record {length}{stretch.label} of this person"
