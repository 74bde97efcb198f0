"""XDF, as LabRecorder writes it: streams of one recording, read by pyxdf, on one clock.

pyxdf brings the streams' clocks together and takes the jitter out of a stream's times between its
breaks; what it finds is kept: a gap in a stream is a pause. Time 0 is the first sample of any
stream of signals. Streams of words, and those of one irregular number, are markers.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from clmer.data.channels import as_kind, kind_of_name
from clmer.data.formats.bids import TYPES
from clmer.data.formats.source import StoredChannel
from clmer.data.recording import Marker
from clmer.data.timeline import Piece, Timeline
from clmer.errors import DataError

SUFFIXES = (".xdf", ".xdfz")
#: Streams of words that `clmer live` writes (`clmer.live.record`).
PREDICTIONS, EVENTS = "clmer predictions", "clmer events"
#: What pyxdf raises on damaged files.
_ERRORS = (
    *(OSError, ValueError, RuntimeError, LookupError, EOFError, MemoryError, ArithmeticError),
    *(TypeError, AttributeError, struct.error, ParseError),
)
#: Seconds without a sample that are a gap, and no jitter, and that in samples of a slow stream.
_BREAK_S, _BREAK_SAMPLES = 0.5, 2
#: By how much a stream's measured rate may take it from its nominal one before that is not used.
_DRIFT_S = 0.02
#: A rate that differs by more than this share is worth a note.
_OTHER_RATE = 0.005
#: Samples by which a segment may begin late before that is a gap.
_LATE = 1.5


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream of signals.

    Args:
        data: [T, C] as stored.
        channels: C of them, in its own words.
        line: its samples' times; the first of them may be above 0.
    """

    data: np.ndarray
    channels: tuple[StoredChannel, ...]
    line: Timeline


