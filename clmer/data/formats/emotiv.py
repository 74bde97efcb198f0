"""Emotiv headsets: EmotivPRO's CSV with two header lines, and OpenViBE's CSV of the same headsets.

EmotivPRO writes a line of `key:value` pairs (`sampling rate:eeg_128` among them), then the columns
`Timestamp, EEG.Counter, EEG.Interpolated, EEG.AF3, ..., EEG.Battery, ..., CQ.AF3, ..., EQ.AF3`.
OpenViBE writes one line, `Time:128Hz, Epoch, AF3, ..., Event Id, ...`. Both are in uV with an
offset of about 4200, which any high-pass removes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from clmer.data import units
from clmer.data.channels import find, kind_of_name, near, typed
from clmer.data.formats import AS_ARRAY
from clmer.data.formats.emotiv_times import (
    RATES,
    check_ends,
    check_times,
    filled_spans,
    in_seconds,
    measured_rate,
)
from clmer.data.recording import KINDS, Signal
from clmer.data.service_channels import check_no_service
from clmer.data.timeline import Timeline
from clmer.errors import DataError

#: The EPOC's sensors, in the order of its exports.
EPOC_CHANNELS = tuple("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split())

_SERVICE = {"Counter", "Interpolated", "RawCq", "Battery", "BatteryPercent", "MarkerHardware"}
_NO_SENSOR = re.compile(r"Epoch|Label|Stage|Flag|Event .*")
_RATE = re.compile(r"sampling rate\s*:\s*(?:\w*;)*(?:eeg_)?(\d+)", re.IGNORECASE)
_OPENVIBE_RATE = re.compile(r"Time:(\d+)Hz")
_MAX_LINE = 2**16
_MAX_BYTES = 2**32


@dataclass(frozen=True)
class Layout:
    """What the header says.

    Args:
        path: the file.
        lines: header lines.
        time: column of the seconds.
        columns: column of each sensor by name.
        fs: samples per second; None where the header does not say.
        others: names of the columns that are no sensor's.
        interpolated: column that marks samples which the headset's program filled in, if any.
        separator: between cells; with ";" the comma is the decimal sign.
        encoding: of the text.
    """

    path: Path
    lines: int
    time: int
    columns: dict[str, int]
    fs: float | None
    others: tuple[str, ...] = ()
    interpolated: int | None = None
    separator: str = ","
    encoding: str = "utf-8-sig"

    def rows(self, file: TextIO) -> Iterator[str]:
        """The lines behind the header, with decimal points."""
        lines = islice(file, self.lines, None)
        return (line.replace(",", ".") for line in lines) if self.separator == ";" else lines


def read_layout(path: Path) -> Layout:
    """The header of an Emotiv CSV.

    Raises:
        DataError: no such file, or another one's header.
    """
    try:
        with path.open("rb") as raw:
            wide = raw.read(2) in (b"\xff\xfe", b"\xfe\xff")
        encoding = "utf-16" if wide else "utf-8-sig"
        with path.open(encoding=encoding, errors="replace") as file:
            head = [file.readline(_MAX_LINE).strip() for _ in range(3)]
    except (OSError, UnicodeError) as error:
        raise DataError(path, "file", error, "an Emotiv CSV") from error
    for lines, line in enumerate(head, start=1):
        separator = max(",;\t", key=line.count)
        names = [name.strip().strip('"') for name in line.split(separator)]
        found = _layout(path, names, lines, " ".join(head[: lines - 1]))
        if found is not None:
            return _checked(replace(found, separator=separator, encoding=encoding))
    raise DataError(
        path,
        "header",
        f"{head[0][:60]!r}",
        "EmotivPRO's two lines (Timestamp, EEG.AF3, ...) or OpenViBE's one (Time:128Hz, ...)",
        f"Is it another device's table? {AS_ARRAY}",
    )


def _layout(path: Path, names: list[str], lines: int, above: str) -> Layout | None:
    """What a line of column names says, and the text above it; None where it is no such line."""
    if "Timestamp" in names and any(name.startswith("EEG.") for name in names):
        rate = _RATE.search(above)
        sensors = {n[4:]: i for i, n in enumerate(names) if n.startswith("EEG.")}
        columns = {n: i for n, i in sensors.items() if n not in _SERVICE}
        time, fs = names.index("Timestamp"), float(rate[1]) if rate else None
    else:
        rate = _OPENVIBE_RATE.fullmatch(names[0])
        if not rate:
            return None
        sensors, time, fs = {}, 0, float(rate[1])
        columns = {n: i for i, n in enumerate(names) if i and not _NO_SENSOR.fullmatch(n)}
    others = (n for i, n in enumerate(names) if n and i not in (time, *columns.values()))
    return Layout(path, lines, time, columns, fs, tuple(others), sensors.get("Interpolated"))


def _checked(layout: Layout) -> Layout:
    if not layout.columns:
        raise DataError(layout.path, "header", "no sensor", "EEG columns")
    low, high = RATES
    if layout.fs is not None and not low <= layout.fs <= high:
        raise DataError(
            layout.path, "sampling rate", f"{layout.fs:g} Hz", f"{low} to {high} samples per second"
        )
    return layout


def read_emotiv(
    path: Path,
    *,
    channels: Sequence[str] = (),
    start_s: float = 0.0,
    stop_s: float | None = None,
    unit: str = "",
) -> Signal:
    """Some sensors of an Emotiv CSV between two times.

    Args:
        path: the CSV.
        channels: sensors in the order wanted, without "EEG."; all of them by default.
        start_s: first second, counted from the first sample.
        stop_s: end in seconds; None for the last sample.
        unit: of the samples where it is not uV.

    Returns:
        float64 samples in uV, offset and all.

    Raises:
        DataError: another file, a missing sensor, cells that are no numbers, times outside the
            file, a rate that the times contradict, or lost samples of more than `MAX_LOST_S`.
    """
    layout = read_layout(path)
    kinds = dict(zip(layout.columns, typed(list(layout.columns))[0], strict=True))
    names = tuple(_named(path, name, layout) for name in channels)
    names = names or tuple(name for name, kind in kinds.items() if kind in KINDS)
    factor = _factor(path, unit)
    stat = path.stat()
    table = _read_table(path, stat.st_size, stat.st_mtime_ns)
    seconds, notes = in_seconds(path, table[:, 0] - table[0, 0], layout.fs)
    fs = layout.fs or measured_rate(path, seconds)
    part = _part(path, seconds, fs, start_s, stop_s)
    order = list(layout.columns)
    data = table[part, [1 + order.index(name) for name in names]].T
    if not np.isfinite(data).all():
        channel, sample = np.argwhere(~np.isfinite(data))[0]
        found = f"no number at {seconds[part][sample]:.3f} s"
        raise DataError(path, names[channel], found, "finite numbers")
    unsure = [not channels and kind_of_name(name) == "unknown" for name in names]
    check_no_service(path, data, names, ["eeg"] * len(names), unsure)
    line = Timeline.continuous(fs, data.shape[1])
    if layout.interpolated is not None:
        spans, filled_notes = filled_spans(table[part, -1] > 0, fs)
        line, notes = replace(line, bad=spans), [*notes, *filled_notes]
    return Signal(
        np.ascontiguousarray(data) * factor,
        fs,
        names,
        tuple(kinds[name] if kinds[name] in KINDS else "eeg" for name in names),
        "uV",
        timeline=line,
        left_out=(
            *(f"{name} ({kinds[name]})" for name in order if name not in names),
            *(f"{name} ({kind_of_name(name)})" for name in layout.others),
        ),
        notes=tuple(notes),
    )


def _part(
    path: Path, seconds: np.ndarray, fs: float, start_s: float, stop_s: float | None
) -> slice:
    """The rows between two times.

    Raises:
        DataError: times outside the file, a rate that the times contradict, or lost samples.
    """
    end_s = float(seconds[-1]) + 1 / fs
    if start_s >= end_s or (stop_s or 0.0) > end_s + 1 / fs:
        raise DataError(
            path,
            "start_s, stop_s",
            f"{start_s:g} to {'the end' if stop_s is None else f'{stop_s:g}'} s",
            f"times within the file's {end_s:g} s",
        )
    first = int(np.searchsorted(seconds, start_s - 0.5 / fs))
    last = len(seconds) if stop_s is None else int(np.searchsorted(seconds, stop_s - 0.5 / fs))
    times = seconds[first:last]
    check_times(path, times, fs)
    check_ends(path, times, start_s, end_s if stop_s is None else stop_s, fs)
    return slice(first, last)


def _named(path: Path, name: str, layout: Layout) -> str:
    """A column by a name that may differ in case or prefix."""
    names = list(layout.columns)
    at = find(name, names)
    if at is None:
        raise DataError(path, "columns", f"no {name}", f"some of {names}", near(name, names))
    return names[at]


def _factor(path: Path, unit: str) -> float:
    known = units.parse(unit or "uV")
    if known is None or known.quantity not in ("voltage", "none"):
        raise DataError(path, "unit", repr(unit), "uV, mV, V or another voltage")
    return known.factor


@lru_cache(maxsize=1)
def _read_table(path: Path, size: int, changed_ns: int) -> np.ndarray:
    """Times, all sensors, and flags of filled samples where there are some [rows, 1 + C (+ 1)].

    The last file is kept, for its next trial.
    """
    if size > _MAX_BYTES:
        raise DataError(path, "size", f"{size / 2**30:.1f} GiB", "at most 4 GiB", "Cut it.")
    layout = read_layout(path)
    flag = [] if layout.interpolated is None else [layout.interpolated]
    try:
        with path.open(encoding=layout.encoding, errors="replace") as file:
            rows = layout.rows(file)
            first = next(rows, "")
            if not first.strip():
                raise DataError(path, "rows", 0, "one per sample")
            table = np.loadtxt(
                chain((first,), rows),
                delimiter=layout.separator,
                usecols=[layout.time, *layout.columns.values(), *flag],
                ndmin=2,
                comments=None,
                quotechar='"',
            )
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise DataError(
            path,
            "rows",
            str(error).rstrip("."),
            "numbers in every EEG column",
            "The file may be truncated: export it again.",
        ) from error
    if len(table) < 2:
        raise DataError(path, "rows", len(table), "one per sample")
    return table
