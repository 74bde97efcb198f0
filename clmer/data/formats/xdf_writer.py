"""A writer of XDF that is readable up to its last flush, whatever ends the process.

Chunks as https://github.com/sccn/xdf/wiki/Specifications has them, each a length, a tag and its
content: the file's header; a stream's header, its samples, each with its own time, and its footer,
which counts them. A file without footers, or cut within a chunk, is read up to there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from clmer.errors import DataError
from clmer.storage import unwritable

_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _STREAM_FOOTER = 1, 2, 3, 6
_XML = "<?xml version='1.0'?>"
_FOUR_BYTES = b"\x04"  # a length follows in as many
_OWN_TIME = 8  # a sample begins with the length of its time


class XdfWriter:
    """A new file, to which streams and their samples are added.

    Samples are gathered in memory until `flush`, which makes a chunk per stream.

    Args:
        path: a file that is not there yet.

    Raises:
        DataError: it is there, or cannot be made; so do the methods where the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._streams: list[_Stream] = []
        check_new(path)
        try:
            self._file = path.open("xb")
        except OSError as error:
            raise unwritable(path, error) from error
        header = f"{_XML}<info><version>1.0</version></info>"
        self._write(b"XDF:" + _chunk(_FILE_HEADER, header.encode()))

    def add_stream(
        self,
        name: str,
        kind: str,
        channels: Sequence[str],
        fs: float,
        units: Sequence[str] = (),
    ) -> int:
        """A stream of float64 numbers; its number, for `add`.

        Args:
            name: of the stream.
            kind: LSL's word for its content, "" for none.
            channels: C names.
            fs: nominal rate in Hz.
            units: one per channel, "" for none; empty for no units at all.
        """
        entries = "".join(
            f"<channel><label>{escape(label)}</label>"
            + (f"<unit>{escape(units[i])}</unit>" if units and units[i] else "")
            + "</channel>"
            for i, label in enumerate(channels)
        )
        described = f"<desc><channels>{entries}</channels></desc>"
        self._begin(name, kind, len(channels), fs, "double64", described)
        return len(self._streams) - 1

    def add_markers(self, name: str) -> int:
        """A stream of texts at any time; its number, for `add_text`."""
        self._begin(name, "Markers", 1, 0.0, "string", "<desc />")
        return len(self._streams) - 1

    def add(self, stream: int, samples: np.ndarray, times: np.ndarray) -> None:
        """Samples [C, n] with their times [n] in s."""
        count, of = len(times), self._streams[stream]
        rows = np.empty(count, [("size", "u1"), ("time", "<f8"), ("values", "<f8", len(samples))])
        rows["size"], rows["time"], rows["values"] = _OWN_TIME, times, samples.T
        of.take(rows.tobytes(), count, times)

    def add_text(self, stream: int, text: str, time_s: float) -> None:
        """A text with its time."""
        encoded = text.encode()
        sample = struct.pack("<Bd", _OWN_TIME, time_s) + _length(len(encoded)) + encoded
        self._streams[stream].take(sample, 1, np.array([time_s]))

    def flush(self) -> None:
        """Write what was gathered: from now on it outlives the process."""
        for number, stream in enumerate(self._streams, 1):
            if stream.waiting:
                content = struct.pack("<I", number) + _length(stream.waiting)
                self._write(_chunk(_SAMPLES, content + b"".join(stream.gathered)))
                stream.gathered.clear()
                stream.waiting = 0

    def close(self) -> None:
        """Write the rest and every stream's end, and bring the file to the disk."""
        if self._file.closed:
            return
        self.flush()
        for number, stream in enumerate(self._streams, 1):
            footer = (
                f"{_XML}<info>{stream.span()}<sample_count>{stream.count}</sample_count></info>"
            )
            self._write(_chunk(_STREAM_FOOTER, struct.pack("<I", number) + footer.encode()))
        os.fsync(self._file.fileno())
        self._file.close()

    def _begin(
        self, name: str, kind: str, channels: int, fs: float, form: str, described: str
    ) -> None:
        header = (
            f"{_XML}<info><name>{escape(name)}</name><type>{escape(kind)}</type>"
            f"<channel_count>{channels}</channel_count><nominal_srate>{float(fs)!r}</nominal_srate>"
            f"<channel_format>{form}</channel_format>{described}</info>"
        )
        self._streams.append(_Stream())
        number = struct.pack("<I", len(self._streams))
        self._write(_chunk(_STREAM_HEADER, number + header.encode()))

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error


def check_new(path: Path) -> None:
    """Refuse to write over a recording.

    Raises:
        DataError: the file is there.
    """
    if path.exists():
        raise DataError(path, "file", "a recording", "a new file", "Give it another name.")


class _Stream:
    """What of a stream is not written yet, and what its footer says."""

    def __init__(self) -> None:
        self.gathered: list[bytes] = []
        self.waiting = self.count = 0
        self._first_s = self._last_s = 0.0

    def take(self, encoded: bytes, count: int, times: np.ndarray) -> None:
        if not count:
            return
        self._first_s = self._first_s if self.count else float(times[0])
        self._last_s = float(times[-1])
        self.gathered.append(encoded)
        self.waiting += count
        self.count += count

    def span(self) -> str:
        if not self.count:
            return ""
        first, last = f"{self._first_s!r}", f"{self._last_s!r}"
        return f"<first_timestamp>{first}</first_timestamp><last_timestamp>{last}</last_timestamp>"


def _length(number: int) -> bytes:
    return _FOUR_BYTES + struct.pack("<I", number)


def _chunk(tag: int, content: bytes) -> bytes:
    return _length(len(content) + 2) + struct.pack("<H", tag) + content