@dataclass(frozen=True, eq=False)
class XdfFile:
    """An open file, a `clmer.data.formats.source.Source`; its streams are in memory.

    Args:
        path: the file.
        streams: those of signals.
        markers: of the others, in order of time.
        notes: what was odd and read all the same.
    """

    path: Path
    streams: tuple[Stream, ...]
    markers: tuple[Marker, ...]
    notes: tuple[str, ...]

    @cached_property
    def channels(self) -> list[StoredChannel]:
        """All streams' channels; of two of one name, each goes by "stream/name"."""
        found = [channel for stream in self.streams for channel in stream.channels]
        times = Counter(channel.label.lower() for channel in found)
        return [
            replace(c, label=f"{c.group}/{c.label}") if times[c.label.lower()] > 1 else c
            for c in found
        ]

    @cached_property
    def _places(self) -> list[tuple[Stream, int]]:
        return [(stream, i) for stream in self.streams for i in range(len(stream.channels))]

    @property
    def files(self) -> list[Path]:
        """The file itself."""
        return [self.path]

    def unit(self, row: int, kind: str) -> str:
        """A channel's unit, whatever its type."""
        return self.channels[row].unit

    def timeline(self, row: int) -> Timeline:
        """When the samples of a channel's stream were recorded."""
        return self._places[row][0].line

    def samples(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """Channels of one stream between two of its samples, [C, stop - first]."""
        stream = self._places[rows[0]][0]
        columns = [self._places[row][1] for row in rows]
        return np.array(stream.data[first:stop, columns].T, np.float64, order="C")

    def codes(self, row: int) -> None:
        """Nothing: the samples are what they are."""


def open_xdf(path: Path) -> XdfFile:
    """A file's streams, by pyxdf.

    Raises:
        DataError: pyxdf is not installed; a damaged file, or one without a stream of signals.
    """
    try:
        import pyxdf
    except ImportError as error:
        raise DataError(path, "package", "no pyxdf", "pyxdf", "pip install pyxdf") from error
    notes: list[str] = []
    try:
        with _listening() as said:
            found, _ = pyxdf.load_xdf(
                path,
                jitter_break_threshold_seconds=_BREAK_S,
                jitter_break_threshold_samples=_BREAK_SAMPLES,
                verbose=False,
            )
    except _ERRORS as error:
        raise DataError(
            path, "file", f"pyxdf's error {error!s:.200}", "a whole XDF file", "Copy it again."
        ) from error
    notes += [f"{path.name}: pyxdf says: {text:.200}" for text in dict.fromkeys(said)]
    kept = [stream for stream in found if _is_whole(path, stream, notes)]
    regular = [s for s in kept if _rate(s) > 0 and s["info"]["channel_format"][0] != "string"]
    if not regular:
        there = [f"{_text(s['info'], 'name')} ({_text(s['info'], 'type')})" for s in kept]
        raise DataError(
            path,
            "streams",
            ", ".join(there) or "none with samples",
            "one of signals, with a rate",
            "Was the device's stream ticked in LabRecorder?",
        )
    origin_s = min(float(stream["time_stamps"][0]) for stream in regular)
    names = _unique([_text(stream["info"], "name") for stream in regular])
    streams = [_stream(s, n, origin_s, notes) for s, n in zip(regular, names, strict=True)]
    others = [stream for stream in kept if not any(stream is each for each in regular)]
    markers = [mark for stream in others for mark in _markers(stream, origin_s, notes)]
    markers.sort(key=lambda marker: marker.onset_s)
    return XdfFile(path, tuple(streams), tuple(markers), tuple(notes))


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What pyxdf logs as an error meanwhile, which is damage; nothing of it is printed."""
    said: list[str] = []
    logger, handler = logging.getLogger("pyxdf"), logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _is_whole(path: Path, stream: Any, notes: list[str]) -> bool:
    """Whether a stream has samples; notes and errors where it has fewer than were written.

    Raises:
        DataError: the stream's end counts more samples than there are.
    """
    name, count = _text(stream["info"], "name"), len(stream["time_stamps"])
    footer = stream.get("footer")
    if footer is None:
        notes.append(f"{path.name}: {name} has no end: the recording was interrupted, or cut off")
    else:
        written = int(_text(footer["info"], "sample_count") or count)
        if written > count:
            raise DataError(
                path,
                f"stream {name}",
                f"{count} samples",
                f"{written}, as at its end",
                "The file is damaged: copy it again.",
            )
    if not np.isfinite(stream["time_stamps"]).all():
        raise DataError(path, f"times of {name}", "no numbers", "seconds", "Copy it again.")
    if not count:
        notes.append(f"{path.name}: stream {name} has no samples")
    return count > 0


def _stream(found: Any, name: str, origin_s: float, notes: list[str]) -> Stream:
    """A stream of signals, with its gaps."""
    times, nominal = found["time_stamps"], _rate(found)
    measured = float(found["info"]["effective_srate"])
    if not 0 < measured < np.inf:  # times that go back, or one sample
        measured = nominal
    drift_s = len(times) * abs(1 / measured - 1 / nominal)
    fs = nominal if drift_s <= _DRIFT_S else measured
    if abs(measured / nominal - 1) > _OTHER_RATE:
        notes.append(f"{name}: {measured:.6g} Hz by its times, {nominal:g} Hz by its header")
    pieces: list[Piece] = []
    for first, last in found["info"]["segments"]:
        start_s = float(times[first]) - origin_s
        if pieces:
            before = pieces[-1]
            end_s = before.start_s + (before.stop - before.first) / fs
            if abs(start_s - end_s) <= _LATE / fs:  # jitter after all
                pieces[-1] = replace(before, stop=last + 1)
                continue
            if start_s < end_s:
                notes.append(f"{name}: its times go back at {end_s:.4g} s; read as one after other")
                start_s = end_s
        pieces.append(Piece(start_s, first, last + 1))
    return Stream(found["time_series"], _channels(found, name, fs), Timeline(fs, tuple(pieces)))


def _channels(found: Any, name: str, fs: float) -> tuple[StoredChannel, ...]:
    """A stream's channels, whose labels, units and types its description may hold."""
    info = found["info"]
    count, of_stream = int(_text(info, "channel_count")), _kind(_text(info, "type"))
    described = [each for each in _described(info) if isinstance(each, dict)]
    if len(described) != count:
        described = [{}] * count
    channels = []
    for i, entry in enumerate(described):
        label = _text(entry, "label") or (name if count == 1 else f"ch{i + 1}")
        told = _kind(_text(entry, "type"))
        if not told and kind_of_name(label) == "unknown":
            told = of_stream
        channels.append(StoredChannel(label, fs, _text(entry, "unit"), told, group=name))
    return tuple(channels)


def _described(info: Any) -> list[Any]:
    """The entries of a stream's channels; none where it describes none."""
    tree = info
    for key in ("desc", "channels"):
        below = tree.get(key) or [None]
        tree = below[0]
        if not isinstance(tree, dict):
            return []
    return list(tree.get("channel") or [])


def _kind(text: str) -> str:
    """The type that LSL's word for a stream's or channel's content means; "" for none of ours."""
    named = kind_of_name(text) if text else "unknown"
    return as_kind(text) or TYPES.get(text.upper(), "") or ("" if named == "unknown" else named)


def _markers(found: Any, origin_s: float, notes: list[str]) -> list[Marker]:
    """What a stream without a rate says; nothing of one of several numbers, or of our own words."""
    info, rows = found["info"], found["time_series"]
    if _text(info, "name") in (PREDICTIONS, EVENTS):
        return []
    words = info["channel_format"][0] == "string"
    if not words and int(_text(info, "channel_count")) > 1:
        notes.append(f"{_text(info, 'name')}: an irregular stream of several numbers is not read")
        return []
    texts = ["; ".join(map(str, row)) if words else f"{row[0]:g}" for row in rows]
    times = (found["time_stamps"] - origin_s).tolist()
    return [Marker(time, 0.0, text) for time, text in zip(times, texts, strict=True)]


def _rate(found: Any) -> float:
    return float(_text(found["info"], "nominal_srate") or 0)


def _text(entry: Any, key: str) -> str:
    """A leaf of pyxdf's trees, whose values are lists of one."""
    value = (entry.get(key) or [None])[0]
    return value.strip() if isinstance(value, str) else ""


def _unique(names: Sequence[str]) -> list[str]:
    """Streams' names, with a running number behind those that several have."""
    times: Counter[str] = Counter()
    out = []
    for name in names:
        times[name] += 1
        out.append(f"{name} {times[name]}" if list(names).count(name) > 1 else name)
    return out
