"""A decoded frame as it is to be looked at: upright, with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

_SQUARE = 0.01  # pixels that differ from squares by less are taken as they are


def display_matrix(frame: Any) -> np.ndarray | None:
    """How a decoded frame is to be shown: FFmpeg's matrix [3, 3], None where it is as stored."""
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(data, dtype="=i4").reshape(3, 3)


def upright(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """A frame as it is to be shown: phones store what the sensor sees, and how it was held.

        [x', y'] = [x, y] M,   x right, y down; angles between quarter turns go to the nearest

    Args:
        image: [height, width, 3].
        matrix: [3, 3], of which the upper left M counts; turned, mirrored or both.

    Returns:
        [height, width, 3] or, turned by a quarter, [width, height, 3]; contiguous.
    """
    if matrix is None:
        return np.ascontiguousarray(image)  # rows may be padded
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(b) > abs(a):  # x' comes from y, y' from x
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels; the side that is stored with fewer grows.

    Args:
        width: px.
        height: px.
        aspect: a pixel's width per height; None or 0 where it is not known.
    """
    if not aspect or abs(aspect - 1) < _SQUARE:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def rgb(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """A decoded frame [height, width, 3] uint8, upright, brought to `size` (width, height) first.

    A frame of another stored size than the clip's first one keeps its own.
    """
    if size == (frame.width, frame.height):
        image = frame.to_ndarray(format="rgb24")
    else:
        image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
    return upright(image, display_matrix(frame))
