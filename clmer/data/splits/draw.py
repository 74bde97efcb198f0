"""Who is trained on, who is validated on, who is tested, under a protocol (see `protocols.py`).

Every choice is drawn from the seed alone, so that any process draws the same splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from clmer.data.choices import PROTOCOLS
from clmer.data.splits.protocols import (
    PARTS,
    Protocol,
    check_groups,
    check_trial,
    joined_groups,
    recognition_note,
)
from clmer.errors import DataError

if TYPE_CHECKING:
    from clmer.data.store.store import Windows


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of one training run.

    Args:
        name: "subject 1/6".
        train, val, test: int64 rows of `Windows`, ascending, disjoint.
        shared_groups: groups with windows in more than one part; 0 unless `shuffled`.
        note: what scores under this protocol mean, which class a part lacks, what is left out.
    """

    name: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    shared_groups: int
    note: str


def make_splits(
    windows: Windows,
    y: np.ndarray,
    protocol: str,
    *,
    folds: int = 6,
    repeats: int | None = None,
    seed: int = 0,
    source: Path | str = "prepared windows",
    shared: Sequence[tuple[str, str]] = (),
    classes: Sequence[str] = (),
) -> list[Split]:
    """Split windows under a protocol.

    Split r tests fold r mod `folds` and validates on the next one, so that after `folds` splits
    everyone was tested once; every further round of `folds` splits draws the folds anew.

    Args:
        windows: N windows.
        y: [N] int class of each; windows of class -1 have none and are in no split.
        protocol: one of `PROTOCOLS`.
        folds: folds that the groups are assigned to, at least 3; under `loso` one of `folds` folds
            of the other people is for validation.
        repeats: number of splits; None for everyone once (5 under `shuffled`).
        seed: of every draw.
        source: named in errors.
        shared: pairs of recordings that hold the same samples (`clmer.data.duplicates`): they
            stay on one side, with all that the protocol keeps together with them.
        classes: their names, for messages.

    Returns:
        `repeats` splits.

    Raises:
        DataError: the data cannot carry the protocol.
    """
    _check_arguments(source, protocol, folds, repeats)
    y = np.asarray(y, dtype=np.int64)
    if y.shape != (len(windows),):
        raise ValueError(
            f"make_splits: y {y.shape}, expected ({len(windows)},): one class per window"
        )
    labelled = check_labels(y, source)
    windows, y = _taken(windows, labelled), y[labelled]

    def draw(folds: int) -> list[Split]:
        own = Protocol(protocol, seed, str(source), classes)
        return _draw_splits(windows, y, own, folds, repeats, shared)

    try:
        drawn = draw(folds)
    except DataError as error:
        fits = 0 if protocol in ("loso", "shuffled") else _fitting_folds(draw, folds)
        if not fits:
            raise
        hint = f"`folds={fits}` works here. {error.hint}"
        raise DataError(source, error.field, error.found, error.expected, hint) from error
    return [
        replace(s, train=labelled[s.train], val=labelled[s.val], test=labelled[s.test])
        for s in drawn
    ]


def _fitting_folds(draw: Callable[[int], object], below: int) -> int:
    """The most folds below some that splits can be drawn with; 0 where there are none."""
    for folds in range(below - 1, PARTS - 1, -1):
        try:
            draw(folds)
        except DataError:
            continue
        return folds
    return 0


def check_labels(y: np.ndarray, source: Path | str) -> np.ndarray:
    """The rows that have a class, [n] int64.

    Raises:
        DataError: they are of fewer than two classes.
    """
    labelled = np.flatnonzero(y >= 0)
    if len(np.unique(y[labelled])) < 2:
        hint = "Choose another `task`."
        raise DataError(source, "classes", len(np.unique(y[labelled])), "at least 2", hint)
    return labelled


def _check_arguments(source: Path | str, protocol: str, folds: int, repeats: int | None) -> None:
    if protocol not in PROTOCOLS:
        raise DataError(source, "`protocol`", protocol, f"one of {', '.join(PROTOCOLS)}")
    if folds < PARTS:
        hint = "Training, validation and test need one each."
        raise DataError(source, "`folds`", folds, f"at least {PARTS}", hint)
    if repeats is not None and repeats < 1:
        raise DataError(source, "`repeats`", repeats, "at least 1")


