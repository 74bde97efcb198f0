"""One clip from end to end, and several of them in parallel processes."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from clmer.data.choices.video import FACES, MIN_FACES, OPENFACE
from clmer.data.face import read_face
from clmer.data.video import record
from clmer.data.video.clip_report import ClipReport
from clmer.data.video.clips import Reader, probe
from clmer.data.video.preview import Preview, open_preview, preview_folder
from clmer.data.video.table import TableWriter
from clmer.data.video.tracker import Tracker
from clmer.errors import DataError

_POLL_S = 0.2


@dataclass(frozen=True)
class Task:
    """What to do with one clip.

    Args:
        clip: the video.
        csv: where its series goes.
        model: MediaPipe's model, or None for OpenFace.
        preview: "png" or "mp4", empty for none.
        every_s: seconds between the pictures of a "png" preview.
        partial: keep what can be decoded of a truncated or damaged clip.
        hog: let OpenFace write its HOG file too.
        faces: how many MediaPipe looks for; at least two.
    """

    clip: Path
    csv: Path
    model: Path | None
    preview: str = ""
    every_s: float = 1.0
    partial: bool = False
    hog: bool = False
    faces: int = FACES


@dataclass(frozen=True)
class Report:
    """What became of one clip.

    Args:
        task: of the clip.
        status: "done", "skipped", "no face" or "error".
        lines: what to say about it.
    """

    task: Task
    status: str
    lines: list[str] = field(default_factory=list)


def outdated(task: Task) -> str | None:
    """Why a clip is to be done; None where its series is there, made from it in the same way.

    Raises:
        DataError: a CSV of unknown origin is in the way.
    """
    if not task.clip.is_file():
        return "its turn will tell"
    source = _source(task)
    wanted = _pictures(task)
    return record.outdated(task.csv, source, hog=task.hog, partial=task.partial, **wanted)


def process(task: Task, advance: Callable[[int], None]) -> Report:
    """Track one clip; what can be wrong with it is in the report.

    Args:
        task: the clip.
        advance: called after every frame.
    """
    try:
        return track(task, advance)
    except DataError as error:
        return Report(task, "error", [str(error)])
    except OSError as error:
        return Report(task, "error", [f"{task.csv}: {error.strerror or error}"])


def track(task: Task, advance: Callable[[int], None]) -> Report:
    """`process` whose errors are raised.

    Raises:
        DataError: a clip or a model that cannot be used.
        OSError: the series cannot be written.
    """
    if task.model is None:
        return _with_openface(task)
    return _with_mediapipe(task, task.model, advance)


def run(tasks: Sequence[Task], jobs: int, *, progress: bool = True) -> Iterator[Report]:
    """Process clips, `jobs` at a time; reports come as they are ready."""
    stated = [stated_frames(task) for task in tasks]
    total = sum(stated) if all(stated) else None
    with tqdm(total=total, unit="frame", desc="tracking", disable=not progress) as bar:
        if jobs == 1:
            yield from (process(task, bar.update) for task in tasks)
            return
        context = multiprocessing.get_context("spawn")
        done = context.Value("q", 0)
        with ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_start_worker, initargs=(done,)
        ) as pool:
            waiting = {pool.submit(_process_in_worker, task) for task in tasks}
            while waiting:
                ready, waiting = wait(waiting, _POLL_S, FIRST_COMPLETED)
                bar.update(done.value - bar.n)
                yield from (future.result() for future in ready)


_done: Any = None


def _start_worker(done: Any) -> None:
    global _done
    _done = done


def _process_in_worker(task: Task) -> Report:
    def advance(count: int) -> None:
        with _done.get_lock():
            _done.value += count

    return process(task, advance)


def stated_frames(task: Task) -> int:
    """Frames for the progress bar; 0 where they are unknown, or the clip's own turn will tell."""
    if task.model is None:
        return 0
    try:
        return probe(task.clip).frames
    except DataError:
        return 0


