"""What happens to a stream, or to the machine's clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Args:
        time_s: on the LSL clock.
        stream: its name; "" where it is of no stream.
        what: connected, dropped, silent, back, refused; gap, clock jump; no face yet, face
            lost, face back; wall clock moved; note.
        detail: what more there is to say.
    """

    time_s: float
    stream: str
    what: str
    detail: str = ""

    @property
    def ends_answer(self) -> bool:
        """Whether a stream stopped, so that what was last said is over."""
        return self.what in ("dropped", "silent")

    def __str__(self) -> str:
        if self.what == "note":
            return f"note: {self.detail}"
        said = f"{self.stream}: {self.what}" if self.stream else self.what
        return f"{said}, {self.detail}" if self.detail else said
