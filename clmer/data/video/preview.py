"""Frames with the tracked points drawn, for a person to look at; they show faces."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from clmer.data.choices.video import PREVIEWS
from clmer.data.video.refusals import import_av
from clmer.errors import DataError

NOTICE = """\
These pictures show a person's face. Keep them private: do not commit, upload or publish them. They
can be deleted at any time.
"""
_COLOUR = (0, 255, 0)
_MILLISECOND = Fraction(1, 1000)


def open_preview(kind: str, folder: Path, every_s: float) -> Preview:
    """A preview "png" or "mp4" in `folder`; `every_s` seconds from picture to picture of "png".

    Raises:
        DataError: PyAV has no encoder for "mp4".
    """
    return PngPreview(folder, every_s) if kind == "png" else Mp4Preview(folder)


def preview_folder(csv: Path) -> Path:
    """Where the preview beside a series is."""
    return csv.with_name(f"{csv.stem}_preview")


def has_preview(kind: str, folder: Path) -> bool:
    """Whether a finished "mp4", or pictures of a "png", are in `folder`."""
    return any(folder.glob(PREVIEWS[kind]))


class Preview(AbstractContextManager["Preview"]):
    """A context that takes frames; an earlier preview in the folder goes.

    Args:
        folder: made when missing, ignored by git, and marked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "NOTICE").write_text(NOTICE, encoding="ascii")
        (folder / ".gitignore").write_text("*\n", encoding="ascii")
        for pattern in PREVIEWS.values():
            for old in folder.glob(pattern):
                old.unlink()

    @abstractmethod
    def add(
        self, number: int, seconds: float, image: np.ndarray, points: np.ndarray | None
    ) -> None:
        """A frame: its number, time, picture [h, w, 3] and points [68, 2] px, None if lost."""


class PngPreview(Preview):
    """A picture every so many seconds of a clip: `<number of the frame>.png`."""

    def __init__(self, folder: Path, every_s: float) -> None:
        super().__init__(folder)
        self.every_s, self._next_s = every_s, 0.0

    def add(
        self, number: int, seconds: float, image: np.ndarray, points: np.ndarray | None
    ) -> None:
        """The frame, if it is time for one."""
        if seconds < self._next_s:
            return
        from matplotlib.image import imsave

        self._next_s = seconds + self.every_s - 1e-6
        imsave(self.folder / f"{number:06d}.png", draw(image, points))

    def __exit__(self, *error: object) -> None:
        """Nothing is open between pictures."""


class Mp4Preview(Preview):
    """Every frame at its time, as H.264: `preview.mp4`, whole or not there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._av = import_av()
        if "libx264" not in self._av.codecs_available:
            raise DataError(
                folder, "`preview=mp4`", "a PyAV without libx264", "one that has it", "Use png."
            )
        self._temporary = folder / ".preview.mp4.tmp"
        self._container: Any = self._av.open(str(self._temporary), "w", format="mp4")
        self._stream: Any = None
        self._milliseconds = -1

    def add(
        self, number: int, seconds: float, image: np.ndarray, points: np.ndarray | None
    ) -> None:
        """The frame; one of another size than the first is scaled to it."""
        height, width = (side // 2 * 2 for side in image.shape[:2])  # yuv420p has whole pairs
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=25)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = _MILLISECOND
        drawn = np.ascontiguousarray(draw(image, points)[:height, :width])
        frame = self._av.VideoFrame.from_ndarray(drawn, format="rgb24")
        self._milliseconds = max(self._milliseconds + 1, round(1000 * seconds))
        frame.pts, frame.time_base = self._milliseconds, _MILLISECOND
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the file and puts it in place, unless an error ended it."""
        whole = error is None and self._stream is not None
        try:
            if whole:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if whole:
                self._temporary.replace(self.folder / "preview.mp4")
        finally:
            self._temporary.unlink(missing_ok=True)


def draw(image: np.ndarray, points: np.ndarray | None) -> np.ndarray:
    """A picture [h, w, 3], copied, with a square of 3 px on each point [n, 2] (x, y) if any."""
    if points is None:
        return image
    out = np.array(image)
    height, width, _ = out.shape
    for x, y in np.rint(points).astype(np.int64).tolist():
        if -1 <= x <= width and -1 <= y <= height:
            out[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = _COLOUR
    return out
