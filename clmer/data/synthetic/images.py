"""Pictures of generated faces: drawings of the landmarks, as OpenFace's `_aligned` folders.

A drawing holds what the CSV beside it holds: the landmarks without the head's motion, and action
units as shades of forehead, cheeks and chin. It is no photograph: results on it compare the costs
of ways to show a face to a model, and say nothing of real pictures.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from clmer.data.face import AU_NAMES, NEEDED_COLUMNS, aligned, read_openface
from clmer.data.face.images import SIDE, folder_of
from clmer.data.face.table import read_header
from clmer.data.recording import FaceSeries

_SCALE = 0.62  # pixels per mm: the face fills the picture
_CENTRE = (SIDE / 2, 0.38 * SIDE)
_SUPERSAMPLED = 2  # lines are drawn larger and averaged, so that they move by parts of a pixel
#: Closed outlines, and open lines, of iBUG points.
_SHAPES = ((36, 42), (42, 48), (48, 60))
_LINES = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36))
#: Where an action unit shades the face: centre and radius in mm, grey levels per unit of intensity.
_SHADES = (
    (("AU01", "AU04"), ((0, -48), 16), -10),
    (("AU06", "AU12"), ((-42, 18), 14), 10),
    (("AU06", "AU12"), ((42, 18), 14), 10),
    (("AU15", "AU26"), ((0, 62), 13), -10),
    (("AU05",), ((0, -24), 9), 10),
)


def draw_faces(root: Path) -> None:
    """Draw one picture per second beside every face CSV in a folder of generated data.

    Pictures are PNG, of the frames in the middle of each second; folders that are there are kept,
    and each is written whole or not at all.
    """
    for path in sorted(root.rglob("*.csv")):
        folder = folder_of(path)
        if not folder.exists() and set(NEEDED_COLUMNS) <= set(read_header(path).names):
            _draw_series(read_openface(path), folder)


def _draw_series(face: FaceSeries, folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    points, intensity = aligned(face).landmarks, face.au_intensity
    assert points is not None  # `draw_faces` saw their columns
    assert intensity is not None
    for second in range(int(len(face.valid) / face.fps)):
        frame = int((second + 0.5) * face.fps)
        picture = draw(points[frame], intensity[frame])
        Image.fromarray(picture).save(temporary / f"frame_det_00_{frame + 1:06d}.png")
    try:
        os.replace(temporary, folder)
    except OSError:  # another process was faster
        shutil.rmtree(temporary)
        if not folder.is_dir():
            raise


def draw(points: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """One face as a picture.

    Args:
        points: [68, 3] landmarks in the head's frame, mm.
        intensity: [17] action units, 0-5.

    Returns:
        [112, 112, 3] uint8.
    """
    zoom = _SUPERSAMPLED * _SCALE
    centre = np.multiply(_CENTRE, _SUPERSAMPLED)
    image = Image.new("RGB", (_SUPERSAMPLED * SIDE,) * 2, (90, 100, 110))
    pen = ImageDraw.Draw(image)
    flat = points[:, :2] * zoom + centre
    brow = centre[1] - 75 * zoom
    head = [*map(tuple, flat[:17]), (flat[16][0], brow), (flat[0][0], brow)]
    pen.polygon(head, fill=(205, 165, 140))
    for names, ((x, y), radius), levels in _SHADES:
        units = float(np.mean([intensity[AU_NAMES.index(name)] for name in names]))
        tone = tuple(int(np.clip(value + levels * units, 0, 255)) for value in (195, 150, 130))
        middle = np.array([x, y]) * zoom + centre
        low, high = middle - radius * zoom, middle + radius * zoom
        pen.ellipse([*low, *high], fill=tone)
    for first, last in _SHAPES:
        pen.polygon([*map(tuple, flat[first:last])], fill=(150, 80, 80) if first == 48 else "white")
    for first, last in _LINES:
        pen.line([*map(tuple, flat[first:last])], fill=(60, 40, 30), width=2 * _SUPERSAMPLED)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
