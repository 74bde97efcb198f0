"""MediaPipe's FaceLandmarker over a clip: one face a frame, the same person's where there are more.

The landmarker looks for up to `FACES` faces in each frame. The first frame with faces decides for
the largest; from then on the one nearest to it is kept while it moves less than its own size.
MediaPipe follows a face from frame to frame, and searches the frame only for those that are missing
from the wanted number: with one wanted and found, not at all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.recording import DataError
from clmer.data.video.clips import Frame, missing_extra
from clmer.data.video.mesh import IBUG, Face, to_face

FACES = 4
MODEL_ENV = "CLMER_FACE_MODEL"
MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task"
)


def find_model(model: Path | None) -> Path:
    """The model file that was given, or that `$CLMER_FACE_MODEL` names.

    Raises:
        DataError: neither, or no such file.
    """
    named = os.environ.get(MODEL_ENV)
    path = model or (Path(named) if named else None)
    if path is None or not path.is_file():
        raise DataError(
            path or "face_landmarker.task",
            "--model",
            "nothing",
            f"MediaPipe's face_landmarker.task (Apache-2.0), given with --model or ${MODEL_ENV}",
            f"Download it once: {MODEL_URL}",
        )
    return path


class Tracker:
    """Frames in, faces out.

    Args:
        model: `face_landmarker.task`.
        faces: how many are looked for.

    Raises:
        DataError: MediaPipe is not installed, or the file is no such model.
    """

    def __init__(self, model: Path, faces: int = FACES) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise missing_extra("mediapipe") from error
        self._mediapipe: Any = mediapipe
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            text = str(error).splitlines()[0][:200]
            raise DataError(
                model, "--model", text, "MediaPipe's face_landmarker.task with blendshapes"
            ) from error
        self._milliseconds = -1
        self._centre: np.ndarray | None = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self._landmarker.close()

    def detect(self, frame: Frame) -> Any:
        """MediaPipe's own result for the next frame of the clip."""
        # The landmarker wants integer times that grow.
        self._milliseconds = max(self._milliseconds + 1, round(1000 * frame.seconds))
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=frame.image
        )
        return self._landmarker.detect_for_video(image, self._milliseconds)

    def track(self, frame: Frame) -> tuple[Face | None, int]:
        """The face that is followed, if it is there, and the number of faces in the frame."""
        height, width, _ = frame.image.shape
        found = self.detect(frame)
        faces = [
            np.array([(mesh[i].x, mesh[i].y, mesh[i].z) for i in IBUG], dtype=np.float64)
            for mesh in found.face_landmarks
        ]
        chosen = self._choose(faces)
        if chosen is None:
            return None, len(faces)
        scores = {shape.category_name: shape.score for shape in found.face_blendshapes[chosen]}
        pose = np.asarray(found.facial_transformation_matrixes[chosen], dtype=np.float64)
        return to_face(faces[chosen], scores, pose, width, height), len(faces)

    def _choose(self, faces: list[np.ndarray]) -> int | None:
        if not faces:
            return None
        boxes = np.array([np.ptp(points[:, :2], axis=0) for points in faces])
        centres = np.array([points[:, :2].mean(axis=0) for points in faces])
        if self._centre is None:
            chosen = int(boxes.prod(axis=1).argmax())
        else:
            distance = np.linalg.norm(centres - self._centre, axis=1)
            chosen = int(distance.argmin())
            if len(faces) > 1 and distance[chosen] > np.linalg.norm(boxes[chosen]):
                return None  # somebody else
        self._centre = centres[chosen]
        return chosen