def _draw_splits(
    windows: Windows,
    y: np.ndarray,
    protocol: Protocol,
    folds: int,
    repeats: int | None,
    shared: Sequence[tuple[str, str]],
) -> list[Split]:
    """The splits of windows that all have a class."""
    if protocol.name == "shuffled":
        return _shuffled(windows, y, protocol, repeats or 5)
    if protocol.name == "block":
        if shared:
            raise protocol.error(
                f"the same samples in {shared[0][0]} and {shared[0][1]}",
                "recordings that do not overlap",
                "Correct start_s and stop_s, or choose another `protocol`: it keeps them together.",
            )
        protocol.note += recognition_note(windows, y)
        return _block(windows, y, protocol, folds, repeats or folds)
    groups = groups_of(windows, protocol, shared)
    if protocol.name == "trial":
        protocol.note += check_trial(windows, y, protocol)
    if protocol.name == "loso":
        return _loso(groups, y, protocol, folds, repeats)
    check_groups(groups, y, protocol, folds)
    return _rotate(groups, y, protocol, folds, repeats or folds)


def groups_of(
    windows: Windows, protocol: Protocol, shared: Sequence[tuple[str, str]]
) -> np.ndarray:
    """What the protocol never divides: the group of every window [N]; its note says who is joined.

    Args:
        windows: N of them.
        protocol: one that keeps groups.
        shared: pairs of recordings that hold the same samples.
    """
    by_name = {"trial": windows.recording, "stimulus": windows.stimulus}
    groups = by_name.get(protocol.name, windows.group)
    groups, joined = joined_groups(groups, windows.recording, shared)
    if joined:
        protocol.note += f" {joined} recordings share samples with others and stay on their side."
    return groups


def _taken(windows: Windows, rows: np.ndarray) -> Windows:
    """Some of the windows."""
    return replace(
        windows,
        subject=windows.subject[rows],
        group=windows.group[rows],
        recording=windows.recording[rows],
        stimulus=windows.stimulus[rows],
        start_s=windows.start_s[rows],
        labels={name: values[rows] for name, values in windows.labels.items()},
    )


def assign_folds(
    groups: np.ndarray, y: np.ndarray, protocol: Protocol, folds: int, turn: int
) -> np.ndarray:
    """The fold of every window [N]: all of a group in one, classes even.

    Of ten draws the first that has every class in every fold, or else the one that lacks least.
    """
    best, most = np.empty(0, dtype=np.int64), -1
    for attempt in range(10):
        splitter = StratifiedGroupKFold(
            folds, shuffle=True, random_state=protocol.random_seed(turn, attempt)
        )
        fold = np.empty(len(y), dtype=np.int64)
        for k, (_, rows) in enumerate(splitter.split(y, y, groups)):
            fold[rows] = k
        filled = len(np.unique(np.stack([fold, y]), axis=1).T)
        if filled > most:
            best, most = fold, filled
        if filled == folds * len(np.unique(y)):
            break
    return best


