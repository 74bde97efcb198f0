"""Devices' tables: how each is recognised by what it holds, and what its columns are.

A profile adds what a header does not say: which columns are electrodes, in which unit, the rate
that the device is set to. A table that fits none is read by its header alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from clmer.data import units
from clmer.data.formats.tables.headers import opensignals, stated_step, with_names
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


#: The sensors of Emotiv's EPOC, in the order of its exports.
EPOC_CHANNELS = tuple("AF3 F7 F3 FC5 T7 P7 O1 O2 P8 T8 FC6 F4 F8 AF4".split())
_EMOTIV_SERVICE = "Counter|Interpolated|RawCq|Battery|BatteryPercent|MarkerHardware"
PROFILES = (
    Profile(
        "OpenBCI",
        r"OpenBCI Raw E[EX]G Data|^EXG Channel 0$",
        (
            (r"E[EX]G Channel \d+", "", "uV"),  # whatever is attached
            (r"Accel Channel \d+", "acc", "g"),
            (r"Marker.*", "trigger", ""),
            (r"(Other.*|Analog Channel.*)", "quality", ""),
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
            (r"([XYZ])", "other", ""),
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
    Profile(
        "Unicorn",
        r"^Validation Indicator$",
        (
            (r"(EEG \d+)", "eeg", "uV"),
            (r"Accelerometer \w", "acc", "g"),
            (r"Gyroscope \w", "gyro", "deg/s"),
            (r"Validation Indicator", "quality", ""),
        ),
        rates=(250.0,),
    ),
    Profile("Polar", r"^sensor timestamp$", rates=(130.0, 135.0, 176.0, 26.0, 52.0, 104.0, 208.0)),
)  # fmt: skip


def describe(layout: Layout) -> tuple[Layout, list[Column], Profile | None, float | None]:
    """What a table's columns are.

    Returns:
        The layout, with names where only comments have them; the columns; the profile, None for a
        device that is not known; samples per second where the file says it.
    """
    told = opensignals(layout)
    if told is not None:
        names, sensors, rate, raw = told
        columns = [_sensor(name, sensors.get(name, ""), raw) for name in names]
        columns = [*columns, *[Column("")] * len(layout.names)][: len(layout.names)]
        layout = replace(layout, names=tuple(column.label for column in columns), headless=False)
        return layout, columns, Profile("OpenSignals", "", numbers=raw), rate
    layout = with_names(layout)
    text = "\n".join((*layout.above, *layout.names))
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
    if not unit and len(name) > 1:  # "MicroSiemens" over a column of them
        known = units.parse(name)
        unit = name if known and known.quantity in ("voltage", "conductance", "resistance") else ""
    return Column(name, "", unit)


def _rate(layout: Layout) -> float | None:
    """Samples per second as comments, a block above the table, or a column's name say."""
    for line in (*layout.above, *layout.names):
        found = re.search(r"sampling rate\s*:\s*(?:\w*;)*eeg_(\d+)()", line) or (
            re.fullmatch(r"Time:(\d+)Hz()", line) or _RATE.search(line)
        )
        if found:
            return float(found[1].replace(",", ".")) * (1000 if found[2] else 1)
    return stated_step(layout.above)


#: Type, and unit after conversion, of OpenSignals' sensors.
_SENSORS = {
    "ECG": ("ecg", "mV"), "EMG": ("emg", "mV"), "EEG": ("eeg", "uV"), "EOG": ("eog", "mV"),
    "EDA": ("gsr", "uS"), "RESP": ("resp", ""), "RIP": ("resp", ""), "PZT": ("resp", ""),
    "BVP": ("ppg", ""), "TEMP": ("temp", "degC"), "NTC": ("temp", "degC"), "ACC": ("acc", "g"),
    "XYZ": ("acc", "g"), "LUX": ("trigger", ""),
}  # fmt: skip


def _sensor(name: str, sensor: str, raw: bool) -> Column:
    """A column of OpenSignals: its sensor where it has one, else a line of the device."""
    if re.fullmatch(r"[IO]\d+", name):
        return Column(name, "trigger")
    key = re.sub(r"BIT$|REV$|\d+$", "", sensor.upper())
    told, unit = _SENSORS.get(key, ("", ""))
    if not told:  # a counter by its name, or whatever is attached
        return Column(name, "" if not sensor else "other", "counts" if raw and sensor else "")
    return Column(sensor, told, "counts" if raw else unit)
