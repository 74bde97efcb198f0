"""A manifest's rows from the files of a folder: who, which trial, which label, which part."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from clmer.data.channels import canonical
from clmer.data.formats.delimited import number
from clmer.data.manifest.columns import REFERENCE
from clmer.data.manifest.propose.beside import Beside
from clmer.data.manifest.propose.join import join_tables
from clmer.data.manifest.propose.match import names_trials
from clmer.data.manifest.propose.names import Names, lettered_id, name_all, person_id
from clmer.data.manifest.propose.scan import Found, scan, without_twins
from clmer.data.manifest.propose.spans import cut_by_markers, cut_by_tables
from clmer.data.manifest.propose.trials import Proposal, Trial, some
from clmer.data.manifest.propose.words import CLASSES, REST, Word, kind_in
from clmer.data.manifest.table import OPEN
from clmer.data.tasks import DIMENSIONS
from clmer.errors import DataError
from clmer.storage import write_file
from clmer.text import folded

#: Types in the order of their rows.
_ORDER = ("eeg", "ieeg", "ecg", "ppg", "gsr", "resp", "temp", "emg", "eog")
#: Types that are proposed only where a file has no other: how people move is no emotion.
_MOTION = ("acc", "gyro", "magn")


def propose(
    root: Path,
    out: Path | None = None,
    classes: Mapping[str, str] | None = None,
    *,
    progress: bool = False,
) -> Proposal:
    """Look at a folder and propose its manifest; nothing is written.

    Args:
        root: the folder.
        out: the table to be; paths in it are relative to its folder. None: manifest.csv in `root`.
        classes: label by text of the markers in files that begin a trial; None for any.
        progress: show a bar in a terminal.

    Raises:
        DataError: there is no such folder, or no recording in it; the table exists.
    """
    out = out or root / "manifest.csv"
    if out.exists():
        raise DataError(
            out,
            "manifest",
            "one that exists",
            "a new file",
            "It is never overwritten: name another one (`out`), or rename this one.",
        )
    found = without_twins(scan(root, progress=progress))
    used = [each for each in found if each.sort in ("signals", "face", "video")]
    if not used:
        raise DataError(root, "recordings", _listed(found), "files of physiology or faces")
    tables = [each.table for each in found if each.table]
    known = {
        person_id(cell)
        for table in tables
        if table.subject is not None and table.is_sure
        for cell in table.column(table.subject)
        if cell
    }
    names = name_all([(each.format, each.path) for each in used], known, _shown(tables))
    made = Proposal(root, found, used, [])
    made.trials = _trials(made, names)
    arrays = [e.path for e in used if e.path.suffix == ".npy" and not kind_in(e.path)]
    if arrays:
        made.checks.append(
            f"{some([path.as_posix() for path in arrays], 3)}: arrays whose names tell no type of "
            "signal are taken for EEG."
        )
    _share_whole_files(made)
    _say_people(made, names)
    _label_by_name(made)
    cut_by_tables(made, [t for t in tables if t.time is not None])
    join_tables(made, [t for t in tables if t.subject is not None])
    cut_by_markers(made, classes or {})
    _label_by_group(made)
    _mark_rest(made)
    _rows(made, out.parent)
    return made


def _shown(tables: Sequence[Beside]) -> set[str]:
    """What tables call the trials."""
    return {
        lettered_id(cell)
        for table in tables
        for i in table.others
        if names_trials(table.name(i)) or folded(table.name(i)) in CLASSES
        for cell in table.column(i)
    }


def write(proposal: Proposal, out: Path) -> None:
    """Write the table, whole or not at all."""
    write_file(out, proposal.text().encode())


def _listed(found: Sequence[Found]) -> str:
    if not found:
        return "an empty folder"
    suffixes = Counter(each.path.suffix.lower() or each.path.name for each in found)
    listed = ", ".join(f"{n} {suffix}" for suffix, n in suffixes.most_common(5))
    reasons = [f"{each.path.name}: {each.says}" for each in found if each.says]
    return f"{listed}; {reasons[0]}" if reasons else listed


def _trials(made: Proposal, names: Names) -> list[Trial]:
    """The files of each person and trial."""
    trials: dict[tuple[str, tuple[str, ...]], Trial] = {}
    spellings: dict[str, Counter[str]] = {}
    for name in names.named:
        spellings.setdefault(name.person_id, Counter())[name.person] += 1
    for file, name in zip(made.used, names.named, strict=True):
        key = name.person_id, name.trial_id
        person = spellings[name.person_id].most_common(1)[0][0] or OPEN
        person = OPEN if name.person_id in names.asked else person
        trial = trials.setdefault(key, Trial(person, name.person_id, name))
        taken = [other for other in trial.files if _same_kind(other, file)]
        if taken:
            made.checks.append(
                f"{file.path} and {taken[0].path} are the same person, trial and signals by their "
                f"names: the former is left out."
            )
            continue
        trial.files.append(file)
    twice = [written for id_, written in spellings.items() if len(written) > 1 and id_]
    if twice:
        listed = some([" and ".join(sorted(written)) for written in twice], 4)
        made.checks.append(f"people written in two ways are taken for one: {listed}.")
    return sorted(trials.values(), key=lambda trial: trial.key)


def _share_whole_files(made: Proposal) -> None:
    """Give a file that is one for all trials of its person to each of them.

    When a trial begins in it nobody knows: these cells are open.
    """
    people: dict[str, list[Trial]] = {}
    for trial in made.trials:
        people.setdefault(trial.person_id, []).append(trial)
    shared: list[Found] = []
    for trials in people.values():
        whole = [trial for trial in trials if not trial.named.rest]
        if not whole or len(trials) == 1 or not whole[0].person_id:
            continue
        for trial in trials:
            if trial is not whole[0]:
                trial.files += whole[0].files
                trial.unknown += whole[0].files
        shared += whole[0].files
        made.trials.remove(whole[0])
    if shared:
        names = some([file.path.as_posix() for file in shared], 3)
        made.questions.append(
            f"start_s, stop_s: {names}: one for all trials of a person. In which seconds of it is "
            "each? Or leave these rows out."
        )


def _same_kind(one: Found, other: Found) -> bool:
    """Whether two files would be the same modality of a trial."""
    faces = [each.sort in ("face", "video") for each in (one, other)]
    if any(faces):
        return all(faces)
    kinds = [{channel.kind for channel in each.signals} for each in (one, other)]
    return bool(kinds[0] & kinds[1])


def _say_people(made: Proposal, names: Names) -> None:
    people = list(
        dict.fromkeys(t.named.person if _is_asked(t, names) else t.person for t in made.trials)
    )
    if names.question:
        made.questions.append(names.question)
    if OPEN in people:
        unnamed = [t for t in made.trials if t.person == OPEN and not _is_asked(t, names)]
        files = [t.files[0].path.as_posix() for t in unnamed]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        made.questions.append(f"subject: who is {files[0]}{more}? No part of its name tells.")
    told = [person for person in people if person != OPEN]
    made.told["people"] = (
        f"{len(told)}: {some(told)}, by {names.told_by}" if told else "none could be told"
    )
    if names.guessed:
        made.checks.append(f"people are told by {names.told_by}: {some(told)}.")
    made.checks += names.checks
    counts = Counter(trial.person for trial in made.trials)
    if len(counts) > 1 and max(counts.values()) > 1:
        least, most = min(counts.values()), max(counts.values())
        span = f"{most}" if least == most else f"{least} to {most}"
        trials = dict.fromkeys(trial.name for trial in made.trials)
        made.told["trials"] = f"{span} per person: {some(list(trials))}"


def _is_asked(trial: Trial, names: Names) -> bool:
    """Whether its person may be several."""
    return trial.person_id in names.asked


def _label_by_name(made: Proposal) -> None:
    """The column `label`, where a part of the names tells a class."""
    states = [trial.named.states for trial in made.trials]
    if all(states) and len({each[-1] for each in states}) > 1:
        values = [each[-1] for each in states]
    else:
        values = _repeated_words([trial.named.rest for trial in made.trials], made.trials)
    _label(made, values)


def _label_by_group(made: Proposal) -> None:
    """The same by a word for groups of people, where nothing else is a label."""
    if not any(trial.labels for trial in made.trials):
        _label(made, _repeated_words([trial.named.group for trial in made.trials], made.trials))


def _label(made: Proposal, values: Sequence[str]) -> None:
    if values:
        for trial, value in zip(made.trials, values, strict=True):
            trial.labels["label"] = value
        made.told["classes"] = "by the names of files and folders"


def _repeated_words(names: Sequence[Sequence[Word]], trials: Sequence[Trial]) -> list[str]:
    """Words at one place of the trials' names that several people share: a class each."""
    for at in range(min(map(len, names), default=0)):
        words = [name[at] for name in names]
        people: dict[str, set[str]] = {}
        for trial, word in zip(trials, words, strict=True):
            people.setdefault(word.key, set()).add(trial.person_id)
        plain = all(word.key and not word.value for word in words)
        several = all(len(each) > 1 for each in people.values())
        if plain and several and 2 <= len(people) <= 12:
            return [word.key for word in words]
    return []


