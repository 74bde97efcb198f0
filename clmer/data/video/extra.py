"""The packages of the extra `video`, or an error that says how to get them."""

from __future__ import annotations

from typing import Any

from clmer.errors import DataError


def import_av() -> Any:
    """PyAV, or an error that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise missing_extra("av") from error
    return av


def missing_extra(name: str) -> DataError:
    """What to say where the extra `video` is not installed."""
    return DataError(name, "package", "nothing", "PyAV and MediaPipe", 'pip install "clmer[video]"')
