"""What a tracker wrote, row by row, before one face's regular series is made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clmer.data.face.hog import Hog
from clmer.data.face.images import FaceImages


@dataclass(frozen=True, eq=False)
class Rows:
    """What a tracker wrote, in the units of `FaceSeries`.

    Args:
        path: the file.
        lines: [r] the line of each row in the file, for messages.
        tracker: its name.
        unit: of the landmarks, "mm" or "px".
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

    @property
    def values(self) -> dict[str, np.ndarray]:
        """What there is of the face, [r, values] by attribute."""
        named = {
            name: getattr(self, name) for name in ("landmarks", "au_intensity", "au_presence")
        } | {"gaze": self.gaze}
        return {k: v.reshape(len(v), -1) for k, v in named.items() if v is not None}

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
