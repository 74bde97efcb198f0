"""What `clmer video` and `--face VIDEO` name: trackers, previews, the landmarker's model."""

#: The trackers that make a face series of a clip.
TRACKERS = ("mediapipe", "openface")
#: OpenFace 2's program.
OPENFACE = "FeatureExtraction"
#: Names MediaPipe's model file.
MODEL_ENV = "CLMER_FACE_MODEL"
#: Faces that MediaPipe looks for in a frame, and how many it must at least: one would be smoothed.
FACES = 4
MIN_FACES = 2
#: Previews, and which files of its folder are one's.
PREVIEWS = {"png": "[0-9]*.png", "mp4": "preview.mp4"}
