"""Your own recordings, described by `manifest.csv`: one row per (subject, trial, modality).

| column | |
|---|---|
| `subject`, `trial` | the person, and the recording within the person |
| label columns | any other names: a rating (all numbers) or a class; at least one; may be missing |
| `modality` | a signal's name ("eeg", "ecg", "physio", ...), or "face" for its table or video |
| `path` | relative to the manifest's folder |
| `start_s`, `stop_s` | optional: the trial's part of the file; empty for its start and end |
| `stimulus` | optional: what was shown; the first label by default |
| `group` | optional: people who must stay together; the subject by default |
| `rate` | samples per second where a file does not say (`.npy`); a face CSV's frames per second |
| `kind` | optional: the channels' type ("eeg", "ecg", "gsr", ...) where the file does not say |
| `channels` | optional: names separated by ";", to use some of a file's channels |
| `unit` | optional: the unit of the samples ("uV", "mV", "V", ...) where the file does not say |
| `face_id` | optional: which face of a CSV that holds several |

A modality named after a type takes the channels of that type where the file has several. All
modalities of a trial start together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clmer.data.channels import canonical
from clmer.data.choices.files import SUPPORTED
from clmer.data.face import face_modalities
from clmer.data.formats import check_suffix
from clmer.data.formats.biosignal import SUFFIXES, bad_channels, files_of, is_recording
from clmer.data.formats.tables import is_session
from clmer.data.manifest import bids
from clmer.data.manifest.files import near_file
from clmer.data.manifest.row import Row
from clmer.data.manifest.signals import read_signal
from clmer.data.manifest.table import (
    FACE_MODALITIES,
    Manifest,
    overlaps,
    read_manifest,
    table_path,
)
from clmer.data.ratings import AnyTask
from clmer.data.recording import FaceSeries, Recording, SharedSamples, Signal
from clmer.data.tasks import RATING_TASKS, outside
from clmer.data.video.series import is_video, model_file, open_face
from clmer.errors import DataError

#: Pass bands in Hz by signal type; the others keep their slow part.
BAND: dict[str, tuple[float | None, float | None] | None] = {"eeg": (4.0, 45.0), "ecg": (0.5, 40.0)}


def manifest_of(root: Path) -> Manifest:
    """The manifest of a folder, or what its BIDS tree says in place of one (`bids`).

    Raises:
        DataError: neither is there, or it cannot be used.
    """
    return bids.read_tree(root) if bids.is_tree(root) else read_manifest(table_path(root))


def sources(root: Path) -> list[Path]:
    """The manifest and the files it names, with those that belong to them, sorted.

    Raises:
        DataError: the manifest cannot be used.
    """
    tables = bids.tables(root) if bids.is_tree(root) else [table_path(root)]
    files = {*tables}
    for row in manifest_of(root).rows:
        if row.modality not in FACE_MODALITIES and is_recording(row.path):
            files |= set(files_of(row.path))
            continue
        files.add(row.path)
        if is_video(row.path) and (model := model_file()):
            files.add(model)
        elif (hog := row.path.with_suffix(".hog")).is_file():
            files.add(hog)
    return sorted(files)


def found(root: Path) -> tuple[str, ...]:
    """Every modality of the manifest, in order; of the face those that its tables hold.

    The face's "hog" is used when asked for, and "gaze" too where there is anything else.
    """
    rows = manifest_of(root).rows
    names = dict.fromkeys(row.modality for row in rows)
    signals = tuple(name for name in names if name not in FACE_MODALITIES)
    return signals + _of_faces(rows)


def _of_faces(rows: Sequence[Row]) -> tuple[str, ...]:
    """What any face table of the manifest holds, which all others need then: an error says so."""
    tables = {row.path for row in rows if row.modality in FACE_MODALITIES}
    usual = ("landmarks", "au")
    held = (usual if is_video(path) else face_modalities(path) for path in tables)
    there = {name for names in held for name in names}
    found = tuple(name for name in usual if name in there)
    return found or (("gaze",) if "gaze" in there else usual if tables else ())


def labels(root: Path) -> tuple[str, ...]:
    """The label columns, in order."""
    return tuple(manifest_of(root).rows[0].labels)


def tasks(root: Path) -> tuple[str, ...]:
    """The label columns, and the rating tasks that those of numbers make up."""
    table = manifest_of(root)
    made = (name for name, (needed, _, _) in RATING_TASKS.items() if table.numeric >= set(needed))
    return tuple(dict.fromkeys((*table.rows[0].labels, *made)))


def label_values(root: Path) -> dict[str, np.ndarray]:
    """The label columns, one value per row: float64, nan where missing, or str and ""."""
    table = manifest_of(root)
    return {
        name: np.array([_value(row.labels[name], name in table.numeric) for row in table.rows])
        for name in table.rows[0].labels
    }


def trial_labels(root: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The label columns, one value per trial as in `label_values`, and whose trial each is."""
    table = manifest_of(root)
    trials = {(row.subject, row.trial): row for row in reversed(table.rows)}
    columns = {
        name: np.array([_value(r.labels[name], name in table.numeric) for r in trials.values()])
        for name in table.rows[0].labels
    }
    return columns, np.array([subject for subject, _ in trials])


def check_scale(root: Path, task: AnyTask) -> None:
    """Refuse ratings outside a task's scale, by their line.

    Raises:
        DataError: there is one.
    """
    table = root if bids.is_tree(root) else table_path(root)
    low, high = task.scale
    for row in manifest_of(root).rows:
        for column in task.columns:
            value = float(row.labels[column] or "nan")
            if value < low or value > high:
                raise DataError(
                    table,
                    f"line {row.line}, {column}",
                    f"{value:g}",
                    f"a number from {low:g} to {high:g}",
                    outside(value, task.scale),
                )


