"""What a clip shows, in a few lines: how large, how upright and how bright the face is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clmer.data.face.trackers.mesh import Face
from clmer.data.video.clips import variable_rate

_SMALL = 0.1  # of the picture's height
_SMALL_PX = 64.0
_TILTED_DEG = 30.0
_DARK, _BRIGHT = 40.0, 220.0
_EYES = (36, 45)


@dataclass
class ClipReport:
    """Frames counted as they come.

    Attributes:
        seconds: of each frame.
        found: frames with the face.
        several: frames with more than one.
        most: faces at once.
    """

    seconds: list[float] = field(default_factory=list)
    found: int = 0
    several: int = 0
    most: int = 0
    _sizes: list[tuple[float, float, float]] = field(default_factory=list)
    _light: list[float] = field(default_factory=list)

    def add(self, seconds: float, image: np.ndarray, face: Face | None, faces: int) -> None:
        """A frame: its time, picture [h, w, 3], the followed face, and how many there are."""
        self.seconds.append(seconds)
        self.found, self.several = self.found + (face is not None), self.several + (faces > 1)
        self.most = max(self.most, faces)
        height, width, _ = image.shape
        if face is None:
            self._light.append(float(image[:: max(height // 16, 1), :: max(width // 16, 1)].mean()))
            return
        size = float(np.ptp(face.image, axis=0).max())
        across, down = face.image[_EYES[1]] - face.image[_EYES[0]]
        column, row = face.image.astype(np.int64).T
        light = image[row.clip(0, height - 1), column.clip(0, width - 1)].mean()
        roll = float(np.degrees(np.arctan2(down, across)))
        self._sizes.append((size, size / height, roll))
        self._light.append(float(light))

    def summary(self) -> list[str]:
        """The lines of the report."""
        if not self.found:
            return [
                f"no face found in {len(self.seconds)} frames, nor in parts of the picture "
                f"(brightness {self._brightness()}): film the face nearer, or crop to it",
            ]
        size, share, _ = np.median(np.array(self._sizes), axis=0)
        roll = self._roll()
        lines = [
            f"{len(self.seconds)} frames, a face in {self.found}, {100 * share:.0f} % of the "
            f"picture's height, roll {roll:.0f} deg, brightness {self._brightness()}",
            self._span(),
        ]
        if share < _SMALL or size < _SMALL_PX:
            lines.append(f"the face is small ({size:.0f} px): its action units are doubtful")
        if abs(roll) > _TILTED_DEG:
            way = "transpose=2" if roll > 0 else "transpose=1"
            way = "hflip,vflip" if abs(roll) > 135 else way
            lines.append(
                f"the head is not upright: turn the clip (ffmpeg -i CLIP -vf {way} TURNED)"
            )
        if self.most > 1:
            lines.append(
                f"{self.most} faces at once, several in {self.several} frames; the largest of the "
                "first frame is followed, one person's is kept"
            )
        rate = variable_rate(np.array(self.seconds))
        return lines + ([rate] if rate else [])

    def _span(self) -> str:
        steps = np.diff(self.seconds)
        step = float(np.median(steps)) if steps.size else 0.0
        length = self.seconds[-1] - self.seconds[0] + step
        rate = f" at {1 / step:.4g} fps" if step > 0 else ""
        return f"{length:.1f} s{rate} from {self.seconds[0]:.2f} s"

    def _roll(self) -> float:
        """Median direction; angles near 180 and -180 degrees are near each other."""
        angles = np.radians([roll for _, _, roll in self._sizes])
        return float(np.degrees(np.angle(np.exp(1j * angles).mean())))

    def _brightness(self) -> str:
        light = float(np.median(self._light))
        kind = "dark" if light < _DARK else "glaring" if light > _BRIGHT else "ok"
        return kind if kind == "ok" else f"{light:.0f} of 255 ({kind})"
