"""MediaPipe's FaceLandmarker over a clip: one face per frame, always the same person's (`people`).

The landmarker looks for up to `FACES` faces in each frame, and for two at least: with one it
smooths the landmarks over time, and the action units made from them lose much of their variation
(AU02's standard deviation on a real clip: 0.47 in place of 0.81). Where it finds none, parts of the
picture are searched once per second (`search`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.choices.video import FACES, MIN_FACES, MODEL_ENV
from clmer.data.face.trackers.mesh import IBUG, Face, to_face
from clmer.data.video import search
from clmer.data.video.clips import Frame
from clmer.data.video.people import Follower
from clmer.data.video.refusals import missing_extra
from clmer.errors import DataError

_SEARCH_EVERY_S = 1.0
_SURE = 0.6  # least score of a face in a part of the picture
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
            "`model`",
            "nothing",
            f"MediaPipe's face_landmarker.task (Apache-2.0), given with `model` or ${MODEL_ENV}",
            f"Download it once: {MODEL_URL}",
        )
    return path


class Tracker:
    """Frames in, faces out.

    Args:
        model: `face_landmarker.task`.
        faces: how many are looked for; at least `MIN_FACES` are.

    Raises:
        DataError: MediaPipe is not installed, or the file is no such model.
    """

    def __init__(self, model: Path, faces: int = FACES) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        try:
            import mediapipe
        except ImportError as error:
            raise missing_extra("mediapipe") from error
        self._mediapipe: Any = mediapipe
        self._model, self._faces = model, max(faces, MIN_FACES)
        self._whole = _Video(self._landmarker())
        self._follower = Follower()
        self._view: search.View | None = None
        self._part: _Video | None = None  # of the view
        self._still: Any = None
        self._next_search_s = -float("inf")
        self._in_parts = 0
        self._turn = 0

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self._leave_view()
        self._whole.landmarker.close()
        if self._still is not None:
            self._still.close()

    def detect(self, frame: Frame) -> Any:
        """MediaPipe's own result for the next frame of the clip."""
        return self._whole.detect(self._image(frame.image), frame.seconds)

    def track(self, frame: Frame) -> tuple[Face | None, int]:
        """The face that is followed, if it is there, and the number of faces in the frame."""
        found, faces = self._look(frame)
        if not faces and frame.seconds >= self._next_search_s:
            found, faces = self._search(frame)
        chosen = self._follower.choose(faces, frame.image, frame.seconds)
        if chosen is None:
            self._leave_view()
            return None, len(faces)
        height, width, _ = frame.image.shape
        scores = {shape.category_name: shape.score for shape in found.face_blendshapes[chosen]}
        pose = np.asarray(found.facial_transformation_matrixes[chosen], dtype=np.float64)
        points = faces[chosen]
        if self._view is not None:
            self._in_parts += 1
            pose = search.in_picture(pose, self._view, width, height)
            if not self._view.fits(points, width, height):
                self._enter_view(search.around(points, width, height))
        return to_face(points / (width, height, width), scores, pose, width, height), len(faces)

    def notes(self) -> list[str]:
        """What is to be said of the frames so far; empty where all was plain."""
        lines = self._follower.notes()
        if self._in_parts:
            lines.append(f"found in a part of the picture in {self._in_parts} frames")
        if self._turn:
            flag = {90: "transpose=1", 180: "hflip,vflip", 270: "transpose=2"}[self._turn]
            lines.append(
                f"a face is found when the picture is turned clockwise by {self._turn} degrees: "
                f"ffmpeg -i CLIP -vf {flag} TURNED.mp4"
            )
        return lines

    def _look(self, frame: Frame) -> tuple[Any, list[np.ndarray]]:
        """MediaPipe's result and the faces [68, 3], px of the picture."""
        if self._view is not None and frame.seconds >= self._next_search_s:
            self._next_search_s = frame.seconds + _SEARCH_EVERY_S
            found = self.detect(frame)
            faces = _points(found, frame.image)
            height, width, _ = frame.image.shape
            if any(self._view.fits(points, width, height) for points in faces):
                self._leave_view()  # the face has become large enough, and is no one else's
                return found, faces
        if self._view is None or self._part is None:
            found = self.detect(frame)
            return found, _points(found, frame.image)
        part = self._view.of(frame.image)
        found = self._part.detect(self._image(part), frame.seconds)
        offset = np.array([self._view.left, self._view.top, 0.0])
        return found, [points + offset for points in _points(found, part)]

    def _search(self, frame: Frame) -> tuple[Any, list[np.ndarray]]:
        """`_look` at the part of the picture in which a face is found, if there is one."""
        self._next_search_s = frame.seconds + _SEARCH_EVERY_S
        self._leave_view()
        height, width, _ = frame.image.shape
        points = search.search(frame.image, self._find)
        if points is None:
            if not self._turn and not self._follower.has_followed:
                self._turn = search.quarter_turn(frame.image, self._find)
            return None, []
        self._enter_view(search.around(points, width, height))
        return self._look(frame)

    def _find(self, image: np.ndarray) -> list[np.ndarray]:
        """Faces in a picture that has nothing to do with the one before."""
        if self._still is None:
            self._still = self._landmarker(still=True)
        return _points(self._still.detect(self._image(image)), image)

    def _enter_view(self, view: search.View) -> None:
        self._leave_view()
        self._view, self._part = view, _Video(self._landmarker())

    def _leave_view(self) -> None:
        if self._part is not None:
            self._part.landmarker.close()
        self._view, self._part = None, None

    def _image(self, image: np.ndarray) -> Any:
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=image)

    def _landmarker(self, *, still: bool = False) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.IMAGE if still else vision.RunningMode.VIDEO
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._model)),
            running_mode=mode,
            num_faces=self._faces,
            output_face_blendshapes=not still,
            output_facial_transformation_matrixes=not still,
            **({"min_face_detection_confidence": _SURE} if still else {}),
        )
        try:
            return vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            text = str(error).splitlines()[0][:200]
            raise DataError(
                self._model, "`model`", text, "MediaPipe's face_landmarker.task with blendshapes"
            ) from error


class _Video:
    """A landmarker in video mode, which wants integer times that grow."""

    def __init__(self, landmarker: Any) -> None:
        self.landmarker = landmarker
        self._milliseconds = -1

    def detect(self, image: Any, seconds: float) -> Any:
        self._milliseconds = max(self._milliseconds + 1, round(1000 * seconds))
        return self.landmarker.detect_for_video(image, self._milliseconds)


def _points(found: Any, image: np.ndarray) -> list[np.ndarray]:
    """The faces [68, 3] of a result, px of its picture."""
    height, width, _ = image.shape
    return [
        np.array([(mesh[i].x, mesh[i].y, mesh[i].z) for i in IBUG], dtype=np.float64)
        * (width, height, width)
        for mesh in found.face_landmarks
    ]
