"""Devices' tables: how each is recognised by what it holds, and what its columns are.

A profile adds what a header does not say: which columns are electrodes, in which unit, the rate
that the device is set to. A table that fits none is read by its header alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from clmer.data.channels import kind_of_name
from clmer.data.formats.tables.layout import Layout

_RATE = re.compile(
    r"(?:sampl\w*[ _-]*(?:rate|freq\w*)|\b(?:rate|sfreq|srate|fs))\b[^\d\n]{0,16}?"
    r"(\d+(?:[.,]\d+)?)\s*(k?)(?:hz|sps|samples|\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Column:
    """What a column is.

    Args:
        label: its name, without what all of the device's columns share.
        told: its type where the profile knows it; "" where its name tells.
        unit: as the file or the profile says; "" where neither does.
    """

    label: str
    told: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Profile:
    """A device, or a program that records from several.

    Args:
        name: for notes.
        mark: a pattern in the lines above the rows, the names among them, one per line.
        columns: pattern of a name (a group is what it is called), type, and unit.
        rates: samples per second that it may be set to; the nearest counts, not what its clock
            makes of it.
        filled: name of the column that marks samples which the program filled in.
        numbers: whether values are a converter's numbers, without a unit.
    """

    name: str
    mark: str
    columns: tuple[tuple[str, str, str], ...] = ()
    rates: tuple[float, ...] = ()
    filled: str = ""
    numbers: bool = False


_EMOTIV_SERVICE = "Counter|Interpolated|RawCq|Battery|BatteryPercent|MarkerHardware"
PROFILES = (
    Profile(
        "OpenBCI",
        r"OpenBCI Raw E[EX]G Data|^EXG Channel 0$",
        (
            (r"E[EX]G Channel \d+", "eeg", "uV"),
            (r"Accel Channel \d+", "acc", "g"),
            (r"Marker.*", "trigger", ""),
            (r"(Other.*|Analog Channel.*)", "unknown", ""),
        ),
    ),
    Profile(
        "Mind Monitor",
        r"^RAW_[A-Z]+\d+$",
        (
            (r"RAW_(\w+\d)", "eeg", "uV"),
            (r"(?:RAW_)?AUX.*", "unknown", "uV"),
            (r"Accelerometer_\w", "acc", "g"),
            (r"Gyro_\w", "gyro", "deg/s"),
            (r"HSI_.*|HeadBandOn", "quality", ""),
            (r"Elements", "trigger", ""),
        ),
        rates=(256.0, 220.0),
    ),
    Profile(
        "Muse (muselsl)",
        r"^timestamps$(.*\n)+^(TP9|PPG1|X)$",
        (
            (r"(TP9|AF7|AF8|TP10)", "eeg", "uV"),
            (r"Right AUX", "unknown", "uV"),
            (r"([XYZ])", "", ""),
        ),
        rates=(256.0, 64.0, 52.0),
    ),
    Profile(
        "EmotivPRO",
        r"^EEG\.(Counter|Interpolated|AF3|T7|Cz|F3)$",
        (
            (rf"EEG\.(?!{_EMOTIV_SERVICE})(.+)", "eeg", "uV"),
            (rf"EEG\.({_EMOTIV_SERVICE})", "", ""),
            (r"(?:PM|POW|FE|MC|HRV?)\..*", "derived", ""),
        ),
        rates=(128.0, 256.0),
        filled="EEG.Interpolated",
    ),
    Profile(
        "OpenViBE",
        r"^Time:\d+Hz$",
        ((r"(Epoch|Label|Stage|Flag|Event .*)", "trigger", ""), (r"(Time:\d+Hz)", "time", "s"),
         (r"(?!Epoch|Label|Stage|Flag|Event |Time:)(.*)", "", "uV")),
    ),
    Profile(
        "Shimmer",
        r"^(Shimmer_\w+_(CAL|RAW|UNCAL)|System_Timestamp_Plot_Zeroed.*)$",
        (
            (r"\w+?_(GSR_(?:Skin_Resistance|Range)\w*)_(?:CAL|RAW|UNCAL)", "derived", ""),
            (r"Shimmer_[^_]+_(.+?)_(?:CAL|RAW|UNCAL)", "", ""),
        ),
    ),
    Profile("Polar", r"^sensor timestamp$", rates=(130.0, 135.0, 176.0, 26.0, 52.0, 104.0, 208.0)),
)  # fmt: skip


def describe(layout: Layout) -> tuple[Layout, list[Column], Profile | None, float | None]:
    """What a table's columns are.

    Returns:
        The layout, with names where only comments have them; the columns; the profile, None for a
        device that is not known; samples per second where the file says it.
    """
    text = "\n".join((*layout.above, *layout.names))
    opensignals = _opensignals(layout)
    if opensignals is not None:
        return opensignals
    if layout.headless:
        layout = replace(layout, names=tuple(_old_openbci(layout) or layout.names))
    profile = next((p for p in PROFILES if re.search(p.mark, text, re.MULTILINE)), None)
    pairs = zip(layout.names, layout.spelt, strict=True)
    columns = [_column(name, unit, profile) for name, unit in pairs]
    return layout, columns, profile, _rate(layout)


def _column(name: str, unit: str, profile: Profile | None) -> Column:
    for pattern, told, spelt in profile.columns if profile else ():
        found = re.fullmatch(pattern, name)
        if found:
            label = found[found.lastindex or 0]
            return Column(label, told, unit or spelt)
    return Column(name, "", unit)


def _rate(layout: Layout) -> float | None:
    """Samples per second as comments, a block above the table, or a column's name say."""
    for line in (*layout.above, *layout.names):
        found = re.search(r"sampling rate\s*:\s*(?:\w*;)*eeg_(\d+)()", line) or (
            re.fullmatch(r"Time:(\d+)Hz()", line) or _RATE.search(line)
        )
        if found:
            return float(found[1].replace(",", ".")) * (1000 if found[2] else 1)
    return None


