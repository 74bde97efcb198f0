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
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike

from clmer.data.face.table import Header
from clmer.data.face.trackers.openface import groups
from clmer.data.formats.xdf import EVENTS, PREDICTIONS, SUFFIXES
from clmer.data.formats.xdf_writer import XdfWriter, check_new
from clmer.live.formats import LiveWindow, StreamFormat
from clmer.storage import unwritable

_FLUSH_S = 1.0
_WAITING = 64  # pushes of a face before the first sample of a signal; older ones are not needed
_DIGITS = 4  # of a probability in a marker


class Recorder:
    """The files of one session; as a context it closes them.

    Second 0 of both is the first sample of any stream of signals; what is older is left out, and of
    a session without signals it is the face's first frame.

    Args:
        path: of the XDF, such as study/P07_calm.xdf; or a folder, in which it is called live- and
            the local time. Folders are made when missing.
        formats: of the streams, by name. One with a face tracker's columns becomes a table.
        classes: names of a window's values; none of a rating.

    Attributes:
        paths: the files.

    Raises:
        DataError: the folder or a file cannot be made, or a file is there; every method where the
            disk is full.
    """

    def __init__(
        self, path: Path, formats: Mapping[str, StreamFormat], classes: Sequence[str] = ()
    ) -> None:
        if path.suffix.lower() != SUFFIXES[0]:
            path = path / f"live-{datetime.now():%Y%m%d-%H%M%S}{SUFFIXES[0]}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path.parent, error) from error
        self._classes = tuple(classes)
        self._origin_s = self._newest_s = -np.inf
        self._next_flush = time.monotonic() + _FLUSH_S
        faces = [each for each, format in formats.items() if is_face(format.channels)]
        tables = {
            each: path.with_name(f"{path.stem}-face{number if len(faces) > 1 else ''}.csv")
            for number, each in enumerate(faces, 1)
        }
        for table in tables.values():
            check_new(table)
        self._xdf = XdfWriter(path)
        self._signals = {
            each: self._xdf.add_stream(each, "", format.channels, format.fs, format.units)
            for each, format in formats.items()
            if each not in faces
        }
        self._predictions = self._xdf.add_markers(PREDICTIONS)
        self._events = self._xdf.add_markers(EVENTS)
        self._faces = {
            each: _FaceTable(table, formats[each].channels) for each, table in tables.items()
        }
        self.paths = [path, *tables.values()]

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        if not times.size:
            return
        self._newest_s = max(self._newest_s, float(times[-1]))
        if self._origin_s == -np.inf and (stream in self._signals or not self._signals):
            self._origin_s = float(times[0])
            for table in self._faces.values():
                table.begin(self._origin_s)
        if stream in self._faces:
            self._faces[stream].add(rows, times)
        elif stream in self._signals:
            known = times >= self._origin_s
            self._xdf.add(self._signals[stream], rows[:, known], times[known])
        else:
            known_names = ", ".join([*self._signals, *self._faces])
            raise ValueError(f"Recorder.add: found stream {stream!r}, expected {known_names}")
        if time.monotonic() >= self._next_flush:
            self.flush()

    def add_window(self, window: LiveWindow) -> None:
        """What was said of a window, as a marker at its start.

        "prediction over 8 s: calm 0.8312, sad 0.1688", or "... : no face".
        """
        said = f"prediction over {window.stop_s - window.start_s:.6g} s: {self._said(window)}"
        self._xdf.add_text(self._predictions, said, window.start_s)

    def event(self, text: str, time_s: float | None = None) -> None:
        """Anything else that happened, as a marker.

        Args:
            text: what.
            time_s: when; by default the newest sample's time, before which nothing is kept.
        """
        at_s = self._newest_s if time_s is None else time_s
        if np.isfinite(at_s):
            self._xdf.add_text(self._events, text, at_s)

    def flush(self) -> None:
        """Write what came so far; `add` does it every second."""
        self._xdf.flush()
        for table in self._faces.values():
            table.flush()
        self._next_flush = time.monotonic() + _FLUSH_S

    def close(self) -> None:
        """Write the rest, and end the files."""
        for table in self._faces.values():
            table.close()
        self._xdf.close()

    def _said(self, window: LiveWindow) -> str:
        if window.values is None:
            return window.status
        values = np.atleast_1d(window.values)
        named = zip(self._classes or [""] * len(values), values, strict=True)
        said = ", ".join(f"{name} {value:.{_DIGITS}f}".strip() for name, value in named)
        return said if window.status == "ok" else f"{said} ({window.status})"


def is_face(channels: Sequence[str]) -> bool:
    """Whether a stream's channels are a face tracker's columns."""
    return bool(groups(Header(Path("stream"), tuple(channels), ",")))


class _FaceTable:
    """A face's stream as a CSV with the columns timestamp and those of the stream.

    Until second 0 is known, the newest rows wait. A frame without a face (NaN) has zeros, as
    trackers write it, where `success` tells it from a face.
    """

    def __init__(self, path: Path, channels: Sequence[str]) -> None:
        self.path = path
        self._waiting: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=_WAITING)
        self._lost = 0.0 if "success" in channels else np.nan
        self._lines: list[str] = [", ".join(["timestamp", *channels])]
        self._origin_s = np.nan
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
            if at_s >= 0:
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
