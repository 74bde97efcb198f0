"""`Source`: an LSL stream that is read in chunks, and taken up again where it drops.

Of mne-lsl only the plain inlet is used, which buffers in a thread of liblsl.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from clmer.errors import DataError
from clmer.live.lsl.description import format_of
from clmer.live.lsl.events import Event
from clmer.live.outlets import import_lsl

#: Seconds that one look for a stream that dropped may take, and from it to the next.
_LOOK_S, _AGAIN_S = 2.0, 0.5
#: Seconds that a stream is given to open, to describe itself and to compare clocks.
_OPEN_S = 10.0
#: Seconds without a sample after which a stream is silent.
_SILENT_S = 3.0
#: Seconds of samples that are kept while nobody reads them.
_BUFFER_S = 120
#: Samples read at once.
_CHUNK = 1024
#: Seconds within which two clocks of one machine are the same: what LSL's comparison is good for.
_SAME_CLOCK_S = 1e-3
#: How fast the correction of another machine's clock follows LSL's estimates, which jitter by a
#: tenth of a millisecond (seconds per second: clocks drift by less); more than a step at once is a
#: clock that was set.
_SLEW, _STEP_S = 1e-4, 0.1


class _Connection:
    """An opened inlet.

    Args:
        info: of mne-lsl, as resolved.
        unit: of channels whose unit is not said.

    `uid` is the outlet's, which is another where it is started anew; `format` what it brings.

    Raises:
        DataError: its description is of no use.
        RuntimeError, TimeoutError: it went away meanwhile.
    """

    def __init__(self, info: Any, unit: str) -> None:
        # liblsl's own recovery is silent: a dropped stream would look like one without samples.
        inlet = import_lsl().StreamInlet(info, max_buffered=_BUFFER_S, recover=False)
        inlet.open_stream(timeout=_OPEN_S)
        full = inlet.get_sinfo(timeout=_OPEN_S)
        self._inlet, self.uid = inlet, info.uid
        self.format = format_of(full, unit)
        offset_s = float(inlet.time_correction(timeout=_OPEN_S))
        is_here = full.hostname == socket.gethostname()
        # Processes of one machine share a clock: there, LSL's estimate is noise.
        self._is_same_clock = is_here and abs(offset_s) < _SAME_CLOCK_S
        self._offset_s = 0.0 if self._is_same_clock else offset_s
        self._last = time.monotonic()

    def pull(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Samples [C, n] and times [n] on this machine's clock; n may be 0.

        Raises:
            RuntimeError, TimeoutError: it has gone.
        """
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        while not parts or len(parts[-1][1]) == _CHUNK:
            rows, times = self._inlet.pull_chunk(timeout=0.0, max_samples=_CHUNK)
            # They lie in the inlet's own buffers, which the next call fills again.
            parts.append((np.array(rows, dtype=np.float64), times.copy()))
        samples, times = (np.concatenate(each) for each in zip(*parts, strict=True))
        return np.ascontiguousarray(samples.T), times + self._offset(now) if times.size else times

    def flush(self) -> None:
        """Leave out what was buffered."""
        self._inlet.flush()

    def _offset(self, now: float) -> float:
        """What to add to the sender's times."""
        if not self._is_same_clock:
            offset_s = float(self._inlet.time_correction(timeout=_OPEN_S))
            self._offset_s = followed(self._offset_s, offset_s, now - self._last)
            self._last = now
        return self._offset_s


def followed(before_s: float, estimate_s: float, elapsed_s: float) -> float:
    """A clock's correction, brought nearer to an estimate that jitters.

    Args:
        before_s: the correction that was in use.
        estimate_s: LSL's newest.
        elapsed_s: seconds since the last call.
    """
    error_s, most_s = estimate_s - before_s, _SLEW * elapsed_s
    if abs(error_s) > _STEP_S:
        return estimate_s
    return before_s + min(max(error_s, -most_s), most_s)


@dataclass(frozen=True)
class _Look:
    """What a look for a stream found.

    Args:
        uid: of the stream; "" where it is not there.
        connection: to it, where it is a new one that can take the old one's place.
        refusal: why a new one cannot.
    """

    uid: str = ""
    connection: _Connection | None = None
    refusal: str = ""


