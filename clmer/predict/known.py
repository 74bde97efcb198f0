"""Whether a run was trained on a recording, and which of its splits was not."""

from __future__ import annotations

import csv
import filecmp
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from clmer.data.manifest.reader import manifest_of
from clmer.data.store.origin import listed
from clmer.errors import DataError
from clmer.pipeline.run.folder import DATA, RESULTS
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.run_files import damaged, read_json, read_origin, readable
from clmer.text import from_cell

#: Protocols under which a split's test part has people whom it was not trained on.
_NEW_PEOPLE = ("subject", "loso")
#: Those under which it has whole recordings; elsewhere every split has some of each recording.
_WHOLE = (*_NEW_PEOPLE, "trial", "stimulus", "own")


class Trial(NamedTuple):
    """A recording of the training data."""

    person: str
    name: str


def training_notes(trained: TrainedRun, files: Iterable[Path]) -> list[str]:
    """What to say where a recording is one of those that a run was trained on; else nothing.

    Args:
        trained: the run, with the splits that are asked.
        files: of the recording; any of them is enough.
    """
    root = Path(trained.config.root)
    for path in dict.fromkeys(files):
        if source := _source(trained, root, path):
            return [_note(trained, path, _trials(trained, root, source))]
    return []


def _source(trained: TrainedRun, root: Path, path: Path) -> str:
    """The training data's file, below its root, that a file is or is a copy of; "" for none."""
    if not readable(trained.folder / DATA, (trained.folder / DATA).is_file) or not path.exists():
        return ""
    [[_, size, time, head]] = listed(root, [path])
    for name, *known in read_origin(trained.folder / DATA)["sources"]:
        if [size, head] != [known[0], known[2]]:
            continue
        there = root / name
        if time == known[1] or (there.exists() and _is_same(path, there)):
            return str(name)
    return ""


def _is_same(path: Path, other: Path) -> bool:
    return path.samefile(other) or (path.is_file() and filecmp.cmp(path, other, shallow=False))


def _trials(trained: TrainedRun, root: Path, source: str) -> list[Trial]:
    """Whose recordings are in a file of a manifest; none where no manifest says so any more."""
    if trained.config.dataset not in ("manifest", "bids"):
        return []
    try:
        rows = manifest_of(root).rows
    except DataError:
        return []
    wanted = os.path.realpath(root / source)
    return [
        *dict.fromkeys(
            Trial(row.subject, row.trial) for row in rows if os.path.realpath(row.path) == wanted
        )
    ]


def _note(trained: TrainedRun, path: Path, trials: list[Trial]) -> str:
    """The sentence about one file."""
    people = list(dict.fromkeys(trial.person for trial in trials))
    what = "one of the files that the run was trained on"
    if len(trials) == 1:
        what = f"{trials[0].person}'s {trials[0].name}, which the run was trained on"
    elif people:
        what = f"a file of {', '.join(people)}, which the run was trained on"
    said = f"note: {path} is {what}"
    if trained.config.protocol_name not in _WHOLE:
        return f"{said}, in every split: this says nothing of how well it does on new recordings"
    without = _splits_without(trained, trials)
    new = trained.config.protocol_name in _NEW_PEOPLE and len(people) == 1
    whom = people[0] if new else "it"
    asked = " and ".join(trained.splits)
    if without and set(trained.splits) <= set(without):
        return f"{said}; {asked}, which answers here, was trained without {whom}"
    if not without:
        return f"{said}: its predictions.csv has what a split without it said, if one was trained"
    instead = " or ".join(f"`split={name}`" for name in without)
    return f"{said}: what follows flatters it. Trained without {whom}: {instead}"


def _splits_without(trained: TrainedRun, trials: list[Trial]) -> list[str]:
    """The splits in whose test part all of these recordings are, as `split1`."""
    path = trained.folder / "predictions.csv"
    if not trials or not readable(path, path.is_file):
        return []
    names = [split["name"] for split in read_json(trained.folder / RESULTS).get("splits", [])]
    wanted = {f"{trial.person}/{trial.name}" for trial in trials}
    tested: dict[str, set[str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"recording", "split"} <= set(rows.fieldnames or ()):
            raise damaged(path, "columns", rows.fieldnames, "recording and split among them")
        for row in rows:
            if (recording := from_cell(row["recording"] or "")) in wanted:
                tested.setdefault(from_cell(row["split"] or ""), set()).add(recording)
    return [f"split{n + 1}" for n, name in enumerate(names) if tested.get(name) == wanted]
