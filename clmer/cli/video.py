"""`clmer video`: clips in, face series out; or a camera in, a stream of faces out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from clmer.data.choices.video import FACES
from clmer.data.video import jobs
from clmer.data.video.tracker import Tracker, find_model
from clmer.errors import EXIT_INPUT, ConfigError, DataError
from clmer.live.defaults import FACE_STREAM
from clmer.live.senders.camera import Camera, Counts, RealTimeClip, face_outlet, send_faces
from clmer.live.senders.player import wait_for_readers
from clmer.options import in_flags
from clmer.streams import StatusLine

EXIT_NO_FACE = 3
#: What errors about a clip name, as this command has it.
_FLAGS = {name: f"--{name}" for name in ("model", "partial")} | {"tracker": "--with"}


def run(**given: Any) -> int:
    """Make the series; the exit code."""
    options = argparse.Namespace(**given)
    if options.live or options.camera is not None:
        return _send(options)
    if not options.clips or options.out is None:
        found = "no CLIP" if not options.clips else "no --out"
        raise ConfigError(f"video: found {found}, expected CLIP... --out DIR, or --camera N")
    for name in ("lsl", "wait"):
        if getattr(options, name):
            found = "found no --live, expected CLIP --live or --camera N beside it"
            raise ConfigError(f"--{name}: {found}")
    return _run(plan(options), options.jobs)


def plan(options: argparse.Namespace) -> list[jobs.Task]:
    """The clips that are still to do.

    Raises:
        DataError: an option that cannot be met.
    """
    _check(options)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(options.out, "--out", error.strerror, "a folder") from error
    model = None if options.tracker == "openface" else find_model(options.model)
    tasks = []
    for clip in options.clips:
        csv = options.out / f"{clip.stem}.csv"
        task = jobs.Task(
            clip=clip,
            csv=csv,
            model=model,
            preview=options.preview,
            every_s=1.0 if options.every is None else options.every,
            partial=options.partial,
            hog=options.hog,
            faces=FACES if options.faces is None else options.faces,
        )
        reason = "--overwrite" if options.overwrite else jobs.outdated(task)
        if reason is None:
            print(f"{clip}: skipped, {csv} is there")
            continue
        if csv.is_file():
            print(f"{clip}: done again, {reason}")
        tasks.append(task)
    return tasks


def _check(options: argparse.Namespace) -> None:
    if options.jobs < 1:
        raise DataError(options.out, "--jobs", options.jobs, "at least 1")
    if options.every is not None and options.preview != "png":
        raise DataError(options.out, "--every", options.every, "--preview png beside it")
    _check_faces(options.faces, options.out)
    if options.every is not None and not 0 < options.every < float("inf"):
        raise DataError(options.out, "--every", options.every, "seconds above 0")
    openface = options.tracker == "openface"
    for name, given, fits in (("--hog", options.hog, openface), *_mediapipe_only(options)):
        if given and not fits:
            raise DataError(options.out, name, f"--with {options.tracker}", "the other tracker")
    stems: dict[str, Path] = {}
    for clip in options.clips:
        other = stems.setdefault(clip.stem, clip)
        if other is not clip:
            raise DataError(
                clip, "name", f"{clip.stem} again, as {other}", "one name a clip", "Use two --out."
            )


def _check_faces(faces: int | None, of: Path | str) -> None:
    if faces is not None and faces < 1:
        raise DataError(of, "--faces", faces, "at least 1")


def _mediapipe_only(options: argparse.Namespace) -> list[tuple[str, bool, bool]]:
    mediapipe = options.tracker == "mediapipe"
    names = ("preview", "model", "partial", "faces")
    return [(f"--{name}", bool(getattr(options, name)), mediapipe) for name in names]


def _send(options: argparse.Namespace) -> int:
    """Send a camera's or a clip's faces until it ends; the exit code.

    Raises:
        ConfigError: an option that only a CSV has, or not one source.
        DataError: no model, camera or clip.
    """
    only_csv = {"out": None, "jobs": 1, "preview": "", "every": None, "partial": False}
    only_csv |= {"hog": False, "overwrite": False, "tracker": "mediapipe"}
    for name, usual in only_csv.items():
        if getattr(options, name) != usual:
            flag = _FLAGS.get(name, f"--{name}")
            raise ConfigError(f"{flag}: found --live or --camera, which write no CSV, beside it")
    sources = len(options.clips) + (options.camera is not None)
    if sources != 1 or (options.live and not options.clips):
        found = f"{sources} clips and cameras"
        raise ConfigError(f"video: found {found}, expected one CLIP --live, or --camera N alone")
    _check_faces(options.faces, "--camera or --live")
    model, counts, line = find_model(options.model), Counts(), StatusLine()
    camera = options.camera
    source = Camera(camera) if camera is not None else RealTimeClip(options.clips[0])
    with Tracker(model, options.faces or FACES) as tracker:
        with face_outlet(options.lsl or FACE_STREAM, source) as outlet:
            print(f"{source.name}: faces as LSL stream {outlet.name}", flush=True)

            def said() -> None:
                line.show(f"{counts}; {1000 * counts.latency_s:.0f} ms behind")

            try:
                if options.wait:
                    wait_for_readers([outlet], lambda: line.show("waiting for a reader"))
                send_faces(source, tracker, outlet, counts, said)
            except KeyboardInterrupt:
                pass  # the usual end of a camera
            finally:
                line.clear()
        notes = tracker.notes()
    if isinstance(source, Camera) and counts.frames and not source.driver_times:
        notes.append(
            "frames have the times of their arrival: the camera states none on LSL's clock"
        )
    print("\n".join([f"{source.name}: {counts}", *notes]))
    return 0 if counts.found else EXIT_NO_FACE


def _run(tasks: list[jobs.Task], count: int) -> int:
    statuses = set()
    for report in jobs.run(tasks, count, progress=sys.stderr.isatty()):
        statuses.add(report.status)
        if report.status == "error":
            print(f"clmer: {in_flags(report.lines[0], _FLAGS)}", file=sys.stderr)
            continue
        to = f" -> {report.task.csv}" if report.status == "done" else ""
        out = sys.stdout if report.status == "done" else sys.stderr
        print(f"{report.task.clip}{to}: {'; '.join(report.lines)}", file=out, flush=True)
    if "error" in statuses:
        return EXIT_INPUT
    return EXIT_NO_FACE if "no face" in statuses else 0
