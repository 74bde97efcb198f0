"""Expression without pose: each frame turned and shifted back by its rigid points.

    min over R, t of sum_p |R x_p(f) + t - r_p|^2,   p in `STABLE_POINTS`      (Procrustes)

R is a rotation (Kabsch: of the singular value decomposition of the cross-covariance, without
reflection). r is the recording's own mean shape of these points, found by alternating the two, and
laid into the head's frame: origin between the eye corners and the nose bridge, x to the image's
right, y down, z away from the camera, as a face that looks straight at it. Pixels have no depth:
there the fit is in the image plane and includes one scale per frame, the person's distance.

Source: Gower (1975), Generalized Procrustes analysis, Psychometrika 40.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clmer.data.recording import FaceSeries

#: iBUG points that expressions hardly move: bridge of the nose, inner and outer eye corners.
STABLE_POINTS = (27, 28, 29, 30, 36, 39, 42, 45)

#: The same points of an upright frontal face in mm; only their orientation and centre count.
_UPRIGHT = np.array(
    [
        *([0.0, -25, 4], [0, -13, -4], [0, -1, -11], [0, 11, -18]),
        *([-45.0, -25, 14], [-17, -24, 8], [17, -24, 8], [45, -25, 14]),
    ]
)
_ROUNDS = 10
_TOLERANCE_MM = 1e-6


def aligned(face: FaceSeries) -> FaceSeries:
    """A series whose landmarks are in the head's frame; all else is unchanged.

    Landmarks in mm keep their size; those in pixels are scaled to mm by the upright face's.

    Raises:
        ValueError: the series has no landmarks.
    """
    if face.landmarks is None:
        raise ValueError("aligned: found no landmarks, expected [n, 68, 3]")
    flat = face.unit != "mm"
    dimensions = 2 if flat else 3
    points = face.landmarks[..., :dimensions].astype(np.float64)
    upright = (_UPRIGHT - _UPRIGHT.mean(axis=0))[:, :dimensions]
    stable = points[:, STABLE_POINTS]  # [n, 8, dimensions]
    good = stable[face.valid] if face.valid.any() else stable
    reference = upright
    for _ in range(_ROUNDS):
        mean = _apply(good, *_fit(good, reference, flat)).mean(axis=0)
        mean = _apply(mean[None], *_fit(mean[None], upright, flat))[0]
        moved = np.abs(mean - reference).max()
        reference = mean
        if moved < _TOLERANCE_MM:
            break
    landmarks = np.zeros(face.landmarks.shape)
    landmarks[..., :dimensions] = _apply(points, *_fit(stable, reference, flat))
    return replace(face, landmarks=landmarks.astype(np.float32), unit="mm")


def _fit(
    points: np.ndarray, reference: np.ndarray, scaled: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation (times scale) [n, d, d], centres [n, 1, d] before and [d] after it."""
    centre, target = points.mean(axis=1, keepdims=True), reference.mean(axis=0)
    x, r = points - centre, reference - target
    u, size, vt = np.linalg.svd(np.einsum("npi,pj->nij", x, r))
    sign = np.ones_like(size)
    sign[:, -1] = np.sign(np.linalg.det(u @ vt))
    turn = (u * sign[:, None]) @ vt  # [n, d, d], x @ turn ~ r
    if scaled:
        spread = np.square(x).sum(axis=(1, 2))
        turn *= ((size * sign).sum(axis=1) / np.maximum(spread, 1e-12))[:, None, None]
    return turn, centre, target


def _apply(
    points: np.ndarray, turn: np.ndarray, centre: np.ndarray, target: np.ndarray
) -> np.ndarray:
    return np.einsum("npi,nij->npj", points - centre, turn) + target
