"""Windows of a face series: each modality's rows at given times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clmer.data.choices import IMAGES
from clmer.data.face.hog import HOG_ROWS, REGIONS
from clmer.data.face.images import SMALL, downsampled
from clmer.data.face.rigid import aligned
from clmer.data.face.rows import (
    GAZE_COLUMNS,
    INTENSITY_COLUMNS,
    LANDMARK_COLUMNS,
    PRESENCE_COLUMNS,
)
from clmer.data.recording import FaceSeries

#: Patches that MobileViT-S makes of a picture.
PATCHES = 16
#: Tokens of each modality: axes, intensities over presences, angles, regions of the face; pixels or
#: rows of a downsampled picture, patches of MobileViT's features.
FACE_TOKENS = {"landmarks": 3, "au": 2, "gaze": 2, "hog": REGIONS**2}
FACE_TOKENS |= {"pixels": SMALL**2, "pixel-rows": SMALL, "mobilevit": PATCHES}
#: Stored rows of each modality.
FACE_ROWS = {
    "landmarks": LANDMARK_COLUMNS,
    "au": INTENSITY_COLUMNS + PRESENCE_COLUMNS,
    "gaze": GAZE_COLUMNS,
    "hog": HOG_ROWS,
    "pixels": tuple(f"row_{i}" for i in range(SMALL)),
    "pixel-rows": tuple(f"row_{i}" for i in range(SMALL)),
    "mobilevit": tuple(f"patch_{i}" for i in range(PATCHES)),
}
#: Pictures [k, 112, 112, 3] uint8 to features [k, 16, 640].
Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class FaceWindows:
    """Face values in windows.

    Args:
        arrays: [windows, rows, frames] float32 by modality; `FACE_ROWS` names the rows. Of
            pictures one stands for a window: [windows, 32, 96] or [windows, 16, 640].
        lost: [windows] bool, a frame that was used is invalid.
        outside: [windows] bool, times more than half a frame before or after the video.
    """

    arrays: dict[str, np.ndarray]
    lost: np.ndarray
    outside: np.ndarray

    @classmethod
    def at(
        cls,
        face: FaceSeries,
        times: np.ndarray,
        names: Sequence[str],
        how: str = "raw",
        embed: Embed | None = None,
    ) -> FaceWindows:
        """Values at some times: linear between video frames, presences and HOG of the nearest.

        Args:
            face: n frames.
            times: [windows, frames] seconds after the video's first frame.
            names: modalities out of `FACE_TOKENS` that the series has.
            how: "raw" or "aligned" landmarks.
            embed: what makes "mobilevit" of pictures.
        """
        last = len(face.valid) - 1
        position = times * face.fps
        outside = ((position < -0.5) | (position > last + 0.5)).any(axis=1)
        position = position.clip(0, last)
        below = (position + 1e-6).astype(np.int64)
        weight = position - below
        weight[weight < 1e-6] = 0.0  # on a frame: its neighbour does not matter
        above = np.minimum(below + 1, last)
        nearest = np.rint(position).astype(np.int64)
        valid = face.valid[below] & (face.valid[above] | (weight == 0.0))

        def linear(values: np.ndarray) -> np.ndarray:
            mixed = values[below] + weight[..., None] * (values[above] - values[below])
            return mixed.astype(np.float32).transpose(0, 2, 1)

        arrays = {}
        if "landmarks" in names:
            points = (aligned(face) if how == "aligned" else face).landmarks
            if points is None:
                raise TypeError("FaceWindows.at: the series has no landmarks")
            axes = points.transpose(0, 2, 1).reshape(last + 1, -1)  # [n, 204], axis-major
            arrays["landmarks"] = linear(axes)
        if "au" in names:
            if face.au_intensity is None or face.au_presence is None:
                raise TypeError("FaceWindows.at: the series has no action units")
            presence = face.au_presence[nearest].astype(np.float32).transpose(0, 2, 1)
            arrays["au"] = np.concatenate([linear(face.au_intensity), presence], axis=1)
        if "gaze" in names and face.gaze is not None:
            arrays["gaze"] = linear(face.gaze)
        if "hog" in names and face.hog is not None:
            used, back = np.unique(nearest, return_inverse=True)
            rows, good = face.hog.regions(used)
            back = back.reshape(nearest.shape)
            arrays["hog"] = rows[back].transpose(0, 2, 1)
            valid &= good[back]
        pictures = [name for name in names if name in IMAGES]
        if pictures and face.images is not None:
            middle = nearest[:, nearest.shape[1] // 2]
            images, found = face.images.near(middle, round(face.fps / 2))
            valid &= found[:, None]
            arrays |= {name: _of_pictures(name, images, embed) for name in pictures}
        return cls(arrays, (~valid).any(axis=1), np.asarray(outside))


def _of_pictures(name: str, images: np.ndarray, embed: Embed | None) -> np.ndarray:
    """A modality [k, rows, values] of pictures [k, 112, 112, 3]."""
    if name != "mobilevit":
        return downsampled(images)
    if embed is None:
        raise TypeError("FaceWindows.at: mobilevit needs embed")
    return embed(images)
