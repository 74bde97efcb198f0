"""A session as CSV files, row by row as it happens."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

import numpy as np

from clmer.errors import DataError
from clmer.live import LiveWindow
from clmer.live.lsl import Event
from clmer.predict.said import DIGITS
from clmer.storage import unwritable
from clmer.text import cell

#: Standard output, which takes the windows alone.
STDOUT = "-"


class Table:
    """The windows in one file, a row each, and what else happened in a second beside it.

    X.csv has start_s and stop_s (seconds on the LSL clock), time (of the window's end, local time
    with its offset from UTC), status, lost (samples that were interpolated), latency_ms, class and
    a probability per class, p_NAME; or the rating, value. X-events.csv has time_s, time, stream,
    event, detail. Every row is in the file when `window` or `event` returns.

    Args:
        out: path of the windows' file, or "-" for standard output, without events.
        classes: names of the classes; none of a rating.
        clock: the LSL clock, seconds.

    Raises:
        DataError: a file is there already, or cannot be made.
    """

    def __init__(self, out: str, classes: Sequence[str], clock: Callable[[], float]) -> None:
        self._classes, self._clock = tuple(classes), clock
        self.paths: list[Path] = []
        self._events: _Rows | None = None
        if out == STDOUT:
            self._windows = _Rows(None, self._head())
            return
        check_new(out)
        path = Path(out)
        self._windows = _Rows(path, self._head())
        try:
            self._events = _Rows(events_path(path), ["time_s", "time", "stream", "event", "detail"])
        except DataError:
            self._windows.close()
            path.unlink()
            raise
        self.paths = [path, events_path(path)]

    def _head(self) -> list[str]:
        values = ["class", *(f"p_{name}" for name in self._classes)] if self._classes else ["value"]
        return ["start_s", "stop_s", "time", "status", "lost", "latency_ms", *values]

    def window(self, window: LiveWindow) -> None:
        """Write a window's row; without values its last cells are empty."""
        self._windows.write(
            [
                f"{window.start_s:.{DIGITS}f}",
                f"{window.stop_s:.{DIGITS}f}",
                self._wall(window.stop_s),
                cell(window.status),
                window.lost,
                f"{1000 * window.latency_s:.3f}",
                *self._values(window.values),
            ]
        )

    def _values(self, values: np.ndarray | None) -> list[str]:
        if values is None:
            return [""] * (len(self._classes) + 1)
        said = [f"{value:.{DIGITS}f}" for value in np.atleast_1d(values)]
        return [cell(self._classes[int(values.argmax())]), *said] if self._classes else said

    def event(self, event: Event) -> None:
        """Write an event's row."""
        if self._events is not None:
            texts = (cell(text) for text in (event.stream, event.what, event.detail))
            time_s = f"{event.time_s:.{DIGITS}f}"
            self._events.write([time_s, self._wall(event.time_s), *texts])

    def _wall(self, time_s: float) -> str:
        """A time on the LSL clock as one on the wall."""
        wall = datetime.fromtimestamp(time.time() - self._clock() + time_s).astimezone()
        return wall.isoformat(timespec="milliseconds")

    def said(self) -> list[str]:
        """What is in which file."""
        if not self.paths:
            return []
        windows, events = self.paths
        return [f"{windows}: a row per window", f"{events}: what else happened"]

    def close(self) -> None:
        """Close the files."""
        self._windows.close()
        if self._events is not None:
            self._events.close()


class _Rows:
    """A CSV file that has every row at once; standard output where there is no path."""

    def __init__(self, path: Path | None, head: Sequence[str]) -> None:
        self._path = path
        try:
            self._file: TextIO = (
                sys.stdout if path is None else path.open("x", newline="", encoding="utf-8")
            )
        except OSError as error:
            raise unwritable(path or Path(STDOUT), error) from error
        self._writer = csv.writer(self._file, lineterminator="\n")
        self.write(head)

    def write(self, row: Sequence[object]) -> None:
        if self._path is None:
            self._writer.writerow(row)
            self._file.flush()
            return
        try:
            self._writer.writerow(row)
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        if self._path is not None:
            self._file.close()


def events_path(path: Path) -> Path:
    """Where the events of a session go whose windows are in a file."""
    return path.with_name(f"{path.stem}-events{path.suffix or '.csv'}")


def check_new(out: str) -> None:
    """Refuse to write over an earlier session, which cannot be had again.

    Raises:
        DataError: a file is there already, or its folder is not.
    """
    if out == STDOUT:
        return
    path = Path(out)
    if not path.parent.is_dir():
        raise DataError(path, "`out`", "no such folder", "one that exists", "Make it first.")
    for each in (path, events_path(path)):
        if each.exists():
            hint = "Choose another name, or move it away."
            raise DataError(each, "`out`", "an earlier session", "a new file", hint)
