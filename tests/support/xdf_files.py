"""A writer of XDF: https://github.com/sccn/xdf/wiki/Specifications."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FORMATS = {"float32": "<f4", "double64": "<f8", "int16": "<i2", "int32": "<i4"}


@dataclass
class Stream:
    """What one device sent.

    Args:
        name, kind: of the stream.
        times: [T] by the device's own clock.
        data: [T, C] numbers, or T texts.
        fs: nominal rate, 0 for an irregular stream.
        labels, units, types: of the channels; none for no description.
        form: how samples are stored.
        offset_s: what the recorder's clock is ahead of the device's, measured every 5 s.
        footer: whether the stream was closed.
        lost: samples that the footer counts and the file lacks.
        drift: seconds by which the offset grows per second.
    """

    name: str
    kind: str
    times: np.ndarray
    data: np.ndarray | Sequence[str]
    fs: float = 0.0
    labels: Sequence[str] = ()
    units: Sequence[str] = ()
    types: Sequence[str] = ()
    form: str = "float32"
    offset_s: float = 0.0
    footer: bool = True
    lost: int = 0
    drift: float = 0.0

    @property
    def count(self) -> int:
        return 1 if self.form == "string" else np.shape(self.data)[1]


def _length(number: int) -> bytes:
    return b"\x04" + struct.pack("<I", number)


def _chunk(tag: int, content: bytes) -> bytes:
    return _length(len(content) + 2) + struct.pack("<H", tag) + content


def _head(stream: Stream) -> str:
    rows = "".join(
        "<channel>"
        + f"<label>{label}</label>"
        + (f"<unit>{stream.units[i]}</unit>" if stream.units else "")
        + (f"<type>{stream.types[i]}</type>" if stream.types else "")
        + "</channel>"
        for i, label in enumerate(stream.labels)
    )
    desc = f"<desc><channels>{rows}</channels></desc>" if rows else "<desc />"
    return (
        f"<?xml version='1.0'?><info><name>{stream.name}</name><type>{stream.kind}</type>"
        f"<channel_count>{stream.count}</channel_count><nominal_srate>{stream.fs}</nominal_srate>"
        f"<channel_format>{stream.form}</channel_format>{desc}</info>"
    )


def _samples(stream: Stream, first: int, stop: int) -> bytes:
    out = _length(stop - first)
    for i in range(first, stop):
        out += b"\x08" + struct.pack("<d", stream.times[i])
        if stream.form == "string":
            text = str(stream.data[i]).encode()
            out += _length(len(text)) + text
        else:
            out += np.asarray(stream.data[i]).astype(_FORMATS[stream.form]).tobytes()
    return out


def write_xdf(path: Path, *streams: Stream) -> None:
    """Write streams in chunks of 64 samples."""
    out = b"XDF:" + _chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    for number, stream in enumerate(streams, 1):
        ident = struct.pack("<I", number)
        out += _chunk(2, ident + _head(stream).encode())
        for first in range(0, len(stream.times), 64):
            stop = min(first + 64, len(stream.times))
            out += _chunk(3, ident + _samples(stream, first, stop))
        if len(stream.times):
            for at in np.arange(stream.times[0], stream.times[-1] + 5, 5):
                offset = stream.offset_s + stream.drift * (at - stream.times[0])
                out += _chunk(4, ident + struct.pack("<dd", at, offset))
        if stream.footer:
            count = len(stream.times) + stream.lost
            foot = f"<?xml version='1.0'?><info><sample_count>{count}</sample_count></info>"
            out += _chunk(6, ident + foot.encode())
    path.write_bytes(out)
