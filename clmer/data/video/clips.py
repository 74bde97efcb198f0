"""Frames of a clip, one in memory, at the times that the container states (PyAV)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.video import refusals
from clmer.data.video.picture import rgb, square_size
from clmer.data.video.refusals import import_av
from clmer.data.video.timing import numbered, read_timing
from clmer.errors import DataError

_MAX_PIXELS = 2**26
_ASPECTS = (Fraction(1, 4), Fraction(4))
_TOLERANCE_S = 0.5  # a header's length may be rounded, or another stream's
_LATE_S = 0.02
_SHORT = 2.5  # frames that lack at the end and are said, though they pass
_VARIABLE = 0.25  # steps that differ by this share of their median
_SHAPE = 0.02  # width per height of two sizes that are taken for one
_SAME_NOTE = 12  # letters
_NAMED = 5  # places that a message lists


@dataclass(frozen=True)
class Clip:
    """What a clip's header says.

    Args:
        path: the file.
        width, height: px as stored.
        frames: stated number of frames, 0 where it is not stated.
        aspect: a pixel's width per height, None where it is not stated.
    """

    path: Path
    width: int
    height: int
    frames: int
    aspect: Fraction | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: seconds after the file's start, [height, width, 3] uint8 RGB, upright, square
    pixels.
    """

    seconds: float
    image: np.ndarray


@dataclass
class Damage:
    """What is wrong with a clip, gathered while it is read.

    Args:
        ended: what is said of a clip that ends early, empty for none.
        refused: seconds of the pictures that the decoder refuses.
        corrupt: (from, to) seconds of damaged pictures: up to the next one that needs no other.
    """

    ended: str = ""
    refused: list[float] = field(default_factory=list)
    corrupt: list[tuple[float, float]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.ended or self.refused or self.corrupt)

    def __str__(self) -> str:
        parts = [self.ended] if self.ended else []
        if self.refused:
            times = _times([f"{at:.2f}" for at in self.refused])
            parts.append(f"{len(self.refused)} that cannot be decoded, near {times} s")
        if self.corrupt:
            times = _times([f"{at:.2f} (or those up to {to:.2f})" for at, to in self.corrupt])
            parts.append(f"{len(self.corrupt)} damaged, at {times} s")
        return "; ".join(parts)


class Reader:
    """A clip that is opened, and whose packets, not pictures, are read through.

    Args:
        path: the clip.

    Attributes:
        clip: its header.
        timing: its times.
        damage: what is wrong with it; `frames` adds to it.
        notes: what is worth saying about it.

    Raises:
        DataError: no such clip, no times, absurd sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as container:
            stream = _pictures(path, container)
            self.clip = _clip(path, container, stream)
            self.timing = read_timing(path, container, stream, self._again)
            self.notes = [*self._notes(container), *self.timing.notes]
        self.damage = Damage(self._ended())
        for number in np.flatnonzero(self.timing.corrupt).tolist():
            self._spoil(number)
        if len(self.timing.seconds) == 1 and not self.damage:
            raise refusals.still(path)

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded, in the order and at the times of showing.

        Raises:
            DataError: no frame at all, or times that go back.
        """
        before, count = -np.inf, 0
        with self._again() as (container, stream):
            for number, frame in self._decoded(container, stream):
                seconds = self._seconds(number, count)
                if not seconds >= before:
                    found = f"{seconds:.3f} s after {before:.3f} s (frame {count})"
                    hint = f"Store it anew: ffmpeg -i {self.path.name} {self.path.stem}_new.mp4"
                    raise DataError(self.path, "time", found, "times that do not go back", hint)
                before, count = seconds, count + 1
                if frame.is_corrupt:
                    self._spoil(number)
                yield Frame(seconds, rgb(frame, self._size(frame, seconds)))
        if count == 0:
            hint = "Record or copy the clip again."
            raise DataError(self.path, "video", "no frame", "frames", hint)

    def error(self, count: int) -> DataError:
        """What to say of the damage after `count` frames."""
        return DataError(
            self.path,
            "frames",
            f"{self.damage}" + (f" (after {count} frames)" if count else ""),
            "a whole clip",
            "The clip is truncated or damaged: copy it again, or keep what there is with "
            "`partial`.",
        )

    def _decoded(self, container: Any, stream: Any) -> Iterator[tuple[int, Any]]:
        """Decoded frames, each with the number of its packet."""
        number, last, whole = -1, -1, len(self.timing.seconds)
        for number, given, error in numbered(container, stream):
            if error:
                self.damage.refused.append(float(self.timing.seconds[min(number, whole - 1)]))
            for frame in given:
                last = min(last + 1 if frame.pts is None else frame.pts, whole - 1)
                yield last, frame

    def _seconds(self, number: int, count: int) -> float:
        """When a frame is shown: that of packet `number`, which comes as number `count`."""
        shown = self.timing.shown
        if shown is None:
            return float(self.timing.seconds[number])
        if count >= len(shown):
            found = f"more than {len(shown)} frames at a second reading"
            raise DataError(self.path, "frames", found, "the same ones", "Copy the clip again.")
        return float(shown[count])

    def _size(self, frame: Any, seconds: float) -> tuple[int, int]:
        """Width and height to bring a frame to: the first one's, if its shape is the same."""
        clip = self.clip
        size = square_size(clip.width, clip.height, clip.aspect)
        if (frame.width, frame.height) != (clip.width, clip.height):
            own = square_size(frame.width, frame.height, clip.aspect)
            same = abs(own[0] * size[1] / (own[1] * size[0]) - 1) < _SHAPE
            self._say(
                f"the picture's size changes to {own[0]} x {own[1]} at {seconds:.2f} s"
                + (f": brought to {size[0]} x {size[1]}" if same else ", and its shape too")
            )
            size = size if same else own
        if frame.interlaced_frame:
            self._say(
                "interlaced: each picture holds two moments; better: "
                f"ffmpeg -i {self.path.name} -vf bwdif {self.path.stem}_new.mp4"
            )
        return size

    def _say(self, note: str) -> None:
        """Once for each kind of note."""
        if not any(known[:_SAME_NOTE] == note[:_SAME_NOTE] for known in self.notes):
            self.notes.append(note)

    def _spoil(self, number: int) -> None:
        """A damaged picture, and those after it that are made from it."""
        seconds = self.timing.seconds
        after = np.flatnonzero(self.timing.keys[number + 1 :])
        stop = seconds[number + 1 + after[0]] if after.size else self.timing.end
        at = float(seconds[number])
        if not self.damage.corrupt or at >= self.damage.corrupt[-1][1]:
            self.damage.corrupt.append((at, float(stop)))

    def _ended(self) -> str:
        timing = self.timing
        if timing.missing > _TOLERANCE_S:
            return (
                f"{len(timing.seconds) - timing.hidden} up to {timing.end:.2f} s, where its header "
                f"states {timing.promised:.2f} s"
            )
        if timing.promised <= 0:
            self.notes.append("no length in its header: an early end would not show")
        if timing.step and timing.missing > _SHORT * timing.step:
            self.notes.append(f"it ends {timing.missing:.2f} s before its header says")
        return ""

    def _notes(self, container: Any) -> list[str]:
        notes, clip = [], self.clip
        width, height = square_size(clip.width, clip.height, clip.aspect)
        if (width, height) != (clip.width, clip.height):
            notes.append(
                f"pixels of {clip.aspect} made square: {clip.width} x {clip.height} to "
                f"{width} x {height}"
            )
        count = sum(not _is_cover(stream) for stream in container.streams.video)
        if count > 1:
            notes.append(f"{count} video streams, the first is read")
        shown = self.timing.seconds if self.timing.shown is None else self.timing.shown
        first = float(np.nanmin(shown[shown > -self.timing.step / 2], initial=np.inf))
        if _LATE_S < first < np.inf:
            notes.append(f"times are the file's, whose picture starts at {first:.2f} s")
        return notes

    @contextmanager
    def _again(self) -> Iterator[tuple[Any, Any]]:
        with _open(self.path) as container:
            yield container, _pictures(self.path, container)


