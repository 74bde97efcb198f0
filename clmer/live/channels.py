"""Which channels of which stream a run's modalities are, and in which unit they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clmer.data.channels import find, fits, near
from clmer.data.store.store import Modality
from clmer.data.units import OURS, is_bare, parse
from clmer.errors import DataError
from clmer.live.formats import StreamFormat
from clmer.live.signals import Channels


def find_channels(
    modality: Modality, streams: Mapping[str, StreamFormat], names: Mapping[str, str]
) -> tuple[str, Channels]:
    """The stream that has all of a modality's channels, and which they are.

    Args:
        modality: as in training.
        streams: by name; the first that has all is taken.
        names: the stream's name of a channel, by the run's, where they differ.

    Raises:
        DataError: no stream has all (which one lacks which), a name fits several channels, two of
            the run's channels are one of the stream's, or a unit is not known or not the type's.
    """
    wanted = [names.get(channel, channel) for channel in modality.channels]
    lacking: dict[str, list[str]] = {}
    for name, stream in streams.items():
        try:
            rows = [find(channel, stream.channels) for channel in wanted]
        except LookupError as error:
            raise DataError(
                Path(name), f"channels of {modality.name}", error, "names that fit one", _MAP
            ) from error
        lacking[name] = [c for c, row in zip(wanted, rows, strict=True) if row is None]
        if not lacking[name]:
            found = [row for row in rows if row is not None]
            _check_once(name, stream, modality, found)
            factors = _factors(name, stream, modality, found)
            return name, Channels(modality.name, np.array(found), factors, modality.kinds)
    raise _missing(modality, streams, lacking)


_MAP = "Name a channel that is called otherwise with `map`: RUN'S=STREAM'S."


def _check_once(name: str, stream: StreamFormat, modality: Modality, rows: Sequence[int]) -> None:
    """Refuse one channel of the stream in the place of two of the run's."""
    for row in rows:
        same = [c for c, each in zip(modality.channels, rows, strict=True) if each == row]
        if len(same) > 1:
            found = f"{stream.channels[row]} as {' and as '.join(same)}"
            raise DataError(
                Path(name), f"channels of {modality.name}", found, "another for each", _MAP
            )


def _missing(
    modality: Modality, streams: Mapping[str, StreamFormat], lacking: Mapping[str, Sequence[str]]
) -> DataError:
    """What to say where no stream has all channels: of the stream that has most."""
    name = min(lacking, key=lambda each: len(lacking[each]))
    channels, missing = streams[name].channels, lacking[name]
    asked = near(missing[0], [each for each in channels if each not in modality.channels])
    others = f"; nor has {' or '.join(each for each in lacking if each != name)}"
    return DataError(
        Path(name),
        f"channels of {modality.name}",
        f"{' '.join(channels)}, no {' '.join(missing)}{others if len(lacking) > 1 else ''}",
        f"all of {' '.join(modality.channels)}",
        f"{asked} {_MAP}".strip(),
    )


def _factors(
    name: str, stream: StreamFormat, modality: Modality, rows: Sequence[int]
) -> np.ndarray:
    """[C] what brings each channel to our unit; 1 where the stream does not say."""
    factors = np.ones(len(rows))
    for at, (row, kind) in enumerate(zip(rows, modality.kinds, strict=True)):
        spelt = stream.units[row] if stream.units else ""
        if not spelt:
            continue
        unit = parse(spelt)
        if unit is None or not (is_bare(unit) or fits(kind, unit.quantity)):
            raise DataError(
                Path(name),
                f"unit of {stream.channels[row]} ({kind})",
                repr(spelt),
                f"one of {kind}, such as {modality.unit or 'uV, mV, V, uS, degC'}",
                "State the true one with `unit`.",
            )
        ours = OURS[unit.quantity]
        if modality.unit and ours and ours != modality.unit:
            raise DataError(
                Path(name),
                f"unit of {stream.channels[row]} ({kind})",
                repr(spelt),
                f"{modality.unit} as in training",
                "State the true one with `unit`.",
            )
        factors[at] = unit.factor
    return factors
