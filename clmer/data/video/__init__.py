"""Video to face series: `clmer video CLIP... --out DIR`.

MediaPipe's FaceLandmarker (extra `video`) or OpenFace's own FeatureExtraction finds the face; the
result is a CSV with OpenFace's columns, which `clmer.data.face.read_face` and the manifest take.

    clips.py    decoding, one frame in memory; damage
    timing.py   times from the container, and what its header promises
    picture.py  upright, square pixels
    mesh.py     478 mesh points -> 68 iBUG points, blendshapes -> 17 action units, pose, gaze
    tracker.py  the landmarker
    people.py   which of several faces is followed
    search.py   small faces, in parts of the picture
    table.py    the CSV, whole or not there
    record.py   what a series was made from, so that a finished one is kept or done again
    preview.py  frames with the points drawn
    clip_report.py  what is said of a clip
    refusals.py     what is no clip, and the command that makes one of it; missing packages
    series.py   a face series out of a table or a video, whose table is made once and kept
    jobs.py     one clip from end to end; several in parallel
"""
