"""A session in a terminal: one line that is written over, or lines now and then in a log."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np

from clmer.live import LiveWindow
from clmer.live.lsl import Event
from clmer.options import in_flags
from clmer.streams import StatusLine, is_terminal
from clmer.text import score_text, wrapped

#: Seconds from line to line where standard error is no terminal.
LOG_S = 10.0
#: Windows whose latency the summary tells: the last so many.
_LATENCIES = 10_000


class Screen:
    """What a person sees on standard error.

    Args:
        classes: names of the classes; none of a rating.
        flags: the options' names on the command line.
    """

    def __init__(self, classes: Sequence[str], flags: Mapping[str, str]) -> None:
        self._classes, self._flags = tuple(classes), flags
        self._line = StatusLine()
        self._is_terminal = is_terminal(sys.stderr)
        self._next_log = 0.0
        self._last: LiveWindow | None = None
        self._statuses: Counter[str] = Counter()
        self._lost = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    def say(self, text: str) -> None:
        """Print a line, above the one that is written over."""
        self._line.clear()
        print(wrapped(in_flags(text, self._flags), rest="  "), file=sys.stderr, flush=True)

    def event(self, event: Event) -> None:
        """Print what happened; where a stream stops, the last window is not shown any more."""
        self.say(str(event))
        if event.ends_answer:
            self._last = None

    def window(self, window: LiveWindow) -> None:
        """Take a window, which `show` shows."""
        self._last = window
        self._statuses[window.status] += 1
        self._lost += window.lost
        if window.values is not None:
            self._latencies.append(window.latency_s)

    def show(self, reference_left_s: float, missing: Sequence[str]) -> None:
        """Show the state of the session.

        Args:
            reference_left_s: seconds of the reference that are to come.
            missing: streams that are not there at the moment.
        """
        now = time.monotonic()
        if not self._is_terminal and now < self._next_log:
            return
        text = self._state(reference_left_s, missing)
        if self._is_terminal:
            self._line.show(text)
            return
        self._next_log = now + LOG_S
        print(text, file=sys.stderr, flush=True)

    def _state(self, reference_left_s: float, missing: Sequence[str]) -> str:
        count = self._statuses.total()
        if missing:
            return f"waiting for {' and '.join(missing)}, after {count} windows"
        if reference_left_s > 0:
            return f"reference: {reference_left_s:.0f} s to go"
        if self._last is None:
            return f"waiting for the {'next' if count else 'first'} window"
        latency = f"latency {1000 * self._last.latency_s:.0f} ms"
        return f"{self._said(self._last)}  {latency}  lost {self._lost}  windows {count}"

    def _said(self, window: LiveWindow) -> str:
        if window.values is None:
            return window.status
        if not self._classes:
            return score_text(float(window.values))
        best = int(window.values.argmax())
        return f"{self._classes[best]} {score_text(float(window.values[best]))}"

    def summary(self) -> str:
        """What the session came to, in a sentence."""
        count = self._statuses.total()
        if not count:
            return "no window became complete"
        kinds = ", ".join(f"{n} {status}" for status, n in self._statuses.most_common())
        said = f"{count} windows: {kinds}"
        if self._latencies:
            middle, high = 1000 * np.percentile(self._latencies, (50, 99))
            said += f"; latency {middle:.1f} ms (median), {high:.1f} ms (99 %)"
        return said

    def close(self) -> None:
        """Leave the line empty."""
        self._line.clear()