def _mark_rest(made: Proposal) -> None:
    """Make recordings at rest their person's reference, where every person has one.

    Their class is left empty: all of it is known beforehand, and nothing of it can be tested.
    """
    resting = [trial for trial in made.trials if _is_rest(trial)]
    others = [trial for trial in made.trials if trial not in resting]
    if not resting or not others:
        return
    lacking = {trial.person for trial in others} - {trial.person for trial in resting}
    if lacking:
        made.checks.append(f"rest is no reference: {some(sorted(lacking), 4)} have none of it.")
        return
    columns = {n for t in resting for n, cell in t.labels.items() if cell.casefold() in REST}
    if any(len({t.labels.get(name, "") for t in others} - {""}) < 2 for name in columns):
        made.checks.append("rest is a class and no reference: there is one class beside it.")
        return
    words = dict.fromkeys(trial.name for trial in resting)
    for trial in resting:
        trial.labels |= {**dict.fromkeys(columns, ""), REFERENCE: "yes"}
    made.told[REFERENCE] = f"{len(resting)} recordings ({some(list(words), 4)})" + (
        f", without a class in {', '.join(sorted(columns))}" if columns else ""
    )


def _is_rest(trial: Trial) -> bool:
    by_name = {part for word in trial.named.rest for part in word.parts} & REST
    return bool(by_name) or any(
        cell.casefold() in REST for cell in (trial.part, *trial.labels.values())
    )


