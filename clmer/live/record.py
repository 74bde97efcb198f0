"""A live session as files that training reads: what came in, and what was said of it.

    study/P07_calm.xdf          signals, predictions, events
    study/P07_calm-face.csv     the face, second 0 being the XDF's

The XDF has each stream of signals with the times of its samples, on LSL's clock, and two streams of
markers: `clmer predictions`, a text for each window at its start, and `clmer events`. A face's
stream becomes a table of its columns. Both files are flushed every second: a session that is killed
is there up to then. `clmer manifest study` proposes a manifest out of the files' names. For a
prediction is no label, neither stream of markers is taken for trials (`clmer.data.formats.xdf`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike

from clmer.data.formats.xdf import EVENTS, PREDICTIONS, SUFFIXES
from clmer.data.formats.xdf_writer import XdfWriter, check_new
from clmer.live.clock import JUMP_S
from clmer.live.formats import LiveWindow, StreamFormat
from clmer.storage import unwritable

_FLUSH_S = 1.0
_WAITING = 64  # pushes of a face before the first sample of a signal; older ones are not needed
_DIGITS = 4  # of a probability in a marker
#: Seconds of another stream within which it jumps too, if it has the lead's clock.
_FOLLOWS_S = 5.0


class Recorder:
    """The files of one session; as a context it closes them.

    Second 0 of both is the first sample of any stream of signals; what is older is left out, and of
    a session without signals it is the face's first frame. Samples of signals that are not all
    finite are left out, as the session counts them as lost.

    Where the clock of the first stream of signals jumps back, further files go on from there:
    P07_calm-2.xdf, P07_calm-2-face.csv. An event in either names the other.

    Args:
        path: of the XDF, such as study/P07_calm.xdf; or a folder, in which it is called live- and
            the local time. Folders are made when missing.
        formats: of the streams, by name. One with a face tracker's columns becomes a table.
        classes: names of a window's values; none of a rating.

    Attributes:
        paths: the files.

    Raises:
        DataError: the folder or a file cannot be made, or a file is there, and no file is left;
            every method where the disk is full.
    """

    def __init__(
        self, path: Path, formats: Mapping[str, StreamFormat], classes: Sequence[str] = ()
    ) -> None:
        self._first, self._formats, self._classes = new_recording(path), formats, tuple(classes)
        try:
            self._first.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self._first.parent, error) from error
        self._files = _Files(self._first, formats)
        self.paths = list(self._files.paths)
        self._lead = next(iter([*self._files.signals, *self._files.faces]), None)
        self._newest: dict[str, float] = {}  # each stream's newest time
        self._behind: dict[str, float] = {}  # theirs, of those that did not jump with the lead yet
        self._not_finite: set[str] = set()
        self._next_flush = time.monotonic() + _FLUSH_S

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, stream: str, samples: ArrayLike, timestamps: ArrayLike) -> None:
        """Samples [C, n] that a stream brought, with their times [n] in s.

        Raises:
            ValueError: no such stream, or shapes that do not fit.
        """
        rows, times = np.asarray(samples, np.float64), np.asarray(timestamps, np.float64)
        if rows.ndim != 2 or times.shape != rows.shape[1:]:
            raise ValueError(
                f"Recorder.add: found samples {rows.shape} and timestamps {times.shape}, "
                "expected [C, n] and [n]"
            )
        if stream not in self._formats:
            known = ", ".join(self._formats)
            raise ValueError(f"Recorder.add: found stream {stream!r}, expected {known}")
        if stream in self._files.signals:
            rows, times = self._finite(stream, rows, times)
        before = np.concatenate([[self._newest.get(stream, -np.inf)], times[:-1]])
        jumps = np.flatnonzero(times - before[: len(times)] < -JUMP_S).tolist()
        edges = [0, *jumps, len(times)]
        for first, stop in zip(edges, edges[1:], strict=False):
            if first < stop:
                if first in jumps:
                    self._jump(stream, float(times[first]))
                self._take(stream, rows[:, first:stop], times[first:stop])
        if time.monotonic() >= self._next_flush:
            self.flush()

    def _take(self, stream: str, rows: np.ndarray, times: np.ndarray) -> None:
        self._newest[stream] = float(times[-1])
        if stream in self._behind:
            if times[-1] < self._behind[stream] + _FOLLOWS_S:
                return
            del self._behind[stream]  # the stream has a clock of its own
        self._files.add(stream, rows, times)

    def _jump(self, stream: str, to_s: float) -> None:
        """Go on in further files where it is the lead that jumped back."""
        self._behind.pop(stream, None)
        if stream != self._lead:
            return
        last, number = self._files, 2
        while any(each.exists() for each in _paths(self._numbered(number), self._formats)):
            number += 1
        path = self._numbered(number)
        last.event(f"clock jump: goes on in {path.name}", last.newest_s)
        last.close()
        self._files = _Files(path, self._formats)
        self._files.event(f"clock jump: goes on from {last.path.name}", to_s)
        self.paths += self._files.paths
        self._behind = {
            name: newest_s
            for name, newest_s in self._newest.items()
            if name != stream and newest_s > to_s + JUMP_S
        }

    def _numbered(self, number: int) -> Path:
        return self._first.with_name(f"{self._first.stem}-{number}{self._first.suffix}")

    def _finite(
        self, stream: str, rows: np.ndarray, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples of finite numbers alone; the first time that others come is an event."""
        good = np.isfinite(rows).all(axis=0)
        if good.all():
            return rows, times
        if stream not in self._not_finite:
            self._not_finite.add(stream)
            text = f"{stream}: samples that are not finite in every channel are not recorded"
            self.event(text, float(times[np.argmin(good)]))
        return rows[:, good], times[good]

    def add_window(self, window: LiveWindow) -> None:
        """What was said of a window, as a marker at its start.

        "prediction over 8 s: calm 0.8312, sad 0.1688", or "... : no face".
        """
        said = f"prediction over {window.stop_s - window.start_s:.6g} s: {self._said(window)}"
        self._files.prediction(said, window.start_s)

    def event(self, text: str, time_s: float | None = None) -> None:
        """Anything else that happened, as a marker.

        Args:
            text: what.
            time_s: when; by default the newest sample's time, before which nothing is kept.
        """
        at_s = self._files.newest_s if time_s is None else time_s
        if np.isfinite(at_s):
            self._files.event(text, at_s)

    def flush(self) -> None:
        """Write what came so far; `add` does it every second."""
        self._files.flush()
        self._next_flush = time.monotonic() + _FLUSH_S

    def close(self) -> None:
        """Write the rest, and end the files."""
        self._files.close()

    def said(self) -> list[str]:
        """What is in which file."""
        return [f"{', '.join(map(str, self.paths))}: what came in, for training"]

    def _said(self, window: LiveWindow) -> str:
        if window.values is None:
            return window.status
        values = np.atleast_1d(window.values)
        named = zip(self._classes or [""] * len(values), values, strict=True)
        said = ", ".join(f"{name} {value:.{_DIGITS}f}".strip() for name, value in named)
        return said if window.status == "ok" else f"{said} ({window.status})"


