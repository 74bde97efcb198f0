"""AMIGOS (Miranda-Correa et al. 2018): the preprocessed recordings and OpenFace CSVs of the faces.

    <root>/Data_Preprocessed_P01/Data_Preprocessed_P01.mat ... P40   (or the .mat files in <root>)
    <root>/face/P01/10.csv ...      OpenFace CSV of P01 watching video 10: face/<person>/<video>.csv
    <root>/groups.csv               optional: subject,group of who watched the long videos together
    <root>/videos.csv               optional: video,valence,arousal, each low, high or 1-9

`amigos-short` reads the 16 short videos, `amigos-long` 20 pieces of 5 s from each of the 4 long
ones. A person's cells are in the order of that person's `VideoIDs`, which differs from person to
person: everything is paired by video, nothing by position.

A trial is [n, 17] at 128 Hz, its first 5 s a baseline. Trials without samples, (0, 0), and without
labels, (1, 0), exist and are reported. Samples that are NaN: up to `MAX_GAP_S` between two good
ones are interpolated, and counted; longer gaps stay, and preparation leaves out the recordings
whose modalities have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.face import read_openface
from clmer.data.formats.matfile import Value, load_cells
from clmer.data.readers.amigos_labels import (
    DIMENSIONS,
    LABELS,
    Stimuli,
    external,
    read_groups,
    read_videos,
    self_rating,
)
from clmer.data.recording import SYNTHETIC_MARKER, Recording, Signal
from clmer.errors import DataError

FS = 128.0
BASELINE_S = 5.0
FACE_START_S = 5.0
SHORT, LONG = 16, 4
#: Of every long video so many pieces, spread evenly (the paper: 20 segments of 5 s).
PIECES, PIECE_S = 20, 5.0
#: Longest run of NaN samples that is interpolated.
MAX_GAP_S = 0.25
#: What one person's file may unpack to; 20 videos of 8400 s in all are about 140 MiB.
MAX_BYTES = 2**29

EEG_CHANNELS = tuple("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split())
CHANNELS = (*EEG_CHANNELS, "ECG-R", "ECG-L", "GSR")
CHANNEL_KINDS = ("eeg",) * 14 + ("ecg", "ecg", "gsr")

#: Pass bands in Hz by signal type; skin conductance keeps its slow part.
BAND: dict[str, tuple[float, float] | None] = {"eeg": (4.0, 45.0), "ecg": (0.5, 40.0), "gsr": None}

OBTAIN = """\
AMIGOS is given to academic researchers on request. Print, sign and send the end-user licence
agreement from https://www.eecs.qmul.ac.uk/mmv/datasets/amigos/ (Queen Mary University of London);
the answer holds the account for downloads. Needed: the preprocessed data in MATLAB format, one
folder per person, unpacked into one folder as Data_Preprocessed_P01/Data_Preprocessed_P01.mat and
so on. For the face also the frontal face videos; run OpenFace 2 on each of them (its licence is
non-commercial), naming the CSV after the video that was watched:
  FeatureExtraction -f <face video of P01 watching video 10> -of 10 -out_dir face/P01"""
TITLE = "AMIGOS, preprocessed (MATLAB), https://www.eecs.qmul.ac.uk/mmv/datasets/amigos/"
TERMS = (
    "AMIGOS is given to academic researchers under a signed end-user licence agreement. Whether a "
    "model that was trained on it may be passed on is for that agreement to say."
)

_SELF, _EXTERNAL = "labels_selfassessment", "labels_ext_annotation"
_NAME = re.compile(r"Data_Preprocessed_(P\d\d)\.mat")
_VIDEO = re.compile(r"[A-Za-z0-9]{1,8}")


def sources(root: Path) -> list[Path]:
    """The files that readings of `root` depend on, sorted.

    Raises:
        DataError: `root` holds no Data_Preprocessed_PXX.mat.
    """
    files = list(_mat_files(root).values())
    tables = (root / name for name in ("groups.csv", "videos.csv", SYNTHETIC_MARKER))
    files += [path for path in tables if path.is_file()]
    return sorted([*files, *_face_files(root)])


def read_short(root: Path, *, face: bool = True, labels: str = LABELS[0]) -> Iterator[Recording]:
    """The short videos person by person, one recording per video; one person in memory.

    Args:
        root: the folder laid out as above.
        face: read the face CSVs too. A recording without one has face None.
        labels: "stimulus", "self" or "external" (`amigos_labels`).

    Raises:
        DataError: on anything that is not AMIGOS as described above.
    """
    stimuli = _stimuli(root, slice(0, SHORT)) if labels == "stimulus" else None
    for trial in _trials(root, slice(0, SHORT), face):
        yield _whole(trial, labels, stimuli)


def read_long(root: Path, *, face: bool = True, labels: str = LABELS[0]) -> Iterator[Recording]:
    """20 pieces of 5 s of each long video, person by person, one recording each; as `read_short`.

    A piece brings the 5 s of the signals before it and up to 5 s after it, where filters settle.
    Pieces of one viewing are recordings of their own: `trial` would split them. People who
    watched together, by `groups.csv`, are one group; without that file everyone is a group.
    """
    stimuli = _stimuli(root, slice(SHORT, None)) if labels == "stimulus" else None
    groups = read_groups(root, _mat_files(root))
    for trial in _trials(root, slice(SHORT, None), face):
        group = groups.get(trial.subject, trial.subject)
        yield from _pieces(trial, labels, stimuli, group)


def describe_short(root: Path, *, labels: str = LABELS[0]) -> list[str]:
    """Whose labels they are, for the report."""
    return [_describe_labels(root, slice(0, SHORT), labels)]


def describe_long(root: Path, *, labels: str = LABELS[0]) -> list[str]:
    """Whose labels they are, and who counts as a group."""
    groups = read_groups(root, _mat_files(root))
    text = (
        f"groups: by groups.csv {len(groups)} people watched in company, in "
        f"{len(set(groups.values()))} groups, everyone else alone."
        if groups
        else "groups: every person alone, as there is no groups.csv: people who watched the long "
        "videos together can be on both sides of the protocol subject."
    )
    return [_describe_labels(root, slice(SHORT, None), labels), text]


def _mat_files(root: Path) -> dict[str, Path]:
    """Person -> file."""
    found = [*root.glob("Data_Preprocessed_P*.mat"), *root.glob("Data_Preprocessed_P*/*.mat")]
    names = ((_NAME.fullmatch(path.name), path) for path in sorted(found))
    files = {match[1]: path for match, path in names if match}
    if not files:
        raise DataError(
            root,
            "Data_Preprocessed_PXX.mat",
            "none" if root.is_dir() else "no such folder",
            "Data_Preprocessed_P01/Data_Preprocessed_P01.mat and so on in it",
        )
    return dict(sorted(files.items()))


def _face_files(root: Path) -> list[Path]:
    face = root / "face"
    return sorted(p for suffix in ("csv", "hog") for p in face.glob(f"P[0-9][0-9]/*.{suffix}"))


@dataclass(frozen=True, eq=False)
class _Trial:
    """One person and one video, as the file states them."""

    subject: str
    video: str
    data: np.ndarray | None  # [n, 17]
    ratings: Value
    annotation: Value
    path: Path
    face: Path | None

    def labels(self, source: str, stimuli: Stimuli | None, at_s: float | None) -> dict[str, float]:
        """Valence and arousal (1-9), or {} where there are none; at_s: seconds of the stimulus."""
        if source == "stimulus":
            assert stimuli is not None
            pair = stimuli.ratings.get(self.video)
        elif source == "self":
            pair = self_rating(self.ratings, self.path, f"{_SELF} of video {self.video}")
        else:
            duration_s = 0.0 if self.data is None else len(self.data) / FS - BASELINE_S
            where = f"{_EXTERNAL} of video {self.video}"
            pair = external(self.annotation, duration_s, at_s, self.path, where)
        return {} if pair is None else dict(zip(DIMENSIONS, pair, strict=True))

    def recording(self, group: str, problem: str = "", **fields: Any) -> Recording:
        """A recording of this person and video."""
        plain = {"trial": self.video, "labels": {}, "signals": {}, "problem": problem}
        return Recording(
            subject=self.subject,
            stimulus=self.video,
            group=group,
            source=self.path,
            **(plain | fields),
        )


def _trials(root: Path, part: slice, face: bool) -> Iterator[_Trial]:
    files = _mat_files(root)
    if face and not _face_files(root):
        raise DataError(
            root / "face",
            "OpenFace CSVs",
            "none",
            "PXX/<video>.csv",
            "Make them with OpenFace's FeatureExtraction, or leave landmarks and au out.",
        )
    known: frozenset[str] = frozenset()
    for subject, path in files.items():
        cells = _read(path, "VideoIDs", "joined_data", _SELF, _EXTERNAL)
        videos = _video_ids(cells["VideoIDs"], path)[part]
        known = known or frozenset(videos)
        if known != frozenset(videos):
            first = next(iter(files.values())).name
            raise DataError(
                path, "VideoIDs", " ".join(videos), f"{' '.join(sorted(known))} as in {first}"
            )
        rows = zip(*(cells[name][part] for name in ("joined_data", _SELF, _EXTERNAL)), strict=True)
        for video, (samples, ratings, annotation) in zip(videos, rows, strict=True):
            csv = root / "face" / subject / f"{video}.csv"
            data = _samples(samples, path, f"joined_data of video {video}")
            seen = csv if face and csv.is_file() else None
            yield _Trial(subject, video, data, ratings, annotation, path, seen)


def _read(path: Path, *names: str) -> dict[str, list[Value]]:
    cells = load_cells(path, names, max_bytes=MAX_BYTES)
    for name in names:
        shape = cells[name][0] if name in cells else None
        if shape != (1, SHORT + LONG):
            found = "no such variable" if shape is None else f"cells {shape}"
            raise DataError(path, name, found, f"cells (1, {SHORT + LONG}), one a video")
    return {name: values for name, (_, values) in cells.items()}


def _video_ids(values: list[Value], path: Path) -> list[str]:
    names = []
    for value in values:
        number = isinstance(value, np.ndarray) and value.size == 1 and np.isfinite(value).all()
        name = f"{value.item():g}" if number else value  # type: ignore[union-attr]
        if not isinstance(name, str) or not _VIDEO.fullmatch(name.strip()):
            raise DataError(path, "VideoIDs", str(value)[:40], "a short name such as 10 or N1")
        names.append(name.strip())
    if len(set(names)) < len(names):
        raise DataError(path, "VideoIDs", " ".join(names), "each video once")
    return names


def _samples(value: Value, path: Path, where: str) -> np.ndarray | None:
    if isinstance(value, np.ndarray) and value.size == 0:
        return None
    if isinstance(value, str) or value.ndim != 2 or value.shape[1] != len(CHANNELS):
        found = "text" if isinstance(value, str) else f"shape {value.shape}"
        raise DataError(path, where, found, f"[samples, {len(CHANNELS)}], or an empty trial")
    return value


def _stimuli(root: Path, part: slice) -> Stimuli:
    """Valence and arousal of every video: those of videos.csv, else the mean over people."""
    names: list[str] = []
    ratings: dict[str, list[tuple[float, float]]] = {}
    for path in _mat_files(root).values():
        cells = _read(path, "VideoIDs", _SELF)
        names = _video_ids(cells["VideoIDs"], path)[part]
        for video, value in zip(names, cells[_SELF][part], strict=True):
            rating = self_rating(value, path, f"{_SELF} of video {video}")
            ratings.setdefault(video, []).extend([rating] if rating else [])
    table = root / "videos.csv"
    return read_videos(table, names) if table.is_file() else Stimuli.mean(ratings)


def _describe_labels(root: Path, part: slice, labels: str) -> str:
    if labels == "stimulus":
        return _stimuli(root, part).describe()
    if labels == "self":
        return "labels: self, each person's own rating of each video (1-9)."
    which = "the mean of a video's segments" if part.start == 0 else "the segment a piece is in"
    return f"labels: external, the annotators' valence and arousal, {which}; -1 to 1 became 1 to 9."


def _whole(trial: _Trial, labels: str, stimuli: Stimuli | None) -> Recording:
    rated = trial.labels(labels, stimuli, None)
    problem = _problem(trial, rated, labels, BASELINE_S + 1.0)
    if problem:
        return trial.recording(trial.subject, problem)
    data, filled = _channels(trial)
    face = read_openface(trial.face) if trial.face else None
    return trial.recording(
        trial.subject,
        labels=rated,
        signals={"physio": Signal(data, FS, CHANNELS, CHANNEL_KINDS, "mixed")},
        face=face,
        baseline_s=BASELINE_S,
        face_start_s=FACE_START_S,
        interpolated=filled,
    )


def piece_starts(duration_s: float) -> np.ndarray:
    """Whole seconds of the stimulus where pieces begin: the middle of each twentieth of it."""
    return np.floor((np.arange(PIECES) + 0.5) * duration_s / PIECES - PIECE_S / 2)


def _pieces(trial: _Trial, labels: str, stimuli: Stimuli | None, group: str) -> Iterator[Recording]:
    """The 20 pieces of one long video, or the reason why there are none."""
    least_s = BASELINE_S + PIECES * PIECE_S
    problem = _problem(trial, trial.labels(labels, stimuli, 0.0), labels, least_s)
    if problem:
        yield trial.recording(group, problem)
        return
    data, filled = _channels(trial)
    face = read_openface(trial.face) if trial.face else None
    before, length = round(BASELINE_S * FS), round(PIECE_S * FS)
    starts = piece_starts(data.shape[1] / FS - BASELINE_S)
    for number, start_s in enumerate(starts.tolist(), start=1):
        start = before + round(start_s * FS)
        first = start - before
        part = data[:, first : start + length + before]
        yield trial.recording(
            group,
            trial=f"{trial.video}-{number:02d}",
            labels=trial.labels(labels, stimuli, start_s + PIECE_S / 2),
            signals={"physio": Signal(part, FS, CHANNELS, CHANNEL_KINDS, "mixed")},
            face=face,
            baseline_s=BASELINE_S,
            face_start_s=FACE_START_S - first / FS,
            length_s=PIECE_S,
            interpolated=filled if number == 1 else 0,
        )


def _problem(trial: _Trial, rated: dict[str, float], labels: str, least_s: float) -> str:
    if trial.data is None:
        return "no samples"
    if len(trial.data) < least_s * FS:
        return f"shorter than {least_s:g} s"
    return "" if rated else f"no {labels} label"


def _channels(trial: _Trial) -> tuple[np.ndarray, int]:
    """[17, n] float64 with short gaps filled, and the number of samples that were."""
    assert trial.data is not None
    data = np.array(trial.data.T, dtype=np.float64)
    return data, fill_gaps(data, round(MAX_GAP_S * FS))


def fill_gaps(data: np.ndarray, longest: int) -> int:
    """Interpolate runs of at most `longest` samples that are not finite, between two that are.

    Args:
        data: [C, n], changed in place; longer runs and those at an end become NaN.
        longest: samples.

    Returns:
        The number of samples that were filled.
    """
    filled = 0
    for row in data:
        bad = ~np.isfinite(row)
        if not bad.any():
            continue
        row[bad] = np.nan
        edges = np.flatnonzero(np.diff(np.concatenate([[0], bad, [0]])))
        for start, stop in edges.reshape(-1, 2):
            if stop - start <= longest and start > 0 and stop < len(row):
                row[start:stop] = np.linspace(row[start - 1], row[stop], stop - start + 2)[1:-1]
                filled += int(stop - start)
    return filled
