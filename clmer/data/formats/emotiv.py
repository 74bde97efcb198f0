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
from numpy.lib.stride_tricks import sliding_window_view

from clmer.data import units
from clmer.data.channels import find, kind_of_name, near, typed
from clmer.data.formats import AS_ARRAY
from clmer.data.recording import KINDS, Signal
from clmer.data.service_channels import check_no_service
from clmer.data.timeline import Span, Timeline
from clmer.errors import DataError

#: The EPOC's sensors, in the order of its exports.
EPOC_CHANNELS = tuple("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split())

#: Seconds that lost samples may sum to: signals and face drift apart by as much.
MAX_LOST_S = 0.05
#: Share by which a headset's clock may be off; more is another rate, or lost samples.
_CLOCK = 0.005
_RATES = 1, 100_000  # samples a second that a recording may have
_ENVELOPE_S = 0.125  # longer than the bursts in which a receiver hands samples on

#: Longer stretches of samples that were filled in are not used.
_MAX_FILLED_S = 0.25
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
        fs: samples a second; None where the header does not say.
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
    low, high = _RATES
    if layout.fs is not None and not low <= layout.fs <= high:
        raise DataError(
            layout.path, "sampling rate", f"{layout.fs:g} Hz", f"{low} to {high} samples a second"
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
    seconds, notes = _in_seconds(path, table[:, 0] - table[0, 0], layout.fs)
    fs = layout.fs or _rate(path, seconds)
    end_s = float(seconds[-1]) + 1 / fs
    if start_s >= end_s or (stop_s or 0.0) > end_s + 1 / fs:
        raise DataError(
            path,
            "start_s, stop_s",
            f"{start_s:g} to {'the end' if stop_s is None else f'{stop_s:g}'} s",
            f"times within the file's {end_s:g} s",
        )
    first = int(np.searchsorted(seconds, start_s - 0.5 / fs))
    last = len(table) if stop_s is None else int(np.searchsorted(seconds, stop_s - 0.5 / fs))
    _check_times(path, seconds[first:last], fs)
    order = list(layout.columns)
    data = table[first:last, [1 + order.index(name) for name in names]].T
    if not np.isfinite(data).all():
        channel, sample = np.argwhere(~np.isfinite(data))[0]
        raise DataError(
            path, names[channel], f"no number at {seconds[first + sample]:.3f} s", "finite numbers"
        )
    times = seconds[first:last]
    _check_ends(path, times, start_s, end_s if stop_s is None else stop_s, fs)
    check_no_service(
        path, data, names, ["eeg"] * len(names),
        [not channels and kind_of_name(name) == "unknown" for name in names],
    )  # fmt: skip
    line = Timeline.whole(fs, data.shape[1])
    if layout.interpolated is not None:
        spans, said = _filled(table[first:last, -1] > 0, fs)
        line, notes = replace(line, bad=spans), [*notes, *said]
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


def _in_seconds(path: Path, times: np.ndarray, fs: float | None) -> tuple[np.ndarray, list[str]]:
    """Times that may be in ms, from the first sample on, in s, and what to say of them.

    Raises:
        DataError: times that go back.
    """
    if not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
        where = int(np.flatnonzero(~(np.diff(times) >= 0))[0]) + 2
        raise DataError(
            path, "Timestamp", f"no time after the one before it in sample {where}",
            "seconds, ascending",
            "Leave such rows out; two recordings in one table need a file each.",
        )  # fmt: skip
    if times[-1] == 0:
        raise DataError(
            path, "Timestamp", "steps of 0 s in all rows", "seconds, ascending",
            "A spreadsheet rounds them when it saves the table: take the original export.",
        )  # fmt: skip
    if not fs or abs(_step(times) * fs / 1e3 - 1) > _CLOCK:
        return times, []
    return times / 1e3, [f"{path.name}: its times are in ms"]


def _filled(flags: np.ndarray, fs: float) -> tuple[tuple[Span, ...], list[str]]:
    """Stretches of filled samples that are too long to count, and what to say of all.

    Args:
        flags: [n] bool, whether each sample was filled in.
        fs: samples a second.
    """
    if not flags.any():
        return (), []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    spans = tuple(
        Span(a / fs, b / fs, "filled in by the headset's program")
        for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if b - a > _MAX_FILLED_S * fs
    )
    return spans, [
        f"{int(flags.sum())} samples were lost and filled in by the headset's program; stretches "
        f"above {_MAX_FILLED_S:g} s are left out"
    ]


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


def _check_ends(path: Path, seconds: np.ndarray, start_s: float, stop_s: float, fs: float) -> None:
    """A part must not begin or end in a pause."""
    slack = MAX_LOST_S + 1 / fs
    for what, found, wanted in (
        ("begin", float(seconds[0]), start_s),
        ("end", float(seconds[-1]) + 1 / fs, stop_s),
    ):
        if abs(found - wanted) > slack:
            raise _gap(path, f"samples that {what} at {found:.3f} s, not at {wanted:.3f}", fs)


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
                raise DataError(path, "rows", 0, "one a sample")
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
        raise DataError(path, "rows", len(table), "one a sample")
    return table


def _rate(path: Path, seconds: np.ndarray) -> float:
    """Samples a second where the header does not say; times may be rounded to milliseconds."""
    step = _step(seconds)
    low, high = _RATES
    if not 1 / high <= step <= 1 / low:
        raise DataError(
            path, "Timestamp", f"steps of {step:g} s", f"seconds, {low} to {high} samples in each"
        )
    whole = round(1 / step)
    return float(whole) if abs(whole * step - 1) < _CLOCK else 1 / step


def _step(seconds: np.ndarray) -> float:
    """Seconds from sample to sample: the median over stretches of some, which rounding spares."""
    apart = min(64, len(seconds) - 1)
    return float(np.median(seconds[apart:] - seconds[:-apart])) / apart


def _check_times(path: Path, seconds: np.ndarray, fs: float) -> None:
    steps = np.diff(seconds)
    if not (len(steps) and np.isfinite(steps).all() and steps.min() >= 0):
        raise DataError(path, "Timestamp", "times that do not increase", "seconds, ascending")
    if steps.max() > MAX_LOST_S + 1 / fs:
        where = int(steps.argmax())
        raise _gap(path, f"a gap of {steps[where]:.3f} s at {seconds[where]:.3f} s", fs)
    duration_s = seconds[-1] - seconds[0]
    lost = _lost_samples(seconds, fs)
    other_rate = lost.sum() > len(steps) / 2 or lost.sum() < -len(steps) / 4
    if lost.sum() > MAX_LOST_S * fs and not other_rate:
        found = f"{lost.sum()} samples lost in {duration_s:.1f} s"
        where = int(np.flatnonzero(lost > 0)[0])
        raise _gap(path, f"{found}, the first at {seconds[where]:.3f} s", fs)
    measured = (len(steps) + (0 if other_rate else lost.sum())) / duration_s
    if len(steps) > fs and abs(measured / fs - 1) > _CLOCK:
        raise DataError(
            path,
            "sampling rate",
            f"{fs:g} Hz in the header",
            f"the times' {measured:.1f} Hz",
            "One of the two is wrong: correct the header, or export the file again.",
        )


def _lost_samples(seconds: np.ndarray, fs: float) -> np.ndarray:
    """Samples lost after each sample.

        lateness d_i = fs t_i - i,   e_i = min(d_i, ..., d_{i+w}),   lost_i = round(e_{i+1} - e_i)

    A sample that was handed on late is on time again soon, so that the lower envelope e stays; a
    lost one delays all that follow. A slow clock moves e by far less than half a sample a step.

    Args:
        seconds: [n] ascending times.
        fs: samples a second.

    Returns:
        [n] int64; 0 within the last window, where late and lost look the same.
    """
    lost = np.zeros(len(seconds), dtype=np.int64)
    width = max(2, round(_ENVELOPE_S * fs))
    if len(seconds) > width:
        late = fs * seconds - np.arange(len(seconds))
        envelope = sliding_window_view(late, width).min(axis=1)
        lost[: len(envelope) - 1] = np.rint(np.diff(envelope))
    return lost


def _gap(path: Path, found: str, fs: float) -> DataError:
    return DataError(
        path,
        "Timestamp",
        found,
        f"samples every {1 / fs:.4f} s, lost ones of {MAX_LOST_S:g} s in all",
        "Take a part without them with start_s and stop_s, or export again with lost samples "
        "interpolated, as EmotivPRO does.",
    )
