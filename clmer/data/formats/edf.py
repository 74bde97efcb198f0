"""EDF, EDF+, BDF and BDF+: the header, the clock, and physical samples at each signal's own rate.

A file is records of equal length, in each of which every signal has its own number of samples. A
"+" file has annotation signals besides; the first note in each record says when it began, which is
the only thing that tells pauses. Only discontinuous files (EDF+D) should have them; others do too.

MNE brings slower signals to the fastest one's rate, piece by piece and by FFT, and knows three
units; so this reads the samples itself. Format: https://www.edfplus.info/specs/edfplus.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from clmer.data.formats.source import StoredChannel
from clmer.data.recording import Marker
from clmer.data.timeline import Timeline, pauses_and_bad_spans, role
from clmer.errors import DataError

#: Bytes of the fixed head, and of each signal's fields behind it, in the order of the file.
_HEAD = 256
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
#: Seconds by which records' times may drift against the rate before it is said.
_DRIFT_S = 0.1
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\x00]*)")


@dataclass(frozen=True)
class EdfSignal:
    """One signal's header.

    Args:
        label: as written, spaces around it taken off.
        unit: physical dimension as written.
        physical: least and greatest value in that unit.
        digital: what they are stored as.
        count: samples per record.
        offset: bytes from a record's start.
    """

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    count: int
    offset: int

    @property
    def is_note(self) -> bool:
        """Whether it holds annotations."""
        return self.label.rstrip().endswith("Annotations")


@dataclass(frozen=True)
class EdfFile:
    """An open file, a `clmer.data.formats.source.Source`; samples stay on disk.

    Args:
        path: the file.
        signals: in the order of the file, annotations included.
        records: how many whole ones there are.
        record_s: seconds of each, as written.
        header_bytes: before the first.
        sample_bytes: 2 in EDF, 3 in BDF.
        plus: "EDF+C", "EDF+D", "BDF+C", "BDF+D" or "".
        odd: what was odd about the header and read all the same.
    """

    path: Path
    signals: tuple[EdfSignal, ...]
    records: int
    record_s: str
    header_bytes: int
    sample_bytes: int
    plus: str
    odd: tuple[str, ...]

    @cached_property
    def _rows(self) -> tuple[EdfSignal, ...]:
        return tuple(signal for signal in self.signals if not signal.is_note)

    @cached_property
    def channels(self) -> list[StoredChannel]:
        """The signals without annotations; EDF types them in their labels alone."""
        return [StoredChannel(each.label, self.rate(each), each.unit) for each in self._rows]

    @property
    def files(self) -> list[Path]:
        """The file itself."""
        return [self.path]

    def unit(self, row: int, kind: str) -> str:
        """A channel's unit, whatever its type."""
        return self._rows[row].unit

    def rate(self, signal: EdfSignal) -> float:
        """Samples per second: the simplest rate that the written length of a record allows."""
        written = Fraction(self.record_s)
        decimals = len(self.record_s.partition(".")[2]) if "e" not in self.record_s.lower() else 9
        slack = Fraction(1, 2 * 10**decimals) if decimals >= 4 else Fraction(0)
        low, high = signal.count / (written + slack), signal.count / max(written - slack, slack)
        for limit in (1, 10, 1000, 10**6):
            simple = (signal.count / written).limit_denominator(limit)
            if low <= simple <= high:
                return float(simple)
        return float(signal.count / written)

    def samples(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """Signals of one rate between two of their samples, [C, stop - first], in their own units.

        Raises:
            DataError: a signal whose limits define no scale.
        """
        count = self._rows[rows[0]].count
        a, b = first // count, -(-stop // count)
        out = np.empty((len(rows), stop - first))
        for row, target in zip(rows, out, strict=True):
            signal = self._rows[row]
            gain, offset = self._scale(signal)
            digital = self._digital(signal, a, b).reshape(-1)[first - a * count :][: stop - first]
            np.multiply(digital, gain, out=target)
            target += offset
        return out

    def codes(self, row: int) -> np.ndarray:
        """All stored integers of a channel, [n] int32, such as a BDF's Status words."""
        return self._digital(self._rows[row], 0, self.records).reshape(-1).astype(np.int32)

    @cached_property
    def _bytes(self) -> np.ndarray:
        size = self.sample_bytes * sum(signal.count for signal in self.signals)
        return np.memmap(
            self.path, np.uint8, "r", offset=self.header_bytes, shape=(self.records, size)
        )

    def _digital(self, signal: EdfSignal, first: int, stop: int) -> np.ndarray:
        """Stored integers of some records, [records, count]."""
        size = self.sample_bytes
        part = self._bytes[first:stop, signal.offset : signal.offset + size * signal.count]
        if size == 2:
            return np.ascontiguousarray(part).view("<i2")
        wide = np.zeros((stop - first, signal.count, 4), np.uint8)
        wide[..., 1:] = part.reshape(stop - first, signal.count, 3)
        return np.right_shift(wide.view("<i4")[..., 0], 8)

    def _scale(self, signal: EdfSignal) -> tuple[float, float]:
        (low, high), (least, most) = signal.physical, signal.digital
        if not (np.isfinite([low, high, least, most]).all() and most != least and low != high):
            raise DataError(
                self.path,
                f"limits of {signal.label}",
                f"physical {low:g} to {high:g}, digital {least:g} to {most:g}",
                "two different numbers each, which give the samples their scale",
                "Leave the channel out (column channels), or export the file again.",
            )
        gain = (high - low) / (most - least)
        return gain, low - least * gain

    @cached_property
    def _notes(self) -> tuple[np.ndarray, list[tuple[float, float, str]], int]:
        """When each record began [records], NaN where it is not said; the annotations (onset
        on the file's clock, duration in s, text); decimals of the onsets.
        """
        onsets, texts, decimals = np.full(self.records, np.nan), [], 0
        rows = [signal for signal in self.signals if signal.is_note]
        for signal in rows:
            size = self.sample_bytes * signal.count
            part = self._bytes[:, signal.offset : signal.offset + size]
            for record, line in enumerate(np.ascontiguousarray(part)):
                for entry in line.tobytes().split(b"\x00"):
                    found = _TAL.match(entry)
                    if not found:
                        continue
                    if found[3].strip(b"\x14") == b"" and np.isnan(onsets[record]):
                        onsets[record] = float(found[1])
                        decimals = max(decimals, len(found[1].partition(b".")[2]))
                    for text in filter(None, found[3].split(b"\x14")):
                        value = text.decode("utf-8", errors="replace")
                        texts.append((float(found[1]), float(found[2] or 0), value))
        origin = onsets[0] if self.records and np.isfinite(onsets[0]) else 0.0
        notes = [(float(onset - origin), duration, text) for onset, duration, text in texts]
        return onsets, notes, decimals

    @property
    def _slack_s(self) -> float:
        """The shortest pause: a sample of the fastest signal, or what rounding makes of onsets.

        It is one for all signals, so that slow ones have the same pauses as the others.
        """
        digits, record_s = 10 ** self._notes[2], Fraction(self.record_s)
        count = max(signal.count for signal in self._rows)
        rounding = 0.0 if (record_s * digits).denominator == 1 else 1.001 / digits
        return max(rounding, (1 - 1e-3) * float(record_s) / count)  # a pause of one sample is one

    @cached_property
    def _clock(self) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """When each record began, None where they follow one another; and what is odd about it.

        Raises:
            DataError: a discontinuous file that does not say it.
        """
        onsets, strict = self._notes[0], self.plus.endswith("D")
        if not np.isfinite(onsets).all():
            if not strict:
                return None, ()
            record = int(np.flatnonzero(~np.isfinite(onsets))[0]) + 1
            raise self._clock_error(f"no time of record {record}")
        late, slack_s = np.diff(onsets) - float(Fraction(self.record_s)), self._slack_s
        steady, name = np.abs(late) <= slack_s, self.path.name
        drift_s = float(late[steady].sum())
        notes = []
        if abs(drift_s) > max(_DRIFT_S, slack_s):
            notes.append(f"{name}: its records' times drift by {drift_s:.3g} s against its rate")
        if steady.all():
            return None, tuple(notes)
        if not strict and (late < -slack_s).any():
            record = int(np.flatnonzero(late < -slack_s)[0]) + 2
            notes.append(
                f"{name}: by the records' times record {record} begins before the one before it "
                "ends: they are read one after the other"
            )
            return None, tuple(notes)
        if not strict:
            notes.append(
                f"{name} is a continuous file by its header; its records' times tell pauses, which "
                "count"
            )
        return onsets, tuple(notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd and read all the same, the records' times included.

        Raises:
            DataError: a discontinuous file that does not say when its records began.
        """
        return (*self.odd, *self._clock[1])

    @property
    def markers(self) -> list[Marker]:
        """The annotations, but for those that mark pauses and bad spans."""
        line, continuous = self.timeline(0), self._clock[0] is None
        return [
            Marker(line.clock(onset * line.fs) if continuous else onset, duration, text)
            for onset, duration, text in self._notes[1]
            if not role(text)
        ]

    def timeline(self, row: int) -> Timeline:
        """A channel's pieces and bad spans.

        Raises:
            DataError: a discontinuous file that does not say when its records began.
        """
        signal = self._rows[row]
        fs, count = self.rate(signal), signal.count
        joints, bad = pauses_and_bad_spans(self._notes[1], fs)
        onsets, _ = self._clock
        if onsets is None:
            return Timeline.with_pauses(fs, self.records * count, joints, bad)
        try:
            line = Timeline.from_onsets(fs, onsets, count, self._slack_s)
        except ValueError as error:
            raise self._clock_error(str(error)) from error
        return Timeline(fs, line.pieces, tuple(bad)).split(at / fs for at in joints)

    def _clock_error(self, found: str) -> DataError:
        return DataError(
            self.path,
            f"record times of an {self.plus} file",
            found,
            "the time of each record in its annotations, ascending",
            "Export it again, as a continuous file (EDF+C) for each stretch.",
        )


def open_edf(path: Path) -> EdfFile:
    """The checked header of an EDF or BDF file.

    Raises:
        DataError: another kind of file, a damaged header, a length that is not the header's.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        _check_kind(path, head)
        try:
            header_bytes, records = int(_text(head[184:192])), int(_text(head[236:244]))
            record_s = _text(head[244:252]).replace(",", ".")
            count = int(_text(head[252:256]))
            table = file.read(_HEAD * count) if 0 < count < 10_000 else b""
            signals = _signals(table, count, 3 if head[0] == 0xFF else 2)
            seconds = float(record_s)
        except ValueError as error:
            raise _header_error(path, f"{size} bytes of which the header is damaged") from error
    notes: list[str] = []
    if header_bytes != _HEAD * (count + 1) or not 0 <= seconds < float("inf"):
        raise _header_error(path, f"{header_bytes} bytes of header, {count} signals, {seconds} s")
    if seconds == 0 or all(signal.is_note for signal in signals):
        raise DataError(path, "signals", "annotations only", "signals of a positive rate")
    if min(signal.count for signal in signals) <= 0:
        raise _header_error(path, "a signal without samples")
    sample_bytes = 3 if head[0] == 0xFF else 2
    record_bytes = sample_bytes * sum(signal.count for signal in signals)
    have = _records(path, records, (size - header_bytes) / record_bytes, notes)
    plus = _text(head[192:236])[:5]
    plus = plus if plus in ("EDF+C", "EDF+D", "BDF+C", "BDF+D") else ""
    return EdfFile(path, signals, have, record_s, header_bytes, sample_bytes, plus, tuple(notes))


def _records(path: Path, stated: int, have: float, notes: list[str]) -> int:
    """How many whole records there are to read."""
    if stated < 1 <= have:  # -1 is "unknown", 0 too: the recorder did not come back to fill it in
        if have != int(have):
            notes.append(
                f"{path.name} does not state its length and ends within a record: "
                f"{int(have)} whole ones are read"
            )
        return int(have)
    if stated >= 1 and have > stated and have == int(have):
        notes.append(
            f"{path.name} holds {have:.0f} records, its header says {stated}: all are read"
        )
        return int(have)
    if stated < 1 or have != stated:
        longer = have > stated
        raise DataError(
            path,
            "number of records",
            f"{have:g} records in the file",
            f"{stated} as in its header",
            "Something was appended to the file, or its header is another one's: export it again."
            if longer
            else "The file is truncated, or was not closed: copy or export it again.",
        )
    return stated


def _check_kind(path: Path, head: bytes) -> None:
    """Whether it is EDF or BDF at all."""
    if len(head) == _HEAD and (head[:1] == b"\xff" or _text(head[:8]) == "0"):
        return
    if len(head) < _HEAD:
        raise _header_error(path, f"{len(head)} bytes that are no EDF or BDF header")
    raise DataError(
        path,
        "header",
        f"a file that begins with {head[:8]!r}",
        "an EDF or BDF file, which begins with '0' or 255 BIOSEMI",
        "It is a file of another kind under this name: rename it, or export it as EDF.",
    )


def _header_error(path: Path, found: str) -> DataError:
    hint = "It may be truncated: copy or export it again."
    return DataError(path, "header", found, "a whole EDF or BDF file", hint)


def _text(field: bytes) -> str:
    return field.split(b"\x00")[0].decode("latin-1").strip()


def _signals(table: bytes, count: int, sample_bytes: int) -> tuple[EdfSignal, ...]:
    """The signals' headers, field by field."""
    if len(table) < _HEAD * count or count < 1:
        raise ValueError("a table of signals cut short")
    columns, at = [], 0
    for width in _FIELDS:
        columns.append([table[at + width * i : at + width * (i + 1)] for i in range(count)])
        at += width * count
    signals, offset = [], 0
    for label, _, unit, low, high, least, most, _, samples, _ in zip(*columns, strict=True):
        number = int(_text(samples))
        signals.append(
            EdfSignal(
                _text(label),
                _text(unit),
                (_float(low), _float(high)),
                (_float(least), _float(most)),
                number,
                offset,
            )
        )
        offset += sample_bytes * number
    return tuple(signals)


def _float(field: bytes) -> float:
    """A number of a signal's header; NaN where it is none, an error only if it is needed."""
    try:
        return float(_text(field).replace(",", "."))
    except ValueError:
        return float("nan")
