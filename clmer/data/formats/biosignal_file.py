"""An open recording of physiology: its channels by name and type, its samples in our units."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from clmer.data import units
from clmer.data.channels import (
    QUANTITY,
    SERVICE,
    Channel,
    as_kind,
    canonical,
    find,
    fits,
    listed,
    near,
)
from clmer.data.formats.mne_files import suffix_of
from clmer.data.formats.source import Source
from clmer.data.formats.tables.source import TableFile
from clmer.data.formats.triggers import STATUS_BITS, all_noted, trigger_markers
from clmer.data.recording import KINDS, Marker, Signal
from clmer.data.service_channels import check_no_service
from clmer.data.timeline import Timeline
from clmer.data.units import wrong_unit
from clmer.errors import DataError
from clmer.text import folded


@dataclass(frozen=True, eq=False)
class BiosignalFile:
    """An open recording; samples are read when asked for.

    Args:
        path: the file.
        source: what reads its samples.
        all_channels: every channel, one per row of `source`; names are unique.
        files: all files that it is made of.
        state: of `files` when it was opened.
    """

    path: Path
    source: Source
    all_channels: tuple[Channel, ...]
    files: tuple[Path, ...]
    state: object = None

    @property
    def _signals(self) -> list[Channel]:
        return [channel for channel in self.all_channels if channel.kind in KINDS]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that are a signal of a known type."""
        return tuple(channel.name for channel in self._signals)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Their types, out of `recording.KINDS`."""
        return tuple(channel.kind for channel in self._signals)

    @property
    def rates(self) -> tuple[float, ...]:
        """Their own rates in Hz."""
        return tuple(channel.fs for channel in self._signals)

    @property
    def fs(self) -> float:
        """Samples per second of the fastest of them."""
        return max(self.rates or (0.0,))

    @property
    def duration_s(self) -> float:
        """Length in seconds, pauses included; of several streams, to the last one's end."""
        rows = {(c.group, c.fs): row for row, c in enumerate(self.source.channels)}
        return max(self._timeline(row).duration_s for row in rows.values())

    def _timeline(self, row: int) -> Timeline:
        """When a channel's samples were recorded.

        Raises:
            DataError: a damaged clock.
        """
        line = self.source.timeline(row)
        wrong = line.wrong()
        if wrong:
            way = "The file is damaged, or its streams' clocks were never brought together."
            raise DataError(self.path, f"times of {self.all_channels[row].name}", *wrong, way)
        return line

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd and read all the same.

        Raises:
            DataError: a damaged clock.
        """
        return self.source.notes

    @cached_property
    def markers(self) -> tuple[Marker, ...]:
        """What the file says happened, in order of time: annotations and trigger lines.

        Annotations that mark pauses and bad spans are none (`Timeline` has them). A trigger line
        gives a marker for each stretch of a code (`triggers.trigger_markers`), unless annotations
        say the same; where a file has several, the line's name goes before the code.

        Raises:
            DataError: the file is damaged.
        """
        noted = list(self.source.markers)
        lines = {}
        for row, channel in enumerate(self.all_channels):
            if channel.kind == "trigger":
                line = self._timeline(row)
                found = trigger_markers(self._trigger_values(row), line)
                if not all_noted(found, noted, channel.fs):
                    lines[channel.name] = found
        for name, found in lines.items():
            named = [replace(m, text=f"{name} {m.text}") for m in found]
            noted += named if len(lines) > 1 else found
        return tuple(sorted(noted, key=lambda marker: marker.onset_s))

    def _trigger_values(self, row: int) -> np.ndarray:
        codes = self.source.codes(row) if suffix_of(self.path) == ".bdf" else None
        if codes is not None:
            return codes & STATUS_BITS
        pieces = self._timeline(row).pieces
        parts = [self.source.samples([row], piece.first, piece.stop)[0] for piece in pieces]
        return np.concatenate(parts) if parts else np.empty(0)

    def codes(self, name: str) -> tuple[np.ndarray, float] | None:
        """The stored integers [n] of a channel of markers, and its rate; None without one.

        Raises:
            DataError: the format keeps none.
        """
        names = [channel.name for channel in self.all_channels]
        if name not in names:
            return None
        row = names.index(name)
        codes = self.source.codes(row)
        if codes is None:
            found = f"a {suffix_of(self.path)} file, which keeps no integers"
            raise DataError(self.path, name, found, "an EDF or BDF file")
        return codes, self.all_channels[row].fs

    def select(
        self,
        modality: str,
        wanted: Sequence[str] = (),
        *,
        kind: str = "",
        without: Collection[str] = (),
    ) -> list[Channel]:
        """The channels of a modality.

        Args:
            modality: its name: a type takes the channels of that type, any other name all channels
                of known types.
            wanted: names, in the order wanted, instead, see `channels.find`; the name of a stream
                stands for its channels of the modality's type.
            kind: the type that somebody stated for them; it counts more than the file's.
            without: names (`channels.canonical`) that are left out where none are wanted.

        Returns:
            Channels, of which each has the type that it is to have.

        Raises:
            DataError: no such channel, or one of another type.
        """
        need = kind or as_kind(modality)
        if wanted:
            wanted = [name for each in wanted for name in self._of_stream(each, need)]
            found = [self._place(name) for name in wanted]
            self._check_found(wanted, found)
            places = (place for place in found if place is not None)
            return [self._of_type(place, modality, need, bool(kind)) for place in places]
        usable = [c for c in self._signals if not c.bad and canonical(c.name) not in without]
        if not need and usable:
            return usable
        chosen = [channel for channel in usable if channel.kind == need]
        if not chosen and kind:  # "where the file does not say"
            guessed = [c for c in self.all_channels if c.guessed and not c.bad]
            chosen = [channel.of_kind(kind) for channel in guessed]
        if chosen:
            return chosen
        bad = any(c.kind == need or not need for c in self._signals)
        raise DataError(
            self.path,
            f"channels of modality {modality}",
            listed(self.all_channels) + ("; those of that type are marked as bad" if bad else ""),
            f"some of type {need}" if need else f"some of type {', '.join(KINDS)}",
            "Name the channels in the manifest's column channels, and their type in the column "
            "kind where the file's names do not tell it.",
        )

    def _of_stream(self, name: str, need: str) -> list[str]:
        """The channels that a stream's name stands for; any other name as it is."""
        names = [channel.name for channel in self.all_channels]
        pairs = zip(self.all_channels, self.source.channels, strict=True)
        inside = [
            channel.name
            for channel, stored in pairs
            if stored.group and folded(stored.group) == folded(name) and channel.kind in KINDS
            and need in ("", channel.kind)
        ]  # fmt: skip
        return inside if inside and name not in names else [name]

    def _place(self, name: str) -> int | None:
        try:
            return find(name, [channel.name for channel in self.all_channels])
        except LookupError as error:
            raise DataError(
                self.path, "channels", error, "one channel", "Write the name as in the file."
            ) from error

    def _check_found(self, wanted: Sequence[str], found: Sequence[int | None]) -> None:
        missing = [name for name, at in zip(wanted, found, strict=True) if at is None]
        if missing:
            raise DataError(
                self.path,
                "channels",
                f"no {', '.join(missing)}",
                f"some of {listed(self.all_channels)}",
                near(missing[0], [channel.name for channel in self.all_channels]),
            )

    def _of_type(self, at: int, modality: str, need: str, stated: bool) -> Channel:
        """A channel that was asked for by name, as the type that it is to have."""
        channel = self.all_channels[at]
        unknown = channel.kind == "unknown" or channel.guessed
        if stated or channel.kind == need or unknown:
            return channel.of_kind(need or (channel.kind if channel.kind in KINDS else "other"))
        if channel.kind in SERVICE or need:
            raise DataError(
                self.path,
                f"channel {channel.name} of modality {modality}",
                f"one of type {channel.kind}",
                f"one of type {need}" if need else f"one of type {', '.join(KINDS)}",
                "If its name misleads, state the true type in the manifest's column kind.",
            )
        return channel

    def signal(
        self,
        channels: Sequence[str | Channel],
        start_s: float = 0.0,
        stop_s: float | None = None,
        *,
        unit: str = "",
        finest: float = 128.0,
    ) -> Signal:
        """Some channels between two times.

        Args:
            channels: names, or what `select` gave, in the order wanted.
            start_s: first second.
            stop_s: end in seconds; None for the file's end.
            unit: of the samples, which counts more than the file's; "" for the file's.
            finest: Hz of the windows that are made of it.

        Returns:
            float64 samples, in uV where the channel is a voltage; its pieces count from `start_s`.

        Raises:
            DataError: a channel is missing, the channels' own rates differ, or a voltage has no
                unit.
        """
        chosen, rows, line = self._chosen(channels)
        part = line.part(start_s, line.duration_s if stop_s is None else stop_s, finest)
        pieces = [self.source.samples(rows, piece.first, piece.stop) for piece in part.pieces]
        data = np.concatenate(pieces, axis=1) if pieces else np.empty((len(rows), 0))
        kinds, unsure = [c.kind for c in chosen], [c.guessed for c in chosen]
        check_no_service(self.path, data, [c.name for c in chosen], kinds, unsure)
        our_unit, notes = self._convert(data, chosen, unit)
        taken = {channel.name for channel in chosen}
        return Signal(
            data,
            chosen[0].fs,
            tuple(channel.name for channel in chosen),
            tuple(kind if kind in KINDS else "other" for kind in kinds),
            our_unit,
            timeline=part.shifted(),
            left_out=tuple(str(c) for c in self.all_channels if c.name not in taken),
            notes=notes,
        )

    def _chosen(self, wanted: Sequence[str | Channel]) -> tuple[list[Channel], list[int], Timeline]:
        """Channels, the row of each in `source`, and when their samples were recorded.

        Raises:
            DataError: a channel is missing, or the channels' own rates differ.
        """
        names = [channel.name for channel in self.all_channels]
        places = [
            names.index(each.name) if isinstance(each, Channel) else self._place(each)
            for each in wanted
        ]
        self._check_found([str(each) for each in wanted], places)
        at = [place for place in places if place is not None]
        chosen = [
            each if isinstance(each, Channel) else self.all_channels[place]
            for each, place in zip(wanted, at, strict=True)
        ]
        streams = dict.fromkeys(self.source.channels[place].group for place in at)
        if len(streams) > 1:
            raise DataError(
                self.path,
                "streams",
                f"channels of {', '.join(streams)}",
                "one stream for the channels of a modality",
                f"Name one in the manifest's column channels ({next(iter(streams))}), or make "
                "them separate modalities.",
            )
        rates = sorted({channel.fs for channel in chosen})
        if len(rates) > 1:
            raise DataError(
                self.path,
                "sampling rate",
                f"{' and '.join(f'{rate:g}' for rate in rates)} Hz",
                "one rate for the channels of a modality",
                "Make them separate modalities, or resample the file.",
            )
        # What MNE's numbers are in depends on the type, which may have been stated since.
        pairs = zip(chosen, at, strict=True)
        chosen = [c.in_unit(self.source.unit(row, c.kind) or c.unit) for c, row in pairs]
        lines = [self._timeline(row) for row in dict.fromkeys(at)]
        bad = dict.fromkeys(span for line in lines for span in line.bad)
        return chosen, at, replace(lines[0], bad=tuple(bad))

    def _convert(
        self, data: np.ndarray, channels: Sequence[Channel], stated: str
    ) -> tuple[str, tuple[str, ...]]:
        """Bring samples to our units, in place; the unit, "mixed" for several, and notes.

        Raises:
            DataError: a voltage has no unit.
        """
        factors = [self._unit(channel, stated) for channel in channels]
        for row, (factor, _) in zip(data, factors, strict=True):
            if factor != 1.0:
                row *= factor
        notes = [*self.notes]
        if not stated and suffix_of(self.path).startswith(".fif"):
            notes += _siemens(data, channels)
        names = {name for _, name in factors}
        return names.pop() if len(names) == 1 else "mixed", tuple(notes)

    def _unit(self, channel: Channel, stated: str) -> tuple[float, str]:
        """What a channel's numbers are multiplied by, and the unit that they then have."""
        spelt = stated or channel.unit
        unit = units.parse(spelt)
        raw = isinstance(self.source, TableFile) and self.source.raw
        bare = unit is not None and (bool(stated) or raw) and units.is_bare(unit)
        if unit is not None and (bare or fits(channel.kind, unit.quantity)):
            return unit.factor, unit.ours
        if QUANTITY.get(channel.kind) == "voltage" or stated:
            raise wrong_unit(self.path, f"unit of {channel.name}", spelt, channel.kind)
        return (unit.factor, unit.ours) if unit else (1.0, spelt)


def _siemens(data: np.ndarray, channels: Sequence[Channel]) -> list[str]:
    """Undo MNE's siemens where they cannot be meant, in place; what to say of it.

    FIF has no unit for skin conductance but S, and hardly anybody scales to it: 2 "S" are 2 uS. The
    skin's range, 0.01 to 200 uS, leaves no doubt which of the two it is.
    """
    notes = []
    for row, channel in zip(data, channels, strict=True):
        level = float(np.median(np.abs(row))) if row.size else 0.0
        if channel.kind == "gsr" and channel.unit == "S" and level > 1e4:
            row /= 1e6
            notes.append(f"{channel.name}: {level / 1e6:.3g} S is no skin; read as uS")
    return [notes[0].partition(":")[0] + ": numbers above 0.01 S are read as uS"] if notes else []
