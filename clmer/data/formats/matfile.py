"""Cell arrays of numbers and text out of a MATLAB 5 file that nobody vouches for.

`scipy.io.loadmat` reads the values. It allocates what a header claims before it looks for the data,
unpacks compressed variables without a limit, and follows nested cells by recursion in C. So the
wanted variables are unpacked here within a budget, and what their headers claim is compared with
the bytes that are there, before it sees them.

Layout (MathWorks, "MAT-File Format", Level 5): 128 bytes of header, then elements, each a tag
(type, bytes) and its data, padded to 8 bytes; a variable is a miMATRIX element of flags,
dimensions, name and values, mostly inside a miCOMPRESSED one (zlib).
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import scipy.io

from clmer.errors import DataError

Value = np.ndarray | str

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
#: miINT8, miUINT8, ... miUINT64, miUTF8, miUTF16, miUTF32 -> bytes of a value.
_ITEMSIZE = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
#: mxDOUBLE_CLASS, ... mxUINT64_CLASS
_NUMBERS = range(6, 16)
_CELL, _CHAR, _UTF8 = 1, 4, 16
_COMPLEX = 0x0800
_MAX_CELLS, _MAX_NAME, _MAX_DIMS = 10_000, 64, 8
#: Bytes that hold a variable's flags, dimensions and name.
_HEAD = 256

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
    found = {}
    with _opened(path, names, max_bytes) as (header, variables):
        for name, variable, claims in variables:
            claims.check(name)
            found[name] = _values(header + variable, name)
    return found


def load_plain(path: Path, *, max_bytes: int) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """All plain variables: arrays of real numbers, and lists of words.

    Args:
        path: a MATLAB 5 file (`save` with -v6 or -v7).
        max_bytes: refuse a file that holds, or unpacks to, more than this.

    Returns:
        By name, arrays of numbers, and words out of cells or a matrix of letters. Structures,
        objects, sparse and complex matrices are passed over.

    Raises:
        DataError: too large, another format, truncated or damaged.
    """
    arrays: dict[str, np.ndarray] = {}
    words: dict[str, list[str]] = {}
    with _opened(path, None, max_bytes) as (header, variables):
        for name, variable, claims in variables:
            kind, complex_ = claims.kind()
            if kind in (*_NUMBERS, _CHAR) and not complex_:
                claims.check_cell(0)
            elif kind == _CELL:
                claims.check(name)
            else:
                continue
            if kind in _NUMBERS:
                arrays[name] = _loaded(header + variable, name)
            else:
                cells = _loaded(header + variable, name, chars_as_strings=True).ravel()
                texts = [_value(np.asarray(cell)) for cell in cells]
                words[name] = [text.strip() for text in texts if isinstance(text, str)]
    return arrays, words


@contextmanager
def _opened(
    path: Path, names: Collection[str] | None, max_bytes: int
) -> Iterator[tuple[bytes, Iterator[tuple[str, bytes, _Claims]]]]:
    """A file's header, and name, bytes and claims of each variable; damage is a `DataError`."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(path, "size", f"{size} bytes", f"at most {max_bytes} bytes")
        with path.open("rb") as file:
            header = file.read(_HEADER)
            order = _byte_order(path, header)
            variables = _variables(file, size, order, names, max_bytes)
            yield header, ((name, each, _Claims(path, each, order)) for name, each in variables)
    except OSError as error:
        raise DataError(path, "file", error.strerror or error, "a readable file") from error
    except (_Malformed, zlib.error, struct.error) as error:
        raise DataError(
            path,
            "MATLAB 5 stream",
            error,
            "a complete .mat file of plain arrays",
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


def _variables(
    file: BinaryIO, size: int, order: str, names: Collection[str] | None, max_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Name and unpacked miMATRIX element of each wanted variable, the first of each name.

    None wants all that have a name.
    """
    wanted, budget, at = set(names or ()), max_bytes, _HEADER
    while at < size and (wanted or names is None):
        file.seek(at)
        kind, length = struct.unpack(order + "II", file.read(8))
        if at + 8 + length > size:
            raise _Malformed(f"a variable of {length} bytes at byte {at} of {size}")
        unpacker = zlib.decompressobj()
        if kind == _COMPRESSED:
            packed = file.read(length)
            start = unpacker.decompress(packed, _HEAD)
        else:
            file.seek(at)
            start = file.read(min(_HEAD, 8 + length))
        name = _Claims(Path(), start, order).name(at)
        if name in wanted or (names is None and name):
            wanted.discard(name)
            if kind == _COMPRESSED:
                variable = start + _unpacked(unpacker, budget - len(start))
            else:
                variable = start + file.read(8 + length - len(start))
            budget -= len(variable)
            yield name, variable
        at += 8 + length


def _unpacked(unpacker: zlib._Decompress, limit: int) -> bytes:
    """The rest of a variable, to the end, where zlib compares its checksum."""
    rest = unpacker.decompress(unpacker.unconsumed_tail, max(limit, 0) + 1)
    if len(rest) > limit:
        raise _Malformed(f"more than {limit} bytes, which are left of the limit")
    if not unpacker.eof:
        raise _Malformed("the end of the data too early")
    return rest


class _Claims:
    """A miMATRIX element [tag, data], of which every claim is held against its bytes."""

    def __init__(self, path: Path, data: bytes, order: str) -> None:
        self.path, self.data, self.order = path, data, order

    def element(self, at: int) -> tuple[int, int, int, int]:
        """Type of the element at a byte, start and length of its data, and where the next is."""
        kind, length = struct.unpack_from(self.order + "II", self.data, at)
        if kind >> 16:  # a small element: two bytes each of type and length, four of data
            if kind >> 16 > 4:
                raise _Malformed(f"a small element of {kind >> 16} bytes")
            return kind & 0xFFFF, at + 4, kind >> 16, at + 8
        padding = 0 if kind == _MATRIX else -length % 8
        return kind, at + 8, length, at + 8 + length + padding

    def head(self, at: int) -> tuple[int, tuple[int, ...], str, int]:
        """Flags, dimensions and name of the matrix whose data is at a byte, and its values' place.

        Raises:
            _Malformed: they are none.
        """
        parts = []
        for limit in (8, 4 * _MAX_DIMS, _MAX_NAME):
            kind, start, length, at = self.element(at)
            if length > limit:
                raise _Malformed(f"an element of {length} bytes where {limit} were expected")
            parts.append((kind, self.data[start : start + length]))
        (_, flags), (kind, dims), (_, name) = parts
        if len(flags) != 8 or kind not in (5, 6) or len(dims) % 4 or len(dims) < 8:
            raise _Malformed("a variable without flags and dimensions")
        shape = struct.unpack(f"{self.order}{len(dims) // 4}i", dims)
        if min(shape) < 0:
            raise _Malformed(f"dimensions {shape}")
        return struct.unpack(self.order + "I", flags[:4])[0], shape, name.decode("latin1"), at

    def name(self, place: int) -> str:
        """The variable's name; `place` is its byte in the file."""
        kind, start, _, _ = self.element(0)
        if kind != _MATRIX:
            raise _Malformed(f"an element of type {kind} at byte {place}, expected a variable")
        return self.head(start)[2]

    def kind(self) -> tuple[int, bool]:
        """Class of the variable, and whether its numbers are complex."""
        flags = self.head(self.element(0)[1])[0]
        return flags & 0xFF, bool(flags & _COMPLEX)

    def check(self, name: str) -> None:
        """Refuse a variable that is no cell array of numbers and text as long as it claims.

        Raises:
            DataError: another class.
            _Malformed: a claim that its bytes do not bear out.
        """
        _, start, length, end = self.element(0)
        flags, shape, _, at = self.head(start)
        if flags & 0xFF != _CELL:
            found = f"an array of class {flags & 0xFF}"
            raise DataError(self.path, name, found, "a cell array", _SAVE_V7)
        if math.prod(shape) > _MAX_CELLS:
            raise _Malformed(f"{math.prod(shape)} cells")
        for _ in range(math.prod(shape)):
            at = self.check_cell(at)
        if at != end or end > len(self.data):
            raise _Malformed(f"{at - start} bytes in {name}, which claims {length}")

    def check_cell(self, at: int, depth: int = 0) -> int:
        """Where the cell after the one at a byte is."""
        kind, start, length, end = self.element(at)
        if kind != _MATRIX:
            raise _Malformed(f"an element of type {kind} in a cell")
        if length == 0:  # MATLAB's way to write []
            return end
        flags, shape, _, at = self.head(start)
        array, count = flags & 0xFF, math.prod(shape)
        if array == _CELL and depth == 0 and count == 1:  # text that was wrapped once more
            at = self.check_cell(at, depth + 1)
        else:
            if array not in (*_NUMBERS, _CHAR) or flags & _COMPLEX:
                what = "complex numbers" if flags & _COMPLEX else f"an array of class {array}"
                raise _Malformed(f"{what} in a cell")
            kind, _, held, at = self.element(at)
            size = _ITEMSIZE.get(kind)
            if size is None:
                raise _Malformed(f"values of type {kind}")
            in_letters = array == _CHAR and kind == _UTF8 and count <= held <= 4 * count
            if held != count * size and not in_letters:
                raise _Malformed(f"{held} bytes for {count} values of {size}")
        if at != end or end > len(self.data):
            raise _Malformed(f"a cell of {at - start} bytes, which claims {length}")
        return end


def _values(flat: bytes, name: str) -> tuple[tuple[int, ...], list[Value]]:
    """Shape and cells of the one variable of a file."""
    array = _loaded(flat, name)
    return array.shape, [_value(each) for each in array.ravel(order="F")]


def _loaded(flat: bytes, name: str, *, chars_as_strings: bool = False) -> np.ndarray:
    """The one variable of a file, of the class that it states."""
    options = {"mat_dtype": True, "chars_as_strings": chars_as_strings, "variable_names": [name]}
    try:
        array: np.ndarray = scipy.io.loadmat(io.BytesIO(flat), **options)[name]
    except Exception as error:  # SciPy says in many ways that it cannot read
        raise _Malformed(error) from error
    return array


def _value(cell: np.ndarray) -> Value:
    if cell.dtype == object:
        return _value(cell.item())
    return "".join(cell.ravel(order="F").tolist()) if cell.dtype.kind == "U" else cell
