"""The manifest's header and the names of modalities, as people write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from clmer.data.channels import as_kind
from clmer.data.formats.delimited import Table, is_missing, number
from clmer.data.tasks import DIMENSIONS
from clmer.errors import DataError
from clmer.text import folded

NEEDED = ("subject", "trial", "modality", "path")
OPTIONAL = ("start_s", "stop_s", "duration_s", "stimulus", "group", "rate", "kind", "channels",
            "unit", "face_id")  # fmt: skip
#: A label column that marks what people are known by (`clmer.pipeline.reference_rows`), never the
#: task or the stimulus by itself.
REFERENCE = "reference"
FACE_MODALITIES = ("face", "landmarks", "au", "gaze", "hog")

#: Other words for a column, without spaces and underscores: none of them is a label.
_OTHER_WORDS = {
    "subject": "sub subj subjectid subid participant participantid proband user userid patient "
    "patientid person personid pid",
    "trial": "trialid trialno trialnumber",
    "modality": "modalities mod signaltype",
    "path": "file filename filepath fname pathname",
    "start_s": "start starttime startsec startms begin beginning onset onsets tstart tmin t0 "
    "latency timestamp",
    "stop_s": "stop stoptime stopsec stopms end ends endms endtime ending offset tstop tend tmax "
    "t1 finish",
    "duration_s": "duration durations dur durationsec durationms length len dauer",
    "stimulus": "stim stims stimuli stimulusid stimid",
    "group": "groupid groups",
    "rate": "samplingrate samplerate samplingfrequency samplefrequency sfreq fs srate hz freq "
    "frequency fps framerate frequencyhz ratehz",
    "channels": "channel ch chans chan electrode electrodes",
    "unit": "units",
    "face_id": "faceid faceno",
}
#: Of these, words that can mean nothing else: such a column is taken, with a note.
_TAKEN = {
    "subject": "subjectid participant participantid sub subj",
    "path": "file filename filepath",
    "start_s": "start starts starttime startsec begin onset onsets onsetsec",
    "stop_s": "stop stops stoptime stopsec end ends endtime endsec",
    "duration_s": "duration durations dur durationsec",
    "rate": "samplingrate samplerate samplingfrequency sfreq fs",
}
#: Columns that people keep in such a table and that are no label.
_REMARKS = frozenset(
    "comment comments note notes remark remarks bemerkung bemerkungen experimenter operator date "
    "datum recordingdate acqtime birthdate dob".split()
)
#: What a column that is missing may be called beside these.
_LOOSE_WORDS = {
    "subject": "id name code",
    "trial": "session run block recording clip video",
    "modality": "signal sensor type source device",
    "path": "recording data url",
}
#: Words of which one makes a column's name, beside words that only say more of it.
_CORE = {
    "subject": "subject subjects subj sub participant participants proband probandin person "
    "patient user vp vpn ppt pid teilnehmer teilnehmerin sujet",
    "trial": "trial trials durchgang run session block",
    "modality": "modality modalities modal datatype",
    "path": "file files filename path filepath pathname fname pfad datei uri url location edf csv",
    "start_s": "start starts begin begins beginning beginn onset onsets tstart tmin from debut "
    "inicio",
    "stop_s": "stop stops end ends ending ende offset tstop tend tmax until to finish fin",
    "duration_s": "dur dauer duration length",
    "stimulus": "stimulus stim stimuli",
    "group": "group groups gruppe",
    "rate": "rate samples srate samplerate samplingrate sfreq freq frequency fs sr fps hz "
    "abtastrate",
    "channels": "channel channels chan chans ch electrode electrodes kanal",
    "unit": "unit units einheit",
    "face_id": "face gesicht",
}
_MORE = frozenset(
    "s sec secs second seconds ms msec msecs millisecond milliseconds min minutes h hz khz uv mv "
    "time times timestamp point t at in of the per id no nr num number name names code idx index "
    "list used trial trials video clip segment epoch event stim stimulus eeg signal data recording "
    "sample samples sampling frame frames file rel relative abs absolute".split()
)
_NEAR = 0.8  # of difflib's ratio


@dataclass(frozen=True)
class Header:
    """The columns of a table.

    Args:
        names: known ones in lower case, whatever they are called.
        labels: which of them are labels.
        notes: what was taken for what, and what is ignored.
    """

    names: list[str]
    labels: list[str]
    notes: tuple[str, ...] = ()


def header(table: Table) -> Header:
    """The columns' names, and which of them are labels.

    Raises:
        DataError: a column is missing, there twice or without a name; there is no label column; one
            is called nearly as a known one, or holds times.
    """
    names = [_canonical(name) for name in table.names]
    names, notes = _taken(names, table.names)
    known = NEEDED + OPTIONAL
    ignored = [name for name in names if is_remark(name)]
    labels = [name for name in names if name not in known and name not in ignored]
    empty = [name for name in labels if name and _is_empty(table, names.index(name))]
    if len(empty) < len(labels):
        ignored += empty
        labels = [name for name in labels if name not in empty]
    if ignored:
        notes.append(f"manifest: columns that are no label are ignored: {', '.join(ignored)}.")
    labels.sort(key=lambda name: name == REFERENCE)  # the first one has a meaning
    missing = [name for name in NEEDED if name not in names]
    twice = [name for name, count in Counter(map(folded, names)).items() if count > 1 and name]
    meant = {name: meaning(name, [n for n in known if n not in names]) for name in labels}
    loose = {name: _loosely_meant(name, missing) for name in labels}
    meant = {name: meant[name] or loose[name] for name in labels if meant[name] or loose[name]}
    nameless = [name for name in names if not name or re.match("(?i)unnamed", name)]
    if meant:
        raise _misspelt(table.path, meant)
    if missing or twice or nameless or labels in ([], [REFERENCE]):
        hints = [f"Twice, but for case and spaces: {', '.join(twice)}."] if twice else []
        if nameless and names:
            hints.append("pandas writes its index so, a column without a name: index=False.")
        raise DataError(
            table.path,
            "header",
            ",".join(names) or "nothing",
            f"{', '.join(NEEDED)} and at least one label column, each once (optional: "
            f"{', '.join(OPTIONAL)})",
            " ".join(hints),
        )
    return Header(names, labels, tuple(notes))


def _taken(names: list[str], written: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names, with those replaced that can mean one known column only; a note on each."""
    notes = []
    for column, words in _TAKEN.items():
        found = [i for i, name in enumerate(names) if _key(name) in words.split()]
        if column not in names and len(found) == 1:
            names = [column if i == found[0] else name for i, name in enumerate(names)]
            notes.append(f"manifest: column {written[found[0]]} is read as {column}.")
    return names, notes