def missing(root: Path) -> dict[str, str]:
    """By label column, a sentence on the trials without a value; none where all have one."""
    return manifest_of(root).missing


def shared(root: Path) -> list[SharedSamples]:
    """Recordings that read the same seconds of a file, or one file under two people's names."""
    return [
        SharedSamples(
            f"{each.a.subject}/{each.a.trial}",
            f"{each.b.subject}/{each.b.trial}",
            each.a.modality,
            each.seconds if math.isfinite(each.seconds) else None,
            each.a.path.name,
        )
        for each in overlaps(manifest_of(root).rows)
    ]


def describe(root: Path) -> tuple[str, ...]:
    """What was odd about the table and how it was read, a sentence each."""
    table = manifest_of(root)
    faces = _of_faces(table.rows)
    absent = {"landmarks": "landmarks", "au": "action units"}
    missing = [text for name, text in absent.items() if name not in faces]
    if not faces or not missing:
        return table.notes
    note = f"the face tables hold no {' and no '.join(missing)}: {faces[0]} alone is used"
    return (*table.notes, note)


def _value(text: str, numeric: bool) -> float | str:
    """A label as a recording has it; nan or "" where there is none."""
    return float(text or "nan") if numeric else text


def read(
    root: Path, *, face: bool = True, cache: Path | None = None, only: Collection[str] = ()
) -> Iterator[Recording]:
    """Recordings by subject and trial, sorted; one in memory.

    Args:
        root: the folder of `manifest.csv`, or the table itself.
        face: read the face CSVs too.
        cache: folder beside whose stores tables of face videos are kept; None for the default.
        only: "subject/trial" of the recordings that are wanted; empty for all.

    Raises:
        DataError: the manifest or a file it names cannot be used.
    """
    table = manifest_of(root)
    trials: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        trials.setdefault((row.subject, row.trial), []).append(row)
    bad = _bad_channels(table.rows)
    for subject, trial in sorted(trials):
        if only and f"{subject}/{trial}" not in only:
            continue
        yield _read_trial(trials[subject, trial], table.numeric, face, bad, cache)


def _bad_channels(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """What to say of each channel that a file marks as bad, by modality and canonical name.

    All recordings of a modality need the same channels, so what is bad in one is left out of all.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.modality in FACE_MODALITIES or row.channels or not is_recording(row.path):
            continue
        for name in bad_channels(row.path):
            of_name = found.setdefault(row.modality, {}).setdefault(canonical(name), [name])
            of_name.append(f"{row.subject}/{row.trial}")
    total = {name: sum(row.modality == name for row in rows) for name in found}
    return {
        modality: {
            key: f"{modality}: {name} is marked as bad in {len(where)} of {total[modality]} "
            f"recordings ({', '.join(where[:3])}{', ...' if len(where) > 3 else ''}) and "
            "left out of all"
            for key, (name, *where) in names.items()
        }
        for modality, names in found.items()
    }


def _read_trial(
    rows: list[Row],
    numeric: frozenset[str],
    face: bool,
    bad: dict[str, dict[str, str]],
    cache: Path | None,
) -> Recording:
    series, face_start_s = None, 0.0
    signals: dict[str, Signal] = {}
    for row in rows:
        if row.modality not in FACE_MODALITIES:
            without = bad.get(row.modality, {})
            signal = read_signal(row, without)
            notes = (*signal.notes, *(() if row.channels else without.values()))
            signals[row.modality] = replace(signal, notes=notes)
        elif face and series is None:
            series, face_start_s = _read_face(row, cache)
    first = rows[0]
    return Recording(
        subject=first.subject,
        trial=first.trial,
        stimulus=first.stimulus,
        group=first.group,
        labels={name: _value(v, name in numeric) for name, v in first.labels.items()},
        signals=signals,
        face=series,
        face_start_s=face_start_s,
        source=first.path,
        files={row.modality: row.path for row in rows},
    )


def read_file(
    path: Path,
    modality: str,
    *,
    channels: tuple[str, ...] = (),
    rate: float | None = None,
    unit: str = "",
    kind: str = "",
) -> Signal:
    """A whole file as one modality, as a row of a manifest that names it has it.

    Args:
        path: a file of a supported kind, not a face's.
        modality: its name.
        channels: names, in the order wanted; those of the modality's type, or all, by default.
        rate: samples per second where the file does not say, as an .npy.
        unit: of the samples, where the file does not say; it counts more than the file's.
        kind: type of the channels, where the file does not say.

    Raises:
        DataError: the file cannot be read, or lacks a channel.
    """
    row = Row(*(0, "", "", modality, path, {}, 0.0, None, "", "", rate, kind, channels), unit=unit)
    if not os.path.exists(path):
        raise DataError(path, "file", "nothing", SUPPORTED, near_file(path.parent, path))
    if not is_session(path):
        check_suffix(path, (*SUFFIXES, ".npy"), SUPPORTED)
    return read_signal(row)


def _read_face(row: Row, cache: Path | None) -> tuple[FaceSeries, float]:
    """The frames that surround a span, and the first one's time after the span's start."""
    face = open_face(row.path, fps=row.rate, face_id=row.face_id, cache=cache)
    start_s, stop_s = row.span(len(face.valid) / face.fps, 1.5 / face.fps)
    first = math.floor(start_s * face.fps + 1e-6)
    last = math.floor(stop_s * face.fps + 1e-6) + 1
    return face.part(first, last), first / face.fps - start_s
