"""`clmer live`: what a trained run says of streams, as they come."""

from __future__ import annotations

import argparse
from typing import Any

from clmer.cli.arguments import flags_of
from clmer.cli.options.live import describe, more_flags
from clmer.cli.train import set_threads
from clmer.live.command.run import live
from clmer.pipeline.presets import known_device


def run(*, threads: int | None, device: str, **given: Any) -> int:
    """Predict the streams; the exit code."""
    set_threads(threads)
    parser = argparse.ArgumentParser()
    describe(parser)
    return live(**given, device=known_device(device), flags=more_flags() | flags_of(parser))
