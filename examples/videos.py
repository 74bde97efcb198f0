"""A video per person and state. Needs the extra `video` and `CLMER_FACE_MODEL` (docs/data.md).

The face is that of Grace Hopper (U.S. Navy, public domain), a picture that matplotlib brings along.
"""

from pathlib import Path

import numpy as np
from matplotlib import cbook
from matplotlib.image import imread
from walk import walk

STATES = ("calm", "happy")
FPS = 10


def write(folder: Path) -> None:
    """Three people, two states: a face that sways, slowly or fast."""
    picture = imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))[:480]
    for person in range(1, 4):
        for i, state in enumerate(STATES):
            hertz = {"calm": 0.5, "happy": 1.5}[state]
            time = np.arange(5 * FPS) / FPS
            sway = 20 + 8 * np.sin(2 * np.pi * hertz * time + 10 * person + i)
            frames = [picture[:, at : at + 472] for at in np.rint(sway).astype(int).tolist()]
            write_clip(folder / f"P{person:02d}_{state}.mp4", frames)


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """A clip of pictures [height, width, 3]."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as clip:
        video = clip.add_stream("mpeg4", rate=FPS)
        video.height, video.width = frames[0].shape[:2]
        video.bit_rate = 4_000_000
        for frame in frames:
            clip.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        clip.mux(video.encode())


def main() -> None:
    """From the folder to predictions."""
    walk(write)


if __name__ == "__main__":
    main()
