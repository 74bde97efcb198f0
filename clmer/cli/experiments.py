"""`clmer experiments`: the paper's tables and figures of your recordings."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

from clmer.experiments.make import Request, make


def run(*, passed: Mapping[str, Any], made_by: str, **given: Any) -> int:
    """Make the tables and figures; the exit code."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return make(Request(**given), passed, made_by)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
