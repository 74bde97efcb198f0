"""The loop of `clmer live`: what the streams brought goes in, what became complete goes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from clmer.live import Live, LiveWindow, StreamFormat
from clmer.live.clock import JUMP_S
from clmer.live.command.watch import Watch
from clmer.live.lsl import Event

#: Seconds between two looks at streams that bring nothing.
_POLL_S = 0.004
#: Seconds between two looks at the machine's clock.
_CLOCK_S = 1.0
#: Seconds of a stream that are taken before it is the next one's turn.
_TURN_S = 0.25

Chunk = tuple[str, np.ndarray, np.ndarray]


class Source(Protocol):
    """A stream, such as `clmer.live.lsl.Source`."""

    name: str
    format: StreamFormat

    @property
    def is_connected(self) -> bool:
        """Whether it is there, as far as is known."""

    def pull(self) -> tuple[np.ndarray, np.ndarray]:
        """What came since the last call: samples [C, n] and their times [n]; n may be 0."""

    def take_events(self) -> list[Event]:
        """What happened since the last call."""


class Session:
    """Streams that are read in turn, in the caller's thread.

    Args:
        engine: takes the samples.
        sources: the streams, by the names that the engine knows.
        clock: the LSL clock, seconds.
    """

    def __init__(self, engine: Live, sources: Sequence[Source], clock: Callable[[], float]) -> None:
        self.engine, self.clock, self._sources = engine, clock, sources
        self._windows: list[Callable[[LiveWindow], None]] = []
        self._events: list[Callable[[Event], None]] = []
        self._samples: list[Callable[[str, np.ndarray, np.ndarray], None]] = []
        self._ticks: list[Callable[[], None]] = []
        self._watch = Watch(self._offset())
        self._next_clock = 0.0
        self._noted = 0  # of the engine's notes, those that were told

    def tell(
        self,
        *,
        windows: Callable[[LiveWindow], None] | None = None,
        events: Callable[[Event], None] | None = None,
        samples: Callable[[str, np.ndarray, np.ndarray], None] | None = None,
        ticks: Callable[[], None] | None = None,
    ) -> None:
        """Have somebody told from now on.

        Args:
            windows: is given every window.
            events: is given what else happens.
            samples: is given what a stream brought: its name, [C, n] samples, [n] times.
            ticks: is called after every look at the streams, some hundred times per second.
        """
        self._windows += [] if windows is None else [windows]
        self._events += [] if events is None else [events]
        self._samples += [] if samples is None else [samples]
        self._ticks += [] if ticks is None else [ticks]

    @property
    def formats(self) -> dict[str, StreamFormat]:
        """What the streams bring, by name."""
        return {source.name: source.format for source in self._sources}

    @property
    def missing(self) -> list[str]:
        """Names of the streams that are not there at the moment."""
        return [source.name for source in self._sources if not source.is_connected]

    def run(self, is_stopped: Callable[[], bool], seconds: float) -> None:
        """Read the streams until told to stop, or for so many seconds.

        A window that the end cuts through is not given out: it has no answer, and lacks nothing.
        """
        self._tell_notes()
        until = time.monotonic() + seconds
        while not is_stopped() and time.monotonic() < until:
            if not self.step():
                time.sleep(_POLL_S)

    def step(self) -> bool:
        """Read every stream once; whether any brought something."""
        chunks = []
        for source in self._sources:
            samples, times = source.pull()
            self._tell(source.take_events())
            if times.size:
                chunks.append((source.name, samples, times))
                for take in self._samples:
                    take(source.name, samples, times)
        for name, samples, times in in_turns(chunks):
            windows = self.engine.push(samples, times, name)
            self._tell(self._watch.pushed(name, self.engine.counts[name]))
            self._tell_notes()
            self._give_out(windows)
        self._look_at_clock()
        for tick in self._ticks:
            tick()
        return bool(chunks)

    def summary(self) -> list[str]:
        """A line per stream: what came, and what did not."""
        lines = []
        for name, counts in self.engine.counts.items():
            said = [f"{counts.received} samples"]
            for what in ("lost", "repeated", "late"):
                number = getattr(counts, what)
                said += [f"{number} {what}"] if number else []
            for what, number in (("gap", counts.gaps), ("clock jump", counts.clock_jumps)):
                said += [f"{number} {what}{'s' if number > 1 else ''}"] if number else []
            lines.append(f"{name}: {', '.join(said)}")
        return lines

    def _give_out(self, windows: Iterable[LiveWindow]) -> None:
        for window in windows:
            self._tell(self._watch.window(window))
            for take in self._windows:
                take(window)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            for take in self._events:
                take(event)

    def _tell_notes(self) -> None:
        """What the engine has noticed since the last call."""
        notes = self.engine.notes[self._noted :]
        self._noted += len(notes)
        self._tell(Event(self.clock(), "", "note", note) for note in notes)

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        if now >= self._next_clock:
            self._next_clock = now + _CLOCK_S
            self._tell(self._watch.clock(self.clock(), self._offset()))

    def _offset(self) -> float:
        """Wall clock less LSL clock."""
        return time.time() - self.clock()


def in_turns(chunks: Sequence[Chunk], seconds: float = _TURN_S) -> Iterator[Chunk]:
    """Chunks cut into parts in the order of their times, so that no stream seems to be behind.

    What was buffered while nobody read is seconds of one stream before any of the next.

    Args:
        chunks: of each stream its name, samples [C, n] and their times [n].
        seconds: of a part.
    """
    parts = []
    for name, samples, times in chunks:
        # What comes behind a clock that jumps back is behind all that came before it.
        jumps = [0, *(np.flatnonzero(np.diff(times) < -JUMP_S) + 1), len(times)]
        for jump, (begin, end) in enumerate(zip(jumps, jumps[1:], strict=False)):
            reached = np.maximum.accumulate(times[begin:end])
            cuts = np.flatnonzero(np.diff(np.floor(reached / seconds))) + 1
            for first, stop in zip([0, *cuts], [*cuts, end - begin], strict=True):
                part = slice(begin + first, begin + stop)
                parts.append(((jump, reached[stop - 1]), (name, samples[:, part], times[part])))
    parts.sort(key=lambda part: part[0])
    yield from (chunk for _, chunk in parts)
