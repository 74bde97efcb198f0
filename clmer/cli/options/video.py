"""Options of `clmer video`."""

from __future__ import annotations

import argparse
from pathlib import Path

from clmer.data.choices.video import FACES, MODEL_ENV, OPENFACE, PREVIEWS, TRACKERS
from clmer.live.defaults import FACE_STREAM

#: What is said after Ctrl-C.
INTERRUPTED = "finished clips are kept"


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
        choices=TRACKERS,
        default=TRACKERS[0],
        help=f"tracker (mediapipe); openface runs its {OPENFACE}, which must be on the PATH",
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
        choices=tuple(PREVIEWS),
        const="png",
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
        "--lsl", metavar="NAME", help=f"the stream's name ({FACE_STREAM}); others find it by that"
    )
    live.add_argument(
        "--wait", action="store_true", help="begin once the stream is read by somebody"
    )