def probe(path: Path) -> Clip:
    """Read a clip's header.

    Raises:
        DataError: no such file, no video in it, absurd sizes.
    """
    with _open(path) as container:
        return _clip(path, container, _pictures(path, container))


def frames(source: Path | Reader) -> Iterator[Frame]:
    """Decode a whole clip frame by frame.

    Args:
        source: the clip, opened or not.

    Raises:
        DataError: as `Reader`; a clip that ends early or is damaged.
    """
    reader, count = source if isinstance(source, Reader) else Reader(source), 0
    if reader.damage:
        raise reader.error(0)
    for frame in reader.frames():
        if reader.damage:
            raise reader.error(count)
        count += 1
        yield frame
    if reader.damage:
        raise reader.error(count)


def variable_rate(seconds: np.ndarray) -> str:
    """What to say of uneven frame times [n]; empty where they are even."""
    steps = np.diff(seconds)
    if len(steps) < 2 or np.ptp(steps) == 0:
        return ""
    median = np.median(steps)
    if median > 0 and np.abs(steps / median - 1).max() <= _VARIABLE:
        return ""
    low, high = 1000 * steps.min(), 1000 * steps.max()
    longest = seconds[steps.argmax()]
    return (
        f"variable frame rate: {low:.0f} to {high:.0f} ms between frames (longest from "
        f"{longest:.2f} s); times are kept"
    )


def _times(texts: list[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more


def _open(path: Path) -> Any:
    av = import_av()
    if path.is_dir():
        raise refusals.folder(path)
    if not path.is_file():
        raise DataError(path, "file", "nothing", "a video clip")
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            path,
            "file",
            f"{path.stat().st_size} bytes that are no clip ({reason})",
            "MP4, AVI, MKV, WebM or another format that FFmpeg reads",
            "It may be truncated: copy it again.",
        ) from error


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & import_av().stream.Disposition.attached_pic)


def _pictures(path: Path, container: Any) -> Any:
    """The first stream of moving pictures."""
    moving = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not moving:
        raise refusals.without_video(path, container, bool(container.streams.video))
    if container.format.name == "image2" or container.format.name.endswith("_pipe"):
        raise refusals.still(path)
    # Threads fill in what damage took from pictures that another thread may still be writing to.
    moving[0].thread_type = "NONE"
    return moving[0]


def _clip(path: Path, container: Any, stream: Any) -> Clip:
    aspect = stream.sample_aspect_ratio or None
    if aspect and not _ASPECTS[0] <= aspect <= _ASPECTS[1]:
        raise DataError(
            path,
            "pixel aspect",
            aspect,
            "1/4 to 4",
            f"State the picture's: ffmpeg -i {path.name} -c copy -aspect 4:3 {path.stem}_new.mp4",
        )
    width, height = stream.codec_context.width, stream.codec_context.height
    if not width or not height:
        hint = "Its start may be missing: copy or record it again."
        raise DataError(path, "video", "no picture that needs no other", "a key frame", hint)
    wide, high = square_size(width, height, aspect)
    if wide * high > _MAX_PIXELS:
        raise DataError(path, "size", f"{width} x {height} px", f"at most {_MAX_PIXELS} pixels")
    return Clip(path, width, height, int(stream.frames), aspect)
