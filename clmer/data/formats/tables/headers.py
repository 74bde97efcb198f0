"""Tables whose columns are named elsewhere than in a line of names: in comments, or by a rule."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clmer.data.formats.tables.layout import Layout

#: Columns of BrainFlow's own file, whose number tells the board: electrodes, and where what follows
#: them begins.
_BRAINFLOW = {24: (8, 9), 32: (16, 17), 15: (4, 5)}
#: Seconds since 1970 of any recording.
_EPOCH = 1e9, 4e9
_SAMPLE_TIME = re.compile(r"([\d.]+) msec/sample")


def with_names(layout: Layout) -> Layout:
    """A table with the names that its comments, or the rule of the program that wrote it, give."""
    if any(_SAMPLE_TIME.fullmatch(line.strip()) for line in layout.above):
        return _acqknowledge(layout)
    if layout.headless:
        return replace(layout, names=tuple(_openbci(layout) or _brainflow(layout) or layout.names))
    if layout.names[0].rstrip("=").lower() == "channeltitle":  # LabChart's, whose times lack a name
        return replace(layout, names=("Time", *layout.names[1:]), spelt=("s", *layout.spelt[1:]))
    return layout


def stated_step(lines: Sequence[str]) -> float | None:
    """Samples per second out of AcqKnowledge's or LabChart's time from sample to sample."""
    for line in lines:
        found = _SAMPLE_TIME.fullmatch(line.strip()) or re.match(
            r"Interval=\s*([\d.]+)\s*(m?s)\b", line
        )
        step = float(found[1]) if found and found[1].count(".") < 2 else 0.0
        if found and step > 0:
            in_s = found.lastindex == 2 and found[2] == "s"
            return 1 / step if in_s else 1000 / step
    return None


def _openbci(layout: Layout) -> list[str]:
    """Names in a table of OpenBCI's GUI before version 5, whose comments say what columns are."""
    told = re.search(r"Number of channels\s*=\s*(\d{1,3})", "\n".join(layout.above))
    if not told or not any("OpenBCI" in line for line in layout.above):
        return []
    names = ["Sample Index", *(f"EXG Channel {i}" for i in range(int(told[1])))]
    names += [f"Accel Channel {i}" for i in range(3)]
    named = [*names, *(f"Other {i}" for i in range(len(layout.names)))][: len(layout.names)]
    for i, numeric in enumerate(layout.numeric):
        named[i] = named[i] if numeric else "Timestamp (Formatted)"
    last = layout.cells(layout.text[layout.start :].split("\n", 1)[0])[-1]
    if layout.numeric[-1] and (layout.number(last) or 0) > _EPOCH[0]:
        named[-1] = "Timestamp"
    return named


def _brainflow(layout: Layout) -> list[str]:
    """Names in BrainFlow's file of an OpenBCI board: tabs, and the time second to last."""
    count = len(layout.names)
    if layout.separator != "\t" or count not in _BRAINFLOW:
        return []
    row = layout.cells(layout.text[layout.start :].split("\n", 1)[0])
    if len(row) != count or not _EPOCH[0] < (layout.number(row[-2]) or 0) < _EPOCH[1]:
        return []
    electrodes, accel = _BRAINFLOW[count]
    names = ["Sample Index", *(f"EXG Channel {i}" for i in range(electrodes))]
    names += [f"Accel Channel {i}" for i in range(3)]
    names += [f"Other {i}" for i in range(count - accel - 3 - 2)]
    return [*names, "Timestamp", "Marker Channel"]


def _acqknowledge(layout: Layout) -> Layout:
    """AcqKnowledge's text: name and unit of each channel, a line each, and a line of counts."""
    lines = [line.strip() for line in layout.above]
    at = next((i for i, line in enumerate(lines) if re.fullmatch(r"\d+ channels", line)), None)
    count = int(lines[at].split()[0]) if at is not None else 0
    pairs = lines[at + 1 :] if at is not None else []
    first, rest = len(layout.names) - count, layout.text[layout.start :]
    if len(pairs) < 2 * count or first < 0 or not count:
        return layout
    line, _, after = rest.partition("\n")
    if not layout.cells(line)[0]:  # how many samples each channel has
        layout = replace(layout, start=len(layout.text) - len(after), line=layout.line + 1)
    words = {"microsiemens": "uS", "millivolts": "mV", "microvolts": "uV"}
    units = [words.get(unit.lower(), unit) for unit in pairs[1 : 2 * count : 2]]
    before = [*layout.names[:first]]
    return replace(
        layout,
        names=(*("Time" for _ in before), *pairs[0 : 2 * count : 2]),
        spelt=(*before, *units),
        headless=False,
    )


def opensignals(layout: Layout) -> tuple[list[str], dict[str, str], float, bool] | None:
    """BITalino's and biosignalsplux' text: a line of JSON has names, sensors, rate and resolution.

    Returns:
        Names of the columns, the sensor of each analog one, samples per second, and whether the
        numbers are a converter's own; None for another file.
    """
    found = next((line for line in layout.above if line.startswith("{") and "column" in line), "")
    try:
        told: Any = json.loads(found) if found else None
        devices: list[Any] = list(told.values()) if isinstance(told, dict) else []
        names = [str(name) for device in devices for name in device["column"]]
        sensors = [str(name) for device in devices for name in device.get("sensor", ())]
        rate = float(devices[0]["sampling rate"]) if devices else 0.0
        raw = not any(device.get("convertedValues") for device in devices)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not devices or not 0 < rate < 1e6:
        return None
    analog = [name for name in names if re.fullmatch(r"A\d+|CH\d+\w*", name)]
    return names, dict(zip(analog, sensors, strict=False)), rate, raw
