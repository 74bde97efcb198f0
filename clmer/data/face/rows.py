"""What a tracker wrote, row by row, before one face's regular series is made of it.

The names of a face series' rows are OpenFace's column names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clmer.data.face.hog import Hog
from clmer.data.face.images import FaceImages

#: The 17 action units that OpenFace gives both an intensity and a presence.
AU_NAMES = tuple(
    f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
)
LANDMARK_COLUMNS = tuple(f"{axis}_{i}" for axis in "XYZ" for i in range(68))
INTENSITY_COLUMNS = tuple(f"{au}_r" for au in AU_NAMES)
PRESENCE_COLUMNS = tuple(f"{au}_c" for au in AU_NAMES)
GAZE_COLUMNS = ("gaze_angle_x", "gaze_angle_y")


@dataclass(frozen=True, eq=False)
class Rows:
    """What a tracker wrote, in the units of `FaceSeries`.

    Args:
        path: the file.
        lines: [r] the line of each row in the file, for messages.
        tracker: its name.
        unit: of the landmarks, "mm", "px" or "share".
        landmarks: [r, 68, 3], or None.
        au_intensity, au_presence: [r, 17], or None.
        gaze: [r, 2] rad, or None.
        confidence: [r], 0-1.
        success: [r] bool, False where the tracker says that it lost the face.
        seconds: [r] time of the frame in the video, or None.
        frame: [r] number of the frame, from 0 or 1, or None.
        face: [r] which of several faces, or None.
        hog: the descriptors of the same rows, or None.
        images: the pictures of the same rows, or None.
        au_scale: what intensities were multiplied by; 5 of probabilities.
        notes: what is to be said of the table.
    """

    path: Path
    lines: np.ndarray
    tracker: str
    unit: str
    landmarks: np.ndarray | None
    au_intensity: np.ndarray | None
    au_presence: np.ndarray | None
    gaze: np.ndarray | None
    confidence: np.ndarray
    success: np.ndarray
    seconds: np.ndarray | None
    frame: np.ndarray | None
    face: np.ndarray | None
    hog: Hog | None = None
    images: FaceImages | None = None
    au_scale: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, np.ndarray]:
        """What there is of the face, [r, values] by attribute."""
        named = {
            name: getattr(self, name) for name in ("landmarks", "au_intensity", "au_presence")
        } | {"gaze": self.gaze}
        return {k: v.reshape(len(v), -1) for k, v in named.items() if v is not None}

    def length(self, value: float) -> str:
        """A distance between landmarks, for a message."""
        is_share = self.unit == "share"
        return f"{100 * value:.0f} % of the picture" if is_share else f"{value:.0f} {self.unit}"

    def at(self, which: np.ndarray) -> Rows:
        """Some of the rows."""
        arrays = {
            name: value[which]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return replace(
            self,
            **arrays,
            hog=None if self.hog is None else self.hog.at(which),
            images=None if self.images is None else self.images.at(which),
        )


def ranges(names: Sequence[str]) -> str:
    """Names as text, runs folded: X_0, X_1, X_2 -> "X_0..2"."""
    parts: list[tuple[str, int | None, int | None]] = []
    for name in names:
        prefix, _, number = name.rpartition("_")
        if not number.isdigit():
            parts.append((name, None, None))
        elif parts and parts[-1][0] == prefix and parts[-1][2] == int(number) - 1:
            parts[-1] = (prefix, parts[-1][1], int(number))
        else:
            parts.append((prefix, int(number), int(number)))
    return ", ".join(
        p if a is None else f"{p}_{a}" if a == b else f"{p}_{a}..{b}" for p, a, b in parts
    )
