"""MediaPipe's face mesh in OpenFace's terms: points, action units, pose, gaze.

**Points.** Each of the 68 iBUG points is the nearest mesh point; the jaw line follows the mesh's
silhouette, which hugs the cheek where iBUG's annotators guess at a hidden contour.

**Units.** The mesh has no scale of its own: the outer eye corners are set 89 mm apart, as in
MediaPipe's canonical head, in every frame. With the m mm per pixel that follow, a point at image
position (u, v) px with relative depth w px becomes X = m (u - cx), Y = m (v - cy), Z = m (f + w),
for a camera of 63 degrees vertical field of view, f = height / (2 tan 31.5 deg) px. So sizes of two
people, or a person's true distance, cannot be compared, and perspective within the face is ignored.

**Action units.** The blendshapes are a learnt estimate in ARKit's terms, 0-1, not FACS coding.
Intensity = 5 x score, presence = score >= 0.5:

    AU01 browInnerUp      AU07 eyeSquint       AU15 mouthFrown       AU25 jawOpen - mouthClose
    AU02 browOuterUp      AU09 noseSneer       AU17 mouthShrugLower  AU26 jawOpen
    AU04 browDown         AU10 mouthUpperUp    AU20 mouthStretch     AU28 mouthRoll (presence only)
    AU05 eyeWide          AU12 mouthSmile      AU23 mouthPress       AU45 eyeBlink
    AU06 cheekSquint      AU14 mouthDimple

Left and right are averaged. Limits: cheekSquint and noseSneer hardly ever leave 0 in MediaPipe's
model; mouthPress is nearer to AU24; AU25 and AU26 share the jaw. Do not mix with OpenFace's.

**Gaze.** eyeLookIn/Out/Up/Down, a score of 1 taken as 0.5 rad, turned by the head's pose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clmer.data.face.rows import AU_NAMES

MESH_POINTS = 478
FIELD_OF_VIEW_DEG = 63.0
EYE_CORNERS_MM = 89.0
LOOK_RAD = 0.5
PRESENCE = 0.5

#: Mesh point of each iBUG point, 0-67.
IBUG = (
    *(127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356),  # jaw
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
)

_PLAIN = {"AU01": "browInnerUp", "AU17": "mouthShrugLower", "AU26": "jawOpen"}
_PAIRED = {
    **{"AU02": "browOuterUp", "AU04": "browDown", "AU05": "eyeWide", "AU06": "cheekSquint"},
    **{"AU07": "eyeSquint", "AU09": "noseSneer", "AU10": "mouthUpperUp", "AU12": "mouthSmile"},
    **{"AU14": "mouthDimple", "AU15": "mouthFrown", "AU20": "mouthStretch"},
    **{"AU23": "mouthPress", "AU45": "eyeBlink"},
}
_NEEDED: dict[str, tuple[str, ...]] = {au: (name,) for au, name in _PLAIN.items()}
_NEEDED |= {au: (f"{name}Left", f"{name}Right") for au, name in _PAIRED.items()}
_NEEDED |= {"AU25": ("jawOpen", "mouthClose")}
#: The blendshapes that action units are made of.
BLENDSHAPES = tuple(dict.fromkeys(name for names in _NEEDED.values() for name in names))
# MediaPipe's camera has y up and z towards the viewer, OpenFace's y down and z away.
_FLIP = np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame, in OpenFace's terms.

    Args:
        image: [68, 2] px, x right, y down.
        points: [68, 3] mm in the camera's frame, x right, y down, z away.
        translation: [3] mm, the head's centre.
        rotation: [3] rad about x, y, z; R = Rx Ry Rz.
        gaze: [2] rad, as in `FaceSeries`.
        au: [17] scores 0-1.
        au28: score 0-1.
    """

    image: np.ndarray
    points: np.ndarray
    translation: np.ndarray
    rotation: np.ndarray
    gaze: np.ndarray
    au: np.ndarray
    au28: float


def to_face(
    points: np.ndarray, scores: Mapping[str, float], pose: np.ndarray, width: int, height: int
) -> Face:
    """What the landmarker found in one frame.

    Args:
        points: [68, 3], the mesh at `IBUG`; x and y as shares of width and height, z in widths,
            smaller is nearer.
        scores: blendshapes by ARKit's name.
        pose: [4, 4] head to camera, cm.
        width: of the frame in px.
        height: of the frame in px.
    """
    pixels = points * (width, height, width)
    focal = height / (2 * np.tan(np.radians(FIELD_OF_VIEW_DEG) / 2))
    translation = 10.0 * pose[:3, 3] * _FLIP
    scale = EYE_CORNERS_MM / np.linalg.norm(pixels[45] - pixels[36])
    millimetres = scale * (pixels - (width / 2, height / 2, -focal))
    turn = pose[:3, :3] * np.outer(_FLIP, _FLIP)
    turn = turn / np.linalg.norm(turn, axis=0)  # the pose includes a scale
    return Face(
        image=pixels[:, :2],
        points=millimetres,
        translation=translation,
        rotation=_angles(turn),
        gaze=_gaze(scores, turn),
        au=action_units(scores),
        au28=(scores["mouthRollLower"] + scores["mouthRollUpper"]) / 2,
    )


def action_units(scores: Mapping[str, float]) -> np.ndarray:
    """Scores [17], 0-1, in the order of `AU_NAMES`."""
    known = units_of(scores)
    return np.array([known[au] for au in AU_NAMES])


def known_units(shapes: Collection[str]) -> list[str]:
    """The action units whose blendshapes are all there."""
    return [au for au, needed in _NEEDED.items() if set(needed) <= set(shapes)]


def units_of(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by action unit, numbers or arrays, of those whose blendshapes are all there."""
    known: dict[str, Any] = {}
    for au in known_units(scores):
        first, *second = (scores[name] for name in _NEEDED[au])
        known[au] = (first + second[0]) / 2 if second else first
    if "AU25" in known:
        known["AU25"] = np.maximum(scores["jawOpen"] - scores["mouthClose"], 0.0)
    return known


def _angles(turn: np.ndarray) -> np.ndarray:
    """Euler angles of R = Rx Ry Rz, OpenFace's order."""
    return np.array(
        [
            np.arctan2(-turn[1, 2], turn[2, 2]),
            np.arcsin(np.clip(turn[0, 2], -1, 1)),
            np.arctan2(-turn[0, 1], turn[0, 0]),
        ]
    )


def _gaze(scores: Mapping[str, float], turn: np.ndarray) -> np.ndarray:
    """Both eyes' mean direction. A person's left is the image's right."""
    right = scores["eyeLookOutLeft"] + scores["eyeLookInRight"]
    right -= scores["eyeLookInLeft"] + scores["eyeLookOutRight"]
    down = scores["eyeLookDownLeft"] + scores["eyeLookDownRight"]
    down -= scores["eyeLookUpLeft"] + scores["eyeLookUpRight"]
    x, y = np.tan(LOOK_RAD * np.array([right, down]) / 2)
    x, y, z = turn @ (x, y, -1.0)
    return np.array([np.arctan2(x, -z), np.arctan2(y, -z)])