class Source:
    """A stream that is read in chunks, and taken up again where it drops.

    Args:
        name: as it was asked for.
        info: of mne-lsl, as resolved.
        unit: of channels whose unit is not said.

    `format` says what it brings. Times are seconds on this machine's LSL clock, which LSL compares
    with the sender's. While a stream is gone, a thread looks for it, so that `pull` never waits.

    Raises:
        DataError: it cannot be opened, or its description is of no use.
    """

    def __init__(self, name: str, info: Any, unit: str = "") -> None:
        self.name, self._unit = name, unit
        self._by = {"source_id": name} if name != info.name else {"name": name}
        self._clock: Callable[[], float] = import_lsl().local_clock
        self._events: list[Event] = []
        try:
            self._connection: _Connection | None = _Connection(info, unit)
        except (RuntimeError, TimeoutError) as error:
            hint = "Was it just stopped?"
            raise DataError(name, "stream", error, "one that can be opened", hint) from error
        self.format = self._connection.format
        self._refused = ""
        self._is_silent = False
        self._heard = self._looked = time.monotonic()
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="clmer-lsl")
        self._look: Future[_Look] | None = None
        self._event("connected", f"{len(self.format.channels)} channels at {self.format.fs:g} Hz")

    @property
    def is_connected(self) -> bool:
        """Whether it is there, as far as is known."""
        return self._connection is not None and not self._is_silent

    def pull(self) -> tuple[np.ndarray, np.ndarray]:
        """What came since the last call: samples [C, n] float64 and their times [n]; n may be 0."""
        now = time.monotonic()
        if self._connection is not None:
            try:
                samples, times = self._connection.pull(now)
                if times.size:
                    self._hear(now)
                    return samples, times
            except (RuntimeError, TimeoutError) as error:
                said = str(error).rstrip(".")
                self._drop(said[:1].lower() + said[1:])
        self._look_around(now)
        return np.empty((len(self.format.channels), 0)), np.empty(0)

    def forget(self) -> None:
        """Leave out what came and was not read yet."""
        if self._connection is not None:
            self._connection.flush()

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Leave the stream."""
        self._connection = None
        self._looking.shutdown(wait=False, cancel_futures=True)

    def _event(self, what: str, detail: str = "") -> None:
        self._events.append(Event(self._clock(), self.name, what, detail))

    def _hear(self, now: float) -> None:
        if self._is_silent:
            self._event("back", f"after {now - self._heard:.1f} s")
        self._heard, self._is_silent = now, False

    def _drop(self, why: str) -> None:
        self._connection, self._is_silent = None, True
        self._event("dropped", why)

    def _look_around(self, now: float) -> None:
        """Have a stream looked for that brings nothing, and use what was found.

        liblsl does not always notice that a sender has gone.
        """
        if self._look is not None:
            if self._look.done():
                look, self._look, self._looked = self._look.result(), None, now
                self._use(look)
            return
        wait_s = _AGAIN_S if self._connection is None else _SILENT_S
        if now - max(self._heard, self._looked) < wait_s:
            return
        if not self._is_silent:
            self._is_silent = True
            self._event("silent", f"no sample for {now - self._heard:.1f} s")
        known = "" if self._connection is None else self._connection.uid
        self._look = self._looking.submit(self._look_for, (known, self._refused))

    def _look_for(self, known: Sequence[str]) -> _Look:
        """Look for the stream, and connect to one that is not known."""
        infos = import_lsl().resolve_streams(timeout=_LOOK_S, **self._by)
        if len(infos) != 1:
            return _Look()
        [info] = infos
        if info.uid in known:
            return _Look(info.uid)
        try:
            connection = _Connection(info, self._unit)
        except DataError as error:
            return _Look(info.uid, refusal=str(error))
        except (RuntimeError, TimeoutError):
            return _Look()  # gone again
        if connection.format != self.format:
            why = f"found {connection.format}, expected {self.format} as before"
            return _Look(info.uid, refusal=why)
        return _Look(info.uid, connection)

    def _use(self, look: _Look) -> None:
        """Take up what was found in the old one's place, if it is still needed."""
        if self._connection is not None:
            if not self._is_silent or look.uid == self._connection.uid:
                return
            self._drop("it was started anew" if look.uid else "it is gone")
        if look.refusal:
            self._refused = look.uid
            self._event("refused", look.refusal)
        elif look.connection is not None:
            self._connection = look.connection
            self._hear(time.monotonic())
