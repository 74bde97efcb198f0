"""Writers of DEAP's formats: `.dat` pickles of Python 2, OpenFace CSVs, the ratings table."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clmer.data.face import AU_NAMES
from clmer.data.synthetic.signals import FaceFrames

# OpenFace 2.0's columns up to the 3-D landmarks, and after them
_GAZE = [f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"] + ["gaze_angle_x", "gaze_angle_y"]
_EYES = [f"eye_lmk_{axis}_{i}" for axis in "xyXYZ" for i in range(56)]
_POSE = ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
_POINTS = [f"{axis}_{i}" for axis in "xyXYZ" for i in range(68)]
_PARAMETERS = ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *(f"p_{i}" for i in range(34))]
_PRESENCES = [f"{au}_c" for au in (*AU_NAMES[:-1], "AU28", AU_NAMES[-1])]
OPENFACE_COLUMNS = (
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *(*_GAZE, *_EYES, *_POSE, *_POINTS, *_PARAMETERS),
    *(*(f"{au}_r" for au in AU_NAMES), *_PRESENCES),
)


def write_dat(
    file: BinaryIO, data: Iterable[np.ndarray], shape: tuple[int, ...], labels: np.ndarray
) -> None:
    """Write {'labels': labels, 'data': data} byte for byte as cPickle of Python 2.7, protocol 2.

    Python 3 cannot: it has no opcodes for byte strings and names NumPy's modules otherwise. cPickle
    memoises ("q") only what has a second reference: keys, globals, the arrays and their dtype.

    Args:
        file: opened for binary writing.
        data: the trials [channels, samples], one after the other.
        shape: of all trials together.
        labels: [trials, 4] ratings.
    """
    write = file.write
    write(b"\x80\x02}q\x01(U\x06labelsq\x02")
    write(b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04")
    write(b"K\x00\x85U\x01b\x87Rq\x05(K\x01" + _shape(labels.shape))
    write(b"cnumpy\ndtype\nq\x06U\x02f8K\x00K\x01\x87Rq\x07")
    write(b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
    _write_content(file, [labels], 8 * labels.size)
    write(b"U\x04dataq\x08h\x03h\x04K\x00\x85U\x01b\x87Rq\x09(K\x01" + _shape(shape) + b"h\x07")
    _write_content(file, data, 8 * int(np.prod(shape)))
    write(b"u.")


def _shape(shape: tuple[int, ...]) -> bytes:
    sizes = [
        struct.pack("<BB", 75, size)
        if size < 2**8
        else struct.pack("<BH", 77, size)
        if size < 2**16
        else struct.pack("<Bi", 74, size)
        for size in shape
    ]
    return b"".join(sizes) + {2: b"\x86", 3: b"\x87"}[len(shape)]


def _write_content(file: BinaryIO, parts: Iterable[np.ndarray], size: int) -> None:
    """The end of an array's state: C order, its bytes, and BUILD."""
    file.write(
        b"\x89" + (struct.pack("<BB", 85, size) if size < 256 else b"T" + struct.pack("<i", size))
    )
    written = 0
    for part in parts:
        written += file.write(np.ascontiguousarray(part, dtype="<f8").tobytes())
    if written != size:
        raise ValueError(f"write_dat: {written} bytes of data, expected {size}")
    file.write(b"tb")


def write_openface(
    path: Path, frames: FaceFrames, fps: float, gaze: np.ndarray | None = None
) -> None:
    """OpenFace 2.0's CSV: 714 columns, ", " between them, its number of decimals.

    Eyes, 2-D points and shape parameters, which nobody here reads, are constants; so is the gaze
    where no angles [n, 2] (rad) are given.
    """
    count = len(frames.lost)
    seen = ~frames.lost[:, None]
    unused = np.zeros((count, 1))  # AU28
    table = np.concatenate(
        [
            np.arange(1, count + 1)[:, None],
            np.arange(count)[:, None] / fps,
            np.where(seen, 0.98, 0.03),
            seen,
            *([] if gaze is None else [gaze * seen]),
            frames.pose * seen,
            frames.points.transpose(0, 2, 1).reshape(count, -1) * seen,
            frames.intensity * seen,
            np.insert(frames.presence * seen, [len(AU_NAMES) - 1], unused, axis=1),
        ],
        axis=1,
    )
    template = _ROW if gaze is None else _row_template("%.3f")
    lines = [template % tuple(row) for row in table.tolist()]
    path.write_text("\n".join([", ".join(OPENFACE_COLUMNS), *lines, ""]), encoding="ascii")


def _row_template(angle: str = "0.0") -> str:
    cells = ["%d", "0", "%.3f", "%.2f", "%d"]
    cells += ["0.0", "0.0", "-1.0"] * 2 + [angle] * (len(_GAZE) - 6)
    cells += ["0"] * len(_EYES) + ["%.1f"] * 3 + ["%.3f"] * 3
    cells += ["320"] * 68 + ["240"] * 68 + ["%.1f"] * 204
    cells += ["0"] * len(_PARAMETERS) + ["%.2f"] * len(AU_NAMES) + ["%.1f"] * len(_PRESENCES)
    return ", ".join(cells)


_ROW = _row_template()


def ratings_rows(subject: int, order: np.ndarray, ratings: np.ndarray) -> Iterator[str]:
    """Lines of participant_ratings.csv for one person, in presentation order.

    Args:
        subject: Participant_id.
        order: [n] Experiment_id shown at Trial 1, 2, ...
        ratings: [n, 4] by Experiment_id - 1.
    """
    for trial, experiment in enumerate(order.tolist(), start=1):
        values = ",".join(f"{value:.2f}" for value in ratings[experiment - 1])
        yield f"{subject},{trial},{experiment},{trial * 90_000_000},{values},3"


RATINGS_HEADER = (
    "Participant_id,Trial,Experiment_id,Start_time,Valence,Arousal,Dominance,Liking,Familiarity"
)
