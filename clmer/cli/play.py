"""`clmer play`: recordings as LSL streams, as if they were recorded now."""

from __future__ import annotations

import argparse
from pathlib import Path

from clmer.cli.arguments import names
from clmer.data.manifest import table as manifest_table
from clmer.errors import ConfigError
from clmer.live.senders.player import ALL_CHANNELS, Track, play, read_face_track, read_track
from clmer.streams import StatusLine, say_error

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
        help=f"a recording: {manifest_table.SUPPORTED}",
    )
    parser.add_argument(
        "--stream", default="clmer-signals", metavar="NAME", help="its stream's (%(default)s)"
    )
    parser.add_argument(
        "--face", type=Path, metavar="FILE", help="a face tracker's table, or a video of the face"
    )
    parser.add_argument(
        "--face-stream", default="clmer-face", metavar="NAME", help="the face's (%(default)s)"
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


def run(*, speed: float, wait: bool, chunk: int, **given: object) -> int:
    """Play; the exit code."""
    if chunk < 1:
        raise ConfigError(f"`chunk`: found {chunk}, expected at least 1 sample")
    tracks = _tracks(argparse.Namespace(**given), chunk)
    for track in tracks:
        print(
            f"{track.name}: {len(track.channels)} channels at {track.fs:g} Hz, "
            f"{track.length_s:.1f} s",
            flush=True,
        )
        for note in track.notes:
            say_error(f"{track.name}: {note}")
    length_s, line = max(track.length_s for track in tracks), StatusLine()

    def said(state: str, at_s: float) -> None:
        line.show(
            "waiting until every stream is read"
            if state == "waiting"
            else f"{at_s:.0f} of {length_s:.0f} s"
        )

    try:
        play(tracks, speed=speed, wait=wait, said=said)
    finally:
        line.clear()
    print(f"{length_s:.1f} s sent")
    return 0


def _tracks(options: argparse.Namespace, chunk: int) -> list[Track]:
    """What is to be sent.

    Raises:
        ConfigError: neither a recording nor a face.
    """
    tracks = []
    if options.recording is not None:
        several = len(options.modality) > 1
        tracks += [
            read_track(
                options.recording,
                f"{options.stream}-{modality}" if several else options.stream,
                modality,
                channels=options.channels,
                rate=options.rate,
                unit=options.unit,
                chunk=chunk,
            )
            for modality in options.modality
        ]
    if options.face is not None:
        tracks.append(
            read_face_track(
                options.face, options.face_stream, fps=options.face_rate, face_id=options.face_id
            )
        )
    if not tracks:
        raise ConfigError("recording: found none, expected a RECORDING, a `face`, or both")
    return tracks
