"""What an LSL stream says of itself: channels, units, rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clmer.errors import DataError
from clmer.live.formats import StreamFormat

#: Powers of ten as mne-lsl writes them for units, and what they are powers of.
_POWERS = {"0": "", "-3": "m", "-6": "u", "-9": "n", "3": "k"}
_VOLTS = ("eeg", "eog", "ecg", "emg", "bio", "seeg", "ecog", "dbs")
_BASES = dict.fromkeys(_VOLTS, "V") | {"gsr": "S", "temperature": "C"}


def format_of(info: Any, unit: str = "") -> StreamFormat:
    """A stream's channels, rate and units, as its description says.

    Args:
        info: a `StreamInfo` of mne-lsl with the description, which an opened inlet has.
        unit: of channels whose unit is not said.

    Raises:
        DataError: the description is of another number of channels, or has a name twice.
    """
    count = info.n_channels
    names = _described(info.get_channel_names(), count, "labels", info.name)
    units = _described(info.get_channel_units(), count, "units", info.name)
    kinds = _described(info.get_channel_types(), count, "types", info.name)
    channels = tuple(name or str(k) for k, name in enumerate(names, 1))
    again = sorted({name for name in channels if channels.count(name) > 1})
    if again:
        raise DataError(info.name, "channels", f"{again[0]} more than once", "each name once")
    known = (unit_text(text, kind or info.stype) for text, kind in zip(units, kinds, strict=True))
    return StreamFormat(channels, float(info.sfreq), tuple(each or unit for each in known))


def _described(
    texts: Sequence[str | None] | None, count: int, what: str, name: str
) -> Sequence[str]:
    """What a description says of each channel; "" where it says nothing."""
    if texts is None:
        return [""] * count
    if len(texts) != count:
        raise DataError(name, f"{what} of the channels", len(texts), f"{count}, one per channel")
    return [(text or "").strip() for text in texts]


def unit_text(text: str, kind: str) -> str:
    """A unit of a stream's description as `clmer.data.units.parse` takes it.

    MNE's streams have powers of ten instead of names: of volts for EEG, "-6" are microvolts.
    """
    if text not in _POWERS:
        return text
    base = _BASES.get(kind.lower(), "")
    return f"{_POWERS[text]}{base}" if base else ""
