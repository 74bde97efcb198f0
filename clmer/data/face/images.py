"""Pictures of the face beside a CSV: what serialisation is compared with (Tables VIII-X).

    FeatureExtraction -f clip.avi -simalign -simsize 112 -out_dir face
    face/clip.csv  face/clip_aligned/frame_det_00_000001.bmp ...

OpenFace's `-simalign` writes each frame's face turned upright, scaled and cropped to 112 x 112
pixels, numbered as the CSV's `frame`. One picture stands for a window: the one nearest to its
middle, at most half a second away ("temporal alignment is maintained at a one-second resolution").
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from clmer.errors import DataError

#: Pixels per side of OpenFace's aligned faces, and of the downsampled ones.
SIDE, SMALL = 112, 32

_NAME = re.compile(r"frame_det(?:_(\d\d))?_(\d+)\.(?:bmp|png|jpg)")
_HINT = "Make them with OpenFace's FeatureExtraction -simalign -simsize 112."


@dataclass(frozen=True, eq=False)
class FaceImages:
    """Aligned pictures of a face series; read when asked for.

    Args:
        folder: `<stem>_aligned` beside the CSV.
        frames: [n] the picture's number for each frame of the series.
        face: OpenFace's number of the face, 0 where it follows one only.
    """

    folder: Path
    frames: np.ndarray
    face: int = 0

    def at(self, frames: np.ndarray | slice) -> FaceImages:
        """The same folder for other frames, numbered as those of now."""
        return replace(self, frames=self.frames[frames])

    @cached_property
    def _files(self) -> tuple[np.ndarray, list[Path]]:
        """Numbers, ascending, and files of the pictures that are there."""
        matches = ((p, _NAME.fullmatch(p.name)) for p in self.folder.iterdir())
        named = {int(m[2]): p for p, m in matches if m and int(m[1] or 0) == self.face}
        if not named:
            found = f"no frame_det_{self.face:02d}_*.bmp"
            raise DataError(self.folder, "folder", found, "pictures", _HINT)
        numbers = sorted(named)
        return np.array(numbers), [named[number] for number in numbers]

    def near(self, frames: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """The pictures nearest to some frames of the series.

        Args:
            frames: [k] frames of the series.
            reach: frames that a picture may be away.

        Returns:
            [k, 112, 112, 3] uint8, red, green, blue (zeros where none is near); found [k] bool.

        Raises:
            DataError: the folder is empty, or a picture is damaged or of another size.
        """
        numbers, files = self._files
        wanted = self.frames[frames]
        after = np.searchsorted(numbers, wanted).clip(max=len(numbers) - 1)
        before = (after - 1).clip(min=0)
        nearer = np.abs(numbers[before] - wanted) < np.abs(numbers[after] - wanted)
        nearest = np.where(nearer, before, after)
        found = np.abs(numbers[nearest] - wanted) <= reach
        out = np.zeros((len(wanted), SIDE, SIDE, 3), dtype=np.uint8)
        for row in np.flatnonzero(found):
            out[row] = _read(files[nearest[row]])
        return out, found


def find_images(path: Path, frame: np.ndarray | None) -> FaceImages | None:
    """The pictures that OpenFace wrote beside a CSV with these frame numbers, if it did."""
    folder = folder_of(path)
    if frame is None or not os.path.isdir(folder):
        return None
    # a row without a number has no picture: none is near so low a number
    return FaceImages(folder, np.nan_to_num(frame, nan=-1e9).clip(-1e9, 1e15).astype(np.int64))


def folder_of(path: Path) -> Path:
    """Where OpenFace puts the pictures of a CSV's frames."""
    return path.with_name(f"{path.stem}_aligned")


def image_folders(sources: Sequence[Path]) -> list[Path]:
    """The folders of pictures beside some files; their times tell when pictures were made anew."""
    beside_csv = (folder_of(path) for path in sources if path.suffix == ".csv")
    return [folder for folder in beside_csv if os.path.isdir(folder)]


def downsampled(images: np.ndarray) -> np.ndarray:
    """Pictures [k, 112, 112, 3] uint8 averaged to rows [k, 32, 96] float32 in 0-1.

    A row holds 32 pixels from left to right, red, green and blue of each side by side, so that the
    same numbers viewed as [k, 1024, 3] are pixels.
    """
    out = np.empty((len(images), SMALL, SMALL * 3), dtype=np.float32)
    for row, image in enumerate(images):
        small = Image.fromarray(image).resize((SMALL, SMALL), Image.Resampling.BOX)
        out[row] = np.asarray(small, dtype=np.float32).reshape(SMALL, -1)
    return out / 255


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.size != (SIDE, SIDE):
                found, expected = "{} x {}".format(*image.size), f"{SIDE} x {SIDE} pixels"
                raise DataError(path, "size", found, expected, _HINT)
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(path, "picture", error, "a BMP, PNG or JPEG file", _HINT) from error