def _rows(made: Proposal, folder: Path) -> None:
    """The table's cells."""
    labels = list(dict.fromkeys(name for trial in made.trials for name in trial.labels))
    labels.sort(key=lambda name: name == REFERENCE)
    made.labels = [name for name in labels if name != REFERENCE]
    for name in made.labels:
        made.told[name] = _values(name, [trial.labels.get(name, "") for trial in made.trials])
    if labels in ([], [REFERENCE]):
        labels = ["label", *labels]
        made.questions.append(
            "label: what was each recording? Neither names nor a table tell. A table with columns "
            "for subject, trial and label in the folder would be read."
        )
    common = _common_channels(made)
    for trial in made.trials:
        for file in trial.files:
            for modality in _modalities(file):
                row = {
                    "subject": trial.person,
                    "trial": trial.name,
                    **{name: trial.labels.get(name, "") for name in labels},
                    "stimulus": trial.stimulus,
                    "modality": modality,
                    "path": Path(os.path.relpath(made.root / file.path, folder)).as_posix(),
                    "start_s": trial.start(file),
                    "stop_s": trial.stop(file),
                    "rate": (f"{file.rate:g}" if file.rate else OPEN) if file.needs_rate else "",
                    "channels": common.get(modality, ""),
                }
                if labels[0] == "label" and not any(t.labels.get("label") for t in made.trials):
                    row["label"] = OPEN
                made.rows.append(row)
    optional = ("stimulus", "start_s", "stop_s", "rate", "channels")
    empty = [name for name in optional if not any(row[name] for row in made.rows)]
    needed = ["subject", "trial", *labels, "stimulus", "modality", "path", *optional[1:]]
    made.columns = [name for name in needed if name not in empty]
    made.rows = [{name: row[name] for name in made.columns} for row in made.rows]
    there = {row["modality"] for row in made.rows}
    kinds = {channel.kind for file in made.used for channel in file.signals}
    if moving := [kind for kind in _MOTION if kind in kinds - there]:
        made.told["left out"] = f"{', '.join(moving)}: add rows of that modality to use motion"
    if any(row["modality"] == OPEN for row in made.rows):
        made.questions.append(
            "modality, kind: what is measured by channels whose names tell no type?"
        )
    open_rates = sum(row.get("rate") == OPEN for row in made.rows)
    if open_rates:
        made.questions.append(
            f"rate: how many samples per second have the {open_rates} files with ? in that column?"
        )


def _values(name: str, cells: Sequence[str]) -> str:
    """What a label column holds: the span of numbers, or each class and how often."""
    known = [cell for cell in cells if cell not in ("", OPEN)]
    if not known:
        return "asked below"
    numbers = [number(cell) for cell in known]
    found = [each for each in numbers if each is not None]
    if len(found) == len(known) and (len(set(found)) > 4 or name in DIMENSIONS):
        said = f"ratings from {min(found):g} to {max(found):g}"
    else:
        counts = Counter(known).most_common()
        said = some([f"{value} ({count})" for value, count in counts], 8)
    lacking = len(cells) - len(known)
    return f"{said}; {lacking} trials have none" if lacking else said


def _modalities(file: Found) -> list[str]:
    """The modalities that a file is a row of."""
    if file.sort in ("face", "video"):
        return ["face"]
    kinds = {channel.kind for channel in file.signals}
    body = [kind for kind in _ORDER if kind in kinds]
    return body or [kind for kind in (*_MOTION, "other") if kind in kinds] or [OPEN]


def _common_channels(made: Proposal) -> dict[str, str]:
    """The cell `channels` of a modality whose recordings have different ones: those of all."""
    by_kind: dict[str, list[list[str]]] = {}
    for file in (file for trial in made.trials for file in trial.files if file.sort == "signals"):
        for kind in _modalities(file):
            names = [channel.name for channel in file.signals if channel.kind == kind]
            by_kind.setdefault(kind, []).append(names)
    cells = {}
    for kind, lists in by_kind.items():
        sets = [{canonical(name) for name in names} for names in lists]
        shared = set.intersection(*sets)
        if all(each == sets[0] for each in sets):
            continue
        if not shared:
            made.questions.append(
                f"channels: the recordings of {kind} have no channel in common "
                f"({some(lists[0], 4)}; {some(next(x for x in lists if x != lists[0]), 4)})."
            )
            continue
        kept = [name for name in lists[0] if canonical(name) in shared]
        cells[kind] = ";".join(kept)
        lacking = set.union(*sets) - shared
        made.checks.append(
            f"{kind}: only the {len(kept)} channels that all recordings have are used "
            f"(some lack {some(sorted(lacking), 5)})."
        )
    return cells
