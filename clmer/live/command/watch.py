"""What happens in a session beside its windows: gaps, clocks that jump, a face that goes."""

from __future__ import annotations

from dataclasses import replace

from clmer.live.formats import LiveWindow, StreamCounts
from clmer.live.lsl import Event

#: Seconds by which the machine's clock has to move to be told.
_MOVED_S = 0.1
#: What a window's status says where a face is missing.
_NO_FACE = "no face"
#: And of a window without values that has everything.
_REFERENCE = "reference"
#: Drift in millionths beyond which a stated rate is wrong: clocks drift by less than a tenth of it.
_MOST_PPM = 1000.0
#: Seconds of a stream after which its drift is known well enough to tell.
_DRIFT_S = 30.0


class Watch:
    """Makes events of what a session counts and says.

    Args:
        offset_s: wall clock less LSL clock, as it is now.
    """

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s
        self._before: dict[str, StreamCounts] = {}
        self._has_face: bool | None = None  # before the first window
        self._began_s: dict[str, float] = {}  # of each stream, on its clock
        self._drifting: set[str] = set()  # streams of which it was told

    def pushed(self, stream: str, counts: StreamCounts) -> list[Event]:
        """Gaps and jumps in a stream since the last call, and, once, a rate that is not its own."""
        before = self._before.get(stream, StreamCounts())
        self._before[stream] = replace(counts)
        found = []
        if counts.clock_jumps > before.clock_jumps:
            found.append(Event(counts.last_s, stream, "clock jump"))
            self._began_s[stream] = counts.last_s
        if counts.gaps > before.gaps:
            lost = counts.lost - before.lost
            found.append(Event(counts.last_s, stream, "gap", f"{lost} samples lost"))
        return found + self._drift(stream, counts)

    def _drift(self, stream: str, counts: StreamCounts) -> list[Event]:
        began_s = self._began_s.setdefault(stream, counts.last_s)
        is_known = counts.last_s - began_s >= _DRIFT_S
        if stream in self._drifting or not is_known or abs(counts.drift_ppm) <= _MOST_PPM:
            return []
        self._drifting.add(stream)
        slower = "slower" if counts.drift_ppm > 0 else "faster"
        said = (
            f"rate of {stream}: its samples come {abs(counts.drift_ppm) / 1e4:.2g} % {slower} than "
            "it states, for which the filter is designed. Have its sender state the true one"
        )
        return [Event(counts.last_s, stream, "note", said)]

    def window(self, window: LiveWindow) -> list[Event]:
        """Whether the face went or came with a window.

        One without values for another reason, such as a gap, tells nothing of the face.
        """
        had_face = self._has_face
        what = ""
        if window.status == _NO_FACE:
            self._has_face = False
            what = {True: "face lost", None: "no face yet"}.get(had_face, "")
        elif window.values is not None or window.status == _REFERENCE:
            self._has_face = True
            what = "face back" if had_face is False else ""
        return [Event(window.stop_s, "", what)] if what else []

    def clock(self, time_s: float, offset_s: float) -> list[Event]:
        """Whether somebody set the machine's clock, which LSL's does not follow."""
        moved, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(moved) < _MOVED_S:
            return []
        return [Event(time_s, "", "wall clock moved", f"by {moved:+.3f} s")]
