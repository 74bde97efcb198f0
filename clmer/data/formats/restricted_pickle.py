"""Load a pickle of NumPy arrays without letting it run anything.

An ordinary `pickle.load` calls whatever the file names. Here every global that a pickled array
needs maps to an inert stand-in of this module, any other raises, and the arrays are built from the
bytes afterwards: no code of NumPy, or of anyone, sees the file's arguments.
"""

from __future__ import annotations

import math
import mmap
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clmer.errors import DataError

_OPCODES = (
    pickle.PROTO,
    pickle.FRAME,
    pickle.STOP,
    pickle.MARK,
    pickle.POP,
    pickle.POP_MARK,
    pickle.EMPTY_DICT,
    pickle.SETITEM,
    pickle.SETITEMS,
    pickle.EMPTY_TUPLE,
    pickle.TUPLE,
    pickle.TUPLE1,
    pickle.TUPLE2,
    pickle.TUPLE3,
    pickle.NONE,
    pickle.NEWTRUE,
    pickle.NEWFALSE,
    pickle.BININT,
    pickle.BININT1,
    pickle.BININT2,
    pickle.LONG1,
    pickle.SHORT_BINSTRING,
    pickle.BINSTRING,
    pickle.SHORT_BINBYTES,
    pickle.BINBYTES,
    pickle.BINBYTES8,
    pickle.BINUNICODE,
    pickle.SHORT_BINUNICODE,
    pickle.PUT,
    pickle.BINPUT,
    pickle.LONG_BINPUT,
    pickle.MEMOIZE,
    pickle.GET,
    pickle.BINGET,
    pickle.LONG_BINGET,
    pickle.GLOBAL,
    pickle.STACK_GLOBAL,
    pickle.REDUCE,
    pickle.BUILD,
)
_DTYPES = ("f8", "f4")


def load_arrays(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    """The dict of floating-point arrays that a pickle of protocol 2 or later holds.

    Args:
        path: the pickle, of Python 2 or 3.
        max_bytes: a larger file is refused before it is read.

    Returns:
        Read-only arrays by key: views of the mapped file, whose pages come when they are read.

    Raises:
        DataError: too large, truncated, asks for another global, or holds something else.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(path, "size", f"{size} bytes", f"at most {max_bytes} bytes")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        content = _Unpickler(_Bounded(mapped), path).load()
    except DataError:
        raise
    except (OSError, MemoryError) as error:
        raise DataError(path, "file", error, "a readable file") from error
    except _MALFORMED as error:
        raise DataError(
            path,
            "pickle",
            f"a truncated or damaged stream of {size} bytes ({error or type(error).__name__})",
            "a complete pickle of a dict of arrays",
            "Download or copy the file again.",
        ) from error
    if not isinstance(content, dict):
        raise DataError(path, "pickle", type(content).__name__, "a dict of arrays")
    arrays = {}
    for key, value in content.items():
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        if not isinstance(value, _Array):
            raise DataError(path, name, type(value).__name__, "a NumPy array")
        arrays[name] = value.build(path, name)
    return arrays


# what the pure-Python unpickler and the stand-ins raise on streams that are no pickle of arrays
_MALFORMED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
)


#: A longer run of bytes is not copied out of the file.
_LONG = 2**16


class _Bounded:
    """A mapped file that never hands out, or allocates, more than it holds."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped, self._view = mapped, memoryview(mapped)

    def read(self, count: int) -> Any:  # bytes, or a view of them: the unpickler takes either
        start = self._mapped.tell()
        if count < 0 or count > len(self._mapped) - start:
            raise EOFError(f"{count} bytes wanted at byte {start}")
        if count < _LONG:
            return self._mapped.read(count)
        self._mapped.seek(start + count)
        return self._view[start : start + count]

    def readline(self) -> bytes:
        start = self._mapped.tell()
        end = self._mapped.find(b"\n", start, start + 1024)
        return self._mapped.read(1024 if end < 0 else end + 1 - start)


class _Dtype:
    """Stand-in for `numpy.dtype`."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)
        self.order = "<"

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else str(order)


class _Array:
    """Stand-in for `numpy.ndarray`: the state that the file gives it, unchecked until `build`."""

    def __init__(self) -> None:
        self.state: tuple[object, ...] = ()

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.state = state

    def build(self, path: Path, name: str) -> np.ndarray:
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise DataError(path, name, "an array without content", "a NumPy array")
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype) or dtype.code not in _DTYPES or dtype.order not in "<>|=":
            code = repr(dtype.code[:20]) if isinstance(dtype, _Dtype) else type(dtype).__name__
            raise DataError(path, f"{name} dtype", code, "float64 or float32")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise DataError(path, f"{name} shape", type(shape).__name__, "a tuple of sizes")
        kind = np.dtype(("<" if dtype.order in "|=" else dtype.order) + dtype.code)
        expected = math.prod(shape) * kind.itemsize
        size = len(data) if isinstance(data, bytes | memoryview) else -1
        if not isinstance(data, bytes | memoryview) or size != expected:
            found = f"{size} bytes" if size >= 0 else type(data).__name__
            raise DataError(path, name, found, f"{expected} bytes for shape {shape} {kind}")
        return np.frombuffer(data, dtype=kind).reshape(shape, order="F" if fortran else "C")


class _Call:
    """A function stand-in that the stream cannot write attributes to (BUILD finds __setstate__)."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("BUILD on a function")


def _latin1(text: object, encoding: object) -> bytes:
    """`_codecs.encode` as Python 3 writes bytes at protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"_codecs.encode with {encoding!r}")
    return text.encode("latin1")


_RECONSTRUCT = _Call(lambda *_: _Array())
_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Call(_latin1),
}


# The C unpickler sizes its memo by the largest index in the stream, and fills it: a few bytes could
# ask for 64 GB. The pure-Python one keeps a dict, and the stream has some 60 opcodes.
class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[Any] = {op[0]: pickle._Unpickler.dispatch[op[0]] for op in _OPCODES}

    def __init__(self, file: _Bounded, path: Path) -> None:
        super().__init__(file, encoding="bytes")
        self._path = path

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def _set_items(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set(self, key: object, value: object) -> None:
        # hashing a tuple that is nested a million deep would overflow the stack
        if not isinstance(key, str | bytes):
            raise pickle.UnpicklingError(f"a key of type {type(key).__name__}")
        self.stack[-1][key] = value

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(
                self._path,
                "pickle",
                f"a call for the global {module}.{name}",
                "NumPy arrays only",
                "It was not executed. Do not open this file with plain pickle.",
            ) from None
