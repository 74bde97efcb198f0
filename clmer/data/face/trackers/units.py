"""The 17 action units out of what a table has of them.

Versions differ: OpenFace before 1.0 has 14 intensities and 6 presences, Py-Feat before 0.4 has 12
units, a table of blendshapes may be part of one. A unit that is not there stays at 0, which is
said; below `LEAST` units the group is not used at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clmer.data.face.rows import AU_NAMES

#: Units with an intensity that make a table of action units.
LEAST = 10
#: Intensity from which a unit counts as present where the table does not say: FACS's level A.
PRESENT = 1.0


def assembled(
    intensity: Mapping[str, np.ndarray], presence: Mapping[str, np.ndarray], rows: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Intensities and presences [rows, 17], and what is to be said of those that are not there.

    Args:
        intensity: [rows] 0-5 by name of the unit.
        presence: [rows] 0 or 1 by name; without one, an intensity of at least 1 is present.
        rows: how many there are.
    """
    strong = np.zeros((rows, len(AU_NAMES)))
    present = np.zeros((rows, len(AU_NAMES)))
    for place, name in enumerate(AU_NAMES):
        if name in intensity:
            strong[:, place] = intensity[name]
            there = np.where(np.isnan(intensity[name]), np.nan, intensity[name] >= PRESENT)
            present[:, place] = presence.get(name, there)
        elif name in presence:
            present[:, place] = presence[name]
    notes = []
    absent = [name for name in AU_NAMES if name not in intensity]
    guessed = [name for name in AU_NAMES if name in intensity and name not in presence]
    if absent:
        notes.append(f"the table has no intensity of {', '.join(absent)}: 0 throughout")
    if guessed:
        which = "any action unit" if len(guessed) == len(AU_NAMES) else ", ".join(guessed)
        notes.append(
            f"the table has no presence of {which}: an intensity of at least {PRESENT:g} is taken "
            "for present"
        )
    return strong, present, tuple(notes)
