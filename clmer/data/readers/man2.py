"""MAN-II: four named emotions, an Emotiv EPOC and a face video, one recording of 12 s per class.

    <root>/<person>/moved.edf or moved.csv        EmotivPRO's EDF or its CSV with two header lines
    <root>/<person>/moved_face.csv                OpenFace 2, gaze included
    <root>/<person>/angry.edf ...                 and so on for angry, nervous and reproachful

Headset and video start together. The data set is private; this is the layout that its kind of
recordings needs here. Class, stimulus and recording are one and the same, so emotion cannot be told
from recording, whatever the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clmer.data.face import read_face
from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.tables.profiles import EPOC_CHANNELS
from clmer.data.recording import Recording, Signal
from clmer.errors import DataError

EMOTIONS = ("moved", "angry", "nervous", "reproachful")

#: Pass bands in Hz by signal type.
BAND: dict[str, tuple[float | None, float | None] | None] = {"eeg": (1.0, 50.0)}

NOTES = (
    "One recording per class and person: what tells the emotions apart may be the recording or the "
    "stimulus.",
)

OBTAIN = """\
MAN-II is private. Recordings of its kind go into one folder per person: an Emotiv EPOC's EDF or CSV
and the OpenFace CSV of the face video for each emotion,
  p01/moved.edf  p01/moved_face.csv  p01/angry.edf  p01/angry_face.csv
  p01/nervous.edf  p01/nervous_face.csv  p01/reproachful.edf  p01/reproachful_face.csv
Other classes or lengths: describe them in a manifest (python -m clmer.train manifest)."""
TITLE = "MAN-II, or recordings of its kind"
TERMS = "MAN-II is private: its terms are those of whoever recorded it."


def sources(root: Path) -> list[Path]:
    """The files that recordings depend on, sorted.

    Raises:
        DataError: `root` holds no person, or one without a recording of every emotion.
    """
    files = []
    for folder in _people(root):
        files += [_headset(folder, emotion) for emotion in EMOTIONS]
        faces = [
            folder / f"{emotion}_face{end}" for emotion in EMOTIONS for end in (".csv", ".hog")
        ]
        files += [path for path in faces if path.is_file()]
    return sorted(files)


def read(root: Path, *, face: bool = True) -> Iterator[Recording]:
    """Recordings person by person; one in memory.

    Args:
        root: the folder laid out as above.
        face: read the face CSVs too; a recording without one has face None.

    Raises:
        DataError: a file is missing, damaged, or lacks a sensor.
    """
    for folder in _people(root):
        for emotion in EMOTIONS:
            path = _headset(folder, emotion)
            face_path = folder / f"{emotion}_face.csv"
            yield Recording(
                subject=folder.name,
                trial=emotion,
                stimulus=emotion,
                group=folder.name,
                labels={"label": emotion},
                signals={"physio": _read_headset(path)},
                face=read_face(face_path) if face and face_path.is_file() else None,
                source=path,
                files={"physio": path, "face": face_path},
            )


def _people(root: Path) -> list[Path]:
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    people = [f for f in folders if any((f / f"{e}{s}").is_file() for e in EMOTIONS for s in _ENDS)]
    if not people:
        raise DataError(
            root,
            "<person>/moved.edf",
            "none" if root.is_dir() else "no such folder",
            "one folder a person, with a headset recording of each emotion",
            OBTAIN,
        )
    return people


_ENDS = (".edf", ".csv")


def _headset(folder: Path, emotion: str) -> Path:
    found = [path for end in _ENDS if (path := folder / f"{emotion}{end}").is_file()]
    if len(found) != 1:
        raise DataError(
            folder,
            emotion,
            " and ".join(path.name for path in found) or "no recording",
            f"{emotion}.edf or {emotion}.csv",
            f"Every person needs one recording of {', '.join(EMOTIONS)}.",
        )
    return found[0]


def _read_headset(path: Path) -> Signal:
    return open_biosignal(path).signal(EPOC_CHANNELS)
