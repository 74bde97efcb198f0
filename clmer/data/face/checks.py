"""Values that a tracker cannot have written in the units that are expected of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clmer.data.face.rows import AU_NAMES, Rows
from clmer.errors import DataError

#: Largest intensity, and what rounding may add; a share of larger ones that is no slip.
_AU_MAX, _AU_SLACK, _AU_SHARE = 5.0, 0.5, 0.01
#: Radius of a face in mm (root mean square distance of its 68 points from their centre): of a
#: grown person about 65; and the least radius that is a face in metres, and the most in any unit.
_RADIUS_MM = (25.0, 150.0)
_METRES, _MICROMETRES = (0.02, 0.5), 10_000.0
#: Above any value in any unit.
_HUGE = 1e6
#: A face whose values stay exactly the same for so long was not tracked.
_STILL_S = 1.0
#: Frames from which a clip tells a scale.
_TELLING = 250


def with_confidence(rows: Rows) -> tuple[Rows, list[str]]:
    """Rows whose confidence is 0-1, also where the file has percent.

    Raises:
        DataError: neither.
    """
    known = rows.confidence[np.isfinite(rows.confidence)]
    most = known.max(initial=0.0)
    if most <= 1.001:
        return rows, []
    if most > 100.0 or np.median(known[known > 0]) <= 1.0:
        raise DataError(
            rows.path, "confidence", f"up to {most:g}", "0 to 1, or 0 to 100 throughout"
        )
    note = f"confidence goes up to {most:g}: it is taken for percent"
    return replace(rows, confidence=rows.confidence / 100.0), [note]


def without_empty(rows: Rows) -> tuple[Rows, list[str]]:
    """Rows without the groups of columns in which every cell is empty.

    Raises:
        DataError: one column of a group is empty throughout, which would lose every frame.
    """
    empty = []
    for name, values in rows.values.items():
        there = np.isfinite(values).any(axis=0)
        if not there.any():
            empty.append(name)
        elif not there.all():
            raise DataError(
                rows.path,
                _columns(rows, name),
                f"{int((~there).sum())} of {len(there)} columns without a value in any row",
                "a value in each column",
                "Remove these columns altogether if the tracker did not fill them.",
            )
    if {"au_intensity", "au_presence"} & set(empty):
        empty = [*{*empty, "au_intensity", "au_presence"}]
    if len(empty) >= len(rows.values):
        return rows, []  # a face lost throughout
    columns = sorted({_columns(rows, name) for name in empty})
    notes = [f"{text}: no value in any row, not used" for text in columns]
    kept = Rows(**{**vars(rows), **dict.fromkeys(empty)})
    return kept, notes


def check(rows: Rows, rate: float) -> tuple[Rows, list[str]]:
    """Refuse values on another scale; convert what is beyond doubt, and say what is odd.

    Args:
        rows: of one person, frames with a face, in the order of time.
        rate: frames per second.

    Raises:
        DataError: action units far above 5, landmarks in metres or without depth.
    """
    _refuse_huge(rows)
    notes = [*_check_intensities(rows), *_check_presences(rows), *_check_landmarks(rows)]
    if rows.gaze is not None and np.median(np.abs(rows.gaze).max(axis=1)) > np.pi:
        rows = replace(rows, gaze=np.radians(rows.gaze))
        notes.append("gaze angles exceed 3.14: they are taken for degrees")
    return rows, [*notes, *_still(rows, rate)]


def _refuse_huge(rows: Rows) -> None:
    for name, values in rows.values.items():
        if max(values.max(), -values.min()) > _HUGE:
            row, place = np.unravel_index(int(np.abs(values).argmax()), values.shape)
            where = f"line {rows.lines[row]}, {_columns(rows, name)}"
            found, expected = f"{values[row, place]:g}", f"at most {_HUGE:g}"
            hint = "The row may be damaged: make the file again, or empty the row's cells."
            raise DataError(rows.path, where, found, expected, hint)


def _columns(rows: Rows, name: str) -> str:
    if rows.tracker == "MediaPipe" and rows.unit != "mm":
        units = "blendshapes"
        return {"landmarks": "the mesh", "gaze": "gaze"}.get(name, units)
    is_probability = rows.au_scale != 1.0
    return {
        "landmarks": "x_0..67, y_0..67" if rows.unit == "px" else "X_0..67, Y_0..67, Z_0..67",
        "au_intensity": "AUxx" if is_probability else "AUxx_r",
        "au_presence": "AUxx" if is_probability else "AUxx_c",
        "gaze": "gaze",
    }[name]


def _check_intensities(rows: Rows) -> list[str]:
    values = rows.au_intensity
    if values is None:
        return []
    column, scale = _columns(rows, "au_intensity"), rows.au_scale
    expected = "0 to 5" if scale == 1.0 else "0 to 1"
    over = values > _AU_MAX + _AU_SLACK
    most, least = values.max() / scale, values.min() / scale
    if over.mean() > _AU_SHARE:
        row, place = np.unravel_index(int(values.argmax()), values.shape)
        factor = 100.0 * scale / _AU_MAX
        raise DataError(
            rows.path,
            f"line {rows.lines[row]}, {column.replace('xx', AU_NAMES[place][2:])}",
            f"{most:g}, and {over.mean():.0%} of the values above {_AU_MAX / scale:g}",
            expected,
            f"Divide the intensities by {factor:g} if they are 0 to 100, or remove the columns of "
            "action units.",
        )
    notes = []
    if over.any():
        notes.append(
            f"{column} goes up to {most:g} in {int(over.sum())} cells, expected {expected}"
        )
    if least < -1e-3:
        notes.append(f"{column} goes down to {least:g}, expected {expected}: standardised before?")
    elif scale == 1.0 and 0 < most <= 1.0 and len(values) >= _TELLING:
        notes.append(
            f"no {column} exceeds {most:g} in {len(values)} frames, expected {expected}: multiply "
            "by 5 if they are 0 to 1"
        )
    return notes


def _check_presences(rows: Rows) -> list[str]:
    values = rows.au_presence
    if values is None or (values.min() >= 0 and values.max() <= 1):
        return []
    low, high = values.min(), values.max()
    return [f"AUxx_c goes from {low:g} to {high:g}, expected 0 or 1: from 0.5 on is present"]


def _check_landmarks(rows: Rows) -> list[str]:
    if rows.landmarks is None:
        return []
    points = rows.landmarks[:: max(1, len(rows.landmarks) // _TELLING)]
    centred = points - points.mean(axis=1, keepdims=True)
    radius = float(np.median(np.sqrt(np.square(centred).sum(axis=2).mean(axis=1))))
    column = _columns(rows, "landmarks")
    found = f"a face of radius {radius:.3g}"
    if rows.unit == "share":
        return []
    if rows.unit == "px":
        if 0 < radius < 1.0:
            hint = "Multiply by the picture's width and height if they are shares of these."
            raise DataError(rows.path, column, found, "pixels", hint)
        return []
    expected = "about 65 mm"
    if _METRES[0] <= radius <= _METRES[1]:
        hint = "Multiply X, Y and Z by 1000 if they are metres."
        raise DataError(rows.path, column, found, expected, hint)
    if radius >= _MICROMETRES:
        hint = "Divide X, Y and Z by 1000 if they are micrometres."
        raise DataError(rows.path, column, found, expected, hint)
    if radius > 5.0 and not points[:, :, 2].any():
        hint = "Pixels (x_, y_) are no substitute: run FeatureExtraction with -3Dfp."
        raise DataError(rows.path, "Z_0..67", "0 in every row", "the depth in mm", hint)
    if _RADIUS_MM[0] <= radius <= _RADIUS_MM[1]:
        return []
    factor = ": multiply by 10 if they are centimetres" if 2.5 <= radius <= 15 else ""
    factor = ": pixels, or tenths of a millimetre?" if radius > _RADIUS_MM[1] else factor
    return [f"{column} show {found}, expected {expected}{factor}"]


def _still(rows: Rows, rate: float) -> list[str]:
    """What never moves, or stands still for more than a moment."""
    count = len(rows.lines)
    if count < max(2.0, _STILL_S * rate):
        return []
    groups = {"landmarks": rows.landmarks, "action units": rows.au_intensity}
    moving = {
        name: np.abs(np.diff(values.reshape(count, -1), axis=0)).max(axis=1) > 0
        for name, values in groups.items()
        if values is not None
    }
    notes = [
        f"the {name} are the same in all {count} frames: nothing was tracked"
        for name, moves in moving.items()
        if not moves.any()
    ]
    if notes or not moving:
        return notes
    anything = np.any(list(moving.values()), axis=0)
    edges = np.concatenate([[-1], np.flatnonzero(anything), [count - 1]])
    runs = np.diff(edges)  # frames from one change to the next
    longest = int(runs.argmax())
    if runs[longest] < _STILL_S * rate:
        return []
    still = int(runs[runs >= _STILL_S * rate].sum())
    line = rows.lines[edges[longest] + 1]
    return [
        f"the face stands exactly still in {still} of {count} frames, longest for "
        f"{runs[longest] / rate:.3g} s from line {line} on: a frozen video or tracker?"
    ]
