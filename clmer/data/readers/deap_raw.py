"""DEAP's original recordings: BioSemi BDF, through MNE.

    <root>/data_original/s01.bdf ... s32.bdf        (or the .bdf files in <root> itself)
    <root>/metadata_csv/participant_ratings.csv     (or in <root> itself); always needed
    <root>/face/s01/s01_trial01.csv ...             as in `deap.py`

512 Hz, 48 channels: 32 EEG without a reference, EXG1-8 (pairs of electrodes), GSR1, Resp, Plet,
Temp, three that are unused, and Status. The two laboratories ordered the EEG channels differently:
they are taken by name, in the order of the preprocessed data, and referenced to their average.

Status marks events in its low byte: 3 fixation, 4 **start of a video**, 5 its end. The k-th 4 is
the k-th video that was *shown*; `participant_ratings.csv` says which one that was, and gives its
ratings. Nothing else in a BDF says which video a stretch belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.biosignal_file import BiosignalFile
from clmer.data.readers.deap import (
    BASELINE_S,
    CHANNEL_KINDS,
    CHANNELS,
    EEG_CHANNELS,
    LABELS,
    check_face,
    companions,
    expected_shape,
    face_of,
    ratings_path,
    read_ratings,
)
from clmer.data.readers.deap import FS as PREPROCESSED_FS
from clmer.data.recording import Recording, Signal
from clmer.errors import DataError

#: hEOG, vEOG, zEMG and tEMG as differences of two electrodes, and the single sensors.
PAIRS = (("EXG1", "EXG2"), ("EXG3", "EXG4"), ("EXG5", "EXG6"), ("EXG7", "EXG8"))
SENSORS = ("GSR1", "Resp", "Plet", "Temp")
VIDEO_STARTS = 4
#: Seconds around a trial in which filters settle.
SETTLE_S = 2.0

#: Pass bands in Hz by signal type; the peripheral channels keep their slow part.
BAND: dict[str, tuple[float, float] | None] = {
    **{kind: None for kind in dict.fromkeys(CHANNEL_KINDS)},
    "eeg": (4.0, 45.0),
}

NOTES = (
    "EEG is referenced to the average of its 32 channels; eye movements are not removed.",
    "GSR is left in each laboratory's own unit (conductance or resistance): compare it within a "
    "person only, for example standardised by subject.",
)

OBTAIN = """\
DEAP is given to academic researchers on request. Print, sign and send the end-user licence
agreement from https://www.eecs.qmul.ac.uk/mmv/datasets/deap/ (Queen Mary University of London);
the answer holds the account for downloads. Needed: data_original.zip and metadata_csv.zip, unpacked
into one folder as data_original/s01.bdf and metadata_csv/participant_ratings.csv; for the face as
for deap. The preprocessed data are the data set deap."""
TITLE = "DEAP, original recordings (data_original), https://www.eecs.qmul.ac.uk/mmv/datasets/deap/"


def sources(root: Path) -> list[Path]:
    """The files that readings of `root` depend on, sorted.

    Raises:
        DataError: `root` holds no sXX.bdf.
    """
    return sorted([*_bdf_files(root).values(), *companions(root)])


def read(root: Path, *, face: bool = True) -> Iterator[Recording]:
    """Recordings person by person, in the order of Experiment_id; one trial in memory.

    Args:
        root: the folder laid out as above.
        face: read the face CSVs too; taken to begin with the stimulus. A trial without one has
            face None.

    Raises:
        DataError: on anything that is not DEAP as described above.
    """
    files = _bdf_files(root)
    trials, _, samples = expected_shape(root)
    table = ratings_path(root)
    if not table.is_file():
        raise DataError(
            table,
            "file",
            "nothing",
            "DEAP's participant_ratings.csv there or in the root",
            "Videos were shown in another order to everyone: only this table says which is which.",
        )
    ratings = read_ratings(table, trials)
    if face:
        check_face(root, table)
    for subject, path in files.items():
        if subject not in ratings:
            raise DataError(table, "Participant_id", f"no rows of {subject}", "its rows")
        file = open_biosignal(path)
        _check_channels(file)
        starts = _video_starts(file, trials, samples / PREPROCESSED_FS - BASELINE_S)
        for video, (presented, rated) in sorted(ratings[subject].items()):
            start_s = starts[presented - 1]
            first_s = max(0.0, start_s - BASELINE_S - SETTLE_S)
            length_s = samples / PREPROCESSED_FS - BASELINE_S
            yield Recording(
                subject=subject,
                trial=f"t{video:02d}",
                stimulus=f"v{video:02d}",
                group=subject,
                labels=dict(zip(LABELS, rated.tolist(), strict=True)),
                signals={"physio": _physio(file, first_s, start_s + length_s + SETTLE_S)},
                face=face_of(root, subject, presented) if face else None,
                baseline_s=start_s - first_s,
                face_start_s=start_s - first_s,
                length_s=length_s,
                source=path,
            )


def open_file(path: Path) -> Signal:
    """All of a BDF as the 40 channels of the preprocessed data.

    Raises:
        DataError: the file cannot be read, or lacks a channel.
    """
    file = open_biosignal(path)
    _check_channels(file)
    return _physio(file, 0.0, file.duration_s)


def _bdf_files(root: Path) -> dict[str, Path]:
    for folder in (root / "data_original", root):
        files = {p.stem: p for p in sorted(folder.glob("s[0-9][0-9].bdf"))}
        if files:
            return files
    raise DataError(
        root,
        "data_original",
        "no sXX.bdf" if root.is_dir() else "no such folder",
        "s01.bdf ... s32.bdf in it or in its data_original/",
    )


def _check_channels(file: BiosignalFile) -> None:
    needed = (*EEG_CHANNELS, *(name for pair in PAIRS for name in pair), *SENSORS)
    there = [channel.name for channel in file.all_channels]
    missing = [name for name in needed if name not in there]
    if missing:
        found = f"no {', '.join(missing)}"
        raise DataError(file.path, "channels", found, "the 48 channels of DEAP's BDF files")


def _video_starts(file: BiosignalFile, trials: int, length_s: float) -> list[float]:
    """Seconds at which the videos began, in the order in which they were shown."""
    words = file.codes("Status")
    if words is None:
        raise DataError(file.path, "Status", "no such channel", "the channel of event markers")
    status, fs = words
    playing = (status & 0xFF) == VIDEO_STARTS
    starts = np.flatnonzero(playing & ~np.concatenate([[False], playing[:-1]])) / fs
    if len(starts) != trials or starts[-1] + length_s > file.duration_s:
        found = f"{len(starts)} starts of a video in {file.duration_s:g} s"
        raise DataError(
            file.path,
            "Status",
            found,
            f"{trials} markers of code {VIDEO_STARTS}, the last one {length_s:g} s before the end",
            "The k-th marker is the k-th trial: with one missing the rest would be mislabelled.",
        )
    return list(map(float, starts))


def _physio(file: BiosignalFile, start_s: float, stop_s: float) -> Signal:
    """The 40 channels of the preprocessed data, in their order, between two times."""
    names = (*EEG_CHANNELS, *(name for pair in PAIRS for name in pair), *SENSORS)
    raw = file.signal(names, start_s, stop_s)
    count = len(EEG_CHANNELS)
    eeg, electrodes, sensors = np.split(raw.data, [count, count + 2 * len(PAIRS)])
    rows = [eeg - eeg.mean(axis=0), electrodes[::2] - electrodes[1::2], sensors]
    return replace(
        raw, data=np.concatenate(rows), channels=CHANNELS, kinds=CHANNEL_KINDS, unit="mixed"
    )
