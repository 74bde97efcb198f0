"""Splits of one's own, from a table: who is trained on, validated on and tested, split by split.

    split,subject,recording,part
    a,p01,,train
    a,p02,,train
    a,p03,,validation
    a,p04,,test
    a,p04,t2,train

A row without a recording is of all of the person's; a recording's own row counts more. The column
`recording` may be left out. Where a split has no row of validation, a part of its training is taken
under the protocol, whose groups stay whole. Windows that no row names are in no part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clmer.data.formats.delimited import is_missing, read_table
from clmer.data.splits.draw import Split, assign_folds, check_labels, checked_split, groups_of
from clmer.data.splits.protocols import Protocol, check_groups
from clmer.errors import DataError
from clmer.text import did_you_mean, folded, from_cell

if TYPE_CHECKING:
    from clmer.data.store.store import Windows

_PARTS = ("train", "validation", "test")
_WORDS = {"train": 0, "training": 0, "validation": 1, "val": 1, "test": 2}
_NEEDED = ("split", "subject", "part")
_COLUMNS = (*_NEEDED, "recording")


class _Row(NamedTuple):
    line: int
    split: str
    subject: str
    recording: str  # "" for all of the person's
    part: int


def splits_of_file(
    windows: Windows,
    y: np.ndarray,
    path: Path,
    protocol: str,
    *,
    folds: int = 6,
    seed: int = 0,
    shared: Sequence[tuple[str, str]] = (),
    classes: Sequence[str] = (),
) -> list[Split]:
    """The splits that a table names, in its order.

    Args:
        windows: N windows.
        y: [N] int class of each; windows of class -1 have none and are in no split.
        path: the table, CSV with the columns split, subject, part and, where wanted, recording.
        protocol: of `clmer.data.choices.KEEP_GROUPS`; what stays whole where validation is taken
            from training.
        folds: validation is one of so many parts of training, of fewer where it has fewer groups.
        seed: of that draw.
        shared: pairs of recordings that hold the same samples.
        classes: names, for messages.

    Raises:
        DataError: the table cannot be used (which line), names what is not there, puts a window
            or shared samples into two parts of a split, or leaves a part empty.
    """
    y = np.asarray(y, dtype=np.int64)
    known = np.zeros(len(y), dtype=bool)
    known[check_labels(y, path)] = True
    splits = []
    for number, (name, part) in enumerate(_parts(path, windows).items()):
        drawing = Protocol(protocol, seed, str(path), classes)
        drawing.note = f"Splits of your own: {path}."
        splits.append(_split(drawing, name, number, windows, y, part, known, folds, shared))
    return splits


def _split(
    protocol: Protocol,
    name: str,
    number: int,
    windows: Windows,
    y: np.ndarray,
    part: np.ndarray,
    known: np.ndarray,
    folds: int,
    shared: Sequence[tuple[str, str]],
) -> Split:
    """One split of the table, its parts [N] as numbers in `_PARTS`, -1 for none."""
    where = f"split {name}"
    _check_shared(protocol.source, where, windows, part, shared)
    train, val, test = ((part == number) & known for number in range(len(_PARTS)))
    for kind, mask in (("train", train), ("test", test)):
        if not mask.any():
            found = "only windows without a label" if (part == _WORDS[kind]).any() else "no row"
            raise DataError(protocol.source, where, f"{found} of part {kind}", "one at least")
    groups = groups_of(windows, protocol, shared)
    if not (part == 1).any():
        check_groups(groups[train], y[train], protocol, 2)
        parts = min(folds, len(np.unique(groups[train])))
        val = np.zeros(len(y), dtype=bool)
        val[train] = assign_folds(groups[train], y[train], protocol, parts, number) == 0
        train = train & ~val
        protocol.note += f" Validation is one of {parts} parts of training, by {protocol.name}."
    lacking = np.setdiff1d(y[known], y[train])
    if len(lacking):
        found = f"class {protocol.class_name(lacking[0])} missing from train"
        hint = "Name people or recordings with this class for train."
        raise DataError(protocol.source, where, found, "every class there", hint)
    people = np.intersect1d(windows.group[test], windows.group[train | val])
    protocol.note += (
        f" {len(people)} people of the test part are in training or validation, too: scores do not "
        "hold for new people."
        if len(people)
        else " No person of the test part is in training or validation."
    )
    rows = np.flatnonzero(known)
    masks = (mask[rows] for mask in (train, val, test))
    split = checked_split(
        protocol, name, groups[rows], y[rows], *masks, left="are named in no row of the split"
    )
    return replace(split, train=rows[split.train], val=rows[split.val], test=rows[split.test])


def _check_shared(
    source: str,
    where: str,
    windows: Windows,
    part: np.ndarray,
    shared: Sequence[tuple[str, str]],
) -> None:
    """Refuse recordings of the same samples in two parts.

    Raises:
        DataError: there are such.
    """
    own = dict(zip(windows.recording.tolist(), part.tolist(), strict=True))
    for one, other in shared:
        parts = own.get(one, -1), own.get(other, -1)
        if min(parts) >= 0 and parts[0] != parts[1]:
            raise DataError(
                source,
                where,
                f"the same samples in {one} ({_PARTS[parts[0]]}) and {other} ({_PARTS[parts[1]]})",
                "recordings that share samples in one part",
                "Put both into one part: otherwise a model would be tested on what it was "
                "trained on.",
            )


def _parts(path: Path, windows: Windows) -> dict[str, np.ndarray]:
    """The part of every window [N], by split in the table's order."""
    rows = _read(path)
    names = np.unique(windows.subject).tolist()
    found: dict[str, np.ndarray] = {}
    seen: dict[tuple[str, str, str], _Row] = {}
    for row in sorted(rows, key=lambda row: row.recording != ""):  # recordings after people
        if row.subject not in names:
            raise _unknown(path, row, "subject", row.subject, names)
        own = windows.subject == row.subject
        if row.recording:
            own &= windows.recording == _recording(path, row, windows)
        twice = seen.setdefault((row.split, row.subject, row.recording), row)
        if twice is not row:
            what = f"recording {row.recording} of {row.subject}" if row.recording else row.subject
            raise DataError(
                path,
                f"line {row.line}",
                f"{what} in {_PARTS[row.part]}, on line {twice.line} in {_PARTS[twice.part]} of "
                f"split {row.split}",
                "one row, and one part, per split",
                "A recording's own row counts more than its person's.",
            )
        part = found.setdefault(row.split, np.full(len(windows), -1, dtype=np.int64))
        part[own] = row.part
    return {name: found[name] for name in dict.fromkeys(row.split for row in rows)}


