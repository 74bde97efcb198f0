"""Frames of a clip, one in memory, at the times that the container states (PyAV)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.recording import DataError

_MAX_PIXELS = 2**26
_TOLERANCE_S = 0.5  # encoders count frames that an edit list or a missing key frame hides
_VARIABLE = 0.25  # steps that differ by this share of their median


@dataclass(frozen=True)
class Clip:
    """What a clip's header says.

    Args:
        path: the file.
        width, height: px.
        frames: stated number of frames, 0 where it is not stated.
        seconds: stated length, 0 where it is not stated.
    """

    path: Path
    width: int
    height: int
    frames: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: seconds after the first one's time, and [height, width, 3] uint8 RGB, upright."""

    seconds: float
    image: np.ndarray


def probe(path: Path) -> Clip:
    """Read a clip's header.

    Raises:
        DataError: no such file, no video in it, absurd sizes.
    """
    with _open(path) as container:
        return _clip(path, container)


def frames(path: Path) -> Iterator[Frame]:
    """Decode a clip frame by frame.

    Raises:
        DataError: as `probe`; a frame without a time; a clip that ends early or is damaged (after
            the frames before it were given).
    """
    av = import_av()
    with _open(path) as container:
        clip = _clip(path, container)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        count, first = 0, None
        try:
            for frame in container.decode(stream):
                if frame.time is None:
                    raise DataError(path, "time", f"none in frame {count}", "a time a frame")
                first = frame.time if first is None else first
                seconds = frame.time - first
                count += 1
                image = upright(frame.to_ndarray(format="rgb24"), display_matrix(frame))
                yield Frame(seconds, image)
        except av.FFmpegError as error:
            raise truncated(path, count, clip, str(error)) from error
    missing_s = (1 - count / clip.frames) * clip.seconds if clip.frames else 0.0
    if missing_s > _TOLERANCE_S:
        raise truncated(path, count, clip, "")
    if count == 0:
        raise DataError(path, "video", "no frame", "frames", "Record or copy the clip again.")


def display_matrix(frame: Any) -> np.ndarray | None:
    """How a decoded frame is to be shown: FFmpeg's matrix [3, 3], None where it is as stored."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(data, dtype="=i4").reshape(3, 3)


def upright(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """A frame as it is to be shown: phones store what the sensor sees, and how it was held.

        [x', y'] = [x, y] M,   x right, y down; angles between quarter turns go to the nearest

    Args:
        image: [height, width, 3].
        matrix: [3, 3], of which the upper left M counts; turned, mirrored or both.

    Returns:
        [height, width, 3] or, turned by a quarter, [width, height, 3]; contiguous.
    """
    if matrix is None:
        return np.ascontiguousarray(image)  # rows may be padded
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(b) > abs(a):  # x' comes from y, y' from x
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def truncated(path: Path, count: int, clip: Clip, error: str) -> DataError:
    """What to say of a clip that ends early."""
    stated = f"{clip.frames} as its header says" if clip.frames else "more"
    return DataError(
        path,
        "frames",
        f"{count} that can be decoded" + (f" ({error})" if error else ""),
        stated,
        "The clip is truncated or damaged: copy it again, or keep what there is with --partial.",
    )


def variable_rate(seconds: np.ndarray) -> str:
    """What to say of uneven frame times [n]; empty where they are even."""
    steps = np.diff(seconds)
    if len(steps) < 2 or np.abs(steps / np.median(steps) - 1).max() <= _VARIABLE:
        return ""
    low, high = 1000 * steps.min(), 1000 * steps.max()
    return f"variable frame rate: {low:.0f} to {high:.0f} ms between frames; times are kept"


def import_av() -> Any:
    """PyAV, or an error that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise missing_extra("av") from error
    return av


def missing_extra(name: str) -> DataError:
    """What to say where the extra `video` is not installed."""
    return DataError(name, "package", "nothing", "PyAV and MediaPipe", 'pip install "clmer[video]"')


def _open(path: Path) -> Any:
    av = import_av()
    if not path.is_file():
        raise DataError(path, "file", "nothing", "a video clip")
    try:
        return av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            path,
            "file",
            f"{path.stat().st_size} bytes that are no clip ({reason})",
            "MP4, AVI, MKV, WebM or another format that FFmpeg reads",
            "It may be truncated: copy it again.",
        ) from error


def _clip(path: Path, container: Any) -> Clip:
    if not container.streams.video:
        kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise DataError(path, "streams", f"{kinds} only", "a video")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= _MAX_PIXELS:
        raise DataError(path, "size", f"{width} x {height} px", f"at most {_MAX_PIXELS} pixels")
    seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
    return Clip(path, width, height, int(stream.frames), seconds)
