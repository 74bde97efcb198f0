"""Options of `clmer play`."""

from __future__ import annotations

import argparse
from pathlib import Path

from clmer.cli.arguments import names
from clmer.data.choices.files import SUPPORTED
from clmer.live.defaults import ALL_CHANNELS, FACE_STREAM, SIGNAL_STREAM

#: What is said after Ctrl-C.
INTERRUPTED = "the streams have ended"

EPILOG = """\
examples:
  %(prog)s p01.edf --stream headset
  %(prog)s p01.edf --stream headset --face p01.csv --face-stream face --wait
  %(prog)s p01.xdf --modality eeg,gsr --speed 20

Sample n is sent with the time t0 + n / rate, exactly, where t0 is LSL's time
when playing began, the same for all streams; a recording's pauses stay. A
higher --speed sends sooner and leaves these times as they are.
"""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.usage = "%(prog)s [RECORDING] [--face FILE] [options]"
    parser.add_argument(
        "recording",
        nargs="?",
        type=Path,
        metavar="RECORDING",
        help=f"a recording: {SUPPORTED}",
    )
    parser.add_argument(
        "--stream", default=SIGNAL_STREAM, metavar="NAME", help="its stream's (%(default)s)"
    )
    parser.add_argument(
        "--face", type=Path, metavar="FILE", help="a face tracker's table, or a video of the face"
    )
    parser.add_argument(
        "--face-stream", default=FACE_STREAM, metavar="NAME", help="the face's (%(default)s)"
    )
    parser.add_argument("--face-rate", type=float, metavar="HZ", help="of a CSV without times")
    parser.add_argument("--face-id", metavar="N", help="which face of a CSV with several people's")
    parser.add_argument(
        "--modality",
        type=names,
        default=(ALL_CHANNELS,),
        metavar="TYPE,...",
        help="the channels of these types (eeg, ecg, gsr, ...), of several each in a stream "
        "NAME-TYPE of its own; all channels, in one, by default",
    )
    parser.add_argument("--channels", type=names, default=(), metavar="A,B", help="these alone")
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="samples per second, where a file does not say"
    )
    parser.add_argument(
        "--unit", default="", help="of the samples (uV, mV, V, ...), where the file does not say"
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="seconds of it per second (1)"
    )
    parser.add_argument(
        "--chunk",
        type=int,
        default=16,
        metavar="N",
        help="samples that are sent at once (16); a face goes frame by frame",
    )
    parser.add_argument(
        "--wait", action="store_true", help="begin once every stream is read by somebody"
    )
