"""BrainVision's header: which files belong to it, how long they must be, and the channels' units.

MNE reads the samples; what it takes on trust is checked here first. Format:
https://www.brainproducts.com/support-resources/brainvision-core-data-format-1-0/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clmer.errors import DataError

_SAMPLE_BYTES = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
_MAX_BYTES = 2**24
_SEGMENT = re.compile(r"^Mk\d+=New Segment,[^,]*,(\d+),\d+,-?\d+(?:,(\d*))?", re.MULTILINE)


@dataclass(frozen=True)
class BrainVisionHeader:
    """What is needed of a `.vhdr`.

    Args:
        path: the header.
        data: the file of the samples.
        markers: the file of the markers, where the header names one that is there.
        names: of the channels.
        units: of the channels as spelt; "" for the default, uV.
    """

    path: Path
    data: Path
    markers: Path | None
    names: tuple[str, ...]
    units: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """The files that the recording consists of beside the header."""
        return [self.data, *([self.markers] if self.markers else [])]

    def pauses(self, fs: float) -> dict[int, float]:
        """Seconds of the pause before each segment's first sample; 0 where they are unknown.

        A marker "New Segment" has the sample it stands at (from 1) and, mostly, a date.
        """
        if self.markers is None:
            return {}
        found = [
            (int(at) - 1, _moment(date))
            for at, date in _SEGMENT.findall(_decoded(self.markers))
            if int(at) >= 1
        ]
        pauses: dict[int, float] = {}
        for (before, then), (sample, now) in zip(found, found[1:], strict=False):
            pauses[sample] = 0.0
            if then is not None and now is not None and now > then:
                pauses[sample] = max(0.0, (now - then).total_seconds() - (sample - before) / fs)
        return pauses


def _moment(date: str) -> datetime | None:
    """A marker's date; None where it is none (all zeros, for one)."""
    try:
        return datetime.strptime(date, "%Y%m%d%H%M%S%f")
    except ValueError:
        return None


def read_header(path: Path) -> BrainVisionHeader:
    """The checked header of a BrainVision recording.

    Raises:
        DataError: no such header, a file that it names is missing, two channels of one name, or a
            data file of another length than the header says.
    """
    text = _decoded(path)
    if "[common infos]" not in text.lower():
        raise DataError(
            path, "header", f"{text[:40]!r}", "a BrainVision header with [Common Infos]"
        )
    values = dict(_pairs(text))
    data = _beside(path, values.get("datafile", ""), "DataFile", ".eeg")
    named = values.get("markerfile", "")
    markers = path.parent / _expanded(named, path) if named else path.with_suffix(".vmrk")
    if not markers.is_file():
        markers = path.with_suffix(".vmrk")
    channels = sorted((int(k[2:]), v) for k, v in values.items() if re.fullmatch(r"ch\d+", k))
    fields = [[*value.split(","), "", "", ""] for _, value in channels]
    names = tuple(field[0].replace(r"\1", ",") for field in fields)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            path,
            "[Channel Infos]",
            f"{names.count(twice[0])} channels called {twice[0]}",
            "one name per channel",
            "Rename them in the .vhdr, which is a text file.",
        )
    _check_rate(path, values.get("samplinginterval", ""))
    _check_length(path, data, values, len(names))
    units = tuple(field[3].strip() for field in fields)
    return BrainVisionHeader(path, data, markers if markers.is_file() else None, names, units)


def _decoded(path: Path) -> str:
    content = path.read_bytes()[:_MAX_BYTES]
    latin = re.search(rb"Codepage *= *ANSI", content, re.IGNORECASE)
    if not latin:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    return content.decode("latin-1")


def _pairs(text: str) -> list[tuple[str, str]]:
    """key=value lines; what the amplifier wrote under [Comment] has none that count."""
    body = re.split(r"^\[(?:Comment|Coordinates)\]", text, maxsplit=1, flags=re.M | re.I)[0]
    rows = (line.partition("=") for line in body.splitlines() if not line.startswith(";"))
    return [(key.strip().lower(), value.strip()) for key, equals, value in rows if equals]


def _expanded(name: str, path: Path) -> str:
    """A file's name as the header gives it: "$b" stands for the header's own stem."""
    return name.replace("$b", path.stem).replace("\\", "/")


def _beside(path: Path, name: str, key: str, suffix: str) -> Path:
    file = path.parent / _expanded(name, path)
    if name and file.is_file():
        return file
    own = path.with_suffix(suffix)
    renamed = f" {own.name} lies beside it: were the files renamed? " if own.is_file() else " "
    raise DataError(
        path,
        key,
        f"{name or 'nothing'}, which is not there" if name else "nothing",
        "the file of the samples",
        f"Put it beside the header.{renamed}"
        f"The header is a text file: correct its {key}= where the name has changed.",
    )


def _check_rate(path: Path, interval: str) -> None:
    try:
        seconds = float(interval) / 1e6
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise DataError(
            path,
            "SamplingInterval",
            interval or "nothing",
            "microseconds from sample to sample",
            "The header is a text file: write 1000000 / rate there.",
        )


def _check_length(path: Path, data: Path, values: dict[str, str], listed: int) -> None:
    """Whole samples of all channels, and as many as the header says where it says so."""
    if values.get("dataformat", "BINARY").upper() != "BINARY":
        return
    sample_bytes = _SAMPLE_BYTES.get(values.get("binaryformat", "").upper(), 0)
    try:
        channels, points = int(values["numberofchannels"]), int(values.get("datapoints") or 0)
    except (KeyError, ValueError) as error:
        raise DataError(
            path, "NumberOfChannels, DataPoints", error, "whole numbers", "Export it again."
        ) from error
    if listed != channels:
        raise DataError(
            path, "[Channel Infos]", f"{listed} channels", f"{channels} as NumberOfChannels says"
        )
    frame, size = channels * sample_bytes, data.stat().st_size
    if frame and (size % frame or (points and size != points * frame)):
        expected = f"{points * frame} bytes" if points else f"a multiple of {frame} bytes"
        raise DataError(
            data,
            "length",
            f"{size} bytes",
            f"{expected}: {channels} channels of {sample_bytes} bytes",
            f"The file is truncated: copy it again, with {path.name}.",
        )
