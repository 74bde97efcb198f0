"""The tables of face trackers: which one a header is of, and its rows.

openface.py   OpenFace, all versions that have points or action units; `clmer video`
pyfeat.py     Py-Feat
mediapipe.py  MediaPipe's mesh and blendshapes, as people write them
names.py      columns under other names
units.py      17 action units out of those that are there
mesh.py       MediaPipe's points and blendshapes in OpenFace's terms
"""

from __future__ import annotations

from pathlib import Path

from clmer.data.face.rows import Rows
from clmer.data.face.table import Header, read_header
from clmer.data.face.trackers import mediapipe, openface, pyfeat
from clmer.data.face.trackers.names import canonical
from clmer.data.face.trackers.openface import MEDIAPIPE_COLUMN, NEEDED_COLUMNS, read_openface
from clmer.data.face.trackers.pyfeat import is_pyfeat, read_pyfeat
from clmer.errors import DataError

__all__ = [
    "MEDIAPIPE_COLUMN",
    "NEEDED_COLUMNS",
    "face_modalities",
    "is_pyfeat",
    "read_openface",
    "read_pyfeat",
    "read_rows",
    "tracker_of",
]


def read_rows(header: Header) -> Rows:
    """Every row of a face tracker's table, whichever tracker's.

    Raises:
        DataError: none of a face tracker's columns, or a table that cannot be read.
    """
    if is_pyfeat(header):
        return read_pyfeat(header)
    if mediapipe.is_mediapipe(header):
        return mediapipe.read_mediapipe(header)
    return read_openface(header)


def face_modalities(path: Path) -> tuple[str, ...]:
    """Which of "landmarks", "au" and "gaze" a table holds, by its header; none of another table.

    Raises:
        DataError: no such file, or no text.
    """
    header, _ = canonical(read_header(path))
    if is_pyfeat(header):
        there = pyfeat.groups(header)
    elif mediapipe.is_mediapipe(header):
        there = mediapipe.groups(header)
    else:
        there = openface.groups(header)
    return tuple(name for name in ("landmarks", "au", "gaze") if name in there)


def tracker_of(path: Path) -> str:
    """Whose table it is, by its header: "OpenFace", "Py-Feat" or "MediaPipe"; "" for no face's."""
    try:
        if not face_modalities(path):
            return ""
    except DataError:
        return ""
    header, _ = canonical(read_header(path))
    if is_pyfeat(header):
        return "Py-Feat"
    ours = MEDIAPIPE_COLUMN in header.names
    return "MediaPipe" if ours or mediapipe.is_mediapipe(header) else "OpenFace"
