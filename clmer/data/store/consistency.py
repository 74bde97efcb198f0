"""Whether recordings fit each other: the same channels, types and units in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clmer.data.channels import canonical
from clmer.data.face.windows import FACE_TOKENS
from clmer.data.store.store import Modality
from clmer.data.store.windowing import WindowedRecording
from clmer.errors import DataError

#: What all recordings have in common: the attribute of a face's `Modality`, and what to do where it
#: differs.
_COMMON_FACE = {
    "channels": "Every recording needs the same channels in the same order.",
    "kinds": "Types decide the filters: state them in the manifest's column kind.",
    "unit": "Use one tracker for all, or `face=aligned`, which scales pixels to mm.",
}
#: The same of signals.
_COMMON_SIGNAL = {
    "channels": "Every recording needs the same channels; name those that all of them have in the "
    "manifest's column channels.",
    "kinds": "Types decide the filters: state them in the manifest's column kind.",
    "unit": "State the true unit in the manifest's column unit.",
}


def reorder_channels(windowed: WindowedRecording, known: Mapping[str, Modality]) -> None:
    """Bring a recording's channels into the known order, where they are the same by other names.

    Args:
        windowed: the recording, whose arrays and modalities are changed.
        known: modalities by name; those that are not in it stay as they are.
    """
    for name, new in list(windowed.modalities.items()):
        wanted = known[name].channels if name in known else new.channels
        if new.channels == wanted:
            continue
        keys = [canonical(channel) for channel in new.channels]
        if len(keys) != len(wanted):
            continue
        places = [keys.index(key) for key in map(canonical, wanted) if key in keys]
        if sorted(places) != list(range(len(wanted))):
            continue
        kinds = tuple(new.kinds[i] for i in places) if new.kinds else ()
        windowed.modalities[name] = replace(new, channels=wanted, kinds=kinds)
        if name in windowed.arrays:
            windowed.arrays[name] = np.ascontiguousarray(windowed.arrays[name][:, places])


def check_consistent(
    windowed: WindowedRecording, known: Mapping[str, Modality], where: str
) -> None:
    """Refuse a recording whose channels, types or units are not the known ones.

    Args:
        windowed: the recording.
        known: at least its modalities, by name.
        where: they are known, for the message.

    Raises:
        DataError: one differs.
    """
    files, source = windowed.recording.files, windowed.recording.source
    for name, new in windowed.modalities.items():
        is_face = name in FACE_TOKENS
        for attribute, hint in (_COMMON_FACE if is_face else _COMMON_SIGNAL).items():
            is_unit = attribute == "unit"
            if is_unit and not is_face and not known[name].native_fs:
                continue  # a run of before units were kept
            found, wanted = getattr(new, attribute), getattr(known[name], attribute)
            if found != wanted:
                by = f" ({windowed.tracker})" if is_unit and is_face else ""
                raise DataError(
                    files.get("face" if is_face else name, source),
                    f"{attribute} of {name}",
                    (found if is_unit else " ".join(found)) + by or "none",
                    f"{(wanted if is_unit else ' '.join(wanted)) or 'none'} as {where}",
                    hint,
                )