class _Files:
    """An XDF and the tables of faces beside it, of which nothing is left where one cannot be made.

    Args:
        path: of the XDF.
        formats: of the streams, by name.
    """

    def __init__(self, path: Path, formats: Mapping[str, StreamFormat]) -> None:
        self.path, self.paths = path, _paths(path, formats)
        self.newest_s = self._origin_s = -np.inf
        for each in self.paths:
            check_new(each)
        names = [name for name, format in formats.items() if format.is_face]
        with ExitStack() as undone:
            undone.callback(remove_files, self.paths)
            self._xdf = XdfWriter(path)
            undone.callback(self._xdf.close)
            self.signals = {
                name: self._xdf.add_stream(name, "", format.channels, format.fs, format.units)
                for name, format in formats.items()
                if name not in names
            }
            self._predictions = self._xdf.add_markers(PREDICTIONS)
            self._events = self._xdf.add_markers(EVENTS)
            self.faces: dict[str, _FaceTable] = {}
            for name, table in zip(names, self.paths[1:], strict=True):
                self.faces[name] = _FaceTable(table, formats[name].channels)
                undone.callback(self.faces[name].close)
            undone.pop_all()

    def add(self, stream: str, rows: np.ndarray, times: np.ndarray) -> None:
        self.newest_s = max(self.newest_s, float(times[-1]))
        if self._origin_s == -np.inf and (stream in self.signals or not self.signals):
            self._origin_s = float(times[0])
            for table in self.faces.values():
                table.begin(self._origin_s)
        if stream in self.faces:
            self.faces[stream].add(rows, times)
        else:
            known = times >= self._origin_s
            self._xdf.add(self.signals[stream], rows[:, known], times[known])

    def prediction(self, text: str, time_s: float) -> None:
        self._xdf.add_text(self._predictions, text, time_s)

    def event(self, text: str, time_s: float) -> None:
        self._xdf.add_text(self._events, text, time_s)

    def flush(self) -> None:
        self._xdf.flush()
        for table in self.faces.values():
            table.flush()

    def close(self) -> None:
        for table in self.faces.values():
            table.close()
        self._xdf.close()


