"""Tables that are no device's samples, and how what they hold comes in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from clmer.errors import DataError

_FACE = "a face tracker's table"
#: By a pattern in the lines above the rows, the names among them: what it is, and the way in.
_FOREIGN = (
    (
        r"^METADATA\b|^DATA\b|^EventSource$|^SlideEvent$|iMotions",
        "iMotions' export, in which rows of several sensors alternate",
        "a table of one sensor",
        "Keep the rows in which the sensor's columns are filled, and of these the column Timestamp "
        "and the sensor's own; save them as a CSV whose first line has names with units, as in "
        "`Timestamp [ms],GSR [uS]`.",
    ),
    (
        r"Video analysis (detailed|state) log|^Video Time$|FaceReader",
        "FaceReader's log, whose action units are letters and whose emotions are its own guess",
        "samples of a device, or a face tracker's table",
        "Make the face's table of the video itself (clmer video CLIP.mp4, or OpenFace), and name "
        "it in a row of modality face.",
    ),
    (
        r"^(X_0|x_0|AU\d\d_[rc]|AU01|FaceRectX|gaze_0_x|eye_lmk_x_0|p_scale)$",
        _FACE,
        "samples of a device",
        "The face's CSV is a row of its own, of modality face (clmer predict: --face).",
    ),
)  # fmt: skip


class FaceTableError(DataError):
    """A face tracker's table where samples of a device were expected."""


def refuse_foreign(path: Path, words: Sequence[str]) -> None:
    """Refuse a table that is known, and none of samples.

    Args:
        path: the file.
        words: its comments, and the cells of its first lines.

    Raises:
        DataError: it is one of these.
    """
    text = "\n".join(words)
    for pattern, what, expected, hint in _FOREIGN:
        if re.search(pattern, text, re.MULTILINE):
            kind = FaceTableError if what == _FACE else DataError
            raise kind(path, "header", what, expected, hint)
