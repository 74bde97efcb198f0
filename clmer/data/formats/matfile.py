"""Read cell arrays of numbers and text out of a MATLAB 5 file that nobody vouches for.

`scipy.io.loadmat` allocates what a header claims before it looks for the data, unpacks compressed
variables without a limit, and follows nested cells by recursion in C. Here a variable is a stream
that never hands out more than a budget, every claim is compared with the bytes that are there
before anything is allocated, and cells nest once. What is read equals what SciPy reads.

Layout (MathWorks, "MAT-File Format", Level 5): 128 bytes of header, then elements, each a tag
(type, bytes) and its data, padded to 8 bytes; a variable is a miMATRIX element of flags,
dimensions, name and values, mostly inside a miCOMPRESSED one (zlib).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clmer.errors import DataError

Value = np.ndarray | str

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
#: miINT8, miUINT8, ... miUINT64 -> how values are stored
_STORED = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"},
    **{16: "u1", 17: "u2", 18: "u4"},  # UTF-8, -16, -32
}
#: mxDOUBLE_CLASS, ... mxUINT64_CLASS -> what values become
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"} | {
    14: "i8",
    15: "u8",
}
_CELL, _CHAR, _UTF8 = 1, 4, 16
_COMPLEX = 0x0800
_MAX_CELLS, _MAX_NAME, _MAX_DIMS = 10_000, 64, 8
_CHUNK = 2**16

_SAVE_V7 = "Load it in MATLAB and save it again with save(..., '-v7')."


class _Malformed(Exception):
    """What is wrong with the stream."""


def load_cells(
    path: Path, names: Collection[str], *, max_bytes: int
) -> dict[str, tuple[tuple[int, ...], list[Value]]]:
    """The cell arrays of these names.

    Args:
        path: a MATLAB 5 file (`save` with -v6 or -v7).
        names: the variables wanted; the others are passed over without unpacking them.
        max_bytes: refuse a file that holds, or unpacks to, more than this.

    Returns:
        By name the shape and the cells in column order; numbers as arrays of the class and shape
        that the file states, text as str. A name that the file lacks is absent.

    Raises:
        DataError: too large, another format, truncated or damaged, or a wanted variable that is no
            cell array of numbers and text.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(path, "size", f"{size} bytes", f"at most {max_bytes} bytes")
        with path.open("rb") as file:
            order = _byte_order(path, file.read(_HEADER))
            return _load(path, file, size, order, names, _Budget(max_bytes))
    except OSError as error:
        raise DataError(path, "file", error.strerror or error, "a readable file") from error
    except (_Malformed, zlib.error) as error:
        raise DataError(
            path,
            "MATLAB 5 stream",
            error,
            "a whole .mat file of plain cell arrays",
            "Download or copy the file again.",
        ) from error


def _byte_order(path: Path, header: bytes) -> str:
    mark = header[126:128]
    version = int.from_bytes(header[124:126], "little" if mark == b"IM" else "big")
    if header[:19] == b"MATLAB 7.3 MAT-file" or header[:4] == b"\x89HDF" or version == 0x0200:
        raise DataError(path, "format", "MATLAB 7.3 (HDF5)", "MATLAB 5 to 7", _SAVE_V7)
    if mark not in (b"IM", b"MI") or version != 0x0100:
        found = f"{len(header)} bytes that are no MATLAB 5 header"
        raise DataError(path, "format", found, "a MATLAB 5 .mat file", _SAVE_V7)
    return "<" if mark == b"IM" else ">"


def _load(
    path: Path, file: BinaryIO, size: int, order: str, names: Collection[str], budget: _Budget
) -> dict[str, tuple[tuple[int, ...], list[Value]]]:
    found: dict[str, tuple[tuple[int, ...], list[Value]]] = {}
    at = _HEADER
    while at < size and len(found) < len(names):
        file.seek(at)
        kind, length = struct.unpack(order + "II", _exactly(file.read(8), 8))
        end = at + 8 + length
        if end > size:
            raise _Malformed(f"a variable of {length} bytes at byte {at} of {size}")
        if kind == _COMPRESSED:
            stream = _Stream(_Unpacked(file, length), order, budget)
            kind, length = stream.tag()[:2]
        else:
            stream = _Stream(_Span(file, length), order, budget)
        if kind != _MATRIX:
            raise _Malformed(f"an element of type {kind} at byte {at}, expected a variable")
        start = stream.taken
        flags, shape, name = _head(stream)
        if name in names and name not in found:
            if flags & 0xFF != _CELL:
                raise DataError(
                    path, name, f"an array of class {flags & 0xFF}", "a cell array", _SAVE_V7
                )
            found[name] = shape, _cells(stream, shape)
            if stream.taken - start != length:
                raise _Malformed(f"{stream.taken - start} bytes in {name}, which claims {length}")
            stream.finish()
        at = end
    return found


