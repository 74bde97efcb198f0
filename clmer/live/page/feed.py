"""What a session sent to its page so far, for every browser that looks."""

from __future__ import annotations

import queue
from collections import deque
from typing import Any

from clmer.live.page.shown import MINUTE_S, Shown, ShownWindow


class Feed:
    """What the queue brought, for every browser that looks.

    Args:
        source: the queue.

    Attributes:
        newest: the last update; None before the first.
        windows: of the last minute; none from before a jump back of the streams' clock.
        count: of updates so far.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.newest: Shown | None = None
        self.windows: deque[ShownWindow] = deque()
        self.count = 0

    def poll(self) -> None:
        """Take what is there."""
        while True:
            try:
                self.newest = self._source.get_nowait()
            except queue.Empty:
                return
            self.count += 1
            for window in self.newest.windows:
                self._add(window)

    def _add(self, window: ShownWindow) -> None:
        if self.windows and window.stop_s < self.windows[-1].stop_s:
            self.windows.clear()  # the streams' clock jumped back
        self.windows.append(window)
        while self.windows[0].stop_s < window.stop_s - MINUTE_S:
            self.windows.popleft()
