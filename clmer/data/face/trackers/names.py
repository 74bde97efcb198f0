"""Columns under the names that people and versions give them, in OpenFace 2's spelling.

Time, frame, face, confidence and success have many names; OpenFace before 1.0 wrote points without
an underscore (`X0`) and the eyes' directions as `x_0` ... `z_1`; action units come as `AU1` or
`au01_r`. A column that has its usual name already is never displaced.
"""

from __future__ import annotations

import re
from dataclasses import replace

from clmer.data.face.table import Header

#: Seconds per unit of a column of times, by its name without what is no letter or digit.
_TIMES = {
    **dict.fromkeys(("timestamp", "timestamps", "time", "times", "t", "seconds", "sec"), 1.0),
    **dict.fromkeys(("timesec", "timeseconds", "timestampsec", "timestampseconds"), 1.0),
    **dict.fromkeys(("videotime", "videotimes", "frametime", "frametimes"), 1.0),
    **dict.fromkeys(("timestampms", "timems", "ms", "msec", "milliseconds", "videotimems"), 1e-3),
    **dict.fromkeys(
        ("timestampmsec", "timemsec", "timestampmilliseconds", "frametimems", "frametimeinms"), 1e-3
    ),
    **dict.fromkeys(("timestampus", "timeus"), 1e-6),
    **dict.fromkeys(("timestampns", "timens"), 1e-9),
}
#: Other names of the columns that say which frame and face, and whether it was found.
_OTHERS = {
    "frame": "frameid frameidx frameindex framenumber framenum frameno framenr framecount",
    "face_id": "faceid face faceidx faceindex facenumber facenum faceno",
    "confidence": "confidence faceconfidence detectionconfidence detectionscore",
    "success": "success detectionsuccess facedetected detected facefound hasface",
}
_POINT = re.compile(r"([xyXYZ])(\d+)")
_UNIT = re.compile(r"AU_?0?(\d{1,2})(?:[_ ]?([rc]))?", re.I)
#: What OpenFace before 1.0 wrote of the gaze: two eyes' directions, then the same in the head's
#: frame, by which the file is known.
_EYES = {f"{axis}_{eye}": f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"}


def canonical(header: Header) -> tuple[Header, float]:
    """The header with OpenFace 2's names, and the seconds per unit of its `timestamp`."""
    names = list(header.names)
    seconds = 1.0
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    if "timestamp" not in names:
        known = [name for name in _TIMES if name in plain]
        if known:
            names[plain.index(known[0])], seconds = "timestamp", _TIMES[known[0]]
    for wanted, others in _OTHERS.items():
        known = [name for name in (wanted, *others.split()) if name in plain]
        if wanted not in names and known:
            names[plain.index(known[0])] = wanted
    if {"x_h0", *_EYES} <= set(names) and "x_2" not in names:
        names = [_EYES.get(name, name) for name in names]
    return replace(header, names=tuple(map(_spelt, names))), seconds


def _spelt(name: str) -> str:
    """A point's or an action unit's name as OpenFace 2 writes it; any other as it is."""
    if point := _POINT.fullmatch(name):
        return f"{point[1]}_{point[2]}"
    if unit := _UNIT.fullmatch(name):
        return f"AU{int(unit[1]):02d}" + (f"_{unit[2].lower()}" if unit[2] else "")
    return name
