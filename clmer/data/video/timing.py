"""When a clip's frames are shown, and what its header promises: read from the packets, before
anything is decoded.

A packet is one coded picture. Its time counts from the file's start, as players count it. Some
containers (AVI) state only the order in which packets are decoded; then, and where times lack, the
pictures are decoded once without being looked at, since the decoder puts out what is shown first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.video import refusals
from clmer.data.video.refusals import import_av
from clmer.errors import DataError

_PROMISING = {"matroska", "mov", "avi", "flv", "asf"}  # others' lengths are FFmpeg's guesses
_PRIMING_S = 0.1  # an encoder's silence before the sound, which players skip
_RETRIES = 8
_AVI_HEADER = 8  # bytes of a packet's name and size
_BACK_S = 0.5  # times of decoding that go back by more: two recordings in one file


@dataclass(frozen=True, eq=False)
class Timing:
    """A clip's times in seconds after the file's start.

    Args:
        seconds: [packets] of each coded picture in the file's order.
        shown: [frames] in the order of the decoder, where packets' own times are no use; or None.
        keys: [packets] bool, a picture that needs no other.
        corrupt: [packets] bool, marked as damaged by the container.
        step: median time from picture to picture, 0 for a single one.
        end: end of the last picture that is there.
        missing: seconds up to the end that the header states, 0 where nothing lacks.
        promised: that end; 0 where it states none.
        hidden: pictures that the container says are not to be shown (a trimmed clip).
        notes: what is worth saying.
    """

    seconds: np.ndarray
    shown: np.ndarray | None
    keys: np.ndarray
    corrupt: np.ndarray
    step: float
    end: float
    missing: float
    promised: float
    hidden: int
    notes: list[str]


@dataclass
class _Packets:
    """Columns of the packet table; times in the stream's unit, None where unknown."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    places: list[int | None] = field(default_factory=list)
    last: int = 0  # duration of the last one
    others_end: float = 0.0  # seconds


def read_timing(path: Path, container: Any, stream: Any, again: Any) -> Timing:
    """A clip's times.

    Args:
        path: for messages.
        container: opened, at its start; at its end afterwards.
        stream: the pictures.
        again: opens the clip once more, gives (container, stream).

    Raises:
        DataError: no times, times that go back, no picture.
    """
    table = _read(container, stream)
    if not table.pts:
        raise DataError(path, "video", "no frame", "frames", "Record or copy the clip again.")
    pts, dts = _array(table.pts), _array(table.dts)
    no_times = np.isnan(pts).all() and np.isnan(dts).all()
    if no_times or container.format.name in refusals.RAW:
        raise refusals.untimed(path, stream.codec_context.name)
    unit = float(stream.time_base)
    notes = []
    if container.format.name == "avi":
        pts, dts, note = _by_index(stream, table, pts, dts)
        notes += note
    _check_order(path, dts * unit)
    visible = np.sort(pts[~np.array(table.hidden) & np.isfinite(pts)])
    steps = np.diff(visible)
    step = float(np.median(steps)) if steps.size else 0.0
    shown = None
    counted = container.format.name == "avi" and stream.codec_context.has_b_frames
    if counted or _is_doubtful(stream, pts, dts):
        with again() as (other, pictures):
            order = _display_order(other, pictures)
        if counted or (np.diff(pts[order]) < 0).any() or np.isnan(pts).all():
            pts = np.where(np.isfinite(dts), dts, pts)
            notes.append("the container has times of decoding only: put in the order of showing")
        elif np.isnan(pts).any():
            notes.append(f"no time in {np.isnan(pts).sum()} of the frames: it is interpolated")
        shown, step = _shown(path, pts[order])
    zero = _zero(container, stream, unit)
    last = np.nanmax(visible if visible.size else pts) + (table.last or step)
    end = float(last) * unit - zero
    promised, missing = _promise(container, stream, zero, end, table.others_end - zero)
    at = np.arange(len(pts))
    known = np.isfinite(pts)
    return Timing(
        seconds=np.interp(at, at[known], pts[known]) * unit - zero,
        shown=None if shown is None else shown * unit - zero,
        keys=np.array(table.keys),
        corrupt=np.array(table.corrupt),
        step=step * unit,
        end=end,
        missing=missing,
        promised=promised,
        hidden=sum(table.hidden),
        notes=notes,
    )


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """Packets with content, also those after a place that cannot be read."""
    av = import_av()
    for _ in range(_RETRIES):
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    yield packet
        except av.FFmpegError:
            continue
        return


def numbered(container: Any, stream: Any) -> Iterator[tuple[int, list[Any], str]]:
    """Decode: each packet's number, the frames that it completes, and the decoder's error.

    A frame's pts is the number of the packet that it comes from, however pictures are reordered;
    None where the decoder does not tell.
    """
    number = -1
    for number, packet in enumerate(packets(container, stream)):
        packet.pts = number
        yield number, *_decode(stream, packet)
    yield number, *_decode(stream, None)


