"""What a run says of each window, as an LSL stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clmer.live.formats import LiveWindow
from clmer.live.lsl.events import Event
from clmer.live.outlets import Outlet


class PredictionsOutlet:
    """The windows' probabilities as an LSL stream: one channel per class, no fixed rate.

    A window's sample has the time of its end. Where it has no probabilities (no face, a gap), the
    sample is NaN, and so is one more where a stream stops, at the time of that: who listens knows
    that the last answer is over.

    Args:
        name: of the stream.
        classes: names of the classes; none of a rating, whose channel is "rating".
    """

    def __init__(self, name: str, classes: Sequence[str]) -> None:
        self._labels = tuple(classes) or ("rating",)
        self._outlet = Outlet(name, self._labels, 0.0, kind="Emotion")

    def window(self, window: LiveWindow) -> None:
        """Send a window."""
        values = np.full(len(self._labels), np.nan) if window.values is None else window.values
        self._outlet.push(np.atleast_1d(values)[:, None], [window.stop_s])

    def event(self, event: Event) -> None:
        """End the last answer where a stream stops."""
        if event.ends_answer:
            self._outlet.push(np.full((len(self._labels), 1), np.nan), [event.time_s])

    def close(self) -> None:
        """End the stream."""
        self._outlet.close()
