"""Video to face series: `python -m clmer.data.video CLIP... --out DIR`.

MediaPipe's FaceLandmarker (extra `video`) or OpenFace's own FeatureExtraction finds the face; the
result is a CSV with OpenFace's columns, which `clmer.data.face.read_face` and the manifest take.

    clips.py    decoding, one frame in memory, times from the container
    mesh.py     478 mesh points -> 68 iBUG points, blendshapes -> 17 action units, pose, gaze
    tracker.py  the landmarker, and which of several faces is kept
    table.py    the CSV, whole or not there
    record.py   what a series was made from, so that a finished one is kept or done again
    preview.py  frames with the points drawn
    jobs.py     one clip from end to end; several in parallel
"""
