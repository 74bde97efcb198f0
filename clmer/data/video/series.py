"""A face series out of a table, or out of a video, whose table is made once and kept.

The table of a video is made by the code of `clmer video`, MediaPipe's, in `<cache>/faces/`, under
the clip's name and a digest of its name, size, time of change and first bytes. It is there whole or
not at all, belongs to the content of the model that it was made with, and is used as long as clip
and model stay as they are; where no model is named, whatever model it was made with.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from clmer.data.choices.video import MODEL_ENV
from clmer.data.face import read_face
from clmer.data.formats import VIDEOS
from clmer.data.recording import FaceSeries
from clmer.data.video import jobs, record
from clmer.data.video.refusals import missing_extra
from clmer.data.video.tracker import MODEL_URL
from clmer.errors import DataError
from clmer.storage import lock, stores_folder, unwritable

_HEAD = 4096  # bytes of a clip that its digest sees
#: Lines of a clip's report that only say how many frames it has and how long it is.
_PLAIN_LINES = 2


def is_video(path: Path) -> bool:
    """Whether a file's name is a video's."""
    return path.suffix.lower() in VIDEOS


def model_file() -> Path | None:
    """The model that the environment names, if it is there."""
    named = os.environ.get(MODEL_ENV)
    return Path(named) if named and Path(named).is_file() else None


def open_face(
    path: Path,
    *,
    fps: float | None = None,
    face_id: float | str | None = None,
    cache: Path | None = None,
) -> FaceSeries:
    """The series of a face tracker's table, or of a video.

    Args:
        path: a table (`clmer.data.face.read_face`) or a video.
        fps: frames per second of a table without times.
        face_id: which face, where the table numbers several; of a video the largest of its first
            frame with a face is followed.
        cache: folder of the stores, beside which tables of videos are kept; None for the default.

    Raises:
        DataError: a table or video that cannot be read, no face, or a video and no model, PyAV or
            MediaPipe.
    """
    if not is_video(path):
        return read_face(path, fps=fps, face_id=face_id)
    csv, lines = table_of(path, cache)
    face = read_face(csv, fps=fps, face_id=face_id)
    made = (
        "faces were found in the videos by MediaPipe's FaceLandmarker (face_landmarker.task, "
        f"Apache-2.0); their tables are kept in {csv.parent}"
    )
    return replace(face, notes=(made, *lines[_PLAIN_LINES:], *face.notes))


def table_of(clip: Path, cache: Path | None = None) -> tuple[Path, list[str]]:
    """The table of a video, made now or before, and the report of how it was made.

    Raises:
        DataError: as `open_face`.
    """
    if not clip.is_file():
        raise DataError(clip, "file", "nothing", "a video or a face tracker's CSV")
    folder = stores_folder(cache) / "faces"
    csv = folder / f"{clip.stem}-{_digest(clip)}.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    with lock(folder / ".lock", said=f"Waiting for another process that makes a table in {folder}"):
        model = model_file()
        task = jobs.Task(clip=clip, csv=csv, model=model)
        if csv.is_file() and (model is None or jobs.outdated(task) is None):
            return csv, record.lines_of(csv)
        _check_needs(clip, model)
        return csv, _made(task)


def _digest(clip: Path) -> str:
    """16 hex digits that another clip, or the same one after a change, does not have."""
    stat = clip.stat()
    with clip.open("rb") as file:
        head = file.read(_HEAD)
    told = f"{clip.name} {stat.st_size} {stat.st_mtime_ns} ".encode(errors="surrogateescape")
    return hashlib.sha256(told + head).hexdigest()[:16]


def _check_needs(clip: Path, model: Path | None) -> None:
    """Refuse a video that no table can be made of here.

    Raises:
        DataError: no model, PyAV or MediaPipe.
    """
    for name in ("av", "mediapipe"):
        if find_spec(name) is None:
            error = missing_extra(name)
            hint = f"{error.hint}, or name the face's table in place of the video."
            raise DataError(clip, "face", f"a video, and no package {name}", error.expected, hint)
    if model is None:
        named = os.environ.get(MODEL_ENV)
        found = f"a video, and {f'no file {named}' if named else f'no {MODEL_ENV}'}"
        expected = f"MediaPipe's face_landmarker.task (Apache-2.0), named by ${MODEL_ENV}"
        raise DataError(clip, "face", found, expected, f"Download it once: {MODEL_URL}")


def _made(task: jobs.Task) -> list[str]:
    """Make the table; the lines of its report.

    Raises:
        DataError: a clip that cannot be read whole, or shows no face.
    """
    hidden = not sys.stderr.isatty()
    name = f"face in {task.clip.name}"
    try:
        with tqdm(total=jobs.stated_frames(task), desc=name, unit="frame", disable=hidden) as bar:
            report = jobs.track(task, bar.update)
    except DataError as error:
        hint = error.hint.replace(
            "keep what there is with `partial`",
            "make a table of what there is with clmer video --partial and name that",
        )
        raise DataError(error.path, error.field, error.found, error.expected, hint) from error
    except OSError as error:
        raise unwritable(task.csv, error) from error
    if report.status == "no face":
        hint = "Leave this recording's face out, or make its table with another tracker."
        raise DataError(task.clip, "face", "; ".join(report.lines), "a video of a face", hint)
    return report.lines
