"""A BIDS tree as a manifest: its events are trials, their columns and the participants' labels.

    clmer train bids --root DIR --task label

A person is a `sub-...`, over all sessions. A trial is an event that lasts and has a label; where no
event of a run lasts, each goes on to the next one; the whole run is one where no event has a label.
Modalities are the signal types of the run's EEG file and of its `_physio.tsv.gz`. Labels are the
columns of events.tsv and participants.tsv, the task and the session; `label` is trial_type, else
the task.

mne-bids (extra `bids`) finds files and what belongs to them. Folders such as `derivatives` and
`sourcedata` are left out; a derivative is a tree of its own, whose folder can be given.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from clmer.data.formats.biosignal import SUFFIXES, open_biosignal
from clmer.data.formats.delimited import number
from clmer.data.formats.mne_files import header_of, suffix_of
from clmer.data.manifest.labels import Labels, check_labels
from clmer.data.manifest.row import Row
from clmer.data.manifest.table import Manifest
from clmer.errors import DataError

DESCRIPTION = "dataset_description.json"
OBTAIN = """\
Give the folder of a BIDS data set, which holds dataset_description.json, with `root`:
  https://bids-specification.readthedocs.io
OpenNeuro's data sets (https://openneuro.org) are of this kind."""
#: Columns of events.tsv that are no labels.
_NO_LABELS = (
    *("onset", "duration", "sample", "stim_file", "response_time", "hed", "channel"),
    *("participant_id", "session_id"),
)
_MISSING = ("n/a", "N/A", "")


@dataclass(frozen=True)
class _Run:
    """One run of a person: its files, and what happens in it.

    Args:
        subject, session, task, run: its entities; "" where it has none.
        variant: how it was acquired and processed ("acq-pre_proc-clean"): a run of its own.
        files: of signals, EEG first.
        events: events.tsv, where there is one.
    """

    subject: str
    session: str
    task: str
    run: str
    variant: str
    files: tuple[Path, ...]
    events: Path | None

    @property
    def name(self) -> str:
        """The run within its person."""
        parts = {"ses": self.session, "task": self.task, "run": self.run}
        named = [f"{k}-{value}" for k, value in parts.items() if value]
        return "_".join([*named, *filter(None, [self.variant])]) or "recording"


def is_tree(root: Path) -> bool:
    """Whether a folder is a BIDS data set without a manifest of its own."""
    return (root / DESCRIPTION).is_file() and not (root / "manifest.csv").is_file()


def tables(root: Path) -> list[Path]:
    """The tables that trials and labels come from.

    Raises:
        DataError: this is no BIDS data set, or mne-bids is not installed.
    """
    return _tables(root, _runs(root))


def _tables(root: Path, runs: Sequence[_Run]) -> list[Path]:
    events = dict.fromkeys(run.events for run in runs if run.events)
    people = root / "participants.tsv"
    return [root / DESCRIPTION, *([people] if people.is_file() else []), *events]


def read_tree(root: Path) -> Manifest:
    """The rows of a BIDS data set, as a table of them would have them.

    Raises:
        DataError: no BIDS data set, a damaged table, no recording, or no label.
    """
    runs = tuple(_runs(root))
    if not runs:
        expected = f"sub-*/**/*_eeg, *_ieeg or *_physio of {', '.join(SUFFIXES)}"
        raise DataError(root, "recordings", "none", expected, OBTAIN)
    files = [*_tables(root, runs), *(file for run in runs for file in run.files)]
    stats = [path.stat() for path in files]
    return _manifest(root, runs, tuple((s.st_mtime_ns, s.st_size) for s in stats))


@lru_cache(maxsize=4)  # asked for its labels, tasks, files and notes, one after the other
def _manifest(root: Path, runs: tuple[_Run, ...], state: object) -> Manifest:
    notes: dict[str, int] = {}
    table = _table(root / "participants.tsv")
    people = {row["participant_id"].removeprefix("sub-"): row for row in table}
    rows = [row for run in runs for row in _rows(run, people, notes)]
    rows = [replace(row, line=line) for line, row in enumerate(_in_all(rows, notes), 1)]
    labels, dropped = _labels(root, rows)
    if not labels.labels[0]:
        raise DataError(
            root,
            "labels",
            "none: no column of events.tsv or participants.tsv has two values",
            "trial_type or another column with at least two",
            "Add it to the tables.",
        )
    rows = [
        replace(row, labels=own, stimulus=row.stimulus or own.get("label") or row.trial)
        for row, own in zip(rows, labels.labels, strict=True)
    ]
    missing = labels.missing(rows, {})
    said = [f"{text} ({count} times)" if count > 1 else text for text, count in notes.items()]
    return Manifest(rows, labels.numeric, missing, (*said, *dropped, *missing.values()))


def _runs(root: Path) -> list[_Run]:
    """All runs of a tree, by their names.

    Raises:
        DataError: no such tree; mne-bids is not installed.
    """
    if not (root / DESCRIPTION).is_file():
        there = "nothing" if root.is_dir() else "no such folder"
        raise DataError(root, DESCRIPTION, there, "a BIDS data set", OBTAIN)
    try:
        import mne_bids
    except ImportError as error:
        hint = "pip install mne-bids"
        raise DataError(root, "package", "no mne-bids", "mne-bids", hint) from error
    paths = mne_bids.find_matching_paths(
        root, suffixes=["eeg", "ieeg", "physio"], ignore_json=True, ignore_nosub=True
    )
    found: dict[tuple[str, str, str, str, str], list[Any]] = {}
    for path in sorted(paths, key=lambda each: (each.suffix == "physio", str(each.fpath))):
        whole = suffix_of(path.fpath) in SUFFIXES and header_of(path.fpath) is None
        if whole and path.split in (None, "01", "1"):
            run = (path.subject, path.session or "", path.task or "", path.run or "")
            variant = _variant(path)
            keys = [key for key in found if key[:4] == run and variant in ("", key[4])]
            if path.suffix != "physio" or not keys:
                keys = [(*run, variant)]
            for key in keys:  # physiology of a run goes with each of its EEG's variants
                found.setdefault(key, []).append(path)
    runs = []
    for key, same in sorted(found.items()):
        events = same[0].find_matching_sidecar("events", ".tsv", on_error="ignore")
        files = tuple(Path(path.fpath) for path in same)
        runs.append(_Run(*key, files, Path(events) if events else None))
    return runs


