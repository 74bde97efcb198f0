"""DEAP (Koelstra et al. 2012): `data_preprocessed_python` and OpenFace CSVs of the face videos.

    <root>/data_preprocessed_python/s01.dat ... s32.dat     (or the .dat files in <root> itself)
    <root>/metadata_csv/participant_ratings.csv             (or in <root> itself)
    <root>/face/s01/s01_trial01.csv ...                     OpenFace CSV of face_video/s01/...avi

Rows of a `.dat` follow Experiment_id (the video); face videos are numbered in the order in which
the person saw them (Trial). `participant_ratings.csv` holds the map, without which no face is read;
its ratings must equal the labels of the `.dat`, so a wrong map is noticed.

The signals begin 3 s before the stimulus. The face videos are taken to begin with the stimulus
(`FACE_START_S`); `read(root, face_start_s=...)` says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clmer.data.face import read_openface
from clmer.data.formats.delimited import Table, is_missing, read_table
from clmer.data.formats.restricted_pickle import load_arrays
from clmer.data.recording import SYNTHETIC_MARKER, FaceSeries, Recording, Signal
from clmer.data.tasks import RATING_MAX, RATING_MIN
from clmer.errors import DataError
from clmer.text import did_you_mean

FS = 128.0
BASELINE_S = 3.0
FACE_START_S = 3.0
SHAPE = (40, 40, 8064)  # trials, channels, samples
LABELS = ("valence", "arousal", "dominance", "liking")
EEG_CHANNELS = (
    *("Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7"),
    *("PO3", "O1", "Oz", "Pz", "Fp2", "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz"),
    *("C4", "T8", "CP6", "CP2", "P4", "P8", "PO4", "O2"),
)
CHANNELS = (
    *EEG_CHANNELS,
    *("hEOG", "vEOG", "zEMG", "tEMG", "GSR", "Respiration", "Plethysmograph", "Temperature"),
)
CHANNEL_KINDS = ("eeg",) * 32 + ("eog", "eog", "emg", "emg", "gsr", "resp", "ppg", "temp")

#: Pass bands in Hz by signal type. The distributed EEG is 4-45 Hz already; the others keep their
#: slow part, which carries what they measure.
BAND: dict[str, tuple[float, float] | None] = {kind: None for kind in dict.fromkeys(CHANNEL_KINDS)}

OBTAIN = """\
DEAP is given to academic researchers on request. Print, sign and send the end-user licence
agreement from https://www.eecs.qmul.ac.uk/mmv/datasets/deap/ (Queen Mary University of London);
the answer holds the account for downloads. Needed: data_preprocessed_python.zip and
metadata_csv.zip; for the face also face_video.zip. Unpack all of them into one folder, then run
OpenFace 2 on every video (its licence is non-commercial):
  FeatureExtraction -f face_video/s01/s01_trial01.avi -of s01_trial01 -out_dir face/s01
