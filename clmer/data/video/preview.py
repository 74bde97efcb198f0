"""Frames with the tracked points drawn, for a person to look at; they show faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NOTICE = """\
These pictures show a person's face. Keep them private: do not commit, upload or publish them. They
can be deleted at any time.
"""
_COLOUR = (0, 255, 0)


class Preview:
    """Writes a PNG every so many seconds of a clip.

    Args:
        folder: made when missing, ignored by git, and marked.
        every_s: seconds from picture to picture.
    """

    def __init__(self, folder: Path, every_s: float) -> None:
        self.folder, self.every_s, self._next_s = folder, every_s, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "NOTICE").write_text(NOTICE, encoding="ascii")
        (folder / ".gitignore").write_text("*\n", encoding="ascii")

    def add(
        self, number: int, seconds: float, image: np.ndarray, points: np.ndarray | None
    ) -> None:
        """A frame: its number, time, picture [h, w, 3] and points [68, 2] px, None if lost."""
        if seconds < self._next_s:
            return
        from matplotlib.image import imsave

        self._next_s = seconds + self.every_s - 1e-6
        drawn = image if points is None else draw(image, points)
        imsave(self.folder / f"{number:06d}.png", drawn)


def draw(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A copy of a picture [h, w, 3] with a square of 3 px on each point [n, 2] (x, y)."""
    out = np.array(image)
    height, width, _ = out.shape
    for x, y in np.rint(points).astype(np.int64).tolist():
        if -1 <= x <= width and -1 <= y <= height:
            out[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = _COLOUR
    return out
