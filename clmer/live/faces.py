"""A face's stream: a tracker's rows as they come, and the windows of each of its modalities."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clmer.data.face.frames import MAX_GAP_S, MIN_CONFIDENCE, REGULAR, regular_series
from clmer.data.face.rows import Rows
from clmer.data.face.table import Header, Table
from clmer.data.face.trackers.openface import rows_of, used_columns
from clmer.data.face.windows import FaceWindows
from clmer.data.store.plan import WindowPlan
from clmer.errors import DataError
from clmer.live.clock import JUMP_S
from clmer.live.formats import StreamCounts, StreamFormat

_ROUNDING_S = 1e-6


class FaceStream:
    """A face's stream, and the modalities made of it.

    Args:
        plan: windows, the face's rate, and which modalities.
        name: of the stream, for messages.
        format: its columns and rate.
        unit: of the landmarks in training.
        keep_s: seconds that stay.

    Raises:
        DataError: the stream lacks columns, or has landmarks in another unit.
    """

    def __init__(
        self, plan: WindowPlan, name: str, format: StreamFormat, unit: str, keep_s: float
    ) -> None:
        self.counts = StreamCounts()
        self.fs, self.channels, self.drift_s = format.fs, len(format.channels), 0.0
        self._plan, self._keep_s = plan, keep_s
        self._header = Header(Path(name), format.channels, ",")
        wanted = used_columns(self._header)
        self._columns = {
            each: format.channels.index(each) for each in wanted if each != "timestamp"
        }
        self._rows: deque[tuple[float, Rows]] = deque()  # a frame with a face each
        self._origin = np.nan
        self._check(plan.face_names, unit)

    def _check(self, names: Sequence[str], unit: str) -> None:
        blank = self._rows_of(np.zeros((len(self._header.names), 1)))
        held = {"landmarks": blank.landmarks, "au": blank.au_intensity, "gaze": blank.gaze}
        missing = [name for name in names if held[name] is None]
        if missing:
            there = [name for name, values in held.items() if values is not None]
            raise DataError(
                self._header.path,
                "columns of the stream",
                f"those of {', '.join(there)}",
                f"those of {', '.join(missing)} too, which the run uses",
            )
        if "landmarks" in names and unit and blank.unit != unit:
            raise DataError(
                self._header.path,
                "unit of the landmarks",
                f"{blank.unit} ({blank.tracker})",
                f"{unit} as in training",
                "Send the columns that the training data had: X_0 ... in mm, x_0 ... in px.",
            )

    @property
    def first_s(self) -> float | None:
        """Time of the first frame; None before it."""
        return None if np.isnan(self._origin) else float(self._origin)

    def stamps(self, count: int) -> np.ndarray:
        """Times of the next frames, where they have none."""
        first = 0.0 if self.first_s is None else self.counts.last_s + 1 / self.fs
        return first + np.arange(count) / self.fs

    def push(self, samples: np.ndarray, stamps: np.ndarray) -> bool:
        """The next frames [columns, n] and their times [n]; whether the clock jumped."""
        counts, jumped = self.counts, False
        counts.received += samples.shape[1]
        rows = self._rows_of(samples)
        good = rows.success & (rows.confidence >= MIN_CONFIDENCE)
        for values in rows.values.values():
            good &= np.isfinite(values).all(1)
        for at, stamp in enumerate(stamps.tolist()):
            if stamp < counts.last_s - JUMP_S:
                counts.clock_jumps += 1
                jumped = True
                self.clear()
            elif stamp <= counts.last_s:
                counts.repeated += stamp == counts.last_s
                counts.late += stamp < counts.last_s
                continue
            if np.isnan(self._origin):
                self._origin = stamp
            counts.last_s = stamp
            counts.lost += not good[at]
            if good[at]:
                self._rows.append((stamp, rows.at(np.array([at]))))
        while self._rows and self._rows[0][0] < counts.last_s - self._keep_s:
            self._rows.popleft()
        return jumped

    def clear(self) -> None:
        """Forget what came."""
        self._rows.clear()
        self._origin = np.nan
        self.counts.last_s = -np.inf

    def windows(self, start_s: float) -> dict[str, np.ndarray] | str:
        """[rows, frames] of each modality from a time on; "" for not yet, or why there are none."""
        plan, fps = self._plan, self.fs
        times = start_s + np.arange(plan.frames) / plan.fps
        known_s = self._rows[-1][0] if self._rows else -np.inf
        if known_s < times[-1] - _ROUNDING_S:
            reach = (int(MAX_GAP_S * fps + 1e-6) + 1.5) / fps
            over = self.counts.last_s > max(known_s, times[0]) + reach
            return "no face" if over and self.counts.last_s >= times[-1] else ""
        margin = MAX_GAP_S + 2 / fps
        near = [(s, row) for s, row in self._rows if s >= times[0] - margin]
        behind = next(i for i, (s, _) in enumerate(near) if s >= times[-1] - _ROUNDING_S)
        near = near[: behind + 1]  # so that no window depends on what came later
        place = (np.array([s for s, _ in near]) - self._origin) * fps
        base = np.rint(place[0])
        at = place - base
        if np.abs(at - np.rint(at)).max() <= REGULAR:
            at = np.rint(at)
        frames = int(np.rint(at[-1])) + 1
        rows = _joined([row for _, row in near])
        sure = np.ones(frames, np.float32)
        series = regular_series(rows, at, frames, fps, MAX_GAP_S, sure, ())
        found = FaceWindows.at(
            series, (times - self._origin - base / fps)[None], plan.face_names, plan.face
        )
        if found.lost[0] or found.outside[0]:
            return "no face"
        return {name: array[0] for name, array in found.arrays.items()}

    def _rows_of(self, samples: np.ndarray) -> Rows:
        """Frames [columns, n] as a tracker's rows."""
        columns = {name: np.asarray(samples[i], np.float64) for name, i in self._columns.items()}
        return rows_of(self._header, Table(columns, np.arange(samples.shape[1])))


def _joined(rows: Sequence[Rows]) -> Rows:
    """Rows one after the other."""
    first = rows[0]
    arrays = {
        name: np.concatenate([getattr(each, name) for each in rows])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray)
    }
    return type(first)(**{**vars(first), **arrays})
