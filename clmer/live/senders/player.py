"""Recordings and face series as LSL streams, as if they were recorded now.

    tracks = [read_track("p01.edf", "headset"), read_face_track("p01.csv", "face")]
    play(tracks, speed=20)

Sample n of a track has the time t0 + times[n], for a recording without pauses t0 + n / fs exactly,
whatever the speed: `speed` only says how soon it is sent. At 20 times the streams' clock runs 20
times as fast as LSL's. All tracks share t0, LSL's time when playing began.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clmer.data.channels import QUANTITY
from clmer.data.face import GAZE_COLUMNS, INTENSITY_COLUMNS, LANDMARK_COLUMNS, PRESENCE_COLUMNS
from clmer.data.manifest.reader import read_file
from clmer.data.recording import FaceSeries, Signal
from clmer.data.units import OURS
from clmer.data.video.series import open_face
from clmer.errors import ConfigError
from clmer.live.defaults import ALL_CHANNELS
from clmer.live.outlets import Outlet, import_lsl

_POLL_S = 0.05  # between two looks for readers


@dataclass(frozen=True, eq=False)
class Track:
    """What one stream sends.

    Args:
        name: of the stream.
        kind: LSL's word for its content.
        channels, units: C of each.
        fs: nominal rate in Hz.
        times: [n] s from the beginning, ascending.
        data: [C, n] samples.
        kinds: C types of channels; none for a face.
        described: further entries of the stream's description.
        chunk: samples that are sent at once.
        notes: what was odd in the file.
    """

    name: str
    kind: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    fs: float
    times: np.ndarray
    data: np.ndarray
    kinds: tuple[str, ...] = ()
    described: dict[str, str] = field(default_factory=dict)
    chunk: int = 1
    notes: tuple[str, ...] = ()

    @property
    def length_s(self) -> float:
        """Seconds from the beginning to the end of the last sample."""
        return float(self.times[-1]) + 1 / self.fs if self.times.size else 0.0


def read_track(
    path: Path,
    name: str,
    modality: str = ALL_CHANNELS,
    *,
    channels: tuple[str, ...] = (),
    rate: float | None = None,
    unit: str = "",
    chunk: int = 16,
) -> Track:
    """A recording of any kind that a manifest can name; its pauses are gaps in the stream.

    Args:
        path: the file.
        name: of the stream.
        modality: a type ("eeg") takes the channels of that type, any other word all.
        channels: names, in the order wanted; all of the modality by default.
        rate: samples per second where the file does not say.
        unit: of the samples where the file does not say.
        chunk: samples that are sent at once.

    Raises:
        DataError: the file cannot be read, or its channels have several rates.
    """
    signal = read_file(path, modality, channels=channels, rate=rate, unit=unit)
    times = np.empty(signal.data.shape[1])
    for piece in signal.line.pieces:
        count = piece.stop - piece.first
        times[piece.first : piece.stop] = piece.start_s + np.arange(count) / signal.fs
    kinds = tuple(kind.upper() for kind in signal.kinds)
    return Track(
        name=name,
        kind=kinds[0] if len(set(kinds)) == 1 else "Signals",
        channels=signal.channels,
        units=channel_units(signal),
        fs=signal.fs,
        times=times,
        data=signal.data,
        kinds=kinds,
        described={"recording": path.name},
        chunk=chunk,
        notes=signal.notes,
    )


def channel_units(signal: Signal) -> tuple[str, ...]:
    """The unit of each channel; "" where a signal of several units does not tell."""
    if signal.unit != "mixed":
        return (signal.unit,) * len(signal.channels)
    return tuple(OURS[QUANTITY[kind]] if kind in QUANTITY else "" for kind in signal.kinds)


def read_face_track(
    path: Path, name: str, *, fps: float | None = None, face_id: str | None = None
) -> Track:
    """The series of a face tracker's table, or of a video, frame by frame.

    The channels have OpenFace's names, as a stream of `clmer video`; a frame without a face has
    success 0 and no other values (NaN).

    Args:
        path: a table (`clmer.data.face.read_face`) or a video of the face.
        name: of the stream.
        fps: frames per second of a table without times.
        face_id: which face, where the table numbers several.

    Raises:
        DataError: the file cannot be read.
    """
    face = open_face(path, fps=fps, face_id=face_id)
    columns = _face_columns(face)
    data = np.stack([values for _, _, values in columns]).astype(np.float64)
    data[2:, ~face.valid] = np.nan
    return Track(
        name=name,
        kind="Face",
        channels=tuple(name for name, _, _ in columns),
        units=tuple(unit for _, unit, _ in columns),
        fs=face.fps,
        times=np.arange(len(face.valid)) / face.fps,
        data=data,
        described={"tracker": face.tracker, "recording": path.name},
        notes=face.notes,
    )


def _face_columns(face: FaceSeries) -> list[tuple[str, str, np.ndarray]]:
    """Name, unit and values [n] of each channel: confidence, success, and what the series has."""
    confidence = face.valid if face.confidence is None else face.confidence
    columns = [("confidence", "", confidence), ("success", "", face.valid)]
    if face.gaze is not None:
        columns += [(name, "rad", face.gaze[:, i]) for i, name in enumerate(GAZE_COLUMNS)]
    if face.landmarks is not None:
        flat = face.landmarks.transpose(2, 1, 0).reshape(len(LANDMARK_COLUMNS), -1)
        names = LANDMARK_COLUMNS
        if face.unit != "mm":
            depth = face.unit == "share"  # pixels have none
            names = tuple(column.lower() for column in names[: len(names) if depth else 136])
        columns += [(name, face.unit, row) for name, row in zip(names, flat, strict=False)]
    for values, names in (
        (face.au_intensity, INTENSITY_COLUMNS),
        (face.au_presence, PRESENCE_COLUMNS),
    ):
        if values is not None:
            columns += [(name, "", values[:, i]) for i, name in enumerate(names)]
    return columns


def play(
    tracks: Sequence[Track],
    *,
    speed: float = 1.0,
    wait: bool = False,
    said: Callable[[str, float], None] = lambda state, at_s: None,
) -> float:
    """Send tracks together, each chunk when its last sample would have been recorded.

    Args:
        tracks: with names of their own.
        speed: recorded seconds per second.
        wait: begin once every stream has a reader.
        said: called with "waiting" or "playing", and the recorded second, as time goes on.

    Returns:
        t0, LSL's time of second 0 of the tracks.

    Raises:
        ConfigError: a speed that is none, or two tracks of one name.
        DataError: mne-lsl is not installed.
    """
    if not 0 < speed < float("inf"):
        raise ConfigError(f"`speed`: found {speed:g}, expected a number above 0, such as 1 or 20.")
    names = [track.name for track in tracks]
    if len(set(names)) < len(names):
        raise ConfigError(f"`stream`: found {', '.join(names)}, expected a name per stream.")
    clock: Callable[[], float] = import_lsl().local_clock
    with ExitStack() as opened:
        outlets = [opened.enter_context(_outlet(track)) for track in tracks]
        if wait:
            wait_for_readers(outlets, lambda: said("waiting", 0.0))
        t0 = clock()
        for number, first, stop in _chunks(tracks):
            track = tracks[number]
            due_s = float(track.times[stop - 1])
            left_s = due_s / speed - (clock() - t0)
            if left_s > 0:
                time.sleep(left_s)
            times = t0 + track.times[first:stop]
            outlets[number].push(track.data[:, first:stop], times)
            said("playing", due_s)
    return t0


def wait_for_readers(outlets: Sequence[Outlet], said: Callable[[], None]) -> None:
    """Return once every outlet has a reader; `said` is called as time goes on."""
    while not all(outlet.has_readers for outlet in outlets):
        said()
        time.sleep(_POLL_S)


def _outlet(track: Track) -> Outlet:
    return Outlet(
        track.name,
        track.channels,
        track.fs,
        kind=track.kind,
        units=track.units,
        kinds=track.kinds,
        described=track.described,
    )


def _chunks(tracks: Sequence[Track]) -> Sequence[tuple[int, int, int]]:
    """Number of the track, first sample and end of every chunk, by the time of its last sample."""
    starts = [
        [
            (float(track.times[min(first + track.chunk, track.times.size) - 1]), number, first)
            for first in range(0, track.times.size, track.chunk)
        ]
        for number, track in enumerate(tracks)
    ]
    return [
        (number, first, min(first + tracks[number].chunk, tracks[number].times.size))
        for _, number, first in heapq.merge(*starts)
    ]
