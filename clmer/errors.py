"""Errors that a user can cause, and the exit codes that every command shares."""

from __future__ import annotations

from pathlib import Path

#: An input or option cannot be used; the message says why.
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
#: Standard output is a pipe that nobody reads any more (what a shell reports of SIGPIPE).
EXIT_NO_READER = 141


class DataError(ValueError):
    """A file the user gave cannot be used.

    The message names the file, the field, what was found, what was expected and what to do.

    Args:
        path: the offending file or folder.
        field: the key, column, channel or option in it.
        found: what is there.
        expected: what should be there.
        hint: the way out, one sentence.
    """

    def __init__(
        self, path: Path | str, field: str, found: object, expected: object, hint: str = ""
    ) -> None:
        self.path, self.field, self.found, self.expected = Path(path), field, found, expected
        self.hint = hint
        message = f"{path}: {field}: found {found}, expected {expected}."
        super().__init__(f"{message} {hint}" if hint else message)


class ConfigError(ValueError):
    """An option that cannot be met; the message names the option, what was found and expected."""
