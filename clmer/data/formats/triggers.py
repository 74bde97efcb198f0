"""Markers out of a trigger line: a channel whose values are codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clmer.data.recording import Marker
from clmer.data.timeline import Timeline

#: BioSemi's Status words: the lower 16 bits are the trigger, the others the amplifier's state.
STATUS_BITS = 0xFFFF
#: A line of more different values is no line of codes, nor is one whose values are no integers.
_MOST_CODES, _ROUNDING = 256, 0.1


def trigger_markers(values: np.ndarray, line: Timeline) -> list[Marker]:
    """Stretches of one code each: its first sample's time, its duration, the code in digits.

    Rest is 0, or, on a line that is never 0, the value that it has most of the time; it is no
    marker, nor is a code that the recording begins with and never changes.

    Args:
        values: [T] samples.
        line: when they were recorded; a pause ends a stretch.

    Returns:
        Markers in order of time; none where the values are not codes.
    """
    codes = np.rint(values)
    if not np.isfinite(values).all() or (np.abs(values - codes) > _ROUNDING).any():
        return []
    found, counts = np.unique(codes, return_counts=True)
    if not 1 < len(found) <= _MOST_CODES:
        return []
    rest = 0.0 if 0.0 in found else found[counts.argmax()]
    markers = []
    for piece in line.pieces:
        part = codes[piece.first : piece.stop]
        edges = np.flatnonzero(np.diff(part, prepend=np.nan, append=np.nan)).tolist()
        for first, stop in zip(edges, edges[1:], strict=False):
            if part[first] != rest:
                onset_s = piece.start_s + first / line.fs
                markers.append(Marker(onset_s, (stop - first) / line.fs, f"{part[first]:.0f}"))
    return markers


def all_noted(found: Sequence[Marker], noted: Sequence[Marker], fs: float) -> bool:
    """Whether each marker of a line begins with an annotation, to a sample; so do those of none."""
    times = np.array([marker.onset_s for marker in noted])
    return all(bool((np.abs(times - m.onset_s) < 1.5 / fs).any()) for m in found)