def _with_mediapipe(task: Task, model: Path, advance: Callable[[int], None]) -> Report:
    source = _source(task)
    reader = Reader(task.clip)
    with Tracker(model, task.faces) as tracker, TableWriter(task.csv) as table:
        seen = _track(task, reader, tracker, table, advance)
        partial = [f"partial: {reader.damage}; all that decodes is kept"] if reader.damage else []
        lines = [*partial, *seen.summary(), *reader.notes, *tracker.notes()]
        if not seen.found:
            record.discard(task.csv)
            return Report(task, "no face", lines)
        made = source | {"whole": not partial, "notes": lines} | _pictures(task)
        table.finish(lambda temporary, csv: record.place(temporary, csv, made))
    return Report(task, "done", lines)


def _track(
    task: Task,
    reader: Reader,
    tracker: Tracker,
    table: TableWriter,
    advance: Callable[[int], None],
) -> ClipReport:
    """Every frame into the table and the preview, which is finished when this returns.

    Raises:
        DataError: a damaged clip, as soon as that is known, unless a part of it will do.
    """
    seen = ClipReport()
    with _preview(task) as preview:
        _check(task, reader, 0)
        for frame in reader.frames():
            _check(task, reader, table.rows)
            face, faces = tracker.track(frame)
            table.add(frame.seconds, face, faces)
            if preview:
                points = None if face is None else face.image
                preview.add(table.rows, frame.seconds, frame.image, points)
            seen.add(frame.seconds, frame.image, face, faces)
            advance(1)
        _check(task, reader, table.rows)
    return seen


def _check(task: Task, reader: Reader, count: int) -> None:
    if reader.damage and not task.partial:
        raise reader.error(count)


def _source(task: Task) -> dict[str, Any]:
    tracker, faces = ("mediapipe", max(task.faces, MIN_FACES)) if task.model else ("openface", None)
    return record.describe(task.clip, tracker, task.model, faces)


def _preview(task: Task) -> AbstractContextManager[Preview | None]:
    if not task.preview:
        return nullcontext()
    return open_preview(task.preview, preview_folder(task.csv), task.every_s)


def _pictures(task: Task) -> dict[str, Any]:
    """What a record says of a preview."""
    return {"preview": task.preview, "every": task.every_s if task.preview == "png" else None}


def _with_openface(task: Task) -> Report:
    """Run OpenFace beside the result, and rename what it made."""
    program = shutil.which(OPENFACE)
    if program is None:
        raise DataError(
            OPENFACE, "PATH", "nothing", "OpenFace 2's program", "Use `tracker=mediapipe` instead."
        )
    if not task.clip.is_file():
        raise DataError(task.clip, "file", "nothing", "a video clip")
    source = _source(task)
    with tempfile.TemporaryDirectory(dir=task.csv.parent, prefix=f".{task.csv.stem}.") as folder:
        command = [program, "-f", str(task.clip), "-out_dir", folder, "-of", task.csv.stem]
        command += [
            "-2Dfp",
            "-3Dfp",
            "-pose",
            "-aus",
            "-gaze",
            *(["-hogalign"] if task.hog else []),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
        made = Path(folder) / task.csv.name
        if ended.returncode or not made.is_file():
            last = (ended.stderr or ended.stdout).strip().splitlines()[-1:]
            raise DataError(
                task.clip,
                OPENFACE,
                f"exit code {ended.returncode} {' '.join(last)[:200]}".strip(),
                f"{task.csv.name}",
            )
        try:
            face = read_face(made)
        except DataError as error:
            if "face lost" in str(error.found):
                record.discard(task.csv)
                return Report(task, "no face", ["no face found by OpenFace"])
            raise
        hog = made.with_suffix(".hog")
        kept = hog if hog.is_file() else None
        record.place(made, task.csv, source | {"whole": True}, hog=kept)
    return Report(task, "done", [f"{len(face.valid)} frames, a face in {int(face.valid.sum())}"])
