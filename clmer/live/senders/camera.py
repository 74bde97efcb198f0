"""Faces as an LSL stream, from a camera or from a clip that is played in real time.

The channels are the columns of `clmer video`'s CSV, with its digits. A frame's time is the one at
which it was taken, in seconds of LSL's clock: what decoding and the tracker take is not in it. A
tracker that is slower than the camera gets the newest frame, and those before it are dropped and
counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clmer.data.face.trackers.mesh import Face
from clmer.data.video.clips import Frame, Reader, frames
from clmer.data.video.picture import rgb
from clmer.data.video.refusals import import_av
from clmer.data.video.table import STREAM_COLUMNS, STREAM_UNITS, stream_values
from clmer.errors import DataError
from clmer.live.outlets import Outlet, import_lsl

#: A camera driver's time of a frame counts where it is at most so long ago.
_RECENT_S = 1.0
_JOIN_S = 2.0  # for a camera to give its last frame


class Source(Protocol):
    """Frames as they are taken.

    Attributes:
        name: of the camera or clip.
        fs: its frames per second; 0 where it does not say.
        start_s: LSL's time of second 0 of its frames; known once the first frame came.
    """

    name: str
    fs: float
    start_s: float

    def frames(self) -> Generator[Frame, None, None]:
        """Every frame, as soon as it is there."""


class Tracks(Protocol):
    """What finds a face: `clmer.data.video.tracker.Tracker`."""

    def track(self, frame: Frame) -> tuple[Face | None, int]:
        """The face that is followed, if it is there, and the number of faces in the frame."""


class Camera:
    """A camera of Video4Linux; its frames' seconds are LSL's.

    A frame's time is the driver's, where that is on LSL's clock, as with cameras at USB; else
    when it arrived.

    Args:
        number: N of /dev/videoN.

    Attributes:
        driver_times: whether the last frame's time was the driver's.

    Raises:
        DataError: no such camera, no access to it, or PyAV or mne-lsl is not installed.
    """

    start_s = 0.0

    def __init__(self, number: int) -> None:
        self.name, self.driver_times = f"/dev/video{number}", False
        self._clock: Callable[[], float] = import_lsl().local_clock
        av = import_av()
        try:
            self._container = av.open(self.name, format="v4l2")
        except (av.FFmpegError, ValueError) as error:
            raise _no_camera(self.name, error) from error
        self._stream = self._container.streams.video[0]
        self.fs = float(self._stream.average_rate or 0)

    def frames(self) -> Generator[Frame, None, None]:
        """Frames until the camera is gone.

        Raises:
            DataError: it stopped.
        """
        try:
            for packet in self._container.demux(self._stream):
                taken_s = self._taken(packet, self._clock())
                for frame in packet.decode():
                    yield Frame(taken_s, rgb(frame, (frame.width, frame.height)))
        except import_av().FFmpegError as error:
            raise DataError(
                self.name, "camera", error.strerror, "frames", "Is it still plugged in?"
            ) from error
        finally:
            self._container.close()

    def _taken(self, packet: Any, now_s: float) -> float:
        """When a frame that arrived at `now_s` was taken."""
        if packet.pts is None:
            return now_s
        stated_s = float(packet.pts * packet.time_base)
        self.driver_times = 0 <= now_s - stated_s <= _RECENT_S
        return stated_s if self.driver_times else now_s


def _no_camera(name: str, error: Exception) -> DataError:
    found = getattr(error, "strerror", None) or error
    there = sorted(str(path) for path in Path("/dev").glob("video*"))
    hint = ""
    if isinstance(error, PermissionError):
        hint = "Add yourself to the group video: sudo usermod -aG video $USER, and log in again."
    elif there:
        hint = f"There are {', '.join(there)}."
    return DataError(name, "camera", found, "a camera that no other program uses", hint)


class RealTimeClip:
    """A clip whose frames come when they would have been taken; their seconds are the clip's.

    Args:
        path: the clip.

    Raises:
        DataError: no whole clip, or PyAV or mne-lsl is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._clock: Callable[[], float] = import_lsl().local_clock
        self._reader = Reader(path)
        step_s = self._reader.timing.step
        self.name, self.start_s = path.name, 0.0
        self.fs = 1 / step_s if step_s else 0.0

    def frames(self) -> Generator[Frame, None, None]:
        """Every frame, none before its time.

        Raises:
            DataError: a clip that is damaged or ends early.
        """
        for number, frame in enumerate(frames(self._reader)):
            if number == 0:
                self.start_s = self._clock() - frame.seconds
            left_s = self.start_s + frame.seconds - self._clock()
            if left_s > 0:
                time.sleep(left_s)
            yield frame


class Newest:
    """The newest of the frames that a thread brings; iteration waits for it.

    What the thread raises, the iteration raises. As a context it ends the thread.

    Args:
        source: of the frames.

    Attributes:
        dropped: frames that a newer one took the place of.
    """

    def __init__(self, source: Generator[Frame, None, None]) -> None:
        self.dropped = 0
        self._source = source
        self._change = threading.Condition()
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._ended = self._leave = False
        self._thread = threading.Thread(target=self._bring, name="frames", daemon=True)

    def __enter__(self) -> Newest:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._leave = True
        self._thread.join(_JOIN_S)

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._frame is not None or self._ended)
                frame, self._frame = self._frame, None
            if frame is not None:
                yield frame
            elif self._error is not None:
                raise self._error
            else:
                return

    def _bring(self) -> None:
        try:
            with closing(self._source) as source:  # a camera is free again
                for frame in source:
                    if self._leave:
                        break
                    with self._change:
                        self.dropped += self._frame is not None
                        self._frame = frame
                        self._change.notify()
        except Exception as error:  # raised again by the iteration
            self._error = error
        with self._change:
            self._ended = True
            self._change.notify()


@dataclass
class Counts:
    """What became of the frames.

    Args:
        frames: sent.
        found: of these with a face.
        dropped: that came while the tracker was busy, and were not looked at.
        latency_s: from the last frame's being taken to its being sent.
    """

    frames: int = 0
    found: int = 0
    dropped: int = 0
    latency_s: float = 0.0

    def __str__(self) -> str:
        parts = f"{self.frames} frames sent, a face in {self.found}"
        return f"{parts}, {self.dropped} dropped"


def face_outlet(name: str, source: Source) -> Outlet:
    """The outlet of a source's faces, described by `STREAM_COLUMNS`."""
    return Outlet(
        name,
        STREAM_COLUMNS,
        source.fs,
        kind="Face",
        units=STREAM_UNITS,
        described={"tracker": "MediaPipe", "camera": source.name},
    )


def send_faces(
    source: Source, tracker: Tracks, outlet: Outlet, counts: Counts, said: Callable[[], None]
) -> None:
    """Track the newest frame and send its face, until the source ends.

    Args:
        source: of the frames.
        tracker: of the face.
        outlet: of `face_outlet`.
        counts: counted up as it goes, so that they are there after an interruption too.
        said: called after each frame.

    Raises:
        DataError: the camera stopped, or a damaged clip.
    """
    clock: Callable[[], float] = import_lsl().local_clock
    with Newest(source.frames()) as newest:
        for frame in newest:
            face, faces = tracker.track(frame)
            taken_s = source.start_s + frame.seconds
            outlet.push(stream_values(face, faces)[:, None], np.array([taken_s]))
            counts.frames += 1
            counts.found += face is not None
            counts.dropped = newest.dropped
            counts.latency_s = clock() - taken_s
            said()