def _variant(path: Any) -> str:
    """What tells files of one run apart, a part of the file's name."""
    parts = {"acq": path.acquisition, "proc": path.processing, "desc": path.description}
    return "_".join(f"{key}-{value}" for key, value in parts.items() if value)


def _rows(run: _Run, people: dict[str, dict[str, str]], notes: dict[str, int]) -> Iterator[Row]:
    """A run's rows: one per trial and signal type."""
    subject = f"sub-{run.subject}"
    kinds: dict[str, Path] = {}
    lengths: dict[Path, float] = {}
    for path in run.files:
        file = open_biosignal(path)
        lengths[path] = file.duration_s
        for kind in dict.fromkeys(file.kinds):
            if kind not in ("other", "magn", "gyro"):
                kinds.setdefault(kind, path)
    about = {k: v for k, v in (("task", run.task), ("session", run.session)) if v}
    about |= people.get(run.subject, {})
    for count, (start_s, stop_s, event) in enumerate(_trials(run, notes), 1):
        labels = {k: v for k, v in (about | event).items() if k.lower() not in _NO_LABELS}
        usual = next(filter(None, map(labels.get, ("label", "trial_type", "task"))), "")
        labels = {"label": usual} | labels
        trial = f"{run.name}_{count:03d}" if event else run.name
        for kind, path in kinds.items():
            if start_s >= lengths[path]:
                text = f"events of {run.name} after the end of {path.name} are left out"
                notes[text] = notes.get(text, 0) + 1
                continue
            yield Row(
                0, subject, trial, kind, path, labels, start_s,
                stop_s if stop_s is None else min(stop_s, lengths[path]),
                event.get("stim_file", ""), subject, None, "", (),
            )  # fmt: skip


def _trials(
    run: _Run, notes: dict[str, int]
) -> Sequence[tuple[float, float | None, dict[str, str]]]:
    """Start, stop and cells of each event that is a trial; the whole run where none is."""
    events = []
    for row in _table(run.events) if run.events else []:
        onset = number(row["onset"])
        if onset is not None and any(v for k, v in row.items() if k.lower() not in _NO_LABELS):
            events.append((onset, number(row.get("duration", "")) or 0.0, row))
    events.sort(key=lambda event: event[0])
    lasting = [
        (max(start, 0.0), start + length, cells)  # one may begin before the recording
        for start, length, cells in events
        if length > 0 and start + length > 0
    ]
    if lasting:
        return lasting
    if events:
        text = "events without a duration last to the next one"
        notes[text] = notes.get(text, 0) + 1
        ends = [*(start for start, _, _ in events[1:]), None]
        return [
            (max(start, 0.0), stop, cells)
            for (start, _, cells), stop in zip(events, ends, strict=True)
            if stop is None or stop > max(start, 0.0)
        ]
    return [(0.0, None, {})]


def _in_all(rows: list[Row], notes: dict[str, int]) -> list[Row]:
    """The rows of the modalities that every trial has; the others are said."""
    trials: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        trials.setdefault((row.subject, row.trial), set()).add(row.modality)
    kept = set.intersection(*trials.values()) if trials else set()
    kept = kept or max(trials.values(), key=len, default=set())
    for name in sorted({row.modality for row in rows} - kept):
        count = sum(name in found for found in trials.values())
        notes[f"{name} is in {count} of {len(trials)} trials only, and left out"] = 1
    return [row for row in rows if row.modality in kept]


def _labels(root: Path, rows: list[Row]) -> tuple[Labels, list[str]]:
    """The label columns that have two values, each numbers or words; what was wrong with others."""
    names = dict.fromkeys(name for row in rows for name in row.labels)
    filled = [replace(row, labels=dict.fromkeys(names, "") | row.labels) for row in rows]
    found: list[dict[str, str]] = [{} for _ in rows]
    numeric: set[str] = set()
    dropped = []
    for name in names:
        if len({row.labels[name] for row in filled} - {""}) < 2:
            continue
        try:
            column = check_labels(root, filled, [name])
        except DataError as error:
            dropped.append(f"column {name} is no label: {error.found}")
            continue
        numeric |= column.numeric
        for own, labels in zip(found, column.labels, strict=True):
            own |= labels
    return Labels(found, frozenset(numeric)), dropped


def _value(text: str) -> str:
    return "" if text in _MISSING else text.strip()


def _table(path: Path) -> list[dict[str, str]]:
    """A table's rows; none where there is no such file.

    Raises:
        DataError: it cannot be read.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, "table", error, "a tab-separated table") from error
    needed = "participant_id" if path.name == "participants.tsv" else "onset"
    if rows and needed not in rows[0]:
        raise DataError(path, "header", ", ".join(map(str, rows[0])), f"a column {needed}")
    return [{key: _value(cell or "") for key, cell in row.items() if key} for row in rows]