so that the folder holds data_preprocessed_python/s01.dat, metadata_csv/participant_ratings.csv and
face/s01/s01_trial01.csv, and so on for every person and trial."""
TITLE = (
    "DEAP, preprocessed in Python (data_preprocessed_python), "
    "https://www.eecs.qmul.ac.uk/mmv/datasets/deap/"
)
TERMS = (
    "DEAP is given to academic researchers under a signed end-user licence agreement, for research "
    "that is not commercial. Whether a model that was trained on it may be passed on is for that "
    "agreement to say."
)

_RATING_TOLERANCE = 0.011  # the CSV has two decimals


def sources(root: Path) -> list[Path]:
    """The files that readings of `root` depend on, sorted.

    Raises:
        DataError: `root` holds no sXX.dat.
    """
    return sorted([*_dat_files(root).values(), *companions(root)])


def companions(root: Path) -> list[Path]:
    """The files beside the signals, in either form: ratings, marker, faces."""
    files = [p for p in (ratings_path(root), root / SYNTHETIC_MARKER) if p.is_file()]
    for suffix in (".csv", ".hog"):
        files += (root / "face").glob(f"s[0-9][0-9]/s[0-9][0-9]_trial[0-9][0-9]{suffix}")
    return files


def read(
    root: Path, *, face: bool = True, face_start_s: float = FACE_START_S
) -> Iterator[Recording]:
    """Recordings person by person, in the order of the `.dat` rows; one person in memory.

    Args:
        root: the folder laid out as above.
        face: read the face CSVs too. Recordings without one (s23-s32 were not filmed) have
            face None.
        face_start_s: seconds after the signals' first sample at which the face videos begin.

    Raises:
        DataError: on anything that is not DEAP as described above.
    """
    dat_files = _dat_files(root)
    shape = expected_shape(root)
    table = ratings_path(root)
    ratings = read_ratings(table, shape[0]) if table.is_file() else None
    if face:
        check_face(root, table)
    for subject, path in dat_files.items():
        rows = None
        if ratings is not None:
            if subject not in ratings:
                raise DataError(table, "Participant_id", f"no rows of {subject}", "its rows")
            rows = ratings[subject]
        yield from _read_person(root if face else None, subject, path, shape, rows, face_start_s)


def _dat_files(root: Path) -> dict[str, Path]:
    for folder in (root / "data_preprocessed_python", root):
        files = {p.stem: p for p in sorted(folder.glob("s[0-9][0-9].dat"))}
        if files:
            return files
    raise DataError(
        root,
        "data_preprocessed_python",
        "no sXX.dat" if root.is_dir() else "no such folder",
        "s01.dat ... s32.dat in it or in its data_preprocessed_python/",
    )


def ratings_path(root: Path) -> Path:
    """Where participant_ratings.csv is, or should be."""
    flat = root / "participant_ratings.csv"
    return flat if flat.is_file() else root / "metadata_csv" / "participant_ratings.csv"


def expected_shape(root: Path) -> tuple[int, int, int]:
    """The official shape, or the one that the marker of generated data states."""
    marker = root / SYNTHETIC_MARKER
    if not marker.is_file():
        return SHAPE
    expected = f'{{"synthetic": true, "shape": [trials, {SHAPE[1]}, samples], ...}}'
    try:
        stated = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(marker, "JSON", error, expected) from error
    shape = stated.get("shape") if isinstance(stated, dict) else None
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(isinstance(n, int) and n > 0 for n in shape)
        or shape[1] != SHAPE[1]
        or stated.get("synthetic") is not True
    ):
        raise DataError(marker, "synthetic, shape", stated, expected)
    return shape[0], shape[1], shape[2]


def check_face(root: Path, table: Path) -> None:
    """Refuse to read faces without the map of presentation order, or where there are none."""
    if not table.is_file():
        raise DataError(
            table,
            "file",
            "nothing",
            "DEAP's participant_ratings.csv there or in the root",
            "Face videos are numbered in presentation order, .dat rows by Experiment_id: without "
            "this table faces would be paired with other trials' signals.",
        )
    if not any((root / "face").glob("s[0-9][0-9]/s[0-9][0-9]_trial[0-9][0-9].csv")):
        raise DataError(
            root / "face",
            "OpenFace CSVs",
            "none",
            "sXX/sXX_trialYY.csv",
            "Make them with OpenFace's FeatureExtraction, or leave landmarks and au out.",
        )


def read_ratings(path: Path, trials: int) -> dict[str, dict[int, tuple[int, np.ndarray]]]:
    """participant_ratings.csv as {subject: {Experiment_id: (Trial, ratings [4])}}."""
    numbers = ("Participant_id", "Trial", "Experiment_id")
    ratings = tuple(name.capitalize() for name in LABELS)
    people: dict[str, dict[int, tuple[int, np.ndarray]]] = {}
    table = read_table(path)
    missing = [name for name in (*numbers, *ratings) if name not in table.names]
    if missing:
        near = (did_you_mean(name, table.names) for name in missing)
        raise DataError(
            path,
            "header",
            f"no {', '.join(missing)}",
            ", ".join((*numbers, *ratings)),
            next(filter(None, near), ""),
        )
    for line, cells in table.lines():
        row = dict(zip(table.names, cells, strict=True))
        person, trial, experiment = (_whole(table, line, name, row[name]) for name in numbers)
        values = np.array([_rating(table, line, name, row[name]) for name in ratings])
        rows = people.setdefault(f"s{person:02d}", {})
        if experiment in rows:
            raise DataError(
                path,
                f"line {line}, Experiment_id of s{person:02d}",
                f"{experiment} again",
                "each video once",
            )
        rows[experiment] = (trial, values)
    complete = set(range(1, trials + 1))
    for subject, rows in people.items():
        if set(rows) != complete or {trial for trial, _ in rows.values()} != complete:
            raise DataError(
                path,
                f"Trial, Experiment_id of {subject}",
                f"{len(rows)} videos in {len({t for t, _ in rows.values()})} trials",
                f"each of 1-{trials} once",
            )
    return people


def face_of(root: Path, subject: str, presented: int) -> FaceSeries | None:
    """The face video of the trial presented as number `presented`; None where there is none."""
    path = root / "face" / subject / f"{subject}_trial{presented:02d}.csv"
    return read_openface(path) if path.is_file() else None


def _whole(table: Table, line: int, name: str, text: str) -> int:
    value = table.number(text)
    if value is None or value != int(value):
        raise DataError(table.path, f"line {line}, {name}", repr(text), "a whole number")
    return int(value)


def _rating(table: Table, line: int, name: str, text: str) -> float:
    value = table.number(text)
    if value is None or not RATING_MIN <= value <= RATING_MAX:
        hint = "DEAP's own table has a rating of every video: get it again."
        raise DataError(
            table.path,
            f"line {line}, {name}",
            repr(text),
            f"a rating from {RATING_MIN:g} to {RATING_MAX:g}",
            hint if is_missing(text) else "",
        )
    return value


def _read_person(
    root: Path | None,
    subject: str,
    path: Path,
    shape: tuple[int, int, int],
    ratings: dict[int, tuple[int, np.ndarray]] | None,
    face_start_s: float,
) -> Iterator[Recording]:
    data, labels = _load(path, shape)
    if ratings is not None:
        _check_ratings(path, labels, ratings)
    for row in range(shape[0]):
        video = row + 1
        samples = data[row].astype(np.float64, copy=False)
        face = None
        if root is not None and ratings is not None:
            face = face_of(root, subject, ratings[video][0])
        yield Recording(
            subject=subject,
            trial=f"t{video:02d}",
            stimulus=f"v{video:02d}",
            group=subject,
            labels=dict(zip(LABELS, labels[row].tolist(), strict=True)),
            signals={"physio": Signal(samples, FS, CHANNELS, CHANNEL_KINDS, "mixed")},
            face=face,
            baseline_s=BASELINE_S,
            face_start_s=face_start_s if face is not None else 0.0,
            source=path,
        )


def _load(path: Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Data [trials, channels, samples] and checked labels [trials, 4] of one `.dat`."""
    arrays = load_arrays(path, max_bytes=8 * int(np.prod(shape)) + 2**20)
    label_shape = (shape[0], len(LABELS))
    for name, expected in (("data", shape), ("labels", label_shape)):
        if name not in arrays:
            raise DataError(path, name, f"keys {sorted(arrays)}", "keys data and labels")
        if arrays[name].shape != expected:
            raise DataError(path, f"{name} shape", arrays[name].shape, expected)
    data, labels = arrays["data"], arrays["labels"]
    wrong = ~((labels >= RATING_MIN) & (labels <= RATING_MAX))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            path,
            f"labels row {row}, {LABELS[column]}",
            labels[row, column],
            f"a rating from {RATING_MIN:g} to {RATING_MAX:g}",
        )
    return data, labels


def _check_ratings(
    path: Path, labels: np.ndarray, ratings: dict[int, tuple[int, np.ndarray]]
) -> None:
    for row in range(labels.shape[0]):
        rated = ratings[row + 1][1]
        if not (np.abs(labels[row] - rated) <= _RATING_TOLERANCE).all():
            raise DataError(
                path,
                f"labels row {row} (Experiment_id {row + 1})",
                np.round(labels[row], 2).tolist(),
                f"{rated.tolist()} as in participant_ratings.csv",
                "The rows of this .dat and the table do not belong together.",
            )