def _recording(path: Path, row: _Row, windows: Windows) -> str:
    """A recording as windows name it: the trial alone, or behind its person's name."""
    own = np.unique(windows.recording[windows.subject == row.subject]).tolist()
    for name in (f"{row.subject}/{row.recording}", row.recording):
        if name in own:
            return name
    trials = [name.removeprefix(f"{row.subject}/") for name in own]
    raise _unknown(path, row, f"recording of {row.subject}", row.recording, trials)


def _unknown(path: Path, row: _Row, field: str, found: str, known: Sequence[str]) -> DataError:
    some = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
    hint = did_you_mean(found, known)
    return DataError(path, f"line {row.line}, {field}", found, f"one with windows: {some}", hint)


def digest(path: Path) -> str:
    """SHA-256 of the table, hex: a run that goes on needs the one that it began with.

    Raises:
        DataError: it cannot be read.
    """
    _check_file(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(path, "file", error, "a table that can be read") from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        hint = "Write it with the columns split, subject and part, or leave `splits` out."
        raise DataError(path, "`splits`", "no such file", "a table of your splits", hint)


def _read(path: Path) -> list[_Row]:
    """The table's rows, each checked by itself."""
    _check_file(path)
    table = read_table(path)
    names = [folded(name) for name in table.names]
    wrong = [name for name in table.names if folded(name) not in _COLUMNS]
    missing = [name for name in _NEEDED if name not in names]
    twice = [name for name in _COLUMNS if names.count(name) > 1]
    if wrong or missing or twice:
        found = f"{', '.join(table.names)}" + (f" ({twice[0]} twice)" if twice else "")
        hint = did_you_mean(wrong[0], _COLUMNS) if wrong else ""
        raise DataError(path, "columns", found, "split, subject, part and maybe recording", hint)
    rows = []
    for line, cells in table.lines():
        row = {n: from_cell(text.strip()) for n, text in zip(names, cells, strict=True)}
        for name in _NEEDED:
            if is_missing(row[name]):
                raise DataError(path, f"line {line}, {name}", "nothing", "a value in every row")
        part = _WORDS.get(folded(row["part"]))
        if part is None:
            hint = did_you_mean(row["part"], _PARTS)
            raise DataError(path, f"line {line}, part", row["part"], " or ".join(_PARTS), hint)
        recording = row.get("recording", "")
        recording = "" if is_missing(recording) else recording
        rows.append(_Row(line, row["split"], row["subject"], recording, part))
    if not rows:
        raise DataError(path, "rows", "0", "one per split and person")
    return rows