def _rotate(
    groups: np.ndarray, y: np.ndarray, protocol: Protocol, folds: int, repeats: int
) -> list[Split]:
    splits = []
    for r in range(repeats):
        if r % folds == 0:
            fold = assign_folds(groups, y, protocol, folds, r // folds)
        test, val = fold == r % folds, fold == (r + 1) % folds
        splits.append(_split(protocol, r, repeats, groups, y, ~(test | val), val, test))
    return splits


def _loso(
    groups: np.ndarray, y: np.ndarray, protocol: Protocol, folds: int, repeats: int | None
) -> list[Split]:
    # One person alone would choose epochs by chance: 1/folds of the others validate.
    check_groups(groups, y, protocol, PARTS)
    names = np.unique(groups)
    parts = min(folds, len(names) - 1)
    repeats = repeats or len(names)
    splits = []
    for r in range(repeats):
        test = groups == names[r % len(names)]
        val = np.zeros(len(y), dtype=bool)
        val[~test] = assign_folds(groups[~test], y[~test], protocol, parts, r) == 0
        splits.append(_split(protocol, r, repeats, groups, y, ~(test | val), val, test))
    return splits


def _block(
    windows: Windows, y: np.ndarray, protocol: Protocol, folds: int, repeats: int
) -> list[Split]:
    start, length = windows.start_s, windows.window_s
    recordings = [np.flatnonzero(windows.recording == r) for r in np.unique(windows.recording)]
    for rows in recordings:
        if len(rows) < folds:
            raise protocol.error(
                f"{len(rows)} windows in {windows.recording[rows[0]]}",
                f"at least {folds}, one per fold",
                "Choose another `protocol`, or a lower `window_s` or `stride_s`.",
            )
    splits = []
    for r in range(repeats):
        if r % folds == 0:
            rng = np.random.default_rng(protocol.random_seed(r // folds))
            fold = np.empty(len(y), dtype=np.int64)
            for rows in recordings:
                order = rows[np.argsort(start[rows], kind="stable")]
                # The first block's fold differs: time within a recording must not tell the part.
                fold[order] = (
                    np.arange(len(rows)) * folds // len(rows) + rng.integers(folds)
                ) % folds
        part = np.select([fold == r % folds, fold == (r + 1) % folds], [0, 1], 2)
        for rows in recordings:
            _open_gaps(part, rows, start, length)
        test, val, train = (part == k for k in range(PARTS))
        blocks = np.char.add(np.char.add(windows.recording.astype(str), "#"), fold.astype(str))
        splits.append(_split(protocol, r, repeats, blocks, y, train, val, test))
    return splits


def _open_gaps(part: np.ndarray, rows: np.ndarray, start: np.ndarray, length: float) -> None:
    """Drop (-1) windows less than a window away from a part that counts more (a lower number)."""
    for precious in (0, 1):
        keep = rows[part[rows] == precious]
        for row in rows[part[rows] > precious]:
            # Windows [s, s + w) and [t, t + w) with a gap of w between them: |s - t| >= 2 w.
            if len(keep) and np.abs(start[keep] - start[row]).min() < 2 * length - 1e-9:
                part[row] = -1


def _shuffled(windows: Windows, y: np.ndarray, protocol: Protocol, repeats: int) -> list[Split]:
    count = len(y)
    held = round(0.15 * count)
    if held < 1:
        raise protocol.error(f"{count} windows", "at least 4", "Lower `window_s` or record more.")
    splits = []
    for r in range(repeats):
        order = np.random.default_rng(protocol.random_seed(r)).permutation(count)
        parts = np.zeros((PARTS, count), dtype=bool)
        for mask, rows in zip(
            parts, np.split(order, [count - 2 * held, count - held]), strict=True
        ):
            mask[rows] = True
        splits.append(_split(protocol, r, repeats, windows.recording, y, *parts))
    return splits


def _split(protocol: Protocol, r: int, repeats: int, *arrays: np.ndarray) -> Split:
    """Split r of so many; the arrays are those of `checked_split`."""
    return checked_split(protocol, f"{protocol.name} {r + 1}/{repeats}", *arrays)


def checked_split(
    protocol: Protocol,
    name: str,
    groups: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    test: np.ndarray,
    *,
    left: str = "lie in the gaps",
) -> Split:
    """A split of masks [N], with what it says of itself.

    Args:
        protocol: its note is the split's, and says where errors point.
        name: of the split.
        groups: [N] what is counted where it is in several parts.
        y: [N] class of each window.
        train: [N] bool, rows to train on.
        val: [N] bool, rows to validate on.
        test: [N] bool, rows to test.
        left: what is said of windows in none of them.

    Raises:
        DataError: a part is empty, or training lacks a class.
    """
    note, labels = protocol.note, np.unique(y)
    for part, mask in (("training", train), ("validation", val), ("test", test)):
        lacking = np.setdiff1d(labels, y[mask])
        if not mask.any() or (part == "training" and len(lacking)):
            raise protocol.error(
                f"class {protocol.class_name(lacking[0])} missing from {part} in split {name}",
                "every class there",
                "Another `seed` can help; otherwise choose another `protocol`.",
            )
        if len(lacking):
            note += f" The {part} part lacks class {', '.join(map(protocol.class_name, lacking))}."
    left_out = len(y) - int((train | val | test).sum())
    if left_out:
        note += f" {left_out} of {len(y)} windows {left} and are left out."
    sets = [set(groups[mask].tolist()) for mask in (train, val, test)]
    shared = (sets[0] & sets[1]) | (sets[0] & sets[2]) | (sets[1] & sets[2])
    rows = [np.flatnonzero(mask).astype(np.int64) for mask in (train, val, test)]
    return Split(name, rows[0], rows[1], rows[2], len(shared), note)
