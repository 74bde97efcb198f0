"""Names of a face series' rows, which are OpenFace's column names."""

from __future__ import annotations

from collections.abc import Sequence

#: The 17 action units that OpenFace gives both an intensity and a presence.
AU_NAMES = tuple(
    f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
)
LANDMARK_COLUMNS = tuple(f"{axis}_{i}" for axis in "XYZ" for i in range(68))
INTENSITY_COLUMNS = tuple(f"{au}_r" for au in AU_NAMES)
PRESENCE_COLUMNS = tuple(f"{au}_c" for au in AU_NAMES)
GAZE_COLUMNS = ("gaze_angle_x", "gaze_angle_y")


def ranges(names: Sequence[str]) -> str:
    """Names as text, runs folded: X_0, X_1, X_2 -> "X_0..2"."""
    parts: list[tuple[str, int | None, int | None]] = []
    for name in names:
        prefix, _, number = name.rpartition("_")
        if not number.isdigit():
            parts.append((name, None, None))
        elif parts and parts[-1][0] == prefix and parts[-1][2] == int(number) - 1:
            parts[-1] = (prefix, parts[-1][1], int(number))
        else:
            parts.append((prefix, int(number), int(number)))
    return ", ".join(
        p if a is None else f"{p}_{a}" if a == b else f"{p}_{a}..{b}" for p, a, b in parts
    )