def new_recording(path: Path) -> Path:
    """The XDF of a session: the path, or in a folder a name by the local time.

    Raises:
        DataError: it is there.
    """
    if path.suffix.lower() != SUFFIXES[0]:
        path = path / f"live-{datetime.now():%Y%m%d-%H%M%S}{SUFFIXES[0]}"
    check_new(path)
    return path


def remove_files(paths: Sequence[Path]) -> None:
    """Remove what a start made that failed."""
    for path in paths:
        path.unlink(missing_ok=True)


def _paths(path: Path, formats: Mapping[str, StreamFormat]) -> list[Path]:
    """The XDF, and the table of each face."""
    count = sum(format.is_face for format in formats.values())
    numbers = range(1, count + 1)
    tables = [path.with_name(f"{path.stem}-face{n if count > 1 else ''}.csv") for n in numbers]
    return [path, *tables]


class _FaceTable:
    """A face's stream as a CSV with the columns timestamp and those of the stream.

    Until second 0 is known, the newest rows wait. A frame that is no later than the one before is
    left out. A frame without a face (NaN) has zeros, as
    trackers write it, where `success` tells it from a face.
    """

    def __init__(self, path: Path, channels: Sequence[str]) -> None:
        self.path = path
        self._waiting: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=_WAITING)
        self._lost = 0.0 if "success" in channels else np.nan
        self._lines: list[str] = [", ".join(["timestamp", *channels])]
        self._origin_s = np.nan
        self._last_s = -np.inf
        try:
            self._file: TextIO = path.open("x", encoding="ascii")
        except OSError as error:
            raise unwritable(path, error) from error
        self.flush()

    def begin(self, origin_s: float) -> None:
        self._origin_s = origin_s
        for rows, times in self._waiting:
            self.add(rows, times)
        self._waiting.clear()

    def add(self, rows: np.ndarray, times: np.ndarray) -> None:
        if np.isnan(self._origin_s):
            self._waiting.append((rows, times))
            return
        frames = np.where(np.isfinite(rows), rows, self._lost).T
        for values, at_s in zip(frames, times - self._origin_s, strict=True):
            if at_s >= 0 and at_s > self._last_s:
                self._last_s = at_s
                self._lines.append(", ".join([f"{at_s:.6f}", *(f"{v:.9g}" for v in values)]))

    def flush(self) -> None:
        if not self._lines:
            return
        try:
            self._file.write("\n".join([*self._lines, ""]))
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._lines.clear()

    def close(self) -> None:
        self.flush()
        self._file.close()
