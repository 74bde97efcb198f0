"""Faces and clips that the tests of `clmer.data.video` are made of."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clmer import cli
from clmer.data.face.trackers.mesh import Face, to_face

_PAIRED = "browDown browOuterUp cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp "
_PAIRED += "eyeSquint eyeWide mouthDimple mouthFrown mouthPress mouthSmile mouthStretch "
_PAIRED += "mouthUpperUp noseSneer"
_SHAPES = [f"{name}{side}" for name in _PAIRED.split() for side in ("Left", "Right")]
_SHAPES += "browInnerUp jawOpen mouthClose mouthRollLower mouthRollUpper mouthShrugLower".split()


def scores(**given: float) -> dict[str, float]:
    return dict.fromkeys(_SHAPES, 0.0) | given


def make_mesh(seed: int = 0) -> np.ndarray:
    """Of the mesh the 68 points."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, (68, 3)) * [1, 1, 0.1]


def make_face(seed: int = 0) -> Face:
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 2.0, -50.0
    return to_face(make_mesh(seed), scores(mouthSmileLeft=0.8, mouthSmileRight=0.6), pose, 640, 480)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = cli.main(["video", *[str(argument) for argument in arguments]])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def write_clip(
    path: Path,
    images: Sequence[np.ndarray],
    times_ms: Sequence[float],
    codec: str = "mpeg4",
    *,
    unit: Fraction = Fraction(1, 1000),
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    sound_s: float = 0.0,
    **container: Any,
) -> None:
    """A clip whose frames are shown at these times, of pixels of that aspect, with silence."""
    import av

    with av.open(str(path), "w", **container) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", unit
        if codec.startswith("mpeg"):
            stream.bit_rate = 4_000_000
        if aspect:
            stream.sample_aspect_ratio = aspect
        if sound_s:
            _silence(output, sound_s)
        for image, time in zip(images, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / 1000 / unit), unit
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _silence(output: Any, seconds: float) -> None:
    import av

    stream = output.add_stream("aac", rate=48000, layout="mono")
    for start in range(0, round(48000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def numbered(count: int, height: int = 64, width: int = 96, noise: int = 0) -> list[np.ndarray]:
    """Pictures that tell their number: a bright bar at `number_of` of the width."""
    rng, images = np.random.default_rng(0), []
    for number in range(count):
        image = np.full((height, width, 3), 40, np.int64)
        image[:, round(number * width / count) :][:, : max(width // 16, 2)] = 220
        image += rng.integers(-noise, noise + 1, image.shape)
        images.append(image.clip(0, 255).astype(np.uint8))
    return images


def number_of(image: np.ndarray, count: int) -> int:
    """The number that a picture of `numbered` shows, off by one at most."""
    bright = np.flatnonzero(image.mean(axis=(0, 2)) > 130)
    return round(bright[0] * count / image.shape[1])


def placed(width: int, height: int, *faces: tuple[np.ndarray, int, int]) -> np.ndarray:
    """A grey picture with pictures at (left, top), which may hang over its edges."""
    canvas = np.full((height, width, 3), 90, np.uint8)
    for image, left, top in faces:
        x, y = max(left, 0), max(top, 0)
        part = image[y - top : height - top, x - left : width - left]
        canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    return canvas


def scaled(image: np.ndarray, height: int) -> np.ndarray:
    """A picture of another height, its width in proportion."""
    import av

    width = round(height * image.shape[1] / image.shape[0])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