def _decode(stream: Any, packet: Any) -> tuple[list[Any], str]:
    try:
        return stream.codec_context.decode(packet), ""
    except import_av().FFmpegError as error:
        return [], str(error.strerror)


def _read(container: Any, stream: Any) -> _Packets:
    table = _Packets()
    for packet in packets(container):
        if packet.stream_index == stream.index:
            table.pts.append(packet.pts)
            table.dts.append(packet.dts)
            table.keys.append(packet.is_keyframe)
            table.corrupt.append(packet.is_corrupt)
            table.hidden.append(packet.is_discard)
            table.places.append(packet.pos)
            table.last = packet.duration or 0
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            table.others_end = max(table.others_end, end)
    return table


def _array(values: list[int | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _by_index(
    stream: Any, table: _Packets, pts: np.ndarray, dts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """An AVI's times from its index: FFmpeg counts packets, and so passes over damaged ones."""
    index = {entry.pos + _AVI_HEADER: entry.timestamp for entry in stream.index_entries}
    found = np.array([index.get(place, np.nan) for place in table.places])
    if np.isfinite(found).all():
        return pts + (found - dts), found, []
    if stream.frames in (0, len(dts)):
        return pts, dts, []
    note = f"{len(dts)} of {stream.frames} frames are there and none has a time of its own: those "
    return pts, dts, [f"{note}after a damaged place come too early"]


def _check_order(path: Path, dts: np.ndarray) -> None:
    known = dts[np.isfinite(dts)]
    back = np.flatnonzero(np.diff(known) < -_BACK_S)
    if back.size:
        at = back[0]
        raise DataError(
            path,
            "time",
            f"{known[at + 1]:.3f} s after {known[at]:.3f} s (frame {at + 1})",
            "times that do not go back",
            f"Store it anew: ffmpeg -i {path.name} -c copy {path.stem}_new.mkv",
        )


def _display_order(container: Any, stream: Any) -> np.ndarray:
    """Number of the packet of each frame, as the decoder puts them out."""
    order: list[int] = []
    last = -1
    for number, given, _ in numbered(container, stream):
        for frame in given:
            last = min(last + 1, number) if frame.pts is None else frame.pts
            order.append(last)
    return np.array(order, dtype=np.int64)


def _is_doubtful(stream: Any, pts: np.ndarray, dts: np.ndarray) -> bool:
    """Whether times may be missing, or be those of decoding though pictures are reordered."""
    if np.isnan(pts).any():
        return True
    return bool(stream.codec_context.has_b_frames and np.ptp(pts - dts) == 0)


def _shown(path: Path, times: np.ndarray) -> tuple[np.ndarray, float]:
    """Times of the frames as they are shown, and their usual step; `times` may lack some."""
    known = np.isfinite(times)
    if known.sum() < 2:
        raise DataError(path, "time", f"{known.sum()} frames with a time", "a time per frame")
    times[known] = np.sort(times[known])
    steps = np.diff(times[known]) / np.diff(np.flatnonzero(known))
    step = float(np.median(steps))
    place = np.arange(len(times))
    filled = np.interp(place, place[known], times[known])
    first, last = place[known][[0, -1]]
    filled[:first] -= step * (first - place[:first])
    filled[last + 1 :] += step * (place[last + 1 :] - last)
    return filled, step


def _zero(container: Any, stream: Any, unit: float) -> float:
    """The file's start in seconds of its own clock."""
    first = stream.start_time * unit if stream.start_time is not None else 0.0
    start = container.start_time / 1e6 if container.start_time is not None else first
    return 0.0 if -_PRIMING_S < start < 0 <= first else start


def _promise(
    container: Any, stream: Any, zero: float, end: float, others_end: float
) -> tuple[float, float]:
    """The end that the header states, and the seconds that lack up to it, 0 if none do."""
    if _PROMISING.isdisjoint(container.format.name.split(",")):
        return 0.0, 0.0
    stated = [(own - zero, end)] if (own := _stated(stream)) else []
    if container.duration:
        stop = (container.duration + (container.start_time or 0)) / 1e6 - zero
        stated.append((stop, max(end, others_end)))
    if not stated:
        return 0.0, 0.0
    promised, there = max(stated, key=lambda pair: pair[0] - pair[1])
    return promised, max(promised - there, 0.0)


def _stated(stream: Any) -> float:
    """Where the stream ends as its header says, seconds of the file's own clock; 0 if unknown."""
    start = stream.start_time or 0
    ends = [float((start + stream.duration) * stream.time_base)] if stream.duration else []
    if stream.frames and stream.container.format.name == "avi" and stream.average_rate:
        ends.append(stream.frames / float(stream.average_rate))
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        ends.append(3600 * int(hours) + 60 * int(minutes) + float(seconds))
    except ValueError:
        pass
    return max(ends, default=0.0)
