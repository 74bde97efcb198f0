"""`clmer play`: recordings as LSL streams, as if they were recorded now."""

from __future__ import annotations

import argparse

from clmer.errors import ConfigError
from clmer.live.senders.player import Track, play, read_face_track, read_track
from clmer.streams import StatusLine, say_error


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
