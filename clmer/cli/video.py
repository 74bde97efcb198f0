"""`clmer video`: clips in, face series out; or a camera in, a stream of faces out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from clmer.data.video import jobs
from clmer.data.video.preview import FORMATS
from clmer.data.video.tracker import FACES, MODEL_ENV, Tracker, find_model
from clmer.errors import EXIT_INPUT, ConfigError, DataError
from clmer.live.senders.camera import Camera, Counts, RealTimeClip, face_outlet, send_faces
from clmer.live.senders.player import wait_for_readers
from clmer.options import in_flags
from clmer.streams import StatusLine

EXIT_NO_FACE = 3
#: What is said after Ctrl-C.
INTERRUPTED = "finished clips are kept"

#: What errors about a clip name, as this command has it.
_FLAGS = {name: f"--{name}" for name in ("model", "partial")} | {"tracker": "--with"}

_STREAM = "clmer-face"

EPILOG = """\
Each CLIP becomes DIR/<clip>.csv, with OpenFace's columns, whole or not there. A
CSV that is there and was made from the same clip by the same tracker, model and
options is left alone, so that the same command goes on after an interruption;
DIR/<clip>.source.json tells. The series, and still more the previews, are a
person's face: keep them private.

--camera and --live write nothing: they send the CSV's columns as an LSL stream
(--lsl), each frame with the time at which it was taken. A tracker slower than
the camera gets the newest frame; those it missed are counted. Ctrl-C ends it.

exit codes: 0 done, 2 an input or option cannot be used, 3 no face found in a
clip, 130 interrupted.
"""


def describe(command: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    command.epilog, command.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    command.usage = (
        "%(prog)s CLIP... --out DIR [options]\n"
        "       %(prog)s (--camera N | CLIP --live) [--lsl NAME] [options]"
    )
    command.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    command.add_argument("--out", type=Path, metavar="DIR", help="made when missing")
    command.add_argument(
        "--model", type=Path, help=f"MediaPipe's face_landmarker.task (default ${MODEL_ENV})"
    )
    command.add_argument(
        "--with",
        dest="tracker",
        choices=("mediapipe", "openface"),
        default="mediapipe",
        help=f"tracker (mediapipe); openface runs its {jobs.OPENFACE}, which must be on the PATH",
    )
    command.add_argument(
        "--faces",
        type=int,
        metavar="N",
        help=f"faces that MediaPipe looks for ({FACES}), at least 2: one would be smoothed",
    )
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="clips at a time (1)")
    command.add_argument(
        "--preview",
        nargs="?",
        choices=FORMATS,
        const=FORMATS[0],
        default="",
        help="also draw the points: pictures now and then (png), or the whole clip (mp4)",
    )
    command.add_argument(
        "--every", type=float, metavar="SECONDS", help="from picture to picture of png (1)"
    )
    command.add_argument(
        "--partial",
        action="store_true",
        help="keep all that can be decoded of a truncated or damaged clip",
    )
    command.add_argument("--hog", action="store_true", help="with openface: write DIR/<clip>.hog")
    command.add_argument("--overwrite", action="store_true", help="do finished clips again")
    live = command.add_argument_group("live, over LSL")
    live.add_argument("--camera", type=int, metavar="N", help="send the faces of /dev/videoN")
    live.add_argument(
        "--live", action="store_true", help="send the faces of CLIP as if it were filmed now"
    )
    live.add_argument(
        "--lsl", metavar="NAME", help=f"the stream's name ({_STREAM}); others find it by that"
    )
    live.add_argument(
        "--wait", action="store_true", help="begin once the stream is read by somebody"
    )


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
        with face_outlet(options.lsl or _STREAM, source) as outlet:
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