class _Budget:
    """Bytes that may still be handed out."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        if count > self.left:
            raise _Malformed(f"{count} bytes claimed where {self.left} are left of the limit")
        self.left -= count


class _Span:
    """A stretch of the file: a claim beyond its end is refused before it is allocated."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left = file, length

    def read(self, count: int) -> bytes:
        if count > self._left:
            return b""
        self._left -= count
        return self._file.read(count)


class _Unpacked:
    """What a miCOMPRESSED element holds, unpacked as it is asked for."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left, self._zlib = file, length, zlib.decompressobj()

    def read(self, count: int) -> bytes:
        parts, missing = [], count
        while missing and not self._zlib.eof:
            packed = self._zlib.unconsumed_tail
            if not packed:
                packed = self._file.read(min(_CHUNK, self._left))
                self._left -= len(packed)
            part = self._zlib.decompress(packed, missing)
            if not part and not packed:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


class _Stream:
    """Elements of one variable, in order."""

    def __init__(self, file: _Span | _Unpacked, order: str, budget: _Budget) -> None:
        self._file, self.order, self._budget = file, order, budget
        self.taken = 0

    def read(self, count: int) -> bytes:
        self._budget.take(count)
        self.taken += count
        return _exactly(self._file.read(count), count)

    def tag(self) -> tuple[int, int, bytes]:
        """Type and length of the next element, and its data where it is a small one."""
        head = self.read(8)
        kind, length = struct.unpack(self.order + "II", head)
        if kind >> 16:  # a small element: two bytes each of type and length, four of data
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise _Malformed(f"a small element of {length} bytes")
            return kind, length, head[4 : 4 + length]
        return kind, length, b""

    def element(self, limit: int) -> tuple[int, bytes]:
        """The next element of at most `limit` bytes: its type and data."""
        kind, length, data = self.tag()
        if length > limit:
            raise _Malformed(f"an element of {length} bytes where {limit} were expected")
        if length and not data:
            data = self.read(length)
            self.read(-length % 8)
        return kind, data

    def finish(self) -> None:
        """Unpack to the end, where zlib compares its checksum; a few spare bytes are no harm."""
        if isinstance(self._file, _Unpacked):
            self._file.read(_CHUNK)


def _exactly(data: bytes, count: int) -> bytes:
    if len(data) != count:
        raise _Malformed(f"the end of the data {count - len(data)} bytes too early")
    return data


def _head(stream: _Stream) -> tuple[int, tuple[int, ...], str]:
    """Flags, dimensions and name of a matrix."""
    _, flags = stream.element(8)
    kind, dims = stream.element(4 * _MAX_DIMS)
    _, name = stream.element(_MAX_NAME)
    if len(flags) != 8 or kind not in (5, 6) or len(dims) % 4 or len(dims) < 8:
        raise _Malformed("a variable without flags and dimensions")
    shape = struct.unpack(f"{stream.order}{len(dims) // 4}i", dims)
    if min(shape) < 0:
        raise _Malformed(f"dimensions {shape}")
    return struct.unpack(stream.order + "I", flags[:4])[0], shape, name.decode("latin1")


def _cells(stream: _Stream, shape: tuple[int, ...], depth: int = 0) -> list[Value]:
    count = math.prod(shape)
    if count > _MAX_CELLS:
        raise _Malformed(f"{count} cells")
    return [_cell(stream, depth) for _ in range(count)]


def _cell(stream: _Stream, depth: int) -> Value:
    kind, length, _ = stream.tag()
    if kind != _MATRIX:
        raise _Malformed(f"an element of type {kind} in a cell")
    if length == 0:  # MATLAB's way to write []
        return np.zeros((0, 0))
    start = stream.taken
    flags, shape, _ = _head(stream)
    value = _value(stream, flags, shape, depth)
    if stream.taken - start != length:
        raise _Malformed(f"a cell of {stream.taken - start} bytes, which claims {length}")
    return value


def _value(stream: _Stream, flags: int, shape: tuple[int, ...], depth: int) -> Value:
    mat_class = flags & 0xFF
    if mat_class == _CELL and depth == 0 and math.prod(shape) == 1:
        return _cell(stream, depth + 1)  # text that was wrapped once more
    if mat_class not in (*_NUMBERS, _CHAR) or flags & _COMPLEX:
        what = "complex numbers" if flags & _COMPLEX else f"an array of class {mat_class}"
        raise _Malformed(f"{what} in a cell")
    count = math.prod(shape)
    kind, data = stream.element(8 * count)
    if kind not in _STORED:
        raise _Malformed(f"values of type {kind}")
    if mat_class == _CHAR and kind == _UTF8:
        return data.decode("utf-8", errors="replace")
    stored = np.dtype(stream.order + _STORED[kind])
    if len(data) != count * stored.itemsize:
        raise _Malformed(f"{len(data)} bytes for {count} values of {stored.itemsize}")
    values = np.frombuffer(data, stored)
    if mat_class == _CHAR:
        return "".join(map(chr, values.astype(np.int64).clip(0, 0xD7FF).tolist()))
    return values.astype(_NUMBERS[mat_class], copy=False).reshape(shape, order="F")
