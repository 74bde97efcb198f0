"""What happens in a session beside its windows: gaps, clocks that jump, a face that goes."""

from __future__ import annotations

from dataclasses import replace

from clmer.live.formats import LiveWindow, StreamCounts
from clmer.live.lsl import Event

#: Seconds by which the machine's clock has to move to be told.
_MOVED_S = 0.1
#: What a window's status says where a face is missing.
_NO_FACE = "no face"


class Watch:
    """Makes events of what a session counts and says.

    Args:
        offset_s: wall clock less LSL clock, as it is now.
    """

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s
        self._before: dict[str, StreamCounts] = {}
        self._has_face: bool | None = None  # before the first window

    def pushed(self, stream: str, counts: StreamCounts) -> list[Event]:
        """Gaps and jumps in a stream since the last call."""
        before = self._before.get(stream, StreamCounts())
        self._before[stream] = replace(counts)
        found = []
        if counts.clock_jumps > before.clock_jumps:
            found.append(Event(counts.last_s, stream, "clock jump"))
        if counts.gaps > before.gaps:
            lost = counts.lost - before.lost
            found.append(Event(counts.last_s, stream, "gap", f"{lost} samples lost"))
        return found

    def window(self, window: LiveWindow) -> list[Event]:
        """Whether the face went or came with a window."""
        had_face, self._has_face = self._has_face, window.status != _NO_FACE
        if self._has_face:
            what = "face back" if had_face is False else ""
        else:
            what = {True: "face lost", None: "no face yet"}.get(had_face, "")
        return [Event(window.stop_s, "", what)] if what else []

    def clock(self, time_s: float, offset_s: float) -> list[Event]:
        """Whether somebody set the machine's clock, which LSL's does not follow."""
        moved, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(moved) < _MOVED_S:
            return []
        return [Event(time_s, "", "wall clock moved", f"by {moved:+.3f} s")]
