"""Faces as MediaPipe's landmarks and blendshapes, a row per frame, as people write them."""

from pathlib import Path

import numpy as np
from recordings import STATES
from walk import walk

from clmer.data.face.trackers.mesh import BLENDSHAPES, IBUG, MESH_POINTS
from clmer.data.synthetic.signals import neutral_face

FPS = 10
#: Millimetres of the picture's width: points are shares of it.
WIDTH_MM = 400.0


def write(folder: Path) -> None:
    """Three people, three states."""
    for person in range(1, 4):
        for i, state in enumerate(STATES):
            write_table(folder / f"P{person:02d}_{state}_landmarks.csv", state, 10 * person + i)


def write_table(path: Path, state: str, seed: int, seconds: int = 8) -> None:
    """A face whose mouth smiles where the state is happy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    count = seconds * FPS
    points = np.zeros((MESH_POINTS, 3))
    points[list(IBUG)] = neutral_face() / WIDTH_MM + [0.5, 0.5, 0.0]
    moved = points + 0.001 * rng.normal(0, 1, (count, MESH_POINTS, 3))
    scores = {name: 0.2 * rng.random(count) for name in BLENDSHAPES}
    smile = rng.random() * {"happy": 0.6, "calm": 0.2}.get(state, 0.0)
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        scores[name] += smile
    names = [f"{axis}_{point}" for point in range(MESH_POINTS) for axis in "xyz"]
    columns = ["timestamp_ms", *names, *scores]
    time = 1000.0 / FPS * np.arange(count)
    table = np.column_stack([time, moved.reshape(count, -1), *scores.values()])
    np.savetxt(path, table, "%.5g", ",", header=",".join(columns), comments="")


def main() -> None:
    """From the folder to predictions."""
    walk(write)


if __name__ == "__main__":
    main()