def _old_openbci(layout: Layout) -> list[str]:
    """Names of a table of OpenBCI's GUI before version 5, whose comments say what columns are."""
    told = re.search(r"Number of channels\s*=\s*(\d+)", "\n".join(layout.above))
    if not told or not any("OpenBCI" in line for line in layout.above):
        return []
    names = ["Sample Index", *(f"EXG Channel {i}" for i in range(int(told[1])))]
    names += [f"Accel Channel {i}" for i in range(3)]
    rest = [f"Other {i}" for i in range(len(layout.names))]
    named = [*names, *rest][: len(layout.names)]
    texts = [i for i, numeric in enumerate(layout.numeric) if not numeric]
    for i in texts:
        named[i] = "Timestamp (Formatted)"
    return named


def _opensignals(layout: Layout) -> tuple[Layout, list[Column], Profile, float | None] | None:
    """BITalino's and biosignalsplux' text: a line of JSON has names, rate and resolution."""
    found = next((line for line in layout.above if line.startswith("{") and "column" in line), "")
    try:
        devices: Any = json.loads(found) if found else None
    except ValueError:
        return None
    device = next(iter(devices.values()), None) if isinstance(devices, dict) else None
    if not isinstance(device, dict) or "sampling rate" not in device:
        return None
    if len(devices) > 1:  # side by side, each with columns of its own
        names = [str(name) for each in devices.values() for name in each["column"]]
        sensors = [str(name) for each in devices.values() for name in each.get("sensor", ())]
    else:
        names, sensors = list(map(str, device["column"])), list(map(str, device.get("sensor", ())))
    analog = iter(sensors)
    columns = []
    for name in names:
        is_analog = re.fullmatch(r"A\d+|CH\d+.*", name) is not None
        sensor = next(analog, "") if is_analog else ""
        columns.append(_sensor(name, sensor))
    columns += [Column("")] * (len(layout.names) - len(columns))
    labels = tuple(column.label for column in columns[: len(layout.names)])
    profile = Profile("OpenSignals", "", numbers=True)
    rate = float(device["sampling rate"])
    return replace(layout, names=labels), columns[: len(labels)], profile, rate


def _sensor(name: str, sensor: str) -> Column:
    """A column of OpenSignals: its sensor where it has one, else a line of the device."""
    if re.fullmatch(r"[IO]\d+", name):
        return Column(name, "trigger")
    if not sensor or sensor.upper() in ("RAW", "CUSTOM"):
        return Column(name, "" if kind_of_name(name) != "eeg" else "unknown", "counts")
    told = {"RESP": "resp", "RIP": "resp", "PZT": "resp", "XYZ": "acc", "LUX": "trigger"}
    return Column(sensor, told.get(sensor.upper(), ""), "counts")
