"""Standard streams that are closed, as under daemons and cron, or whose reader has gone."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from clmer.errors import EXIT_INPUT, EXIT_NO_READER
from clmer.text import COLUMNS, wrapped

Main = Callable[..., int]


class Nowhere(io.TextIOBase):
    """Stands for a standard output or error stream that is closed: takes all, keeps nothing."""

    encoding = "utf-8"

    def writable(self) -> bool:
        """It takes everything."""
        return True

    def write(self, text: str) -> int:
        """Forget the text."""
        return len(text)


def open_streams() -> None:
    """Give the process standard streams where some are closed.

    Python's are then None. Descriptors 0 to 2 are opened on the null device: else the next file
    that is opened, such as a checkpoint, would be what libraries and child processes print into.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number, which is this one: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if _closed(sys.stdout):
        sys.stdout = Nowhere()
    if _closed(sys.stderr):
        sys.stderr = Nowhere()


def _closed(stream: object) -> bool:
    return stream is None or bool(getattr(stream, "closed", False))


def is_nowhere(stream: object) -> bool:
    """Whether what is written there is lost: the stream was closed when the command began."""
    return _closed(stream) or isinstance(stream, Nowhere)


def is_terminal(stream: object) -> bool:
    """Whether a person reads the stream as it is written."""
    return isinstance(stream, io.TextIOBase) and not is_nowhere(stream) and stream.isatty()


def say_error(text: str) -> None:
    """Print a message on standard error: in lines of a terminal's width where one is read.

    In a file or a pipe its lines stay whole, so that they can be searched.
    """
    if is_terminal(sys.stderr):
        text = "\n".join(wrapped(line, rest="  ") for line in text.split("\n"))
    print(text, file=sys.stderr)


class StatusLine:
    """A line on standard error that is written over: on a terminal alone, and never wrapped."""

    _SECONDS = 0.1  # between two updates

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._is_shown = is_terminal(self._stream)
        self._length, self._next = 0, 0.0

    def show(self, text: str) -> None:
        """Write over the line, where its last text has stood for a moment."""
        if not self._is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._SECONDS
        self._write(text)

    def clear(self) -> None:
        """Leave an empty line to whatever is printed next."""
        if self._length:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
        self._next = 0.0

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        text = text.encode(encoding, "clmer.plain").decode(encoding)
        text = text[: min(COLUMNS, shutil.get_terminal_size().columns) - 1]
        self._stream.write(f"\r{text:<{self._length}}")
        self._stream.flush()
        self._length = len(text)


def for_streams(main: Main) -> Main:
    """A command's `main` that works with closed streams, and ends quietly where its reader goes.

    `clmer ... | head` closes the pipe that the rest would be printed into.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        open_streams()
        try:
            with _any_letter():
                try:
                    return main(argv)
                finally:
                    sys.stdout.flush()
        except BrokenPipeError:
            _give_up_output()
            return EXIT_NO_READER
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            _give_up_output()
            print(f"clmer: standard output: {error.strerror}", file=sys.stderr)
            return EXIT_INPUT

    return run


#: Letters of our own messages that an ASCII terminal lacks.
_PLAIN = {"±": "+-", "–": "-", "µ": "u", "×": "x", "·": "-"}


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    """For a codec: what stands for letters that a stream cannot take."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = (_PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in text)
    return "".join(plain), error.end


codecs.register_error("clmer.plain", _in_plain_letters)


@contextlib.contextmanager
def _any_letter() -> Iterator[None]:
    """Have the standard streams take every letter, if need be in others: "+-" for "±".

    A terminal can be ASCII, and a folder's name no Unicode at all.
    """
    strict = [
        stream
        for stream in (sys.stdout, sys.stderr)
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict"
    ]
    for stream in strict:
        stream.reconfigure(errors="clmer.plain")
    try:
        yield
    finally:
        for stream in strict:
            if not stream.closed:
                stream.reconfigure(errors="strict")


def _give_up_output() -> None:
    """Point what cannot be written any more to the null device, for Python's flush at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(io.UnsupportedOperation):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