def is_remark(name: str) -> bool:
    """Whether a column's name says that it is no label: comments, dates."""
    return _key(name) in _REMARKS


def _is_empty(table: Table, at: int) -> bool:
    return all(at >= len(cells) or is_missing(cells[at]) for _, cells in table.rows)


def _key(name: str) -> str:
    return re.sub(r"[\W_]", "", folded(name))


def _misspelt(path: Path, meant: dict[str, str]) -> DataError:
    """The error of columns that are nearly known, by what they probably mean."""
    hints = [f"Did you mean {column} for {name}?" for name, column in meant.items()]
    if {"start_s", "stop_s"} & set(meant.values()):
        hints.append("Both are in seconds from the file's start; a length is duration_s.")
    hints.append("A label needs a name of its own, such as label_2.")
    expected = ", ".join(dict.fromkeys(meant.values()))
    return DataError(path, "header", ", ".join(meant), expected, " ".join(hints))


def _canonical(name: str) -> str:
    """Known columns and ratings in lower case, whatever their case; labels as they are written."""
    key = folded(name)
    return key if key in (*NEEDED, *OPTIONAL, *DIMENSIONS, REFERENCE) else name


def meaning(name: str, absent: Sequence[str]) -> str:
    """The column that a label's name probably stands for; "" for none.

    Args:
        name: of a label column.
        absent: known columns that the header lacks: a name less near is a slip for one of these.
    """
    key = _key(name)
    for column, words in _OTHER_WORDS.items():
        if key in words.split():
            return column
    if spelt := _spelt_out(name, absent):
        return spelt
    near = [(SequenceMatcher(None, key, column.replace("_", "")).ratio(), column)
            for column in NEEDED + OPTIONAL]  # fmt: skip
    ratings = [(SequenceMatcher(None, key, each).ratio(), each) for each in DIMENSIONS
               if not key.startswith(each) and not key.endswith(each)]  # fmt: skip
    best, column = max(near + [each for each in ratings if each[1] != key], default=(0.0, ""))
    certain = column in absent or column in DIMENSIONS
    return column if best >= (_NEAR if certain else 0.9) else ""


def _spelt_out(name: str, absent: Sequence[str]) -> str:
    """The column, out of some, that a name of several words stands for: "trial start (sec)"."""
    words = set(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z][a-z])(?=[A-Z])", " ", name).casefold()))
    for column, core in _CORE.items():
        rest = words - set(core.split())
        if column in absent and rest < words and rest <= _MORE:
            return column
    return ""


def _loosely_meant(name: str, missing: list[str]) -> str:
    """The needed column that a label's name may stand for, since that column is not there."""
    key = _key(name)
    return next((column for column in missing if key in _LOOSE_WORDS[column].split()), "")


def modality(name: str) -> str:
    """A modality's name: signal types and the face in lower case, under one name each."""
    kind, key = as_kind(name), folded(name)
    return kind or (key if key in FACE_MODALITIES else name)


def check_no_times(path: Path, name: str, values: list[tuple[str, str]]) -> None:
    """Refuse a label column of numbers that rise from trial to trial within every file.

    Args:
        path: the manifest, for messages.
        name: the label column.
        values: file and cell of each trial, in the table's order.

    Raises:
        DataError: they are all numbers, no two equal, rising in files of several trials, five times
            at least.
    """
    found = [number(text) for _, text in values]
    numbers = [value for value in found if value is not None]
    if len(numbers) < len(found) or len(set(numbers)) < len(numbers) or name in DIMENSIONS:
        return
    by_file: dict[str, list[float]] = {}
    for (file, _), value in zip(values, numbers, strict=True):
        by_file.setdefault(file, []).append(value)
    steps = [b > a for each in by_file.values() for a, b in zip(each, each[1:], strict=False)]
    if len(steps) >= 5 and all(steps):
        raise DataError(
            path,
            f"column {name}",
            f"another number in every trial, rising within each file, from {min(numbers):g}",
            "a label: a class, or a rating",
            "Are these times? They are called start_s and stop_s. Any other column that is no "
            "label must go.",
        )
